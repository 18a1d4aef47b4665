"""Masks as COCO writes them: run lengths, compressed or not, and polygons.

Masks of others may hold anything. pycocotools reads beyond the end of a string that is cut off and
takes as much memory as a number says, so everything is checked before it sees it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Box = tuple[float, float, float, float]
MOST_PIXELS = 1 << 28
"""A mask that claims more is refused: decoded, it takes a byte a pixel."""
LONGEST_OUTLINE_PX = 1 << 22
"""pycocotools walks along the outline of a polygon in fifths of a pixel and keeps each of them."""
_NUMBER = re.compile(rb"[P-o]{0,6}[0-O]")
"""A number of at most 35 bits in compressed run lengths: all letters but the last say that another
follows."""
REMOVE = "remove the object"


class BrokenMaskError(ValueError):
    """What is wrong with a mask, in a few words; `fix` says what to do about it."""

    def __init__(self, what: str, fix: str = "encode the mask again with pycocotools") -> None:
        super().__init__(what)
        self.fix = fix


@dataclass(frozen=True, slots=True)
class Measured:
    """The box `[x, y, w, h]` of a mask in pixels and, of run lengths, the number of its pixels."""

    box_xywh_px: Box
    area: float | None = None


def decode_rle(rle: Mapping[str, Any], size_wh: tuple[float, float] | None = None) -> BoolArray:
    """The mask of a COCO RLE `{"size": [height, width], "counts": ...}`, bool of shape (H, W).

    Args:
        rle: its counts may be compressed (str or bytes) or a list of run lengths.
        size_wh: of the image, if it is known.

    Raises:
        BrokenMaskError: of another size than its image, too large, or not decodable.

    >>> decode_rle({"size": [2, 3], "counts": [1, 3, 2]}).astype(int).tolist()
    [[0, 1, 0], [1, 1, 0]]
    """
    runs, height, width = _runs(rle, size_wh)
    values = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.asarray(values.reshape(width, height).T)


def check_rle(rle: Mapping[str, Any], size_wh: tuple[float, float] | None = None) -> Measured:
    """The box and the area of a COCO RLE, without decoding it.

    Raises:
        BrokenMaskError: of another size than its image, too large, not decodable, or empty.

    >>> check_rle({"size": [2, 3], "counts": "13"})
    Traceback (most recent call last):
    ...
    acp.core.masks.BrokenMaskError: segmentation does not decode: its runs make 4 pixels of 2x3
    >>> check_rle({"size": [2, 3], "counts": [1, 3, 2]})
    Measured(box_xywh_px=(0.0, 0.0, 2.0, 2.0), area=3.0)
    """
    runs, height, _ = _runs(rle, size_wh)
    ends = np.cumsum(runs)
    stops = ends[1::2]
    starts = ends[0::2][: len(stops)]
    starts, stops = starts[stops > starts], stops[stops > starts]
    if not len(starts):
        raise BrokenMaskError("segmentation is empty", REMOVE)
    first, last = starts // height, (stops - 1) // height
    low, high = starts % height, (stops - 1) % height
    if (first != last).any():  # a run that goes on in the next column touches both edges
        low, high = np.array([0]), np.array([height - 1])
    x, y = float(first.min()), float(low.min())
    box = (x, y, float(last.max()) - x + 1, float(high.max()) - y + 1)
    return Measured(box, float(runs[1::2].sum()))


def _runs(rle: Mapping[str, Any], size_wh: tuple[float, float] | None) -> tuple[IntArray, int, int]:
    """Run lengths that make exactly the pixels of the mask, its height and its width."""
    try:
        height, width = map(round, rle["size"])
    except (KeyError, TypeError, ValueError, OverflowError):
        raise BrokenMaskError("segmentation is no RLE with size and counts") from None
    if size_wh is not None and (width, height) != tuple(size_wh):
        turned = " (width first)" if (height, width) == tuple(size_wh) else ""
        image = f"{size_wh[0]}x{size_wh[1]}"
        what = f"segmentation has size {[height, width]}{turned}, the image {image}"
        raise BrokenMaskError(what, "size is [height, width] of the image")
    pixels = height * width
    if min(height, width) < 1 or pixels > MOST_PIXELS:
        raise BrokenMaskError(f"segmentation has size {[height, width]}, which no image has")
    counts = rle.get("counts")
    try:
        runs = (
            np.array(counts, np.int64) if isinstance(counts, list) else uncompressed(counts or "")
        )
    except (ValueError, TypeError, OverflowError, AttributeError):
        raise BrokenMaskError("segmentation does not decode: its counts are cut off") from None
    # one by one first: a sum of large ones may wrap around to what is right
    if runs.ndim != 1 or ((runs < 0) | (runs > pixels)).any() or int(runs.sum()) != pixels:
        made = sum(runs.ravel().tolist())
        what = f"segmentation does not decode: its runs make {made} pixels of {height}x{width}"
        raise BrokenMaskError(what)
    return runs, height, width


def uncompressed(counts: str | bytes) -> IntArray:
    """The run lengths in the compressed string of a COCO RLE.

    Raises:
        ValueError: it is cut off, or holds what no such string holds.

    >>> uncompressed("52203").tolist()
    [5, 2, 2, 2, 5]
    """
    text = counts.encode() if isinstance(counts, str) else counts
    numbers = _NUMBER.findall(text)
    if not text or sum(map(len, numbers)) != len(text):
        raise ValueError("cut off")
    runs: list[int] = []
    for number in numbers:
        value = sum((letter - 48 & 0x1F) << 5 * place for place, letter in enumerate(number))
        if number[-1] - 48 & 0x10:  # the sign
            value -= 1 << 5 * len(number)
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    return np.array(runs, np.int64)


def decode_segmentation(segmentation: Any, size_wh: tuple[int, int]) -> BoolArray:
    """The mask, bool of shape (H, W), of whatever stands under COCO's "segmentation": polygons, one
    polygon, a run-length code, a list of such codes, or either as JSON text.

    Raises:
        BrokenMaskError: it is something else, or of another size, or beyond the image, or damaged.
    """
    found = _unquoted(segmentation)
    if isinstance(found, Mapping):
        return decode_rle(found, size_wh)
    if not _is_of_codes(found):
        return polygons_to_mask(found, size_wh, max(1.0, 0.01 * max(size_wh)))
    return np.asarray(np.logical_or.reduce([decode_rle(each, size_wh) for each in found]))


def measured(
    segmentation: Any,
    size_wh: tuple[float, float] | None = None,
    tolerance_px: float = 1.0,
    scale_wh: tuple[float, float] = (1.0, 1.0),
) -> Measured:
    """The box and the area of what `decode_segmentation` takes, without drawing it.

    Raises:
        BrokenMaskError: as `decode_segmentation`, or it is empty.
    """
    found = _unquoted(segmentation)
    if isinstance(found, Mapping):
        return check_rle(found, size_wh)
    if not _is_of_codes(found):
        return check_polygons(found, size_wh, tolerance_px, scale_wh)
    each = [check_rle(code, size_wh) for code in found]
    boxes = np.array([one.box_xywh_px for one in each])
    low, high = boxes[:, :2].min(axis=0), (boxes[:, :2] + boxes[:, 2:]).max(axis=0)
    return Measured(_box(low, high), each[0].area if len(each) == 1 else None)


def _box(low: Any, high: Any) -> Box:
    (x, y), (width, height) = low.tolist(), (high - low).tolist()
    return x, y, width, height


def _unquoted(segmentation: Any) -> Any:
    try:
        found = json.loads(segmentation) if isinstance(segmentation, str) else segmentation
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list | Mapping):
        raise BrokenMaskError("segmentation is neither polygons nor run lengths")
    return found


def _is_of_codes(found: list[Any]) -> bool:
    return bool(found) and all(isinstance(each, Mapping) for each in found)


def polygons_to_mask(
    polygons: list[Any], size_wh: tuple[int, int], tolerance_px: float = 1.0
) -> BoolArray:
    """The mask of the polygons of one object, bool of shape (H, W).

    Args:
        polygons: each a list `[x, y, x, y, ...]` or `[[x, y], ...]` in pixels; or one alone.
        size_wh: of the image.
        tolerance_px: how far they may reach outside.

    Raises:
        BrokenMaskError: what `check_polygons` refuses.

    >>> polygons_to_mask([[1, 0, 3, 0, 3, 2, 1, 2]], (4, 2)).astype(int).tolist()
    [[0, 1, 1, 0], [0, 1, 1, 0]]
    """
    from pycocotools import mask as coco_mask

    width, height = size_wh
    if width * height > MOST_PIXELS:
        raise BrokenMaskError(f"the image has {width}x{height} pixels, which is too large")
    check_polygons(polygons, size_wh, tolerance_px)
    flat = [_points(each).ravel().tolist() for each in _each(polygons)]
    codes = coco_mask.frPyObjects(flat, height, width)
    return decode_rle(coco_mask.merge(codes), size_wh)


def check_polygons(
    polygons: list[Any],
    size_wh: tuple[float, float] | None = None,
    tolerance_px: float = 1.0,
    scale_wh: tuple[float, float] = (1.0, 1.0),
) -> Measured:
    """The box of the polygons of one object, without drawing them.

    Args:
        polygons: each a list `[x, y, x, y, ...]` or `[[x, y], ...]`; or one alone.
        size_wh: of the image, if it is known.
        tolerance_px: how far they may reach outside.
        scale_wh: what makes pixels of their numbers, such as the size for normalised ones.

    Raises:
        BrokenMaskError: none at all, one without an area or without end, or outside of the image.
    """
    each = [_points(polygon) * scale_wh for polygon in _each(polygons)]
    if not each:
        raise BrokenMaskError("segmentation has no polygon", REMOVE)
    points = np.concatenate(each)
    low, high = points.min(axis=0), points.max(axis=0)
    if size_wh and (low.min() < -tolerance_px or (high > np.add(size_wh, tolerance_px)).any()):
        what = f"a polygon reaches outside the image of {size_wh[0]}x{size_wh[1]}"
        raise BrokenMaskError(what, "clip it to the image")
    outline = sum(float(np.abs(np.diff(one, axis=0)).sum()) for one in each)
    if outline > LONGEST_OUTLINE_PX:
        what = f"a polygon has an outline of {outline:.0f} pixels"
        raise BrokenMaskError(what, "draw it with fewer points")
    return Measured(_box(low, high))


def _each(polygons: list[Any]) -> list[Any]:
    """The polygons of an object, of which one may stand alone."""
    lists = [each for each in polygons if isinstance(each, list)]
    alone = not lists or all(len(p) == 2 and not isinstance(p[0], list) for p in lists)
    return [polygons] if alone and polygons else [each for each in polygons if each]


def _points(polygon: Any) -> npt.NDArray[np.float64]:
    """A polygon as points (N, 2)."""
    try:
        points = np.array(polygon, np.float64)
    except (ValueError, TypeError, OverflowError):
        raise BrokenMaskError("a polygon holds something else than numbers", REMOVE) from None
    if points.size % 2 or points.size < 6 or points.shape[1:] not in ((), (2,)):
        what = f"a polygon has {points.size} numbers"
        raise BrokenMaskError(what, "a polygon is [x, y, x, y, ...] of 3 points or more")
    if not np.isfinite(points).all():
        raise BrokenMaskError("a polygon has a number that is not finite", REMOVE)
    return points.reshape(-1, 2)
