"""What a layout must respect: the frame, real sizes, the ground, the relations, visibility."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt

from acp.clis.predicates import canonical, holds
from acp.core.boxes import inside, sides_shared, xywh_to_xyxy
from acp.core.types import BoolArray, Float64Array, FloatArray, Inventory, Relation, SceneGraph
from acp.core.vocabulary import categories
from acp.pipeline.planning.scene_relations import UPPER

LOWEST_HORIZON = 0.35
"""How far down, from the top, the ground may end: things on it look larger in proportion to how far
below that they stand. Lower than where `layout_framing` puts it, so that other layouts, seen from
higher up, pass too."""
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
    corners = xywh_to_xyxy(boxes_xywhn)
    low, high = corners[..., :2].min(1, keepdims=True), corners[..., 2:].max(1, keepdims=True)
    centre = (low + high) / 2
    anchor = centre if task.upper.all() else np.concatenate([centre[..., :1], high[..., 1:]], -1)
    starts = anchor + scale * (boxes_xywhn[..., :2] - anchor)
    return np.asarray(np.concatenate([starts, scale * boxes_xywhn[..., 2:]], -1), dtype=np.float32)


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


def _checks(
    task: LayoutTask, boxes: FloatArray, limits: Limits
) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Each defect in words, and which of the layouts have it."""
    nouns = [f"the {_noun(name)}" for name in task.names]
    within = inside(boxes.reshape(-1, 4)).reshape(-1, len(nouns))
    yield "a box is outside the image", np.asarray(~within.all(axis=1))
    sides = boxes[..., 2:] * np.array(task.size_wh)
    for index, noun in enumerate(nouns):
        small = sides[:, index].min(axis=1) < limits.min_side_px
        yield f"{noun} is smaller than {limits.min_side_px:g} pixels", small
    bottoms = boxes[..., 1] + boxes[..., 3]
    # What is really the larger may look smaller only as far as it is farther away.
    longest_px, below = sides.max(axis=2), np.maximum(bottoms - LOWEST_HORIZON, 0.05)
    for large, small in permutations(range(len(nouns)), 2):
        if not task.upper[large] and task.lengths_cm[large] > task.lengths_cm[small] > 0:
            limit = limits.max_size_error * np.maximum(below[:, small] / below[:, large], 1)
            wrong = longest_px[:, small] > limit * longest_px[:, large]
            yield f"{nouns[small]} looks larger than {nouns[large]}", wrong
    for r in task.relations:
        kept = holds(r.predicate, boxes[:, r.subject], boxes[:, r.object])
        yield f"{nouns[r.subject]} is not {r.predicate} {nouns[r.object]}", ~kept
    pairs = [(relation, canonical(relation.predicate)) for relation in task.relations]
    resting = {r.subject for r, predicate in pairs if predicate in RESTING}
    resting |= {r.object for r, predicate in pairs if predicate == "below"}
    for index, noun in enumerate(nouns):
        if task.grounded and not task.upper[index] and index not in resting:
            yield f"{noun} floats", bottoms[:, index] < 0.5
    hidden = 1 - visible_shares(boxes) > 1 - limits.min_visible
    within_other = {r.subject for r, predicate in pairs if predicate == "inside"}
    for index, noun in enumerate(nouns):
        if index not in within_other:
            yield f"too little of {noun} is visible", hidden[:, index]


def visible_shares(boxes_xywhn: FloatArray) -> FloatArray:
    """The least share of each box that those nearer leave visible, (P, N), 0-1.

    Nearer is what has the lower bottom edge; shares covered by two boxes count twice.
    """
    corners = xywh_to_xyxy(boxes_xywhn)
    covered = np.clip(sides_shared(boxes_xywhn[:, :, None], boxes_xywhn[:, None]), 0, None).prod(
        axis=-1
    )
    nearer = corners[:, None, :, 3] > corners[:, :, None, 3]
    area = np.maximum(boxes_xywhn[..., 2:].prod(axis=-1), 1e-9)
    shares = 1 - (covered * nearer).sum(axis=2) / area
    return np.asarray(np.clip(shares, 0, 1), dtype=np.float32)


def _noun(name: str) -> str:
    known = categories()
    return known[name].noun if name in known else name
