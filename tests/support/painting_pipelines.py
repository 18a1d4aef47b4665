"""Pipelines whose weights are for show: they paint the boxes they are told of, each in a colour."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderTiny, DDIMScheduler, DiffusionPipeline
from diffusers.utils import BaseOutput

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))


class Painted(BaseOutput):  # type: ignore[misc]
    images: Any


def canvas(width: int, height: int, generator: torch.Generator) -> Any:
    """A grey between 20 and 80, by chance."""
    grey = int(torch.randint(20, 80, (1,), generator=generator))
    return np.full((height, width, 3), grey, dtype=np.uint8)


class FromCentre(DiffusionPipeline):  # type: ignore[misc]
    """Reads a layout as JSON in its prompt: `[y_min, x_min, y_max, x_max]` pixels from the middle
    of the canvas."""

    def __init__(self, scheduler: DDIMScheduler, vae: AutoencoderTiny) -> None:
        super().__init__()
        self.register_modules(scheduler=scheduler, vae=vae)

    def __call__(
        self,
        prompt: str,
        width: int = 64,
        height: int = 64,
        num_inference_steps: int = 1,
        generator: torch.Generator | None = None,
        output_type: str = "np",
    ) -> Any:
        if output_type != "np":
            raise ValueError("np alone")
        image = canvas(width, height, generator or torch.Generator())
        for element, colour in zip(json.loads(prompt)["elements"], COLOURS, strict=False):
            y_min, x_min, y_max, x_max = element["bbox"]
            rows = slice(y_min + height // 2, y_max + height // 2)
            image[rows, x_min + width // 2 : x_max + width // 2] = colour
        return Painted(images=[image])


class InLists(DiffusionPipeline):  # type: ignore[misc]
    """Takes lists of prompts, of phrases, and of normalised `[x, y, w, h]`; has its own seeds."""

    def __init__(self, scheduler: DDIMScheduler, vae: AutoencoderTiny) -> None:
        super().__init__()
        self.register_modules(scheduler=scheduler, vae=vae)

    def __call__(
        self,
        prompt: list[str],
        regions: list[list[dict[str, Any]]],
        width: int,
        height: int,
        seeds: list[int],
        largest: int = 100,
    ) -> Any:
        if len(prompt) > largest:
            raise torch.OutOfMemoryError("too many")
        images = []
        for told, seed in zip(regions, seeds, strict=True):
            image = canvas(width, height, torch.Generator().manual_seed(seed))
            for region, colour in zip(told, COLOURS, strict=False):
                x, y, w, h = region["box"]
                rows = slice(round(y * height), round((y + h) * height))
                columns = slice(round(x * width), round((x + w) * width))
                image[rows, columns] = colour if region["desc"].startswith("brown") else 255
            images.append(image)
        return {"pictures": images, "count": len(images)}
