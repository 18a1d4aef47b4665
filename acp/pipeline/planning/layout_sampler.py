"""Propose layouts from the priors.

For many draws at once: real sizes set apparent sizes, and the relations are walked as a tree, each
object placed beside its neighbour as in a real pair of the relation. `layout_framing` then stands
the arrangement on a ground plane and fills the frame with it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from acp.clis.predicates import canonical
from acp.clis.priors import Priors
from acp.core.types import Float64Array, FloatArray, Relation
from acp.pipeline.planning.layout_checks import LayoutTask
from acp.pipeline.planning.layout_framing import Arrangement, framed

SIZE_EXPONENT = 0.75
"""Apparent length grows with this power of the real one: less than 1, as photographers step back
from what is large."""

SIDES = {"left of": -1.0, "right of": 1.0}
DEPTHS = {"in front of": -1.0, "behind": 1.0}
"""Where the subject is as seen from the object: to the left or right, nearer or farther."""

STACKED = {"above": 0.6, "below": 0.6, "on": 0.3, "inside": 0.1}
"""How far the centres may be apart sideways, in halves of the two widths together."""


def propose_layouts(
    task: LayoutTask, priors: Priors, count: int, rng: np.random.Generator
) -> FloatArray:
    """`count` layouts of the task's N objects, shape (count, N, 4), inside the image.

    Not every one keeps every relation; `acp.pipeline.planning.layout_checks.defects` tells.
    """
    placer = _Placer(task, priors, _shapes(task, count, rng), rng)
    for known, new, relation in _walk(task):
        placer.place(known, new, relation)
    placer.part_columns()
    return framed(task, placer.at, rng)


def _shapes(task: LayoutTask, count: int, rng: np.random.Generator) -> Float64Array:
    """Widths and heights, the longest side of the largest thing about 1: shape (count, N, 2)."""
    lengths = np.where(task.lengths_cm > 0, task.lengths_cm, task.lengths_cm.max() or 1.0)
    aspects = np.stack([rng.choice(own, size=count) for own in task.aspects_wh], axis=1)
    longest = (lengths / lengths.max()) ** SIZE_EXPONENT
    if task.upper.any() and not task.upper.all():
        lower = longest[~task.upper].max()
        longest = np.where(task.upper, np.minimum(longest, 0.8 * lower), longest)
    longest = longest * np.exp(0.08 * np.clip(rng.standard_normal(aspects.shape), -1.5, 1.5))
    return np.stack([longest * np.minimum(aspects, 1), longest / np.maximum(aspects, 1)], axis=2)


def _walk(task: LayoutTask) -> Iterator[tuple[int, int, Relation | None]]:
    """Each object but the first, after a neighbour that is already placed, with their relation.

    Objects that no relation reaches follow the one placed before them, without a relation.
    """
    placed = [0]
    while len(placed) < len(task.names):
        edges = (r for r in task.relations if (r.subject in placed) != (r.object in placed))
        edge = next(edges, None)
        if edge is None:
            known, new = placed[-1], min(set(range(len(task.names))) - set(placed))
        elif edge.subject in placed:
            known, new = edge.subject, edge.object
        else:
            known, new = edge.object, edge.subject
        yield known, new, edge
        placed.append(new)


class _Placer:
    """The objects of every draw as they are placed, in `at`."""

    def __init__(
        self, task: LayoutTask, priors: Priors, shapes: Float64Array, rng: np.random.Generator
    ) -> None:
        self.names, self.priors, self.rng = task.names, priors, rng
        self.at = Arrangement(shapes)
        self.count = len(shapes)
        self.taken = np.zeros(self.at.x.shape)
        self.column = np.arange(len(task.names))

    def place(self, known: int, new: int, relation: Relation | None) -> None:
        """Place `new` beside `known`, which is already placed."""
        predicate = canonical(relation.predicate) if relation else "next to"
        forward = relation is None or relation.subject == new
        along_x, along_y = self._real_pair(*((new, known) if forward else (known, new)), predicate)
        if predicate in DEPTHS:
            step = DEPTHS[predicate] * (1 if forward else -1) * self._uniform(0.2, 0.45)
        else:
            step = self._uniform(-0.12, 0.12) * (predicate not in STACKED)
        self.at.set_depth(new, self.at.depth[:, known] + step)
        if predicate in STACKED:
            self._stack(*((new, known) if forward else (known, new)), predicate)
        half = (self.at.w[:, known] + self.at.w[:, new]) / 2
        reach = np.abs(along_x) * self.at.mean_diagonal(known, new)
        if predicate in DEPTHS:
            self._join(known, new)
            least = 0.45 * self._front_to_back(known, new)
            offset = self._sign() * np.clip(reach, least * half, 0.75 * half)
        elif predicate in STACKED:
            offset = self._sign() * np.clip(reach, 0, STACKED[predicate] * half)
        else:
            farthest = 1.1 if predicate == "next to" else 1.2
            side = self._side(known, new, predicate, forward)
            offset = side * np.clip(reach, 0.9 * half, farthest * half)
            self.at.lift[:, new] = self.at.lift[:, known] + np.clip(along_y, -0.4, 0.4)
        self.at.x[:, new] = self.at.x[:, known] + offset

    def _real_pair(
        self, subject: int, object_: int, predicate: str
    ) -> tuple[Float64Array, Float64Array]:
        """Offset from subject to object of a real pair a draw, in mean diagonals, jittered."""
        found = self.priors.references(self.names[subject], predicate, self.names[object_])
        rows = self.rng.choice(len(found), size=self.count, p=found.weights / found.weights.sum())
        dx, dy = found.features.dx[rows], found.features.dy[rows]
        jitter = np.exp(0.15 * self.rng.standard_normal(self.count))
        scale = found.features.distance[rows] * jitter / np.maximum(np.hypot(dx, dy), 1e-6)
        return scale * dx, scale * dy

    def _front_to_back(self, a: int, b: int) -> Float64Array:
        """Width of the nearer of two as a share of the farther one's, at most 1."""
        ratio = self.at.w[:, a] / self.at.w[:, b]
        nearer = self.at.depth[:, a] < self.at.depth[:, b]
        return np.asarray(np.minimum(np.where(nearer, ratio, 1 / ratio), 1))

    def _uniform(self, low: float, high: float) -> Float64Array:
        return self.rng.uniform(low, high, self.count)

    def _sign(self) -> Float64Array:
        return np.where(self.rng.random(self.count) < 0.5, -1.0, 1.0)

    def _side(self, known: int, new: int, predicate: str, forward: bool) -> Float64Array:
        """-1 or 1 a draw: the side of `known` on which `new` goes, the free one if it may be."""
        if predicate in SIDES:
            side = np.full(self.count, SIDES[predicate] * (1 if forward else -1))
        else:
            taken = np.sign(self.taken[:, known])
            side = np.where(taken == 0, self._sign(), -taken)
        self.taken[:, known] += side
        self.taken[:, new] -= side
        return side

    def _stack(self, subject: int, object_: int, predicate: str) -> None:
        """Note that one of the two goes above, on or inside the other."""
        if predicate == "below":
            subject, object_, predicate = object_, subject, "above"
        if predicate == "inside":
            self.at.shrink_into(subject, object_, 0.8)
        self.at.over[subject] = (object_, predicate)
        if predicate != "above":
            self._join(subject, object_)

    def _join(self, a: int, b: int) -> None:
        """Objects of a column may cover each other and are moved as one."""
        self.column[self.column == self.column[a]] = self.column[b]

    def part_columns(self) -> None:
        """From left to right, push apart columns that would cover each other.

        What is above another thing is no column of its own; it moves with that thing.
        """
        at, over = self.at, {i: o for i, (o, p) in self.at.over.items() if p == "above"}
        columns = [
            [i for i in np.flatnonzero(self.column == column).tolist() if i not in over]
            for column in dict.fromkeys(self.column.tolist())
        ]
        columns = [column for column in columns if column]
        left = np.stack([(at.x - at.w / 2)[:, c].min(axis=1) for c in columns], axis=1)
        right = np.stack([(at.x + at.w / 2)[:, c].max(axis=1) for c in columns], axis=1)
        shifts = _shifts(left, right)
        for which, column in enumerate(columns):
            at.x[:, column] += shifts[:, which : which + 1]
            for above in [i for i, below in over.items() if below in column]:
                at.x[:, above] += shifts[:, which]


def _shifts(left: Float64Array, right: Float64Array, overlap: float = 0.2) -> Float64Array:
    """How far each span must go right so that none covers more of the one before it than
    `overlap` of its own length; spans (draws, columns)."""
    shifts = np.zeros(left.shape)
    rows, order = np.arange(len(left)), np.argsort(left + right, axis=1)
    edge = np.full(len(left), -np.inf)
    for at in order.T:
        length = (right - left)[rows, at]
        shifts[rows, at] = np.maximum(edge - overlap * length - left[rows, at], 0)
        edge = np.maximum(edge, right[rows, at] + shifts[rows, at])
    return shifts
