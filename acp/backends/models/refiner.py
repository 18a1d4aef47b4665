"""A second pass over finished images with Stable Diffusion XL's refiner, image to image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field, field_validator, model_validator

from acp.backends.models.batches import in_groups
from acp.backends.models.diffusion import (
    DiffusionOptions,
    check_tokenizer,
    encoded,
    generators,
    load_pipeline,
    silent,
    windows,
)
from acp.backends.models.local_models import model_info, named
from acp.backends.models.torch_tools import no_progress_bars
from acp.core.config import Settings
from acp.core.errors import AcpError
from acp.core.seeds import derive_seed
from acp.core.types import Failure


class RefinerOptions(Settings):
    """Which refiner, and how much it may change; memory options are those of the renderer."""

    model: str = Field(
        "stabilityai/stable-diffusion-xl-refiner-1.0", description="id on the Hub, or a folder"
    )
    revision: str | None = Field(None, description="branch, tag or commit on the Hub")
    variant: str | None = Field(None, description='files of the weights to take, such as "fp16"')
    dtype: Literal["auto", "float32", "bfloat16", "float16"] | None = Field(
        None, description="of the weights; none: as the renderer's"
    )
    strength: float = Field(
        0.3, ge=0, le=1, description="share of the steps that are done again; 0 changes nothing"
    )
    steps: int = Field(50, ge=1, le=1000, description="denoising steps of which `strength` is done")
    guidance_scale: float = Field(5.0, ge=0, description="classifier-free guidance; up to 1: none")
    least_side: int | None = Field(
        None,
        ge=64,
        le=4096,
        description="enlarge to this shorter side for the pass, and back; none: the image's size",
    )

    _named = field_validator("model")(named)

    @model_validator(mode="after")
    def _does_something(self) -> RefinerOptions:
        if self.strength > 0 and int(self.steps * self.strength) < 1:
            raise ValueError("steps x strength is less than one step; raise one, or set strength 0")
        return self


class Refiner:
    """The refiner in memory, with the memory options of the renderer it belongs to.

    Raises:
        AcpError: no such model, or it cannot be loaded.
    """

    def __init__(self, options: RefinerOptions, base: DiffusionOptions, who: str) -> None:
        with no_progress_bars():
            from diffusers import StableDiffusionXLImg2ImgPipeline

        own, which = as_diffusion_options(options, base), f"{who}, refiner"
        # Pictures must not depend on what is installed: no watermark.
        more = {"add_watermarker": False}
        pipeline = load_pipeline(
            own, model_info(own), which, StableDiffusionXLImg2ImgPipeline, **more
        )
        if pipeline.text_encoder_2 is None or pipeline.tokenizer_2 is None:
            raise AcpError(
                f"{which}: {options.model} is no SDXL; name its refiner, such as "
                "stabilityai/stable-diffusion-xl-refiner-1.0"
            )
        tokenizer, encoder = pipeline.tokenizer_2, pipeline.text_encoder_2
        check_tokenizer(tokenizer, encoder, f"{which}: {options.model}")
        self._pipeline, self._options, self._against = pipeline, options, base.negative_prompt

    def refine(
        self, images: npt.NDArray[np.float32], captions: Sequence[str], seeds: Sequence[int]
    ) -> list[npt.NDArray[np.float32] | Failure]:
        """Images (R, H, W, 3) from 0 to 1, drawn over; each depends on its own row alone."""
        if self._options.strength == 0:
            return [*images]
        parts = [windows(caption, self._pipeline.tokenizer_2) for caption in captions]
        rows = [
            part if isinstance(part, Failure) else (image, part, seed)
            for image, part, seed in zip(images, parts, seeds, strict=True)
        ]
        return in_groups(rows, lambda row: len(row[1]), self._pass)

    def _pass(
        self, rows: Sequence[tuple[npt.NDArray[np.float32], tuple[str, ...], int]]
    ) -> list[npt.NDArray[np.float32] | Failure]:
        import torch

        drawn, prompts, seeds = zip(*rows, strict=True)
        images = np.stack(drawn)
        height, width = images.shape[1:3]
        with torch.no_grad(), silent():
            refined = self._pipeline(
                **self._prompts(prompts),
                image=_scaled(images, _working_size((width, height), self._options.least_side)),
                strength=self._options.strength,
                num_inference_steps=self._options.steps,
                guidance_scale=self._options.guidance_scale,
                generator=generators([derive_seed(seed, "refiner") for seed in seeds]),
                output_type="np",
            ).images
        return [*_scaled(refined, (width, height))]

    def _prompts(self, prompts: Sequence[Sequence[str]]) -> dict[str, Any]:
        import torch

        pipeline = self._pipeline
        negative = windows(self._against, pipeline.tokenizer_2)
        if isinstance(negative, Failure):
            raise ValueError(f"negative_prompt: {negative.reason}")
        count = max(len(negative), len(prompts[0]))
        embeddings, pooled = encoded(pipeline, prompts, count)
        given = {"prompt_embeds": embeddings, "pooled_prompt_embeds": pooled}
        if self._options.guidance_scale <= 1:
            return given
        if not self._against and pipeline.config.force_zeros_for_empty_prompt:
            against, against_pooled = torch.zeros_like(embeddings), torch.zeros_like(pooled)
        else:
            against, against_pooled = encoded(pipeline, [negative] * len(prompts), count)
        negatives = {"negative_prompt_embeds": against}
        return {**given, **negatives, "negative_pooled_prompt_embeds": against_pooled}


def as_diffusion_options(options: RefinerOptions, base: DiffusionOptions) -> DiffusionOptions:
    """The refiner's model with the device and memory options of its renderer."""
    own = options.model_dump(include={"model", "revision", "variant"})
    return base.model_copy(update={**own, "dtype": options.dtype or base.dtype})


def _working_size(size_wh: tuple[int, int], least_side: int | None) -> tuple[int, int]:
    """The size of the pass, in multiples of 8.

    >>> _working_size((512, 384), 1024)
    (1368, 1024)
    >>> _working_size((516, 384), None)
    (520, 384)
    """
    scale = max(1.0, (least_side or 0) / min(size_wh))
    width, height = (8 * round(np.ceil(side * scale / 8)) for side in size_wh)
    return width, height


def _scaled(images: npt.NDArray[np.float32], size_wh: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Images (R, H, W, 3) at `size_wh`, without rounding their values to bytes."""
    if images.shape[2:0:-1] == size_wh:
        return images
    channels = np.moveaxis(images, -1, 1).reshape(-1, *images.shape[1:3]).astype(np.float32)
    planes = [Image.fromarray(each).resize(size_wh, Image.Resampling.LANCZOS) for each in channels]
    return np.moveaxis(
        np.stack(list(map(np.asarray, planes))).reshape(len(images), 3, *size_wh[::-1]), 1, -1
    ).clip(0, 1)
