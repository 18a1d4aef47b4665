"""Geometry and features of pairs of boxes (arXiv 2406.20085, Sec. 3.2): what CLIS-L compares."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from acp.core.types import Float64Array, IntArray

AnyFloats = npt.NDArray[np.floating[Any]]
Self = TypeVar("Self", bound="_Columns")


class _Columns:
    """Arrays of one shape, handled together."""

    __slots__ = ()

    def _each(self: Self, change: Any) -> Self:
        return type(self)(*(change(getattr(self, f.name)) for f in fields(self)))  # type: ignore[arg-type]

    def reshape(self: Self, *shape: int) -> Self:
        """The same values in arrays of another shape."""
        return self._each(lambda array: array.reshape(shape))

    def take(self: Self, rows: npt.NDArray[Any]) -> Self:
        """Those at `rows`, by index or by mask."""
        return self._each(lambda array: array[rows])


@dataclass(frozen=True, slots=True)
class PairGeometry(_Columns):
    """N pairs of boxes up to where in the image they lie; float64 arrays of one shape.

    `subject_w`, `object_w` in image widths, `subject_h`, `object_h` in image heights; `dx`, `dy`:
    centre of the object minus centre of the subject, in image widths and heights.
    """

    subject_w: Float64Array
    subject_h: Float64Array
    object_w: Float64Array
    object_h: Float64Array
    dx: Float64Array
    dy: Float64Array


@dataclass(frozen=True, slots=True)
class PairFeatures(_Columns):
    """Features of N pairs; float64 arrays of one shape, (N,) or any other.

    `area_ratio`: subject's area / object's area, >= 0 (0 where either has none).
    `iou`: overlap, 0-1. `distance`: distance of the centres / mean of the two diagonals, >= 0.
    `dx`, `dy`: centre of the object minus centre of the subject, in image widths and heights.
    """

    area_ratio: Float64Array
    iou: Float64Array
    distance: Float64Array
    dx: Float64Array
    dy: Float64Array


def pair_geometry(subject_xywhn: AnyFloats, object_xywhn: AnyFloats) -> PairGeometry:
    """Geometry of pairs of boxes, both (N, 4), in float64."""
    a, b = np.asarray(subject_xywhn, np.float64), np.asarray(object_xywhn, np.float64)
    offset = (b[:, :2] + b[:, 2:] / 2) - (a[:, :2] + a[:, 2:] / 2)
    return PairGeometry(a[:, 2], a[:, 3], b[:, 2], b[:, 3], offset[:, 0], offset[:, 1])


def features_of(pairs: PairGeometry) -> PairFeatures:
    """The features of pairs; finite for any finite geometry with sides >= 0.

    A pair whose boxes both have no diagonal has distance 0.
    """
    diagonal = np.hypot(pairs.subject_w, pairs.subject_h) + np.hypot(pairs.object_w, pairs.object_h)
    subject_area, object_area = pairs.subject_w * pairs.subject_h, pairs.object_w * pairs.object_h
    shared = _overlap(pairs.subject_w, pairs.object_w, pairs.dx)
    shared *= _overlap(pairs.subject_h, pairs.object_h, pairs.dy)
    return PairFeatures(
        area_ratio=_ratio(subject_area, object_area),
        iou=_ratio(shared, subject_area + object_area - shared),
        distance=_ratio(np.hypot(pairs.dx, pairs.dy), diagonal / 2),
        dx=pairs.dx,
        dy=pairs.dy,
    )


def pair_features(subject_xywhn: AnyFloats, object_xywhn: AnyFloats) -> PairFeatures:
    """Features of pairs of boxes, both (N, 4). Finite for any finite boxes with sides >= 0.

    >>> a = np.array([[0.0, 0.0, 0.2, 0.4]], dtype=np.float32)
    >>> b = np.array([[0.2, 0.0, 0.2, 0.2]], dtype=np.float32)
    >>> found = pair_features(a, b)
    >>> found.area_ratio.round(3).item(), found.dx.round(3).item(), found.dy.round(3).item()
    (2.0, 0.2, -0.1)
    """
    return features_of(pair_geometry(subject_xywhn, object_xywhn))


def _overlap(a: Float64Array, b: Float64Array, offset: Float64Array) -> Float64Array:
    """Length that two spans share, of lengths `a` and `b` with centres `offset` apart."""
    length = np.minimum(a / 2, offset + b / 2) - np.maximum(-a / 2, offset - b / 2)
    return np.asarray(np.clip(length, 0, None))


def _ratio(top: Float64Array, bottom: Float64Array) -> Float64Array:
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)


@dataclass(frozen=True, slots=True)
class PairScores:
    """Scores of N pairs, at most 100, by the penalty also below 0; NaN without references.

    `nearest` is the row of the priors that the percentile chose, -1 for none; size, distance and
    direction are those against it.
    """

    total: Float64Array
    size: Float64Array
    distance: Float64Array
    direction: Float64Array
    nearest: IntArray
