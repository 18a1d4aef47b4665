"""GLIGEN (Li et al. 2023): Stable Diffusion with boxes, many scenes in one forward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from acp.backends.base import Renderer, RenderRequest
from acp.backends.models.batches import Batches
from acp.backends.models.diffusion import (
    MEND,
    OUT_OF_MEMORY,
    SPEED_ONLY,
    DiffusionOptions,
    filled,
    generators,
    load_pipeline,
    silent,
    to_rendering,
)
from acp.backends.models.gligen_rows import Row, grounded, grounding, row_of
from acp.backends.models.local_models import model_info
from acp.backends.models.prompt_windows import check_tokenizer, encoded, windows
from acp.backends.models.refiner import Refiner, RefinerOptions, as_diffusion_options, refiner_info
from acp.backends.models.torch_tools import no_progress_bars
from acp.core.errors import AcpError
from acp.core.licences import strictest
from acp.core.types import Failure, ModelInfo, Rendering

WHO = "renderer 'gligen'"
SchedulerName = Literal[
    "DDIMScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "PNDMScheduler",
    "UniPCMultistepScheduler",
]
"""Schedulers of diffusers whose noise, if any, comes from the generator of each image."""


class GligenOptions(DiffusionOptions):
    """Options of GLIGEN."""

    model: str = Field(
        "masterful/gligen-1-4-generation-text-box", description="id on the Hub, or a folder"
    )
    scheduled_sampling_beta: float = Field(
        0.3, ge=0, le=1, description="share of the steps, from the first, that heed the boxes"
    )
    scheduler: SchedulerName | None = Field(
        None, description="scheduler of diffusers; none: the model's own"
    )
    safety_checker: bool = Field(
        False, description="load the model's safety checker and reject images it flags"
    )
    refiner: RefinerOptions | None = Field(
        None, description="a second pass with the SDXL refiner; none: no such pass"
    )

    @model_validator(mode="after")
    def _heeds_boxes(self) -> GligenOptions:
        if self.scheduled_sampling_beta > 0 and int(self.scheduled_sampling_beta * self.steps) < 1:
            raise ValueError(
                "steps x scheduled_sampling_beta is less than one step: no box would count"
            )
        return self


class Gligen(Renderer):
    """Draws scenes with diffusers' `StableDiffusionGLIGENPipeline`, each row with its own boxes."""

    name = "gligen"
    summary = "GLIGEN with diffusers: boxes, many scenes a batch, optional SDXL refiner"
    modules: ClassVar = {"torch": MEND, "diffusers": MEND, "transformers": MEND, "accelerate": MEND}
    speed_only = SPEED_ONLY
    chunk = 64
    options_type = GligenOptions
    options: GligenOptions

    def __init__(self, options: GligenOptions | None = None) -> None:
        super().__init__(options)
        self._batches = Batches(self.options.batch_size, WHO, OUT_OF_MEMORY)

    def load(self) -> None:
        _ = self._loaded, self._refiner

    def model_keys(self) -> frozenset[str]:
        options = self.options
        refiner = (
            () if options.refiner is None else (as_diffusion_options(options.refiner, options),)
        )
        return frozenset(
            f"{WHO}: {each.model}@{each.revision} {each.dtype} {each.device}"
            for each in (options, *refiner)
        )

    def info(self) -> ModelInfo:
        """The model, and the refiner if there is one; the stricter licence of the two."""
        base = model_info(self.options)
        if self.options.refiner is None:
            return base
        refiner = refiner_info(self.options.refiner, self.options)
        return ModelInfo(
            f"{base.id} + {refiner.id}",
            f"{base.revision}+{refiner.revision}",
            strictest([base.licence, refiner.licence]),
            f"{base.id} is {base.licence}, the refiner {refiner.licence}",
        )

    def render(self, requests: Sequence[RenderRequest]) -> list[Rendering | Failure]:
        pipeline = self._loaded.pipeline
        factor = pipeline.vae_scale_factor
        rows = [row_of(request, pipeline.tokenizer, factor) for request in requests]
        found: dict[int, Rendering | Failure] = {
            i: row for i, row in enumerate(rows) if isinstance(row, Failure)
        }
        groups: dict[object, list[tuple[int, Row]]] = {}
        for i, row in enumerate(rows):
            if not isinstance(row, Failure):
                # Rows of a forward have one size and one number of windows of the prompt.
                groups.setdefault((row.drawn_wh, len(row.caption)), []).append((i, row))
        for group in groups.values():
            drawn = self._batches.run([row for _, row in group], self._batch)
            found.update(zip((i for i, _ in group), drawn, strict=True))
        return [found[i] for i in range(len(requests))]

    def draw(self, rows: Sequence[Row]) -> list[npt.NDArray[np.float32] | Failure]:
        """Float images (H, W, 3) from 0 to 1 of rows that share a size and a number of windows."""
        full = filled(rows, self._batches.size, self.options)
        images, flagged = self._pass(full)
        if self._refiner is None:
            drawn: list[npt.NDArray[np.float32] | Failure] = [*images]
        else:
            captions = [" ".join(row.caption) for row in full]
            drawn = self._refiner.refine(images, captions, [row.seed for row in full])
        return [
            Failure("the safety checker flagged the image") if flag else image
            for image, flag in zip(drawn[: len(rows)], flagged, strict=False)
        ]

    @cached_property
    def _loaded(self) -> _Loaded:
        return _load(self.options)

    @cached_property
    def _refiner(self) -> Refiner | None:
        refiner = self.options.refiner
        return None if refiner is None else Refiner.load(refiner, self.options, WHO)

    def _batch(self, rows: Sequence[Row]) -> list[Rendering | Failure]:
        return [
            image if isinstance(image, Failure) else to_rendering(image, row.size_wh)
            for row, image in zip(rows, self.draw(rows), strict=True)
        ]

    def _pass(self, rows: Sequence[Row]) -> tuple[npt.NDArray[np.float32], Sequence[bool]]:
        import torch

        options, loaded = self.options, self._loaded
        pipeline = loaded.pipeline
        # What schedulers remember of a call that was cut short must not reach the next.
        pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
        guided = options.guidance_scale > 1
        width, height = rows[0].drawn_wh
        with torch.no_grad(), silent():
            prompts = self._prompts(rows, guided)
            fields = grounding(pipeline, rows, guided)
        with torch.no_grad(), silent(), grounded(pipeline.unet, fields):
            found = pipeline(
                **prompts,
                # Read in place of these: what `grounded` gives.
                gligen_phrases=[""],
                gligen_boxes=[[0.0, 0.0, 1.0, 1.0]],
                gligen_scheduled_sampling_beta=options.scheduled_sampling_beta,
                height=height,
                width=width,
                num_inference_steps=options.steps,
                guidance_scale=options.guidance_scale,
                generator=generators([row.seed for row in rows]),
                output_type="np",
            )
        return found.images, found.nsfw_content_detected or [False] * len(rows)

    def _prompts(self, rows: Sequence[Row], guided: bool) -> dict[str, Any]:
        loaded = self._loaded
        count = len(rows[0].caption)
        if guided:
            count = max(count, len(loaded.negative))
        found = {"prompt_embeds": encoded(loaded.pipeline, [row.caption for row in rows], count)[0]}
        if guided:
            negative, _ = encoded(loaded.pipeline, [loaded.negative], count)
            found["negative_prompt_embeds"] = negative.expand(len(rows), -1, -1)
        return found


@dataclass(frozen=True, slots=True)
class _Loaded:
    pipeline: Any
    negative: tuple[str, ...]


def _load(options: GligenOptions) -> _Loaded:
    import diffusers

    with no_progress_bars():  # reading the class, diffusers imports it
        cls = diffusers.StableDiffusionGLIGENPipeline
    left_out = {} if options.safety_checker else {"safety_checker": None}
    pipeline = load_pipeline(
        options,
        model_info(options),
        WHO,
        cls,
        requires_safety_checker=options.safety_checker,
        **left_out,
    )
    config = pipeline.unet.config
    if config.attention_type != "gated" or config.in_channels != 4:
        raise AcpError(
            f"{WHO}: {options.model} draws no boxes from text; name a GLIGEN for generation with "
            "text and boxes, such as masterful/gligen-1-4-generation-text-box"
        )
    check_tokenizer(pipeline.tokenizer, pipeline.text_encoder, f"{WHO}: {options.model}")
    if options.safety_checker and pipeline.safety_checker is None:
        raise AcpError(f"{WHO}: {options.model} has no safety checker; set safety_checker: false")
    if options.scheduler is not None:
        kind = getattr(diffusers, options.scheduler)
        # Some clip unless told otherwise, which is meant for pixels and spoils latents.
        with silent():
            pipeline.scheduler = kind.from_config(
                {"clip_sample": False, **pipeline.scheduler.config}
            )
    negative = windows(options.negative_prompt, pipeline.tokenizer)
    if isinstance(negative, Failure):
        raise AcpError(f"{WHO}.negative_prompt: {negative.reason}")
    return _Loaded(pipeline, negative)
