"""Scenes as rows of a GLIGEN batch: what is drawn where, checked against the model's limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from acp.backends.base import RenderRequest
from acp.backends.models.prompt_windows import token_counts, windows
from acp.clis.questions import instance_text
from acp.core.boxes import xywh_to_xyxy
from acp.core.types import Failure, FloatArray

MOST_OBJECTS = 30


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


def row_of(request: RenderRequest, tokenizer: Any, factor: int) -> Row | Failure:
    """The row of a request, or why GLIGEN cannot draw it; nothing is left out.

    `factor` divides the sides of what the decoder makes.
    """
    objects = request.graph.objects
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
    width, height = (-(-side // factor) * factor for side in request.size_wh)
    boxes = xywh_to_xyxy(request.boxes_xywhn)
    return Row(caption, phrases, boxes, request.seed, request.size_wh, (width, height))


def grounding(pipeline: Any, rows: Sequence[Row], guided: bool) -> dict[str, Any]:
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
        phrases[masks.bool()] = _pooled(pipeline, texts).to(**kind)
    if guided:
        boxes, phrases = torch.cat([boxes] * 2), torch.cat([phrases] * 2)
        masks = torch.cat([torch.zeros_like(masks), masks])
    return {"boxes": boxes, "positive_embeddings": phrases, "masks": masks}


def _pooled(pipeline: Any, phrases: Sequence[str]) -> Any:
    tokens = pipeline.tokenizer([*phrases], padding=True, return_tensors="pt")
    return pipeline.text_encoder(**tokens.to(pipeline._execution_device)).pooler_output


@contextmanager
def grounded(unet: Any, fields: Mapping[str, Any]) -> Iterator[None]:
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
