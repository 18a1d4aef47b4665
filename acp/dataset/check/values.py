"""Columns of a batch as flat arrays with the place where each row begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from acp.dataset.check.columns import Group, Path

if TYPE_CHECKING:
    import pyarrow as pa

IntArray = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Lists:
    """The lists of a column: `values` of all rows one after another, those of row r from
    `starts[r]` to `starts[r + 1]`."""

    starts: IntArray
    values: pa.Array

    @property
    def lengths(self) -> IntArray:
        """How many values each row has; a null list has none."""
        return np.diff(self.starts)

    @property
    def rows(self) -> IntArray:
        """The row of each value."""
        return np.repeat(np.arange(len(self.starts) - 1), self.lengths)


def at(batch: pa.RecordBatch, path: Path) -> pa.Array:
    """A column, or a field of a struct."""
    import pyarrow.compute as pc

    column = batch.column(path[0])
    return pc.struct_field(column, list(path[1:])) if len(path) > 1 else column


def lists(column: pa.Array) -> Lists:
    """A column of lists."""
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
    return Lists(starts, pc.list_flatten(column))


def values_of(batch: pa.RecordBatch, group: Group, field: str) -> Lists:
    """A field of all objects of a batch."""
    import pyarrow.compute as pc

    if group.style == "lists":
        return lists(at(batch, (*group.path, field)))
    found = lists(at(batch, group.path))
    return Lists(found.starts, pc.struct_field(found.values, field))


def lengths_of(batch: pa.RecordBatch, group: Group) -> IntArray:
    """How many objects each row has."""
    if group.style == "structs":
        return lists(at(batch, group.path)).lengths
    names = group.parallel or tuple(group.fields.values())
    return lists(at(batch, (*group.path, names[0]))).lengths


def boxes_of(flat: pa.Array, sides: tuple[str, ...]) -> tuple[Numbers, IntArray]:
    """Boxes as stored, (N, 4), and how many numbers each has: 4, or another; -1 for a null."""
    import pyarrow.compute as pc

    if sides:
        columns = [numbers(pc.struct_field(flat, side)) for side in sides]
        boxes = np.stack(columns, axis=1) if len(flat) else np.zeros((0, 4))
        return boxes, np.where(flat.is_null(), -1, 4).astype(np.int64)
    inner = lists(flat)
    found = numbers(inner.values)
    boxes = np.full((len(flat), 4), np.nan)
    whole = inner.lengths == 4
    boxes[whole] = found[inner.starts[:-1][whole, None] + np.arange(4)]
    nulls = flat.is_null().to_numpy(zero_copy_only=False)
    return boxes, np.where(nulls, -1, inner.lengths).astype(np.int64)


def numbers(column: pa.Array) -> Numbers:
    """Numbers as float64; nulls are not a number."""
    import pyarrow as pa

    array = column.cast(pa.float64(), safe=False)
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.float64)


def keys(column: pa.Array) -> tuple[IntArray, IntArray]:
    """Ids as integers, and their places; strings as a hash of them; nulls are left out."""
    import pyarrow as pa

    present = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    kept = column.take(pa.array(present))
    if pa.types.is_integer(column.type):
        found = kept.cast(pa.int64(), safe=False).to_numpy()
    else:
        found = np.array([_hash(value) for value in kept.to_pylist()], dtype=np.int64)
    return np.asarray(found, np.int64), np.asarray(present, np.int64)


def _hash(value: Any) -> int:
    import hashlib

    digest = hashlib.blake2b(str(value).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
