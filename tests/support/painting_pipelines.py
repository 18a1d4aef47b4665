"""A pipeline whose weights are for show: it paints the boxes it is told of, each in a colour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderTiny, DDIMScheduler, DiffusionPipeline
from diffusers.utils import BaseOutput

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))


class Painted(BaseOutput):  # type: ignore[misc]
    images: Any


class Painting(DiffusionPipeline):  # type: ignore[misc]
    """Takes a phrase and `[x_min, y_min, x_max, y_max]`, 0-1, for each object."""

    def __init__(self, scheduler: DDIMScheduler, vae: AutoencoderTiny) -> None:
        super().__init__()
        self.register_modules(scheduler=scheduler, vae=vae)

    def __call__(
        self,
        prompt: str,
        phrases: list[str],
        boxes: list[list[float]],
        width: int,
        height: int,
        num_inference_steps: int,
        generator: torch.Generator,
    ) -> Any:
        grey = int(torch.randint(20, 80, (1,), generator=generator))
        image = np.full((height, width, 3), grey, dtype=np.uint8)
        for phrase, box, colour in zip(phrases, boxes, COLOURS, strict=False):
            left, top, right, bottom = np.round(box * np.array([width, height] * 2)).astype(int)
            image[top:bottom, left:right] = colour if phrase in prompt else 0
        return Painted(images=[image])


def save_painting(folder: Path) -> Path:
    small: dict[str, Any] = {
        "encoder_block_out_channels": (4, 4),
        "decoder_block_out_channels": (4, 4),
        "num_encoder_blocks": (1, 1),
        "num_decoder_blocks": (1, 1),
    }
    Painting(DDIMScheduler(), AutoencoderTiny(**small)).save_pretrained(folder)
    return folder
