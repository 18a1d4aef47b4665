"""Frame an arrangement of objects as a photographer would: large, whole, and on the ground."""

from __future__ import annotations

import numpy as np

from acp.core.types import Float64Array, FloatArray
from acp.pipeline.planning.layout_checks import LayoutTask

NEAREST = (0.86, 0.96)
"""Where the bottom edge of the nearest thing is, from and to, as shares of the image's height."""
HIGHEST = 0.66
"""No bottom edge of a thing that stands is higher up than this."""
HORIZON = 0.3
LARGEST, LARGEST_ALONE = (0.48, 0.8), (0.52, 0.85)
"""How much of the image's width or height the largest thing fills, from and to."""
MARGIN = 0.03


class Arrangement:
    """N objects in each of P draws, before they are framed; lengths are in any one unit.

    `w`, `h`, `x` (the centres), `depth` (what is nearer has less of it) and `lift` (down, between
    things that do not stand) have shape (P, N). `over` maps an object to what it is above, on or
    inside of, and which of these.
    """

    def __init__(self, shapes: Float64Array) -> None:
        self.w, self.h = shapes[..., 0].copy(), shapes[..., 1].copy()
        self.x, self.depth, self.lift = (np.zeros(self.w.shape) for _ in range(3))
        self.over: dict[int, tuple[int, str]] = {}

    def set_depth(self, index: int, depth: Float64Array) -> None:
        """Move an object to this depth; it looks smaller the farther it is."""
        factor = perspective(depth - self.depth[:, index])
        self.w[:, index] *= factor
        self.h[:, index] *= factor
        self.depth[:, index] = depth

    def shrink_into(self, index: int, other: int, share: float) -> None:
        """Make an object no larger than a share of another's sides."""
        fits = np.minimum(self.w[:, other] / self.w[:, index], self.h[:, other] / self.h[:, index])
        factor = np.minimum(share * fits, 1)
        self.w[:, index] *= factor
        self.h[:, index] *= factor

    def mean_diagonal(self, a: int, b: int) -> Float64Array:
        diagonals = np.hypot(self.w[:, [a, b]], self.h[:, [a, b]])
        return np.asarray(diagonals.mean(axis=1))


def perspective(depth: Float64Array) -> Float64Array:
    """Apparent size at a depth, 1 at depth 0; a difference in depth is a ratio of sizes.

    >>> perspective(np.array([0.0, 1.0])).round(2).tolist()
    [1.0, 0.55]
    """
    return np.exp(-0.6 * depth)


def framed(task: LayoutTask, at: Arrangement, rng: np.random.Generator) -> FloatArray:
    """Boxes `[x, y, w, h]` normalised to the image, shape (P, N, 4)."""
    width, height = task.size_wh
    bottom = _bottoms(task, at, rng)
    w, x = at.w * height / width, at.x * height / width
    scale = _scale(at, w, x, bottom, rng)[:, None]
    w, h, x = w * scale, at.h * scale, x * scale
    bottom = bottom - _rise(task, h, bottom)
    left = x - w / 2
    low, high = left.min(axis=1), (x + w / 2).max(axis=1)
    slack = np.clip(1 - 2 * MARGIN - (high - low), 0, None)
    left += (MARGIN + slack * rng.beta(2, 2, len(slack)) - low)[:, None]
    return np.stack([left, _tops(at, h, bottom, rng), w, h], axis=2).astype(np.float32)


def _bottoms(task: LayoutTask, at: Arrangement, rng: np.random.Generator) -> Float64Array:
    """Bottom edges, (P, N): on a ground plane, or about the middle for what does not stand."""
    draws = len(at.x)
    near = rng.uniform(*NEAREST, (draws, 1))
    lower = ~task.upper
    if not lower.any():
        return np.clip(rng.uniform(0.7, 0.88, (draws, 1)) + 0.4 * at.lift, 0.5, 0.95)
    distance = at.depth - at.depth[:, lower].min(axis=1, keepdims=True)
    ground = np.clip(HORIZON + (near - HORIZON) * perspective(distance), HIGHEST, None)
    sky = rng.uniform(0.25, 0.45, at.x.shape)
    return np.where(task.upper, sky, ground)


def _scale(
    at: Arrangement,
    w: Float64Array,
    x: Float64Array,
    bottom: Float64Array,
    rng: np.random.Generator,
) -> Float64Array:
    """The factor that fills the frame and keeps everything inside it, (P,)."""
    largest = np.maximum(w, at.h).max(axis=1)
    fill = LARGEST_ALONE if w.shape[1] == 1 else LARGEST
    wanted = rng.uniform(*fill, len(w)) / largest
    extent = (x + w / 2).max(axis=1) - (x - w / 2).min(axis=1)
    limits = [wanted, (1 - 2 * MARGIN) / extent]
    for index in range(w.shape[1]):
        stack, base = at.h[:, index], index
        while base in at.over and at.over[base][1] != "inside":
            base = at.over[base][0]
            stack = 0.85 * stack + at.h[:, base]
        limits.append((bottom[:, base] - MARGIN) / stack)
    return np.asarray(np.min(limits, axis=0))


def _rise(task: LayoutTask, h: Float64Array, bottom: Float64Array) -> Float64Array:
    """How far to move all up, (P, 1), so that three tenths of the free height is below."""
    if task.upper.any():
        return np.zeros((len(h), 1))
    top, low = (bottom - h).min(axis=1), bottom.max(axis=1)
    wanted = 0.3 * (1 - (low - top)) - (1 - low)
    room = np.maximum(bottom.min(axis=1) - HIGHEST, 0)
    return np.asarray(np.clip(wanted, 0, room)[:, None])


def _tops(
    at: Arrangement, h: Float64Array, bottom: Float64Array, rng: np.random.Generator
) -> Float64Array:
    """Upper edges, (P, N), what is above, on or inside another thing after that thing."""
    top = bottom - h
    left = dict(at.over)
    while left:
        index = next((i for i, (below, _) in left.items() if below not in left), next(iter(left)))
        below, how = left.pop(index)
        u = rng.uniform(size=len(h))
        if how == "inside":
            top[:, index] = top[:, below] + (h[:, below] - h[:, index]) * (0.3 + 0.6 * u)
        elif how == "on":
            top[:, index] = top[:, below] + h[:, below] * (0.05 + 0.3 * u) - h[:, index]
        else:
            room = top[:, below] - h[:, index] - MARGIN
            top[:, index] = MARGIN + np.clip(room, 0, None) * (0.2 + 0.7 * u)
    return np.maximum(top, 0)
