"""All coordinate maths. Inside the package a box is `[x, y, w, h]` normalised to the image
(origin top left), float32, in arrays of shape (N, 4): `boxes_xywhn`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from acp.core.types import FloatArray, MaskArray


def as_boxes(boxes: Any, where: str = "boxes") -> FloatArray:
    """A float32 array of shape (N, 4).

    Raises:
        ValueError: another shape, or a value that is not finite.

    >>> as_boxes([]).shape
    (0, 4)
    """
    array = np.asarray(boxes, dtype=np.float32)
    if array.size == 0 and array.ndim <= 2:
        return array.reshape(0, 4)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"expected boxes of shape (N, 4), got {array.shape} in {where}")
    if not np.isfinite(array).all():
        raise ValueError(f"expected finite boxes, got {array.tolist()} in {where}")
    return array


def xywhn_to_xywh_px(boxes_xywhn: FloatArray, size_wh: tuple[int, int]) -> FloatArray:
    """Normalised to pixels.

    >>> xywhn_to_xywh_px(as_boxes([[0.5, 0.5, 0.25, 0.5]]), (200, 100)).tolist()
    [[100.0, 50.0, 50.0, 50.0]]
    """
    return np.asarray(boxes_xywhn * np.array([*size_wh, *size_wh]), dtype=np.float32)


def xywh_px_to_xywhn(boxes_xywh_px: FloatArray, size_wh: tuple[int, int]) -> FloatArray:
    """Pixels to normalised; the inverse of `xywhn_to_xywh_px`."""
    return np.asarray(boxes_xywh_px / np.array([*size_wh, *size_wh]), dtype=np.float32)


def xywh_to_xyxy(boxes_xywh: FloatArray) -> FloatArray:
    """`[x, y, w, h]` to `[x_min, y_min, x_max, y_max]`, (..., 4), in whatever unit they are.

    >>> xywh_to_xyxy(as_boxes([[1, 2, 3, 4]])).tolist()
    [[1.0, 2.0, 4.0, 6.0]]
    """
    start = boxes_xywh[..., :2]
    return np.concatenate([start, start + boxes_xywh[..., 2:]], axis=-1)


_ORDERS = {
    "xywh": "[x, y, w, h]",
    "xyxy": "corners [x_min, y_min, x_max, y_max]",
    "cxcywh": "centres [x, y] and sizes [w, h]",
    "yxyx": "corners [y_min, x_min, y_max, x_max]",
}
_UNITS = {"": "in pixels", "n": "in shares of the image", "1000": "in thousandths of the image"}
_OTHERS = ("xyxy1000", "yxyx1000")
BOX_FORMATS = (*_ORDERS, *(f"{order}n" for order in _ORDERS), *_OTHERS)
"""How data sets write boxes: "xywh" is a corner and the size, "xyxy" and "yxyx" are two corners,
"cxcywh" is the middle and the size; in pixels, with "n" normalised to the image, or with "1000" in
thousandths of it."""


def to_xywh_px(boxes: Any, box_format: str, sizes_wh: Any) -> npt.NDArray[np.float64]:
    """Boxes (N, 4) in one of `BOX_FORMATS` as pixels `[x, y, w, h]`, (N, 4).

    Args:
        boxes: as they are stored.
        box_format: the one they are stored in.
        sizes_wh: width and height of the image of each box, (N, 2); for pixels they may be unknown.

    >>> to_xywh_px([[0.5, 0.5, 0.5, 1.0]], "cxcywhn", [[200, 100]]).tolist()
    [[50.0, 0.0, 100.0, 100.0]]
    """
    found = np.asarray(boxes, np.float64).reshape(-1, 4)
    order, unit = _parts(box_format)
    if order == "yxyx":
        found = found[:, [1, 0, 3, 2]]
    if unit:
        scale = np.asarray(sizes_wh, np.float64).reshape(-1, 2) / (1000 if unit == "1000" else 1)
        found = found * np.tile(scale, 2)
    start, rest = found[:, :2], found[:, 2:]
    if order in ("xyxy", "yxyx"):
        rest = rest - start
    elif order == "cxcywh":
        start = start - rest / 2
    return np.concatenate([start, rest], axis=1)


def _parts(box_format: str) -> tuple[str, str]:
    order = box_format.rstrip("n01")
    return order, box_format.removeprefix(order)


def in_words(box_format: str) -> str:
    """One of `BOX_FORMATS`, as a sentence says it.

    >>> in_words("xyxyn")
    'corners [x_min, y_min, x_max, y_max] in shares of the image'
    """
    order, unit = _parts(box_format)
    return f"{_ORDERS[order]} {_UNITS[unit]}"


def reach_px(boxes_xywh_px: Any, sizes_wh: Any) -> npt.NDArray[np.float64]:
    """How many pixels each box (N, 4) reaches outside of its image at most, (N,); 0 for one inside.

    >>> reach_px(np.array([[-3.0, 0, 10, 10]]), np.array([[20.0, 8.0]])).tolist()
    [3.0]
    """
    start, rest = boxes_xywh_px[:, :2], boxes_xywh_px[:, 2:]
    outside = np.concatenate([-start, start + rest - np.reshape(sizes_wh, (-1, 2))], axis=1)
    reach = np.maximum(np.nan_to_num(outside, nan=0.0), 0).max(axis=1, initial=0)
    return np.asarray(reach, np.float64)


def tolerance_px(sizes_wh: Any) -> npt.NDArray[np.float64]:
    """How far boxes may reach outside of images (..., 2), as people draw and round them: a pixel or
    0.2 % of the longer side; a hundredth where the sides are those of shares, 1."""
    longest = np.asarray(sizes_wh, np.float64).max(axis=-1, initial=0)
    return np.asarray(np.maximum(np.minimum(1.0, longest / 100), longest / 500))


def box_fits(boxes: Any, sizes_wh: Any) -> Counter[str]:
    """How many boxes lie in their images, by the format they are read in; "all" has their number.

    Args:
        boxes: as they are stored, (N, 4); those that are not finite do not count.
        sizes_wh: width and height of the image of each, (N, 2).
    """
    whole = np.isfinite(boxes).all(axis=1)
    stored, sizes = boxes[whole], sizes_wh[whole]
    fits = Counter({"all": len(stored)})
    for box_format in BOX_FORMATS:
        found = to_xywh_px(stored, box_format, sizes)
        good = (found[:, 2:] > 0).all(axis=1) & (reach_px(found, sizes) <= tolerance_px(sizes))
        if not _parts(box_format)[1]:  # boxes in the first pixel alone are normalised numbers
            good &= (stored > 1.5).any(axis=1) | (sizes <= 1.5).all(axis=1)
        fits[box_format] = int(good.sum())
    return fits


FIT = 0.9
"""Of boxes: with fewer in their images, they are in another format, if so many are in that."""


def other_format(fits: Mapping[str, int], box_format: str) -> str | None:
    """The format that boxes plainly are in, if it is not the one that they are read in; of fewer
    than ten, none may lie in its image as they are read.

    >>> boxes, sizes = np.array([[300.0, 200, 400, 300]] * 2), np.array([[640, 480]] * 2)
    >>> other_format(box_fits(boxes, sizes), "xywh")
    'xyxy'
    """
    best = max(BOX_FORMATS, key=lambda each: fits[each])
    enough, few = FIT * fits["all"], fits["all"] < 10 and fits[box_format]
    return best if not few and fits[box_format] < enough <= fits[best] else None


def inside(boxes_xywhn: FloatArray, tolerance: float = 1e-4) -> npt.NDArray[np.bool_]:
    """Whether each box has an area and lies in the image, shape (N,), bool.

    >>> inside(as_boxes([[0, 0, 1, 1], [0.5, 0, 0.6, 1], [0.1, 0.1, 0, 0.2]])).tolist()
    [True, False, False]
    """
    xyxy = xywh_to_xyxy(boxes_xywhn)
    has_area = (boxes_xywhn[:, 2:] > 0).all(axis=1)
    in_frame = ((xyxy >= -tolerance) & (xyxy <= 1 + tolerance)).all(axis=1)
    return np.asarray(has_area & in_frame, dtype=np.bool_)


def sides_shared(a_xywh: FloatArray, b_xywh: FloatArray) -> FloatArray:
    """Length that boxes (..., 4) share along x and y, shape (..., 2); negative: the gap between.

    >>> sides_shared(as_boxes([[0, 0, 2, 2]]), as_boxes([[5, 0, 1, 2]])).tolist()
    [[-3.0, 2.0]]
    """
    a, b = xywh_to_xyxy(a_xywh), xywh_to_xyxy(b_xywh)
    return np.asarray(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]))


def masks_to_xywh_px(masks: MaskArray) -> FloatArray:
    """Tight boxes of masks (N, H, W) in pixels, shape (N, 4); zeros for an empty mask.

    >>> masks_to_xywh_px(np.array([[[0, 0, 0], [0, 1, 1]]], dtype=bool)).tolist()
    [[1.0, 1.0, 2.0, 1.0]]
    """
    boxes = np.zeros((len(masks), 4), dtype=np.float32)
    for box, mask in zip(boxes, masks, strict=True):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if rows.size:
            box[:] = (columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1)
    return boxes


def round_half_up(values: Sequence[float]) -> list[int]:
    """Pixels for drawing."""
    return [int(value + 0.5) for value in values]
