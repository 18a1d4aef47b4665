"""Masks by SAM 2 or SAM, prompted with the boxes of the layout (transformers, no torchvision)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from acp.backends.base import Segmenter, SegmentRequest
from acp.backends.models.batches import Batches
from acp.backends.models.local_models import MEND, SPEED_ONLY, LocalModelOptions, model_info
from acp.backends.models.sam_masks import instances_of
from acp.backends.models.sam_models import Sam, load_sam
from acp.core.types import Failure, Instances, ModelInfo

OUT_OF_MEMORY = "use a smaller model, or `residency: one` in the recipe"


class Sam2Options(LocalModelOptions):
    """Which SAM 2, and what counts as a mask."""

    model: str = Field("facebook/sam2.1-hiera-large", description="id on the Hub, or a folder")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="of the image encoder's sums, auto is float32; weights and masks are float32",
    )
    batch_size: int = Field(
        8, ge=1, description="most images of a forward; halved where memory runs out; speed only"
    )
    multimask: bool = Field(
        False, description="take the best of three masks of a box, by predicted IoU"
    )
    box_margin: float = Field(
        0.1, ge=0, description="masks are cut off this share of a box's sides beyond it"
    )
    min_predicted_iou: float = Field(
        0.0, ge=0, le=1, description="an object whose mask is below is not used"
    )
    compile: bool = Field(
        False,
        description="torch.compile the image encoder; the last batch is filled up; speed only",
    )


class SamOptions(Sam2Options):
    """Which SAM, and what counts as a mask."""

    model: str = Field("facebook/sam-vit-huge", description="id on the Hub, or a folder")


class Sam2Segmenter(Segmenter):
    """All boxes of an image at once, several images a batch, each encoded once."""

    name = "sam2"
    summary = "masks by SAM 2 from the boxes of the layout"
    modules: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("accelerate", "torch", "transformers"), MEND
    )
    speed_only = SPEED_ONLY | {"compile"}
    chunk = 64
    weights_dtype = "float32"
    options_type = Sam2Options
    options: Sam2Options

    def __init__(self, options: Sam2Options | None = None) -> None:
        super().__init__(options)
        self._batches = Batches(self.options.batch_size, self._who, OUT_OF_MEMORY)

    def load(self) -> None:
        _ = self._model

    def info(self) -> ModelInfo:
        return model_info(self.options)

    @property
    def _who(self) -> str:
        return f"segmenter {self.name!r}"

    @cached_property
    def _model(self) -> Sam:
        found = load_sam(self.options, self.name, self._who)
        if self.options.compile:
            found.model.vision_encoder.compile()
        return found

    def segment(self, requests: Sequence[SegmentRequest]) -> list[Instances | Failure]:
        return self._batches.run(requests, self._batch)

    def _batch(self, requests: Sequence[SegmentRequest]) -> list[Instances | Failure]:
        problems = [_problem(request) for request in requests]
        fit = [each for each, problem in zip(requests, problems, strict=True) if not problem]
        found = iter(self._segment(fit) if fit else ())
        return [Failure(problem) if problem else next(found) for problem in problems]

    def _segment(self, requests: Sequence[SegmentRequest]) -> list[Instances]:
        model, options = self._model, self.options
        images = [request.rendering.image_rgb for request in requests]
        boxes = [request.boxes_xywhn for request in requests]
        fill = self._batches.size if options.compile else 0
        found = model.logits(images, boxes, options.multimask, fill)
        return [
            instances_of(
                model.pictures.on_picture(logits, (image.shape[0], image.shape[1])),
                asked,
                predicted,
                box_margin=options.box_margin,
                min_predicted_iou=options.min_predicted_iou,
            )
            for image, asked, (logits, predicted) in zip(images, boxes, found, strict=True)
        ]


class SamSegmenter(Sam2Segmenter):
    """The same with SAM, as in the paper."""

    name = "sam"
    summary = "masks by SAM from the boxes of the layout, as in the paper"
    options_type = SamOptions
    options: SamOptions


def _problem(request: SegmentRequest) -> str:
    image, boxes = request.rendering.image_rgb, request.boxes_xywhn
    if image.ndim != 3 or image.shape[2] != 3 or min(image.shape) < 1:
        return f"expected an image of shape (height, width, 3), got {image.shape}"
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        return f"expected boxes of shape (N, 4), got {boxes.shape}"
    return "" if np.isfinite(boxes).all() else "a box is not finite"
