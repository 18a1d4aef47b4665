"""Relations: their subjects and objects are places in the objects of their row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from acp.dataset.check.objects import Placed, Row, object_at
from acp.dataset.check.problems import Problem
from acp.dataset.check.values import keys, lengths_of, values_of

if TYPE_CHECKING:
    import pyarrow as pa

    from acp.dataset.check.batch import Plan

ENDS = ("subject", "object")


def check_relations(
    plan: Plan, batch: pa.RecordBatch, rows: list[Row], checked: Counter[str]
) -> Iterator[Placed]:
    """Ends that are no place among the objects (nor, in data sets of others, an object's id), and
    lists of different lengths."""
    group, objects = plan.columns.relations, plan.columns.objects
    if group is None or not len(batch):
        return
    lengths = {name: values_of(batch, group, name).lengths for name in group.parallel}
    checked["relations"] += int(values_of(batch, group, "subject").lengths.sum())
    for row in range(len(batch) if lengths else 0):
        counts = {name: int(each[row]) for name, each in lengths.items()}
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{name} has {count}" for name, count in counts.items())
            mend = "each list needs a value for each relation"
            yield row, Problem("lengths", "", f"{group.label}: {told}", mend)
    if objects is None:
        return
    counted = lengths_of(batch, objects)
    known = _ids(plan, batch) if not plan.strict else [frozenset[int]()] * len(batch)
    for end in ENDS:
        found = values_of(batch, group, end)
        values, places = keys(found.values)
        in_rows = found.rows[places]
        wrong = (values < 0) | (values >= counted[in_rows])
        for each in np.flatnonzero(wrong).tolist():
            row, value = int(in_rows[each]), int(values[each])
            if value in known[row]:
                continue
            where = object_at(rows[row], group, int(places[each] - found.starts[row]))
            what = f"{end} {value} is no place among {counted[row]} objects"
            yield row, Problem("relation", where, what, "correct it, or remove the relation")


def _ids(plan: Plan, batch: pa.RecordBatch) -> list[frozenset[int]]:
    group = plan.columns.objects
    if group is None or "id" not in group.fields:
        return [frozenset()] * len(batch)
    found = values_of(batch, group, group.fields["id"])
    values, places = keys(found.values)
    rows = found.rows[places]
    return [frozenset(values[rows == row].tolist()) for row in range(len(batch))]
