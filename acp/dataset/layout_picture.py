"""Pictures of layouts and of references, as the Space shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

SIDE = 480
FAR = 4.0
"""Boxes are cut off at so many image sides."""
COLOURS = ("#e6194b", "#4363d8", "#3cb44b", "#f58231", "#911eb4", "#008080")
INK, EDGE, PAPER, LABEL = "#1f2328", "#8c959f", "#f6f8fa", "#ffffff"


def reference_boxes(near: Mapping[str, float]) -> list[list[float]]:
    """Boxes [x, y, w, h] of a reference, which has no place of its own: in the middle."""
    boxes = [
        [-near["subject_w"] / 2, -near["subject_h"] / 2, near["subject_w"], near["subject_h"]],
        [
            near["dx"] - near["object_w"] / 2,
            near["dy"] - near["object_h"] / 2,
            near["object_w"],
            near["object_h"],
        ],
    ]
    low = [min(box[axis] for box in boxes) for axis in (0, 1)]
    high = [max(box[axis] + box[axis + 2] for box in boxes) for axis in (0, 1)]
    shift = [0.5 - (a + b) / 2 for a, b in zip(low, high, strict=True)]
    return [[box[0] + shift[0], box[1] + shift[1], *box[2:]] for box in boxes]


def draw(
    names: Sequence[str],
    boxes: Sequence[Sequence[Any]],
    image: Image.Image | None = None,
    side: int = SIDE,
    mark: Sequence[float] | None = None,
) -> Image.Image:
    """Normalised boxes with their names, over the image where there is one."""
    size = (side, side)
    if image is not None:
        size = (side, max(1, round(side * image.height / image.width)))
    paper = image.convert("RGB").resize(size) if image else Image.new("RGB", size, PAPER)
    pen, font = ImageDraw.Draw(paper), ImageFont.load_default(13)
    pen.rectangle((0, 0, size[0] - 1, size[1] - 1), outline=EDGE)
    for place, (name, box) in enumerate(zip(names, boxes, strict=True)):
        colour = COLOURS[place % len(COLOURS)]
        try:
            x, y, w, h = (min(max(float(value), -FAR), FAR) for value in box)
            corners = (x * size[0], y * size[1], (x + w) * size[0], (y + h) * size[1])
            pen.rectangle(corners, outline=colour, width=3)
        except (TypeError, ValueError, OverflowError):
            continue  # not a box yet
        label = f"{place} {name}"
        at = (min(max(0, corners[0]), size[0] - 20), min(max(0, corners[1]), size[1] - 16))
        pen.rectangle(pen.textbbox(at, label, font=font), fill=colour)
        pen.text(at, label, LABEL, font)
    if mark:
        x, y = mark[0] * size[0], mark[1] * size[1]
        pen.ellipse((x - 4, y - 4, x + 4, y + 4), fill=INK)
    return paper
