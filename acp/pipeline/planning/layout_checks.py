"""What a layout must respect: the frame, real sizes, the ground, the relations, visibility."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from acp.clis.predicates import canonical, holds
from acp.core.boxes import inside
from acp.core.types import BoolArray, Float64Array, FloatArray, Inventory, Relation, SceneGraph
from acp.core.vocabulary import categories

UPPER = frozenset({"air", "wall"})
LOWEST_HORIZON = 0.35
"""How far down, from the top, the ground may end: things on it look larger in proportion to how far
below that they stand. Lower than where `layout_framing` puts it, so that other layouts, seen from
higher up, pass too."""
OVERLAPPING = frozenset({"in front of", "behind", "on", "inside"})
"""Predicates whose objects may cover each other."""
RESTING = frozenset({"on", "inside", "above"})
"""Predicates whose subject need not stand on the ground."""


@dataclass(frozen=True)
class LayoutTask:
    """What has to be laid out: N objects with their relations, on an image of `size_wh` pixels.

    `lengths_cm`, shape (N,), are the real longest sides, 0 where not known; `aspects_wh` are the
    width / height (in pixels) that each object can have, `max_sides_px` the longest side it can be
    drawn with; `grounded` says whether what stands must have its bottom edge in the lower half of
    the image.
    """

    names: tuple[str, ...]
    relations: tuple[Relation, ...]
    habitats: tuple[str, ...]
    aspects_wh: tuple[tuple[float, ...], ...]
    max_sides_px: tuple[float, ...]
    size_wh: tuple[int, int]
    grounded: bool

    @cached_property
    def lengths_cm(self) -> Float64Array:
        known = categories()
        return np.array([known[n].longest_cm if n in known else 0.0 for n in self.names])

    @cached_property
    def typical_aspects_wh(self) -> tuple[float, ...]:
        """One width / height for each object."""
        return tuple(float(np.median(own)) for own in self.aspects_wh)

    @cached_property
    def upper(self) -> BoolArray:
        """Which objects are seen above the ground, shape (N,)."""
        return np.array([habitat in UPPER for habitat in self.habitats], dtype=bool)


def layout_task(
    graph: SceneGraph,
    inventory: Inventory | None,
    typical_aspects_wh: Mapping[str, float],
    size_wh: tuple[int, int],
) -> LayoutTask:
    """Look up habitats and shapes of a graph's objects; `typical_aspects_wh` is by category."""
    known = categories()
    habitats, aspects, max_sides = [], [], []
    for item in graph.objects:
        fallback = known[item.category].habitat if item.category in known else "ground"
        habitats.append(inventory.habitats.get(item.category, fallback) if inventory else fallback)
        looks = inventory.looks.get(item.category, ()) if inventory else ()
        fitting = [look for look in looks if look.attributes == item.attributes] or looks
        own = tuple(look.aspect_wh for look in fitting)
        aspects.append(own or (typical_aspects_wh.get(item.category, 1.0),))
        max_sides.append(min((look.max_side_px for look in fitting), default=np.inf))
    return LayoutTask(
        names=tuple(item.category for item in graph.objects),
        relations=graph.relations,
        habitats=tuple(habitats),
        aspects_wh=tuple(aspects),
        max_sides_px=tuple(max_sides),
        size_wh=size_wh,
        grounded=inventory is not None,
    )


def drawable(task: LayoutTask, boxes_xywhn: FloatArray) -> FloatArray:
    """P layouts, (P, N, 4), each shrunk as a whole until no object is larger than it can be drawn.

    Sizes and places keep their proportions, and so CLIS-L its value. What stands stays on the
    ground: layouts shrink towards their lowest edge, those without ground towards their centre.
    """
    longest_px = (boxes_xywhn[..., 2:] * np.array(task.size_wh)).max(axis=-1)
    room = np.array(task.max_sides_px) / np.maximum(longest_px, 1e-6)
    scale = np.minimum(room.min(axis=1), 1.0)[:, None, None]
    low = boxes_xywhn[..., :2].min(axis=1, keepdims=True)
    high = (boxes_xywhn[..., :2] + boxes_xywhn[..., 2:]).max(axis=1, keepdims=True)
    centre = (low + high) / 2
    anchor = centre if task.upper.all() else np.concatenate([centre[..., :1], high[..., 1:]], -1)
    corners = anchor + scale * (boxes_xywhn[..., :2] - anchor)
    return np.asarray(np.concatenate([corners, scale * boxes_xywhn[..., 2:]], -1), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a layout stops being acceptable; see `acp.pipeline.lay_out.LayOutSettings`."""

    min_side_px: float
    max_size_error: float
    min_visible: float


def defects(task: LayoutTask, boxes_xywhn: FloatArray, limits: Limits) -> list[str]:
    """What is wrong with each of P layouts, (P, N, 4): the first defect found, or ""."""
    found = [""] * len(boxes_xywhn)
    for reason, wrong in _checks(task, np.asarray(boxes_xywhn, dtype=np.float32), limits):
        for index in np.flatnonzero(wrong):
            found[index] = found[index] or reason
    return found


def _checks(task: LayoutTask, boxes: FloatArray, limits: Limits) -> Sequence[tuple[str, BoolArray]]:
    count = len(task.names)
    within = inside(boxes.reshape(-1, 4)).reshape(-1, count)
    sides = boxes[..., 2:] * np.array(task.size_wh)
    outside: BoolArray = np.asarray(~within.all(axis=1), dtype=np.bool_)
    checks = [("a box is outside the image", outside)]
    for index, name in enumerate(task.names):
        small = sides[:, index].min(axis=1) < limits.min_side_px
        checks.append((f"the {_noun(name)} is smaller than {limits.min_side_px:g} pixels", small))
    checks += _size_checks(task, boxes, sides.max(axis=2), limits.max_size_error)
    checks += [
        (
            f"the {_noun(task.names[r.subject])} is not {r.predicate} "
            f"the {_noun(task.names[r.object])}",
            ~holds(r.predicate, boxes[:, r.subject], boxes[:, r.object]),
        )
        for r in task.relations
    ]
    checks += _ground_checks(task, boxes)
    hidden = 1 - visible_shares(boxes) > 1 - limits.min_visible
    within_other = {r.subject for r in task.relations if canonical(r.predicate) == "inside"}
    for index, name in enumerate(task.names):
        if index not in within_other:
            checks.append((f"too little of the {_noun(name)} is visible", hidden[:, index]))
    return checks


def _size_checks(
    task: LayoutTask, boxes: FloatArray, longest_px: FloatArray, max_error: float
) -> list[tuple[str, BoolArray]]:
    """What is really the larger may look smaller only as far as it is farther away."""
    below = np.maximum(boxes[..., 1] + boxes[..., 3] - LOWEST_HORIZON, 0.05)
    checks = []
    for large in range(len(task.names)):
        for small in range(len(task.names)):
            if not task.lengths_cm[large] > task.lengths_cm[small] > 0:
                continue
            limit = max_error * np.maximum(below[:, small] / below[:, large], 1)
            reversed_ = longest_px[:, small] > limit * longest_px[:, large]
            reason = f"the {_noun(task.names[small])} looks larger than the "
            wrong = np.asarray(reversed_ & ~task.upper[large], dtype=np.bool_)
            checks.append((reason + _noun(task.names[large]), wrong))
    return checks


def _ground_checks(task: LayoutTask, boxes: FloatArray) -> list[tuple[str, BoolArray]]:
    resting = {r.subject for r in task.relations if canonical(r.predicate) in RESTING}
    resting |= {r.object for r in task.relations if canonical(r.predicate) == "below"}
    if not task.grounded:
        return []
    return [
        (f"the {_noun(name)} floats", boxes[:, index, 1] + boxes[:, index, 3] < 0.5)
        for index, name in enumerate(task.names)
        if not task.upper[index] and index not in resting
    ]


def visible_shares(boxes_xywhn: FloatArray) -> FloatArray:
    """The least share of each box that those nearer leave visible, (P, N), 0-1.

    Nearer is what has the lower bottom edge; shares covered by two boxes count twice.
    """
    low, size = boxes_xywhn[..., :2], boxes_xywhn[..., 2:]
    high = low + size
    corner = np.minimum(high[:, :, None], high[:, None]) - np.maximum(low[:, :, None], low[:, None])
    covered = np.clip(corner, 0, None).prod(axis=-1)
    nearer = high[:, None, :, 1] > high[:, :, None, 1]
    area = np.maximum(size.prod(axis=-1), 1e-9)
    shares = 1 - (covered * nearer).sum(axis=2) / area
    return np.asarray(np.clip(shares, 0, 1), dtype=np.float32)


def _noun(name: str) -> str:
    known = categories()
    return known[name].noun if name in known else name
