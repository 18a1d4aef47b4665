"""Masks by SAM 2 or SAM, prompted with the boxes of the layout, through transformers.

Masks are kept to their boxes, and no pixel is given twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from acp.backends.base import Segmenter, SegmentRequest
from acp.backends.models.batches import Batches
from acp.backends.models.local_models import (
    MEND,
    OUT_OF_MEMORY,
    SPEED_ONLY,
    LocalModelOptions,
    model_info,
)
from acp.backends.models.sam import Sam, load_sam
from acp.core.boxes import masks_to_xywh_px, xywh_to_xyxy
from acp.core.types import Failure, FloatArray, Instances, MaskArray, ModelInfo

NO_AREA = "the box has no area in the image"
NO_MASK = "its box holds no mask"
TAKEN = "its mask belongs to other objects altogether"
_GIVES_WAY = 1e4
"""Far above any logit: masks that are not trusted yield to those that are."""


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
        sam = load_sam(self.options, self.name, self._who)
        if self.options.compile:
            sam.model.vision_encoder.compile()
        return sam

    def segment(self, requests: Sequence[SegmentRequest]) -> list[Instances | Failure]:
        return self._batches.run(requests, self._batch)

    def _batch(self, requests: Sequence[SegmentRequest]) -> list[Instances | Failure]:
        problems = [_problem(request) for request in requests]
        fit = [each for each, problem in zip(requests, problems, strict=True) if not problem]
        segmented = iter(self._segment(fit) if fit else ())
        return [Failure(problem) if problem else next(segmented) for problem in problems]

    def _segment(self, requests: Sequence[SegmentRequest]) -> list[Instances]:
        model, options = self._model, self.options
        images = [request.rendering.image_rgb for request in requests]
        boxes = [request.boxes_xywhn for request in requests]
        fill = self._batches.size if options.compile else 0
        answers = model.logits(images, boxes, options.multimask, fill)
        return [
            instances_of(
                model.pictures.on_picture(logits, (image.shape[0], image.shape[1])),
                asked,
                predicted,
                box_margin=options.box_margin,
                min_predicted_iou=options.min_predicted_iou,
            )
            for image, asked, (logits, predicted) in zip(images, boxes, answers, strict=True)
        ]


class SamSegmenter(Sam2Segmenter):
    """SAM in place of SAM 2, as in the paper."""

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


def instances_of(
    logits: Any,
    boxes_xywhn: FloatArray,
    predicted_iou: FloatArray,
    *,
    box_margin: float,
    min_predicted_iou: float,
) -> Instances:
    """Masks where logits are above 0, inside their boxes, each pixel in one mask at most.

    A pixel that several masks claim goes to the one with the highest logit; masks with a
    predicted IoU below the least one take none from others. `visible` is the share of its own
    claim that a mask keeps.

    Args:
        logits: tensor (N, H, W), at the size of the image.
        boxes_xywhn: (N, 4).
        predicted_iou: (N,), 0-1.
        box_margin: by which share of its sides a box is enlarged before masks are cut off at it.
        min_predicted_iou: masks below carry a reason.
    """
    import torch

    height, width = (int(length) for length in logits.shape[1:])
    near = boxes_to_masks(boxes_xywhn, (width, height), box_margin)
    claims = (logits > 0) & torch.from_numpy(near).to(logits.device)
    masks = claims
    poor = predicted_iou < min_predicted_iou
    if len(masks) > 1:
        trust = torch.from_numpy(poor).to(logits.device)[:, None, None] * _GIVES_WAY
        strength = torch.where(claims, logits - trust, -torch.inf)
        order = torch.arange(len(claims), device=logits.device)[:, None, None]
        masks = claims & (strength.argmax(dim=0) == order)
    claimed = claims.sum(dim=(1, 2)).cpu().numpy()
    own = masks.cpu().numpy()
    kept = own.sum(axis=(1, 2))
    visible = np.divide(kept, claimed, out=np.zeros(len(own)), where=claimed > 0)
    facts = np.stack([near.any(axis=(1, 2)), claimed > 0, kept > 0, ~poor], axis=1)
    texts = (NO_AREA, NO_MASK, TAKEN, f"predicted IoU below {min_predicted_iou:g}")
    reasons = tuple("" if row.all() else texts[int(row.argmin())] for row in facts)
    boxes_px = masks_to_xywh_px(own)
    return Instances(own, boxes_px, visible.astype(np.float32), predicted_iou, reasons)


def boxes_to_masks(boxes_xywhn: FloatArray, size_wh: tuple[int, int], margin: float) -> MaskArray:
    """The pixels (N, H, W) that boxes touch, once enlarged by `margin` of their sides at each end.

    >>> boxes_to_masks(np.array([[0.25, 0.5, 0.5, 0.5]]), (4, 2), 0.0).astype(int).tolist()
    [[[0, 0, 0, 0], [0, 1, 1, 0]]]
    """
    width, height = size_wh
    corners = xywh_to_xyxy(boxes_xywhn.astype(np.float64)).clip(0, 1)
    sides = np.diff(corners.reshape(-1, 2, 2), axis=1)[:, 0]
    grown = (corners + np.hstack([-sides, sides]) * margin) * (width, height, width, height)
    # A hair less than a pixel, so that rounding of a box of whole pixels adds no row.
    low = np.minimum(np.floor(grown[:, :2] + 1e-3), (width - 1, height - 1))
    high = np.maximum(np.ceil(grown[:, 2:] - 1e-3), low + 1)
    areas = np.zeros((len(corners), height, width), dtype=np.bool_)
    for mask, (left, top), (right, bottom), side in zip(areas, low, high, sides, strict=True):
        if (side > 0).all():
            mask[max(0, int(top)) : int(bottom), max(0, int(left)) : int(right)] = True
    return areas
