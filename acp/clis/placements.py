"""How pairs of boxes are placed, as densities: kernels on real pairs.

A pair's placement is four numbers that neither a shift nor a change of scale alters: the offset of
the centres along x and y in mean sides of the two boxes (1: they just touch), compressed, and the
direction of the offset in the image. Turning subject and object round changes their signs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from acp.clis.chunks import IntArray
from acp.clis.features import Float64Array, PairGeometry

OFFSET_WIDTH, DIRECTION_WIDTH = 0.28, 0.09
"""Bandwidths of the kernel of a relation, in compressed offsets and in units of the direction."""

PLACE_WIDTH = 0.12
"""Bandwidth of the finer kernel that tells real placements from chance."""

NO_DIRECTION = 0.05
"""An offset of so many mean diagonals has half a direction; none at all has none."""

FARTHEST = 6.0
"""Of a compressed offset: some 400 mean sides apart."""

TAIL = 4.0
"""Of the kernels, (1 + q / TAIL) ** -(TAIL + dimensions) / 2: heavy, so that of two layouts far
from all that was seen the one less far scores more."""

BLOCK = 1 << 14
"""Candidates times references that are worked out at a time; changes no score."""


@dataclass(frozen=True, slots=True)
class Densities:
    """Of N placements, (N,) each, but for constants that are the same for all: of offset and
    direction together, of direction alone, of offset alone (finer)."""

    relation: Float64Array
    direction: Float64Array
    place: Float64Array


def placements(pairs: PairGeometry) -> Float64Array:
    """Shape (..., 4): compressed offset x, y; direction x, y (length 0 to 1)."""
    x, y = pairs.dx, pairs.dy
    diagonal = np.hypot(pairs.subject_w, pairs.subject_h) + np.hypot(pairs.object_w, pairs.object_h)
    length = np.hypot(x, y) + NO_DIRECTION / 2 * diagonal
    along = _compressed(2 * x / (pairs.subject_w + pairs.object_w))
    down = _compressed(2 * y / (pairs.subject_h + pairs.object_h))
    return np.stack([along, down, x / length, y / length], axis=-1)


def _compressed(offset: Float64Array) -> Float64Array:
    return np.asarray(np.sign(offset) * np.minimum(np.log1p(np.abs(offset)), FARTHEST))


def mean_densities(at: Float64Array, rows: Float64Array) -> Densities:
    """Means over `rows` (M, 4) of the kernels at `at` (N, 4)."""
    found = np.empty((3, len(at)))
    for some in parcels(np.full(len(at), len(rows))):
        offset, direction = distances(at[some, None], rows[None])
        found[0, some] = _space_kernel(offset, direction).mean(axis=1)
        found[1, some] = _plane_kernel(direction).mean(axis=1)
        found[2, some] = _plane_kernel(offset * (OFFSET_WIDTH / PLACE_WIDTH) ** 2).mean(axis=1)
    return Densities(*found)


def one_wide_kernel(at: Float64Array, widths: Float64Array) -> Densities:
    """At `at` (N, 4): kernels of `widths` (4,) about no offset, in units of the narrow ones."""
    far = (at / widths) ** 2
    offset, direction = far[:, 0] + far[:, 1], far[:, 2] + far[:, 3]
    offset_area, direction_area = widths[:2].prod(), widths[2:].prod()
    return Densities(
        _space_kernel(offset, direction)
        * (OFFSET_WIDTH**2 / offset_area * DIRECTION_WIDTH**2 / direction_area),
        _plane_kernel(direction) * (DIRECTION_WIDTH**2 / direction_area),
        _plane_kernel(offset) * (PLACE_WIDTH**2 / offset_area),
    )


def couple_kernels(a: Float64Array, b: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Of couples of placements, (M, 4) each: the kernels of the relation and of the direction."""
    offset, direction = distances(a, b)
    return _space_kernel(offset, direction), _plane_kernel(direction)


def distances(a: Float64Array, b: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Squared distances of offset and of direction, in bandwidths, of what broadcasts, (..., 4)."""
    apart = [(a[..., i] - b[..., i]) ** 2 for i in range(4)]
    return (apart[0] + apart[1]) / OFFSET_WIDTH**2, (apart[2] + apart[3]) / DIRECTION_WIDTH**2


def _space_kernel(offset: Float64Array, direction: Float64Array) -> Float64Array:
    base = 1 + (offset + direction) / TAIL
    return np.asarray(1 / ((base * base) * (base * base)))


def _plane_kernel(q: Float64Array) -> Float64Array:
    base = 1 + q / TAIL
    return np.asarray(1 / (base * base * base))


def parcels(sizes: IntArray) -> Iterator[slice]:
    """Runs of candidates with `sizes` (N,) references each, of about `BLOCK` together, or one."""
    edges = np.flatnonzero(np.diff(np.cumsum(sizes) // BLOCK)) + 1
    bounds = [0, *edges.tolist(), len(sizes)] if len(sizes) else []
    yield from (slice(*both) for both in pairwise(bounds))


def spaced(rows: IntArray, most: int) -> IntArray:
    """At most so many of the rows, evenly spaced.

    >>> spaced(np.arange(9), 3).tolist()
    [0, 4, 8]
    """
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]
