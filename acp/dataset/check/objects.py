"""The objects of a batch: as many values in each list, boxes in their images, masks that decode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from acp.dataset.check.columns import Group
from acp.dataset.check.conventions import reach_px, tolerance_px
from acp.dataset.check.masks import BrokenMaskError, Mask, check_polygons, check_runs
from acp.dataset.check.problems import Problem
from acp.dataset.check.values import Lists, Numbers, boxes_of, lengths_of, numbers, values_of

if TYPE_CHECKING:
    import pyarrow as pa

    from acp.dataset.check.batch import Plan

NEVER_NULL = ("id", "category", "category_id", "segmentation")
Placed = tuple[int, Problem]
"""A problem with the place of its row in the batch."""


@dataclass(frozen=True, slots=True)
class Row:
    """Where a row is, and the size of its image if it is known."""

    where: str
    size_wh: tuple[int, int] | None


def check_objects(
    plan: Plan, batch: pa.RecordBatch, rows: list[Row], checked: Counter[str]
) -> Iterator[Placed]:
    """All checks of objects."""
    group = plan.columns.objects
    if group is None or not len(batch):
        return
    uneven = yield from _check_lengths(batch, group)
    yield from _check_classes(batch, group, rows)
    if plan.strict:
        yield from _check_pictures(plan, batch, group)
        yield from _check_nulls(batch, group, rows)
    boxes = None
    if "bbox" in group.fields:
        boxes = _Boxes(plan, batch, group, rows)
        checked["boxes"] += len(boxes.stored)
        yield from boxes.check()
    if "segmentation" in group.fields:
        yield from _check_masks(plan, batch, rows, boxes, uneven, checked)


def object_at(row: Row, group: Group, place: int, field: str = "") -> str:
    """An object as it is named in a line."""
    label = group.label or field
    return f"{row.where}, {label}[{place}]"


def _check_lengths(batch: pa.RecordBatch, group: Group) -> Any:
    """Lists side by side are of one length; returns whether a row's are not, (rows,)."""
    uneven = np.zeros(len(batch), dtype=bool)
    if len(group.parallel) < 2:
        return uneven
    lengths = np.stack([values_of(batch, group, name).lengths for name in group.parallel])
    uneven = (lengths != lengths[0]).any(axis=0)
    for row in np.flatnonzero(uneven).tolist():
        counts = dict(zip(group.parallel, lengths[:, row].tolist(), strict=True))
        usual = Counter(counts.values()).most_common(1)[0][0]
        odd = ", ".join(f"{name} has {n}" for name, n in counts.items() if n != usual)
        what = f"{group.label or 'the lists'}: {odd}, the others have {usual}"
        yield row, Problem("lengths", "", what, "each list needs a value for each object")
    return uneven


def _check_classes(batch: pa.RecordBatch, group: Group, rows: list[Row]) -> Iterator[Placed]:
    for name, count in group.classes.items():
        found = values_of(batch, group, name)
        codes = numbers(found.values)
        for place in np.flatnonzero((codes >= count) | (codes < -1)).tolist():
            row = int(found.rows[place])
            where = object_at(rows[row], group, place - int(found.starts[row]), name)
            what = f"{name} {codes[place]:g} is none of {count} classes"
            yield row, Problem("class", where, what, "correct it, or the names of the feature")


def _check_pictures(plan: Plan, batch: pa.RecordBatch, group: Group) -> Iterator[Placed]:
    """A row of ours with objects has a picture."""
    image = plan.columns.image
    if image is None:
        return
    nulls = batch.column(image).is_null().to_numpy(zero_copy_only=False)
    for row in np.flatnonzero(nulls & (lengths_of(batch, group) > 0)).tolist():
        yield row, Problem("image", "", f"{image} is null, but it has objects", "remove the row")


def _check_nulls(batch: pa.RecordBatch, group: Group, rows: list[Row]) -> Iterator[Placed]:
    """An object of ours has an id, a category and a mask; of its box that is told elsewhere."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for name in NEVER_NULL:
        if name not in group.parallel:
            continue
        found = values_of(batch, group, name)
        nulls = found.values.is_null()
        if pa.types.is_struct(found.values.type):
            nulls = pc.or_(nulls, pc.struct_field(found.values, "counts").is_null())
        for place in np.flatnonzero(nulls.to_numpy(zero_copy_only=False)).tolist():
            row = int(found.rows[place])
            where = object_at(rows[row], group, place - int(found.starts[row]), name)
            yield row, Problem("null", where, f"{name} is null", "remove the object")


class _Boxes:
    """The boxes of a batch as stored and in pixels of their images."""

    def __init__(self, plan: Plan, batch: pa.RecordBatch, group: Group, rows: list[Row]) -> None:
        self.plan, self.group, self.rows = plan, group, rows
        self.field = group.fields["bbox"]
        self.lists: Lists = values_of(batch, group, self.field)
        self.stored, self.counts = boxes_of(self.lists.values, group.box_sides)
        sizes = np.array([row.size_wh or (np.nan, np.nan) for row in rows], np.float64)
        self.sizes_wh: Numbers = sizes.reshape(-1, 2)[self.lists.rows]
        self.pixels = plan.convention.to_xywh_px(self.stored, self.sizes_wh)
        self.tolerance = tolerance_px(self.sizes_wh, strict=plan.strict)[:, 0]
        self.good = np.ones(len(self.stored), dtype=bool)

    def check(self) -> Iterator[Placed]:
        missing = self.counts == -1
        short = (self.counts != 4) & ~missing
        infinite = ~np.isfinite(self.stored).all(axis=1) & ~short & ~missing
        whole = ~(missing | short | infinite)
        sides = self._sides()
        flat = whole & (sides <= 0).any(axis=1)
        out = whole & ~flat & (reach_px(self.pixels, self.sizes_wh) > self.tolerance)
        self.good = whole & ~flat & ~out
        for place in np.flatnonzero(short | infinite | flat | out).tolist():
            yield int(self.lists.rows[place]), self._problem(place, bool(out[place]))
        if self.plan.strict:
            for place in np.flatnonzero(missing).tolist():
                where = self._where(place)
                problem = Problem("bbox", where, f"{self.field} is null", "remove the object")
                yield int(self.lists.rows[place]), problem

    def _sides(self) -> Numbers:
        """Widths and heights, also where the size of the image is not known."""
        ones = np.ones_like(self.sizes_wh)
        return self.plan.convention.to_xywh_px(self.stored, ones)[:, 2:]

    def _where(self, place: int) -> str:
        row = int(self.lists.rows[place])
        inside = place - int(self.lists.starts[row])
        return object_at(self.rows[row], self.group, inside, self.field)

    def _problem(self, place: int, out: bool) -> Problem:
        box = self.stored[place]
        shown = f"{self.field} [{', '.join(f'{value:.6g}' for value in box)}]"
        where = self._where(place)
        if self.counts[place] != 4:
            what = f"{self.field} has {self.counts[place]} numbers, expected 4"
            return Problem("bbox", where, what, "correct it, or remove the object")
        if not np.isfinite(box).all():
            return Problem("bbox", where, f"{shown} is not finite", "remove the object")
        if not out:
            return Problem("bbox", where, f"{shown} has no area", "remove the object")
        width, height = self.sizes_wh[place]
        what = f"{shown} reaches outside the image of {width:g}x{height:g}"
        return Problem("bbox", where, what, "clip it to the image, or remove the object")


def _check_masks(
    plan: Plan,
    batch: pa.RecordBatch,
    rows: list[Row],
    boxes: _Boxes | None,
    uneven: npt.NDArray[np.bool_],
    checked: Counter[str],
) -> Iterator[Placed]:
    group = plan.columns.objects
    assert group is not None  # noqa: S101 - told by the caller
    field = group.fields["segmentation"]
    found = values_of(batch, group, field)
    areas = _areas(batch, group)
    sizes = None if areas is None else (areas.starts, numbers(areas.values))
    for place, value in enumerate(found.values.to_pylist()):
        row = int(found.rows[place])
        inside = place - int(found.starts[row])
        where = object_at(rows[row], group, inside, field)
        try:
            mask = _check_mask(plan, value, rows[row].size_wh)
        except BrokenMaskError as error:
            yield row, Problem("segmentation", where, str(error), error.mend)
            continue
        if mask is None:
            continue
        checked["masks"] += 1
        if boxes is not None and not uneven[row]:
            at_box = int(boxes.lists.starts[row]) + inside
            if not boxes.good[at_box]:
                continue
            box = boxes.pixels[at_box]
            area = None if sizes is None else float(sizes[1][int(sizes[0][row]) + inside])
            for what in _disagreements(mask, box, area, strict=plan.strict):
                yield row, Problem("segmentation", where, what, "compute both from the mask again")


def _areas(batch: pa.RecordBatch, group: Group) -> Lists | None:
    return values_of(batch, group, group.fields["area"]) if "area" in group.fields else None


def _check_mask(plan: Plan, value: Any, size_wh: tuple[int, int] | None) -> Mask | None:
    if isinstance(value, dict):
        return None if value.get("counts") is None else check_runs(value, size_wh)
    if not isinstance(value, list) or not value:
        return None
    scale = plan.convention.unit == "normalised"
    size = np.array([size_wh or (0, 0)], np.float64)
    tolerance = float(tolerance_px(size, strict=plan.strict)[0, 0])
    return check_polygons(value, size_wh, tolerance, scale)


def _disagreements(mask: Mask, box: Numbers, area: float | None, *, strict: bool) -> Iterator[str]:
    """Ours are those of the mask; people's boxes may be larger or smaller, but not elsewhere."""
    own = np.array(mask.box_xywh_px)
    if strict:
        if np.abs(own - box).max() > 0.5:
            yield f"bbox {_shown(box)} is not that of its mask, {_shown(own)}"
        if area is not None and mask.area is not None and not abs(area - mask.area) <= 0.5:
            yield f"area {area:g} is not that of its mask, {mask.area:g}"
        return
    gap = np.maximum(own[:2] - (box[:2] + box[2:]), box[:2] - (own[:2] + own[2:])).max()
    if gap > 1:
        yield f"bbox {_shown(box)} does not touch its mask in {_shown(own)}"


def _shown(box: Numbers) -> str:
    return f"[{', '.join(f'{value:.6g}' for value in box)}]"
