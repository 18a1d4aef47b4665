"""What is asked about an image: the whole, each object's region, and each object cut out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

from acp.core.types import BoxConvention, FloatArray, ImageArray
from acp.core.vocabulary import categories, plain

Box = tuple[float, float, float, float]
Chat = tuple[Mapping[str, str], ...]
Part = Literal["global", "region", "crop"]
LEAST_CROP_PX = 32
"""Captioners refuse smaller pictures: a crop with a shorter side is enlarged to it."""


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """An image (H, W, 3) and what it should show.

    `caption` is meant for the whole; `instances`, N texts such as "brown dog", for the objects in
    `boxes_xywhn` (N, 4).
    """

    image_rgb: ImageArray
    caption: str
    instances: tuple[str, ...]
    boxes_xywhn: FloatArray


@dataclass(frozen=True, slots=True)
class Question:
    """One question to a captioner: the image of its own, what it asks, what should be there.

    `instance` is the object's place in the request, None for the whole; `messages` the chat.
    """

    request: int
    instance: int | None
    part: Part
    image_rgb: ImageArray
    image_hash: str
    messages: Chat
    expected: str
    box_xywhn: Box | None = None


def box_text(box_xywhn: Box, size_wh: tuple[int, int], convention: BoxConvention) -> str:
    """A box as a captioner is told of it, inside the image, and how to read it.

    >>> box_text((0.1, 0.2, 0.5, 0.25), (640, 480), "xyxy_1000")
    '[100, 200, 600, 450] (left, top, right, bottom, on a scale of 0 to 1000)'
    >>> box_text((0.1, 0.2, 0.5, 0.25), (640, 480), "xyxy_px")
    '[64, 96, 384, 216] (left, top, right, bottom, in pixels of 640 x 480)'
    """
    left, top, right, bottom = clipped_xyxy(box_xywhn)
    width, height = size_wh
    sides, unit = _READINGS[convention]
    scale = {"px": (width, height), "norm": (1, 1)}.get(convention.split("_")[1], (1000, 1000))
    named = {"left": left * scale[0], "top": top * scale[1]}
    named |= {"right": right * scale[0], "bottom": bottom * scale[1]}
    write: Callable[[float], str] = "{:.3f}".format if scale == (1, 1) else "{:.0f}".format
    numbers = ", ".join(write(named[side]) for side in sides)
    return f"[{numbers}] ({', '.join(sides)}, {unit.format(width=width, height=height)})"


_XYXY, _YXYX = ("left", "top", "right", "bottom"), ("top", "left", "bottom", "right")
_READINGS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "xyxy_1000": (_XYXY, "on a scale of 0 to 1000"),
    "yxyx_1000": (_YXYX, "on a scale of 0 to 1000"),
    "xyxy_px": (_XYXY, "in pixels of {width} x {height}"),
    "xyxy_norm": (_XYXY, "as shares of the width and height"),
}


def box_problem(box_xywhn: Box) -> str:
    """Why nothing can be asked about a box, or an empty string.

    >>> box_problem((0.1, 0.1, 0.0, 0.2)), box_problem((1.2, 0.1, 0.1, 0.2))
    ('the box has no area', 'the box lies outside the image')
    """
    if not np.isfinite(box_xywhn).all():
        return "the box is not finite"
    if min(box_xywhn[2:]) <= 0:
        return "the box has no area"
    left, top, right, bottom = clipped_xyxy(box_xywhn)
    return "" if right > left and bottom > top else "the box lies outside the image"


def clipped_xyxy(box_xywhn: Box) -> Box:
    """`[x, y, w, h]` to `[x_min, y_min, x_max, y_max]`, cut off at the image's edges."""
    x, y, width, height = box_xywhn
    left, top, right, bottom = np.clip([x, y, x + width, y + height], 0.0, 1.0).tolist()
    return left, top, right, bottom


def crop_of(image_rgb: ImageArray, box_xywhn: Box) -> ImageArray:
    """The pixels that a box touches, enlarged if they are few."""
    height, width = image_rgb.shape[:2]
    left, top, right, bottom = clipped_xyxy(box_xywhn)
    x, y = int(left * width), int(top * height)
    # A hair less than a pixel, so that rounding of a box of whole pixels adds no row.
    end_x = max(x + 1, int(np.ceil(right * width - 1e-3)))
    end_y = max(y + 1, int(np.ceil(bottom * height - 1e-3)))
    crop = np.ascontiguousarray(image_rgb[y:end_y, x:end_x])
    scale = LEAST_CROP_PX / min(crop.shape[:2])
    if scale <= 1:
        return crop
    size_wh = (round(crop.shape[1] * scale), round(crop.shape[0] * scale))
    enlarged = Image.fromarray(crop).resize(size_wh, Image.Resampling.BICUBIC)
    return np.asarray(enlarged, dtype=np.uint8)


def image_hash(image_rgb: ImageArray) -> str:
    """A checksum of size and pixels."""
    digest = hashlib.sha256(str(image_rgb.shape).encode())
    digest.update(np.ascontiguousarray(image_rgb).tobytes())
    return digest.hexdigest()


def request_problem(request: ImageRequest) -> str:
    """What is wrong with a request, or an empty string."""
    image: Any = request.image_rgb
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        return "expected an image of uint8"
    if image.ndim != 3 or image.shape[2] != 3 or min(image.shape) < 1:
        return f"expected an image of shape (height, width, 3), got {image.shape}"
    expected = (len(request.instances), 4)
    found = request.boxes_xywhn.shape
    return "" if found == expected else f"expected boxes of shape {expected}, got {found}"


def questions_of(
    index: int,
    request: ImageRequest,
    whole: Chat,
    about_region: Callable[[Box, tuple[int, int]], Chat],
) -> Iterator[Question]:
    """The questions about one image: the whole, then region and crop of each askable object.

    `whole` is the chat about a picture, `about_region` makes the one about a box on an image of
    some width and height.
    """
    image = request.image_rgb
    hashed = image_hash(image)
    size_wh = (image.shape[1], image.shape[0])
    if request.caption.strip():
        yield Question(index, None, "global", image, hashed, whole, request.caption)
    for instance, (text, box) in enumerate(
        zip(request.instances, boxes_of(request.boxes_xywhn), strict=True)
    ):
        if box_problem(box) or not text.strip():
            continue
        region = about_region(box, size_wh)
        yield Question(index, instance, "region", image, hashed, region, text, box)
        crop = crop_of(image, box)
        yield Question(index, instance, "crop", crop, image_hash(crop), whole, text)


def boxes_of(boxes_xywhn: FloatArray) -> Sequence[Box]:
    """Rows of an (N, 4) array as tuples."""
    return [(x, y, w, h) for x, y, w, h in np.asarray(boxes_xywhn, dtype=np.float64).tolist()]


def instance_text(category: str, attributes: str) -> str:
    """What is expected of an object: its attribute phrase and the noun of its category.

    >>> instance_text("car_(automobile)", "red"), instance_text("Unicorn_foal", "")
    ('red car', 'unicorn foal')
    """
    known = categories().get(category)
    noun = known.noun if known else plain(category)
    return " ".join(filter(None, (" ".join(attributes.split()), noun)))
