"""How pairs of boxes are placed, as densities: kernels on real pairs.

A pair's placement is four numbers that neither a shift nor a change of scale alters: the offset of
the centres along x and y in mean sides of the two boxes (1: they just touch), compressed, and the
direction of the offset in the image. Turning subject and object round changes their signs.
"""

from __future__ import annotations

import numpy as np

from acp.clis.features import Float64Array, PairGeometry

OFFSET_WIDTH, DIRECTION_WIDTH = 0.215, 0.15
"""Bandwidths of the relation's kernel, in compressed offsets and in units of the direction."""

PLACE_WIDTH = 0.12
"""Bandwidth of the finer kernel that tells real placements from chance."""

NO_DIRECTION = 0.05
"""Offsets of about so many mean diagonals have half a direction; none at all has none."""

FARTHEST = 6.0
"""Of a compressed offset: some 400 mean sides apart."""

TAIL = 4.0
"""Of the kernels, (1 + q / TAIL) ** -(TAIL + dimensions) / 2: heavy, so that of two layouts far
from all that was seen the one less far scores more."""


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


def squares(a: Float64Array, b: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Squared differences of offset and of direction of placements that broadcast, (..., 4)."""
    apart = [(a[..., i] - b[..., i]) ** 2 for i in range(4)]
    return apart[0] + apart[1], apart[2] + apart[3]


def relation_kernel(offset: Float64Array, direction: Float64Array) -> Float64Array:
    """Offset and direction together; 1 at 0."""
    q = offset / OFFSET_WIDTH**2 + direction / DIRECTION_WIDTH**2
    base = 1 + q / TAIL
    return np.asarray(1 / ((base * base) * (base * base)))


def direction_kernel(direction: Float64Array) -> Float64Array:
    """Direction alone; 1 at 0."""
    return _plane_kernel(direction / DIRECTION_WIDTH**2)


def place_kernel(offset: Float64Array) -> Float64Array:
    """Offset alone, finer; 1 at 0."""
    return _plane_kernel(offset / PLACE_WIDTH**2)


def _plane_kernel(q: Float64Array) -> Float64Array:
    base = 1 + q / TAIL
    return np.asarray(1 / (base * base * base))
