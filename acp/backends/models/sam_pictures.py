"""Pictures and boxes as SAM and SAM 2 want them, and their masks back on the picture.

Written out here because the processor of SAM 2 needs torchvision, which the model does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from acp.core.boxes import xywh_to_xyxy
from acp.core.types import FloatArray, ImageArray

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


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
