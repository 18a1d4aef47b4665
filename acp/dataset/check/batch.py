"""The checks of rows: a batch in, its problems and ids out. Nothing here knows of files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from acp.dataset.check.columns import Columns
from acp.dataset.check.conventions import COCO, Convention
from acp.dataset.check.images import BrokenImageError, Size, content_of, decode
from acp.dataset.check.objects import Row, check_objects
from acp.dataset.check.problems import Problem
from acp.dataset.check.relations import check_relations
from acp.dataset.check.values import IntArray, Numbers, at, keys, lengths_of, numbers, values_of

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Plan:
    """How the rows of a configuration are checked. `strict`: they are ours, see `Found.ours`."""

    columns: Columns
    root: Path
    convention: Convention = COCO
    strict: bool = False


@dataclass(slots=True)
class Ids:
    """Ids of a batch: `rows` in the file, `places` in the row (objects alone), `values`."""

    rows: IntArray
    places: IntArray
    values: IntArray


@dataclass(slots=True)
class Outcome:
    """What a batch gave, in the order of its rows."""

    problems: list[Problem] = field(default_factory=list)
    checked: Counter[str] = field(default_factory=Counter)
    image_ids: Ids | None = None
    object_ids: Ids | None = None
    object_label: str = ""


def check_batch(plan: Plan, where: str, first: int, batch: pa.RecordBatch) -> Outcome:
    """Check the rows of a batch; `first` is the number of its first row in `where`."""
    outcome = Outcome(checked=Counter(rows=len(batch)))
    found: list[tuple[int, Problem]] = []
    sizes = _check_images(plan, batch, found, outcome.checked)
    rows = [
        Row(f"{where}: row {first + place}", size)
        for place, size in enumerate(_sizes_wh(plan, batch, sizes))
    ]
    _check_sizes(plan, batch, sizes, rows, found)
    if plan.strict:
        found += _nulls(plan, batch, sizes)
    if plan.columns.objects is not None:
        found += check_objects(plan, batch, rows, outcome.checked)
    if plan.columns.relations is not None:
        found += check_relations(plan, batch, rows, outcome.checked)
    located = [
        (place, problem if problem.where else _at(problem, rows[place].where))
        for place, problem in found
    ]
    outcome.problems = [problem for _, problem in sorted(located, key=lambda each: each[0])]
    _take_ids(plan, batch, first, outcome)
    return outcome


def _at(problem: Problem, where: str) -> Problem:
    return Problem(problem.kind, where, problem.what, problem.mend)


def _check_images(
    plan: Plan, batch: pa.RecordBatch, found: list[tuple[int, Problem]], checked: Counter[str]
) -> list[Size | None]:
    """Decode every image; the sizes of those that the objects belong to."""
    sizes: list[Size | None] = [None] * len(batch)
    for name in plan.columns.images:
        for row, value in _stored(batch, name):
            try:
                content = content_of(value, plan.root)
                if content is None:
                    continue
                checked["images"] += 1
                size = decode(content)
            except BrokenImageError as error:
                label = _name_of(value)
                what = f"{name}{label} {error}"
                found.append(
                    (row, Problem("image", "", what, "put in a whole file, or remove the row"))
                )
            else:
                if name == plan.columns.image and sizes[row] is None:
                    sizes[row] = size
    return sizes


def _stored(batch: pa.RecordBatch, name: str) -> Iterator[tuple[int, Any]]:
    """The values of an image column, or of a column of lists of images, one at a time."""
    for row, scalar in enumerate(batch.column(name)):
        value = scalar.as_py()
        for each in value if isinstance(value, list) else [value]:
            yield row, each


def _name_of(value: Any) -> str:
    path = value.get("path") if isinstance(value, dict) else None
    return f" ({Path(path).name})" if path else ""


def _said(plan: Plan, batch: pa.RecordBatch) -> tuple[Numbers, Numbers] | None:
    columns = plan.columns
    if columns.width is None or columns.height is None:
        return None
    return numbers(at(batch, columns.width)), numbers(at(batch, columns.height))


def _sizes_wh(
    plan: Plan, batch: pa.RecordBatch, sizes: list[Size | None]
) -> Iterator[tuple[int, int] | None]:
    """The size of each image: of the image itself, turned if the row says so, else of the row."""
    said = _said(plan, batch)
    for row, size in enumerate(sizes):
        told = (said[0][row], said[1][row]) if said is not None else (np.nan, np.nan)
        if size is not None and not size.is_as(*told):
            turned = size.turned and said is None
            yield (size.height, size.width) if turned else (size.width, size.height)
        elif np.isfinite(told).all():
            yield int(told[0]), int(told[1])
        else:
            yield None


def _check_sizes(
    plan: Plan,
    batch: pa.RecordBatch,
    sizes: list[Size | None],
    rows: list[Row],
    found: list[tuple[int, Problem]],
) -> None:
    said = _said(plan, batch)
    for row, size in enumerate(sizes):
        if said is None or size is None:
            continue
        told = (said[0][row], said[1][row])
        if np.isfinite(told).all() and not size.is_as(*told):
            own = f"{size.width}x{size.height}"
            what = f"width and height say {told[0]:g}x{told[1]:g}, the image is {own}"
            found.append((row, Problem("size", "", what, "correct the columns")))


def _nulls(
    plan: Plan, batch: pa.RecordBatch, sizes: list[Size | None]
) -> Iterator[tuple[int, Problem]]:
    """A row of ours with a picture has its id and its size."""
    columns = plan.columns
    for path in (columns.image_id, columns.width, columns.height):
        nulls = at(batch, path).is_null().to_pylist() if path is not None else []
        for row, (null, size) in enumerate(zip(nulls, sizes, strict=False)):
            if null and size is not None:
                yield row, Problem("null", "", f"{'.'.join(path or ())} is null", "remove the row")


def _take_ids(plan: Plan, batch: pa.RecordBatch, first: int, outcome: Outcome) -> None:
    columns = plan.columns
    if columns.image_id is not None:
        values, rows = keys(at(batch, columns.image_id))
        outcome.image_ids = Ids(first + rows, np.zeros_like(rows), values)
    group = columns.objects
    outcome.object_label = (group.label or group.fields.get("id", "")) if group is not None else ""
    if group is not None and "id" in group.fields:
        ids = values_of(batch, group, group.fields["id"])
        values, places = keys(ids.values)
        rows = ids.rows[places]
        outcome.object_ids = Ids(first + rows, places - ids.starts[rows], values)
    if group is not None:
        outcome.checked["objects"] += int(lengths_of(batch, group).sum())
