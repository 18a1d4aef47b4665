"""GLIGEN (Li et al. 2023): Stable Diffusion with boxes, many scenes in one forward."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from acp.backends.base import Renderer, RenderRequest
from acp.backends.models.batches import Batches, in_groups
from acp.backends.models.diffusion import (
    OUT_OF_MEMORY,
    PACKAGES,
    SPEED_ONLY,
    DiffusionOptions,
    check_tokenizer,
    encoded,
    filled,
    generators,
    load_pipeline,
    silent,
    to_rendering,
    token_counts,
    windows,
)
from acp.backends.models.local_models import model_info
from acp.backends.models.refiner import Refiner, RefinerOptions, as_diffusion_options
from acp.backends.models.torch_tools import no_progress_bars
from acp.clis.questions import instance_text
from acp.core.boxes import xywh_to_xyxy
from acp.core.errors import AcpError
from acp.core.licences import strictest
from acp.core.types import Failure, FloatArray, ModelInfo, Rendering

WHO = "renderer 'gligen'"
MOST_OBJECTS = 30
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


@dataclass(frozen=True, slots=True)
class Row:
    """One image to draw: `caption` in windows, a phrase for each of `boxes_xyxyn`, (N, 4).

    `drawn_wh` is `size_wh` with sides that the decoder can make.
    """

    caption: tuple[str, ...]
    phrases: tuple[str, ...]
    boxes_xyxyn: FloatArray
    seed: int
    size_wh: tuple[int, int]
    drawn_wh: tuple[int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows of a forward have one size and one number of windows of the prompt."""
        return (*self.drawn_wh, len(self.caption))


class Gligen(Renderer):
    """Draws scenes with diffusers' `StableDiffusionGLIGENPipeline`, each row with its own boxes."""

    name = "gligen"
    summary = "GLIGEN with diffusers: boxes, many scenes a batch, optional SDXL refiner"
    modules = PACKAGES
    speed_only = SPEED_ONLY
    chunk = 64
    options_type = GligenOptions
    options: GligenOptions

    def __init__(self, options: GligenOptions | None = None) -> None:
        super().__init__(options)
        self._batches = Batches(self.options.batch_size, WHO, OUT_OF_MEMORY)

    def load(self) -> None:
        _ = self.pipeline, self._negative, self._refiner

    def model_keys(self) -> frozenset[str]:
        return frozenset(
            f"{WHO}: {each.model}@{each.revision} {each.dtype} {each.device}"
            for each in self._models
        )

    def info(self) -> ModelInfo:
        """The model, and the refiner if there is one; the stricter licence of the two."""
        base, *rest = map(model_info, self._models)
        if not rest:
            return base
        (refiner,) = rest
        return ModelInfo(
            f"{base.id} + {refiner.id}",
            f"{base.revision}+{refiner.revision}",
            strictest([base.licence, refiner.licence]),
            f"{base.id} is {base.licence}, the refiner {refiner.licence}",
        )

    def render(self, requests: Sequence[RenderRequest]) -> list[Rendering | Failure]:
        rows = [self.row_of(request) for request in requests]
        return in_groups(
            rows, lambda row: row.shape, lambda group: self._batches.run(group, self._batch)
        )

    def row_of(self, request: RenderRequest) -> Row | Failure:
        """The row of a request, or why GLIGEN cannot draw it; nothing is left out."""
        objects, tokenizer = request.graph.objects, self.pipeline.tokenizer
        if len(objects) > MOST_OBJECTS:
            return Failure(f"{len(objects)} objects; GLIGEN takes at most {MOST_OBJECTS}")
        phrases = tuple(instance_text(each.category, each.attributes) for each in objects)
        room = tokenizer.model_max_length - 2
        for phrase, count in zip(phrases, token_counts(phrases, tokenizer), strict=True):
            if count > room:
                return Failure(f"a phrase has {count} tokens of at most {room}: {phrase[:40]!r}...")
        caption = windows(request.graph.caption, tokenizer)
        if isinstance(caption, Failure):
            return caption
        factor = self.pipeline.vae_scale_factor
        width, height = (-(-side // factor) * factor for side in request.size_wh)
        boxes = xywh_to_xyxy(request.boxes_xywhn)
        return Row(caption, phrases, boxes, request.seed, request.size_wh, (width, height))

    def draw(self, rows: Sequence[Row]) -> list[npt.NDArray[np.float32] | Failure]:
        """Float images (H, W, 3) from 0 to 1 of rows of one shape."""
        full = filled(rows, self._batches.size, self.options)
        images, flagged = self._pass(full)
        drawn: list[npt.NDArray[np.float32] | Failure] = [*images]
        if self._refiner is not None:
            captions = [" ".join(row.caption) for row in full]
            drawn = self._refiner.refine(images, captions, [row.seed for row in full])
        return [
            Failure("the safety checker flagged the image") if flag else image
            for image, flag in zip(drawn[: len(rows)], flagged, strict=False)
        ]

    @cached_property
    def pipeline(self) -> Any:
        """The pipeline of diffusers in memory.

        Raises:
            AcpError: no such model, or one that draws no boxes.
        """
        import diffusers

        options = self.options
        with no_progress_bars():  # reading the class, diffusers imports it
            cls = diffusers.StableDiffusionGLIGENPipeline
        checker: dict[str, Any] = {"requires_safety_checker": options.safety_checker}
        if not options.safety_checker:
            checker["safety_checker"] = None
        pipeline = load_pipeline(options, model_info(options), WHO, cls, **checker)
        config = pipeline.unet.config
        if config.attention_type != "gated" or config.in_channels != 4:
            raise AcpError(
                f"{WHO}: {options.model} draws no boxes from text; name a GLIGEN for generation "
                "with text and boxes, such as masterful/gligen-1-4-generation-text-box"
            )
        check_tokenizer(pipeline.tokenizer, pipeline.text_encoder, f"{WHO}: {options.model}")
        if options.safety_checker and pipeline.safety_checker is None:
            raise AcpError(
                f"{WHO}: {options.model} has no safety checker; set safety_checker: false"
            )
        if options.scheduler is not None:
            kind = getattr(diffusers, options.scheduler)
            # Some clip unless told otherwise, which is meant for pixels and spoils latents.
            config = {"clip_sample": False, **pipeline.scheduler.config}
            with silent():
                pipeline.scheduler = kind.from_config(config)
        return pipeline

    @cached_property
    def _negative(self) -> tuple[str, ...]:
        negative = windows(self.options.negative_prompt, self.pipeline.tokenizer)
        if isinstance(negative, Failure):
            raise AcpError(f"{WHO}.negative_prompt: {negative.reason}")
        return negative

    @cached_property
    def _refiner(self) -> Refiner | None:
        refiner = self.options.refiner
        return None if refiner is None else Refiner(refiner, self.options, WHO)

    @property
    def _models(self) -> list[DiffusionOptions]:
        options = self.options
        refiner = [options.refiner] if options.refiner else []
        return [options, *(as_diffusion_options(each, options) for each in refiner)]

    def _batch(self, rows: Sequence[Row]) -> list[Rendering | Failure]:
        return [
            image if isinstance(image, Failure) else to_rendering(image, row.size_wh)
            for row, image in zip(rows, self.draw(rows), strict=True)
        ]

    def _pass(self, rows: Sequence[Row]) -> tuple[npt.NDArray[np.float32], Sequence[bool]]:
        import torch

        options, pipeline = self.options, self.pipeline
        # What schedulers remember of a call that was cut short must not reach the next.
        pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
        guided = options.guidance_scale > 1
        width, height = rows[0].drawn_wh
        with (
            torch.no_grad(),
            silent(),
            _grounded(pipeline.unet, _grounding(pipeline, rows, guided)),
        ):
            output = pipeline(
                **self._prompts(rows, guided),
                # Read in place of these: what `_grounded` gives.
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
        return output.images, output.nsfw_content_detected or [False] * len(rows)

    def _prompts(self, rows: Sequence[Row], guided: bool) -> dict[str, Any]:
        count = max(len(rows[0].caption), len(self._negative) if guided else 0)
        prompts = {"prompt_embeds": encoded(self.pipeline, [row.caption for row in rows], count)[0]}
        if guided:
            against, _ = encoded(self.pipeline, [self._negative], count)
            prompts["negative_prompt_embeds"] = against.expand(len(rows), -1, -1)
        return prompts


def _grounding(pipeline: Any, rows: Sequence[Row], guided: bool) -> dict[str, Any]:
    """What the gated layers read: `boxes` (R, 30, 4) as x_min, y_min, x_max, y_max from 0 to 1,
    `positive_embeddings` (R, 30, D) of the phrases and `masks` (R, 30).

    R is the number of rows; twice that, with empty masks first, under guidance.
    """
    import torch

    kind = {"device": pipeline._execution_device, "dtype": pipeline.text_encoder.dtype}
    width = pipeline.unet.config.cross_attention_dim
    boxes = torch.zeros(len(rows), MOST_OBJECTS, 4, **kind)
    phrases = torch.zeros(len(rows), MOST_OBJECTS, width, **kind)
    masks = torch.zeros(len(rows), MOST_OBJECTS, **kind)
    for i, row in enumerate(rows):
        boxes[i, : len(row.phrases)] = torch.from_numpy(row.boxes_xyxyn).to(**kind)
        masks[i, : len(row.phrases)] = 1
    texts = [phrase for row in rows for phrase in row.phrases]
    if texts:  # in the order of the rows, as the places that the masks leave open
        tokens = pipeline.tokenizer(texts, padding=True, return_tensors="pt")
        pooled = pipeline.text_encoder(**tokens.to(kind["device"])).pooler_output
        phrases[masks.bool()] = pooled.to(**kind)
    if guided:
        boxes, phrases = torch.cat([boxes] * 2), torch.cat([phrases] * 2)
        masks = torch.cat([torch.zeros_like(masks), masks])
    return {"boxes": boxes, "positive_embeddings": phrases, "masks": masks}


@contextmanager
def _grounded(unet: Any, fields: Mapping[str, Any]) -> Iterator[None]:
    """Inside the block every forward of `unet` reads `fields`, whatever its caller says.

    The pipeline knows one set of boxes for all prompts of a call; this gives each row its own.
    """

    def put(_: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        others = kwargs.get("cross_attention_kwargs") or {}
        return args, {**kwargs, "cross_attention_kwargs": {**others, "gligen": {**fields}}}

    handle = unet.register_forward_pre_hook(put, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
