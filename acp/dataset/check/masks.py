"""Masks as COCO writes them: run lengths, compressed or not, and polygons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from acp.dataset.check.values import IntArray

Box = tuple[float, float, float, float]


class BrokenMaskError(ValueError):
    """Told in a few words: what is wrong with a mask, and how to mend it."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(what)
        self.mend = mend


@dataclass(frozen=True, slots=True)
class Mask:
    """What is known of one that can be read: its box in pixels and, of run lengths, its pixels."""

    box_xywh_px: Box
    area: float | None = None


ENCODE = "encode the mask again with pycocotools"
REMOVE = "remove the object"
_TOO_MANY = 1 << 32
"""Pixels: pycocotools counts in 32 bits, and divides by zero or worse beyond."""


def runs_of(counts: str | bytes) -> IntArray:
    """The run lengths in a compressed string. pycocotools reads beyond the end of one that is cut
    off, so it is shown none before its runs add up.

    >>> runs_of("52203").tolist()
    [5, 2, 2, 2, 5]

    Raises:
        ValueError: it is cut off, or holds what no such string holds.
    """
    codes = np.frombuffer(counts.encode() if isinstance(counts, str) else counts, np.uint8)
    values = codes.astype(np.int64) - 48
    if not len(values) or values.min() < 0 or values.max() > 63 or values[-1] & 0x20:
        raise ValueError(counts)
    last = (values & 0x20) == 0
    first = np.flatnonzero(np.concatenate([[True], last[:-1]]))
    number = np.cumsum(np.concatenate([[0], last[:-1]])).astype(np.int64)
    shift = 5 * (np.arange(len(values)) - first[number])
    if shift.max() > 55:
        raise ValueError(counts)
    ends = np.flatnonzero(last)
    deltas = np.add.reduceat((values & 0x1F) << shift, first)
    deltas -= np.where(values[ends] & 0x10, np.int64(1) << (shift[ends] + 5), 0)
    runs = deltas.copy()
    runs[1::2] = np.cumsum(deltas[1::2])
    runs[2::2] = np.cumsum(deltas[2::2])
    return np.asarray(runs, np.int64)


def check_runs(rle: dict[str, Any], size_wh: tuple[int, int] | None) -> Mask:
    """What a COCO RLE covers; `size_wh` is that of its image, if it is known.

    Raises:
        BrokenMaskError: of another size than its image, not decodable, or empty.
    """
    size, counts = rle.get("size"), rle.get("counts")
    if not _is_size(size) or counts is None:
        raise BrokenMaskError("segmentation is no RLE with size and counts", ENCODE)
    height, width = map(int, size)  # type: ignore[arg-type]
    if size_wh is not None and (width, height) != size_wh:
        turned = " (width first)" if (height, width) == size_wh else ""
        what = (
            f"segmentation has size {[height, width]}{turned}, the image {size_wh[0]}x{size_wh[1]}"
        )
        raise BrokenMaskError(what, "size is [height, width] of the image")
    try:
        runs = np.array(counts, np.int64) if isinstance(counts, list) else runs_of(counts)
    except (ValueError, TypeError, OverflowError):
        raise BrokenMaskError(
            "segmentation does not decode: its counts are cut off", ENCODE
        ) from None
    pixels = height * width
    if pixels >= _TOO_MANY:
        raise BrokenMaskError(
            f"segmentation has size {[height, width]}, which is too large", ENCODE
        )
    # one by one first: a sum of large ones may wrap around to what is right
    if ((runs < 0) | (runs > pixels)).any() or int(runs.sum()) != pixels:
        what = f"segmentation does not decode: its runs make {sum(runs.tolist())} pixels"
        raise BrokenMaskError(f"{what} of {height}x{width}", ENCODE)
    return _measured(counts, runs, height, width)


def _is_size(size: Any) -> bool:
    return (
        isinstance(size, (list, tuple))
        and len(size) == 2
        and all(isinstance(side, (int, float)) and 0 < side < _TOO_MANY for side in size)
    )


def _measured(counts: Any, runs: IntArray, height: int, width: int) -> Mask:
    from pycocotools import mask as coco_mask

    if not int(runs[1::2].sum()):
        raise BrokenMaskError("segmentation is empty", REMOVE)
    rle = {"size": [height, width], "counts": counts}
    if isinstance(counts, list):
        rle = coco_mask.frPyObjects({**rle, "counts": runs.tolist()}, height, width)
    x, y, w, h = coco_mask.toBbox(rle).tolist()
    return Mask((x, y, w, h), float(coco_mask.area(rle)))


def check_polygons(
    polygons: list[Any], size_wh: tuple[int, int] | None, tolerance: float, scale: bool
) -> Mask | None:
    """The box of polygons, each a list `[x, y, x, y, ...]` or `[[x, y], ...]`; None where there is
    none.

    Args:
        polygons: of one object.
        size_wh: of the image, if it is known.
        tolerance: how far they may reach outside, in pixels.
        scale: whether their numbers are normalised to the image.

    Raises:
        BrokenMaskError: a polygon without an area, or outside of the image.
    """
    flat = _flat(polygons)
    for polygon in flat:
        if len(polygon) % 2 or len(polygon) < 6:
            what = f"a polygon has {len(polygon)} numbers"
            raise BrokenMaskError(what, "a polygon is [x, y, x, y, ...] of 3 points or more")
    if not flat:
        return None
    try:
        numbers = np.array([value for polygon in flat for value in polygon], np.float64)
    except (ValueError, TypeError):
        raise BrokenMaskError("a polygon holds something else than numbers", REMOVE) from None
    points = numbers.reshape(-1, 2)
    if not np.isfinite(points).all():
        raise BrokenMaskError("a polygon has a number that is not finite", REMOVE)
    if scale and size_wh is not None:
        points = points * np.array(size_wh)
    low, high = points.min(axis=0), points.max(axis=0)
    if size_wh is not None and (
        low.min() < -tolerance or (high > np.array(size_wh) + tolerance).any()
    ):
        what = f"a polygon reaches outside the image of {size_wh[0]}x{size_wh[1]}"
        raise BrokenMaskError(what, "clip it to the image")
    (x, y), (right, bottom) = low.tolist(), high.tolist()
    return Mask((x, y, right - x, bottom - y))


def _flat(polygons: list[Any]) -> list[list[Any]]:
    """Polygons as `[x, y, x, y, ...]`, also one alone, and those of points."""
    if not any(isinstance(each, list) for each in polygons) or _are_points(polygons):
        polygons = [polygons]
    return [
        [value for point in polygon for value in point] if _are_points(polygon) else polygon
        for polygon in polygons
        if polygon
    ]


def _are_points(polygon: Any) -> bool:
    return isinstance(polygon, list) and all(
        isinstance(point, list)
        and len(point) == 2
        and not any(isinstance(value, list) for value in point)
        for point in polygon
    )
