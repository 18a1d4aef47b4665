"""SAM and SAM 2 in memory: pictures become embeddings once, boxes become logits of masks.

Pictures are prepared here because the processor of SAM 2 needs torchvision, which the model does
not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from acp.backends.models.local_models import (
    LocalModelOptions,
    device_of,
    model_info,
    telling,
    where_is,
)
from acp.backends.models.torch_tools import no_progress_bars
from acp.core.boxes import xywh_to_xyxy
from acp.core.errors import AcpError
from acp.core.types import FloatArray, ImageArray

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
BOXES_AT_ONCE = 32
"""Each takes about 60 MB in the mask decoder of a model of real size."""
_TYPES = {"sam2": ("sam2", "sam2_video"), "sam": ("sam",)}


@dataclass(frozen=True, slots=True)
class Pictures:
    """How a model wants its pictures: `side` x `side` pixels, normalised by `mean` and `std`.

    `square` stretches a picture to the square (SAM 2); without it the longer side becomes `side`
    and the rest is padded at the right or below (SAM).
    """

    side: int
    square: bool
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    @classmethod
    def of(cls, side: int, square: bool, saved: Mapping[str, Any]) -> Pictures:
        """With the mean and deviation of a saved processor, `saved`, where it has them."""
        mean = tuple(map(float, saved.get("image_mean") or IMAGENET_MEAN))
        std = tuple(map(float, saved.get("image_std") or IMAGENET_STD))
        return cls(side, square, mean, std)

    def resized_hw(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """The size of a picture in the model's square.

        >>> Pictures(1024, square=False).resized_hw((480, 640))
        (768, 1024)
        >>> Pictures(1024, square=True).resized_hw((480, 640))
        (1024, 1024)
        """
        if self.square:
            return self.side, self.side
        scale = self.side / max(size_hw)
        height, width = (max(1, int(length * scale + 0.5)) for length in size_hw)
        return height, width

    def pixels(self, images_rgb: Sequence[ImageArray], device: Any) -> Any:
        """Pictures (H, W, 3) of any sizes as a float32 tensor (B, 3, side, side) on `device`."""
        import torch

        return torch.stack([self._one(image, device) for image in images_rgb])

    def _one(self, image_rgb: ImageArray, device: Any) -> Any:
        import torch
        from torch.nn import functional

        image = torch.tensor(image_rgb, device=device).permute(2, 0, 1)[None].float()
        height, width = self.resized_hw((image_rgb.shape[0], image_rgb.shape[1]))
        image = functional.interpolate(
            image, (height, width), mode="bilinear", align_corners=False, antialias=True
        )
        mean, std = (
            torch.tensor(values, device=device).view(3, 1, 1) * 255
            for values in (self.mean, self.std)
        )
        image = (image[0].round().clamp(0, 255) - mean) / std
        return functional.pad(image, (0, self.side - width, 0, self.side - height))

    def boxes(self, boxes_xywhn: FloatArray, size_hw: tuple[int, int]) -> FloatArray:
        """Boxes (N, 4) as `[x_min, y_min, x_max, y_max]` in pixels of the model's square."""
        height, width = self.resized_hw(size_hw)
        corners = np.clip(xywh_to_xyxy(boxes_xywhn.astype(np.float64)), 0, 1)
        return np.asarray(corners * (width, height, width, height), dtype=np.float32)

    def on_picture(self, logits: Any, size_hw: tuple[int, int]) -> Any:
        """Logits of masks (N, h, w), a tensor, at the size of the picture: (N, H, W)."""
        from torch.nn import functional

        logits = logits[:, None].float()
        if not self.square:
            square = (self.side, self.side)
            logits = functional.interpolate(logits, square, mode="bilinear", align_corners=False)
            height, width = self.resized_hw(size_hw)
            logits = logits[..., :height, :width]
        return functional.interpolate(logits, size_hw, mode="bilinear", align_corners=False)[:, 0]


@dataclass(eq=False)
class Sam:
    """A model in memory, and how it wants its pictures.

    The weights are float32; `half` is the type of the image encoder's sums, None for float32.
    """

    model: Any
    pictures: Pictures
    half: Any = None

    def logits(
        self,
        images_rgb: Sequence[ImageArray],
        boxes_xywhn: Sequence[FloatArray],
        multimask: bool,
        fill: int = 0,
    ) -> list[tuple[Any, FloatArray]]:
        """Of each image: logits of masks (N, h, w), a tensor, and predicted IoU (N,), 0-1.

        Each image goes through the encoder once. The boxes of all images go through the decoder
        side by side, each with the embedding of its own image: nothing is padded.

        Args:
            images_rgb: pictures (H, W, 3) of any sizes.
            boxes_xywhn: (N, 4) of each image; N may be 0 and differ from image to image.
            multimask: take the best of three masks of a box instead of the one mask.
            fill: encode at least so many pictures, repeating the last: a compiled encoder is
                compiled again for every number of them.
        """
        import torch

        counts = [len(boxes) for boxes in boxes_xywhn]
        with torch.inference_mode():
            embeddings = self._embeddings(images_rgb, fill)
            corners = [
                self.pictures.boxes(boxes, (image.shape[0], image.shape[1]))
                for image, boxes in zip(images_rgb, boxes_xywhn, strict=True)
            ]
            owners = np.repeat(np.arange(len(counts)), counts)
            masks, predicted = self._decode(embeddings, np.concatenate(corners), owners, multimask)
        scores = predicted.clamp(0, 1).cpu().numpy().astype(np.float32)
        return [*zip(masks.split(counts), np.split(scores, np.cumsum(counts)[:-1]), strict=True)]

    def _embeddings(self, images_rgb: Sequence[ImageArray], fill: int) -> list[Any]:
        import torch

        pixels = self.pictures.pixels(images_rgb, self.model.device)
        more = pixels[-1:].expand(max(0, fill - len(pixels)), *pixels.shape[1:])
        with self._encoding():
            encoded = self.model.get_image_embeddings(torch.cat([pixels, more]))
        parts = encoded if isinstance(encoded, list) else [encoded]
        return [each[: len(pixels)].float() for each in parts]

    def _encoding(self) -> AbstractContextManager[Any]:
        import torch

        if self.half is None:
            return nullcontext()
        rounded: AbstractContextManager[Any] = torch.autocast(
            self.model.device.type, dtype=self.half
        )
        return rounded

    def _decode(
        self, embeddings: list[Any], corners: FloatArray, owners: Any, multimask: bool
    ) -> tuple[Any, Any]:
        import torch

        device = self.model.device
        boxes = torch.from_numpy(corners).to(device)
        places = torch.from_numpy(owners).to(device)
        parts = [
            self._decode_part([each[at] for each in embeddings], some, multimask)
            for some, at in zip(
                boxes.split(BOXES_AT_ONCE), places.split(BOXES_AT_ONCE), strict=True
            )
            if len(some)
        ]
        if not parts:
            return torch.zeros(0, 1, 1, device=device), torch.zeros(0, device=device)
        masks, predicted = zip(*parts, strict=True)
        return torch.cat(masks), torch.cat(predicted)

    def _decode_part(self, embeddings: list[Any], boxes: Any, multimask: bool) -> tuple[Any, Any]:
        import torch

        single = embeddings if self.pictures.square else embeddings[0]
        answer = self.model(
            image_embeddings=single, input_boxes=boxes[:, None], multimask_output=multimask
        )
        masks, predicted = answer.pred_masks[:, 0], answer.iou_scores[:, 0]  # (N, K, h, w), (N, K)
        best = predicted.argmax(dim=1)
        rows = torch.arange(len(boxes), device=boxes.device)
        return masks[rows, best], predicted[rows, best]


def load_sam(options: LocalModelOptions, kind: str, who: str) -> Sam:
    """The model in memory; `kind` is "sam2" or "sam", `who` is named in errors.

    Raises:
        AcpError: no such model, one of another kind, or one that cannot be loaded.
    """
    where = where_is(options, model_info(options))
    del where["trust_remote_code"]
    with telling(options, who), no_progress_bars():
        import torch
        from transformers import AutoConfig, Sam2Config, Sam2Model, SamModel

        config = AutoConfig.from_pretrained(**where)
        if config.model_type not in _TYPES[kind]:
            raise AcpError(
                f"{who}: {options.model} is a {config.model_type!r}; name a model of type "
                f"{' or '.join(map(repr, _TYPES[kind]))}"
            )
        if config.model_type == "sam2_video":  # the same weights and more, those of its memory
            parts = ("vision_config", "prompt_encoder_config", "mask_decoder_config")
            config = Sam2Config(**{part: getattr(config, part).to_dict() for part in parts})
        cls = Sam2Model if kind == "sam2" else SamModel
        model = cls.from_pretrained(**where, config=config, dtype=torch.float32)
        side = int(config.prompt_encoder_config.image_size)
        pictures = Pictures.of(side, kind == "sam2", _saved_processor(where))
        half = None if options.dtype in {"auto", "float32"} else getattr(torch, options.dtype)
        return Sam(model.eval().to(device_of(options.device)), pictures, half)


def _saved_processor(where: dict[str, Any]) -> dict[str, Any]:
    from transformers.image_processing_utils import BaseImageProcessor

    try:
        saved: dict[str, Any] = BaseImageProcessor.get_image_processor_dict(**where)[0]
    except OSError:  # a model saved without one: the values of ImageNet
        return {}
    return saved
