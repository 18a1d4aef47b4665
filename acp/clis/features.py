"""Features of pairs of boxes (arXiv 2406.20085, Sec. 3.2): what CLIS-L compares layouts by."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from acp.boxes import intersection_over_union
from acp.types import FloatArray

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PairFeatures:
    """Features of N pairs; each array has the same shape, (N,) or any other.

    `area_ratio`: subject's area / object's area, >= 0 (0 where either has none).
    `iou`: overlap, 0-1. `distance`: distance of the centres / mean of the two diagonals, >= 0.
    `dx`, `dy`: centre of the object minus centre of the subject, in image widths and heights.
    """

    area_ratio: Float64Array
    iou: Float64Array
    distance: Float64Array
    dx: Float64Array
    dy: Float64Array

    def reshape(self, *shape: int) -> PairFeatures:
        """The same features in arrays of another shape."""
        return PairFeatures(*(getattr(self, f.name).reshape(shape) for f in fields(self)))


def pair_features(subject_xywhn: FloatArray, object_xywhn: FloatArray) -> PairFeatures:
    """Features of pairs of boxes, both (N, 4). Finite for any finite boxes.

    Boxes are taken as given; a pair whose boxes both have no diagonal has distance 0.

    >>> a = np.array([[0.0, 0.0, 0.2, 0.4]], dtype=np.float32)
    >>> b = np.array([[0.2, 0.0, 0.2, 0.2]], dtype=np.float32)
    >>> found = pair_features(a, b)
    >>> found.area_ratio.round(3).item(), found.dx.round(3).item(), found.dy.round(3).item()
    (2.0, 0.2, -0.1)
    """
    a, b = np.asarray(subject_xywhn, np.float64), np.asarray(object_xywhn, np.float64)
    offset = (b[:, :2] + b[:, 2:] / 2) - (a[:, :2] + a[:, 2:] / 2)
    diagonal = (np.hypot(a[:, 2], a[:, 3]) + np.hypot(b[:, 2], b[:, 3])) / 2
    area_a, area_b = a[:, 2:].prod(axis=1), b[:, 2:].prod(axis=1)
    return PairFeatures(
        area_ratio=_ratio(area_a, area_b),
        iou=intersection_over_union(a, b),  # type: ignore[arg-type]
        distance=_ratio(np.hypot(offset[:, 0], offset[:, 1]), diagonal),
        dx=offset[:, 0],
        dy=offset[:, 1],
    )


def _ratio(top: Float64Array, bottom: Float64Array) -> Float64Array:
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)
