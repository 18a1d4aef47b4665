"""Rows as an Arrow table and back, column by column: how `evaluate` keeps them between `add_batch`
and `compute`, without its walk through every value of every row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from acp.clis.row_images import stored_image
from acp.clis.rows import Coded, RowColumns, scorer_of
from acp.core.types import IntArray

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features

COLUMNS = ("predictions", "references")


def row_features() -> Features:
    """What the metric keeps of a row, and the name of the priors beside it.

    Numbers are float64, so that no score changes by being kept.
    """
    from datasets import Features, Image, List, Value

    text, number, index = Value("string"), Value("float64"), Value("int64")
    row = {
        "width": number,
        "height": number,
        "caption": text,
        "objects": {
            "category": List(text),
            "attributes": List(text),
            "bbox": List(List(number, length=4)),
        },
        "relations": {"subject": List(index), "predicate": List(text), "object": List(index)},
        "image": Image(decode=False),
        "scorer": text,
    }
    return Features(dict(zip(COLUMNS, (row, text), strict=True)))


def to_table(columns: RowColumns, references: list[str | None], *, images: bool) -> pa.Table:
    """The columns as a table of `row_features()`; the images only where `images` is true."""
    import pyarrow as pa

    boxes, relations = columns.box_starts, columns.relation_starts
    sides = pa.FixedSizeListArray.from_arrays(pa.array(columns.boxes_xywh.reshape(-1)), 4)
    objects = {
        "category": _lists(boxes, _coded(columns.category)),
        "attributes": _lists(boxes, pa.array(columns.attributes, pa.string())),
        "bbox": _lists(boxes, sides),
    }
    related = {
        "subject": _lists(relations, pa.array(columns.subject)),
        "predicate": _lists(relations, _coded(columns.predicate)),
        "object": _lists(relations, pa.array(columns.object)),
    }
    kept = map(stored_image, columns.images) if images else [None] * len(columns)
    storage = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    row = {
        "width": pa.array(columns.width),
        "height": pa.array(columns.height),
        "caption": pa.array(columns.captions, pa.string()),
        "objects": _struct(objects),
        "relations": _struct(related),
        "image": pa.array(kept, storage, size=len(columns)),
        "scorer": pa.array(columns.scorers, pa.string()),
    }
    return pa.table([_struct(row), pa.array(references, pa.string())], COLUMNS)


def stored_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """One row of `acp.clis.row_checks.normal_row` as `row_features()` has it."""
    kept = {key: row[key] for key in ("width", "height", "caption", "objects", "relations")}
    return {**kept, "image": stored_image(row["image"]), "scorer": scorer_of(row)}


def from_arrow(predictions: pa.ChunkedArray) -> RowColumns:
    """The columns of what `to_table` made, of any number of tables one after another."""
    import pyarrow.compute as pc

    def field(*path: str) -> pa.Array:
        return _one(pc.struct_field(predictions, list(path)))

    category, boxes = field("objects", "category"), field("objects", "bbox")
    predicate = field("relations", "predicate")
    sides = boxes.flatten().flatten()
    return RowColumns(
        width=field("width").to_numpy(),
        height=field("height").to_numpy(),
        box_starts=_offsets(category),
        category=_decoded(category.flatten()),
        boxes_xywh=sides.to_numpy().reshape(-1, 4),
        relation_starts=_offsets(predicate),
        subject=field("relations", "subject").flatten().to_numpy(),
        predicate=_decoded(predicate.flatten()),
        object=field("relations", "object").flatten().to_numpy(),
        attributes=field("objects", "attributes").flatten().to_pylist(),
        captions=field("caption").to_pylist(),
        scorers=field("scorer").to_pylist(),
        images=_Values(pc.struct_field(predictions, "image")),
    )


class _Values(Sequence[Any]):
    """An Arrow column as a sequence that makes a Python value when it is asked for one."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, place: Any) -> Any:
        value = self._column[place].as_py()
        return value if value and (value["bytes"] or value["path"]) else None


def _one(column: pa.ChunkedArray) -> pa.Array:
    import pyarrow as pa

    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(whole, pa.ChunkedArray):  # no chunk at all
        whole = pa.array([], column.type)
    return whole


def _lists(starts: IntArray, values: pa.Array) -> pa.Array:
    import pyarrow as pa

    return pa.ListArray.from_arrays(pa.array(starts, pa.int32()), values)


def _struct(fields: Mapping[str, pa.Array]) -> pa.Array:
    import pyarrow as pa

    return pa.StructArray.from_arrays(list(fields.values()), list(fields))


def _coded(strings: Coded) -> pa.Array:
    import pyarrow as pa

    return pa.array(strings.names, pa.string()).take(pa.array(strings.codes))


def _decoded(values: pa.Array) -> Coded:
    encoded = values.dictionary_encode()
    codes = encoded.indices.to_numpy().astype(np.int64)
    return Coded(tuple(encoded.dictionary.to_pylist()), codes)


def _offsets(lists: pa.Array) -> IntArray:
    starts = lists.offsets.to_numpy()
    return np.asarray(starts - starts[0], np.int64)
