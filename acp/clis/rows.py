"""From rows of a data set to flat arrays, and on to what CLIS-L scores.

A row is a dict as `acp build` publishes it (`acp.executor.rows`); what scoring needs of it:

    {"width": 640, "height": 480, "caption": "...",
     "objects": {"category": [str], "attributes": [str], "bbox": [[x, y, w, h]]},
     "relations": {"subject": [int], "predicate": [str], "object": [int]},
     "image": ...}

Boxes are in the unit of `width` and `height`: pixels, or shares of the image where both are 1.
`image`, `caption`, `attributes` and `relations` may be missing; `width` and `height` may where the
boxes are normalised or an image tells them.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from acp.clis.layout import LayoutBatch
from acp.clis.row_checks import RowError, normal_row
from acp.core.types import Float64Array, IntArray

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Coded:
    """Strings by number: `names[codes]`."""

    names: tuple[str, ...]
    codes: IntArray

    @classmethod
    def of(cls, strings: Iterable[str]) -> Coded:
        """Numbered in the order of their first appearance.

        >>> Coded.of(["dog", "cat", "dog"]).names
        ('dog', 'cat')
        """
        numbers: dict[str, int] = {}
        codes = _ints([numbers.setdefault(string, len(numbers)) for string in strings])
        return cls(tuple(numbers), codes)


@dataclass(frozen=True, slots=True)
class RowColumns:
    """N rows with B objects and R relations in all.

    `width`, `height` (N,); `box_starts` and `relation_starts` (N + 1,); `category` and `predicate`
    code B and R names; `boxes_xywh` (B, 4) in the unit of width and height; `subject` and `object`
    (R,) count the objects of their own row. `attributes` (B strings), `captions` and `scorers`
    (N strings, "" for none; who gave the row the CLIS-I that it carries) and `images` (N, each as
    it was given, or None) serve CLIS-I.
    """

    width: Float64Array
    height: Float64Array
    box_starts: IntArray
    category: Coded
    boxes_xywh: Float64Array
    relation_starts: IntArray
    subject: IntArray
    predicate: Coded
    object: IntArray
    attributes: Sequence[str]
    captions: Sequence[str]
    scorers: Sequence[str]
    images: Sequence[Any]

    def __len__(self) -> int:
        return len(self.width)

    def boxes_xywhn(self) -> Float64Array:
        """The boxes in shares of their image, (B, 4)."""
        sides = np.stack([self.width, self.height, self.width, self.height], axis=1)
        return np.asarray(self.boxes_xywh / sides.repeat(np.diff(self.box_starts), axis=0))

    def layouts(self) -> LayoutBatch:
        """What `acp.clis.batch.score_batch` takes."""
        relations = np.diff(self.relation_starts)
        first_box = self.box_starts[:-1].repeat(relations)
        return LayoutBatch(
            names=self.category.names,
            predicates=self.predicate.names,
            boxes_xywhn=self.boxes_xywhn(),
            category=self.category.codes,
            box_starts=self.box_starts,
            subject=first_box + self.subject,
            object=first_box + self.object,
            predicate=self.predicate.codes,
            relation_image=np.arange(len(self)).repeat(relations),
        )


def row_list(rows: Any, name: str = "rows") -> list[Row]:
    """Rows of a list, an iterable or a `datasets.Dataset` (whose images are left undecoded).

    Raises:
        RowError: something that holds no rows.
    """
    if isinstance(rows, Mapping | str | bytes) or not isinstance(rows, Iterable):
        raise RowError(f"{name}: expected a list of rows, got {type(rows).__name__}")
    features = getattr(rows, "features", None) or {}
    if "image" in features and hasattr(rows, "cast_column"):
        from datasets import Image

        rows = rows.cast_column("image", Image(decode=False))
    return list(rows)


def columns_of(rows: Sequence[Row], name: str = "rows") -> RowColumns:
    """Flat arrays of rows.

    Args:
        rows: as above; other keys are ignored.
        name: what error messages call the rows.

    Raises:
        RowError: what was expected, what was given and where.

    >>> row = {"width": 1, "height": 1, "objects": {"category": ["dog"], "bbox": [[0, 0, 1, 1]]}}
    >>> columns_of([row]).boxes_xywh.tolist()
    [[0.0, 0.0, 1.0, 1.0]]
    >>> columns_of([{**row, "objects": {"category": ["dog"], "bbox": [[0, 0, 1]]}}])
    Traceback (most recent call last):
    ...
    acp.clis.row_checks.RowError: rows[0].objects.bbox[0]: expected 4 numbers [x, y, w, h], got 3
    """
    found = _columns(rows)
    if found is None:  # something is wrong, or written in another way: row by row, with care
        found = _columns([normal_row(row, f"{name}[{place}]") for place, row in enumerate(rows)])
    if found is None:
        raise AssertionError("rows pass the checks and cannot be read")
    return found


def _columns(rows: Sequence[Row]) -> RowColumns | None:
    """None if anything is not exactly as expected."""
    try:
        return _read(rows)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None


def _read(rows: Sequence[Row]) -> RowColumns:
    width, height = (_floats([row[key] for row in rows]) for key in ("width", "height"))
    _demand((width > 0) & (width < np.inf) & (height > 0) & (height < np.inf))
    objects = [row["objects"] for row in rows]
    relations = [row["relations"] for row in rows]
    categories, boxes = ([each[key] for each in objects] for key in ("category", "bbox"))
    subjects, predicates, others = (
        [each[key] for each in relations] for key in ("subject", "predicate", "object")
    )
    box_starts, flat_boxes = _starts(categories, boxes), list(chain.from_iterable(boxes))
    relation_starts = _starts(predicates, subjects, others)
    _demand(set(map(len, flat_boxes)) <= {4})
    subject, object_ = (_ints(list(chain.from_iterable(each))) for each in (subjects, others))
    count = np.diff(box_starts).repeat(np.diff(relation_starts))
    _demand((subject >= 0) & (subject < count) & (object_ >= 0) & (object_ < count))
    captions = [row.get("caption") or "" for row in rows]
    attributes = [each.get("attributes") for each in objects]
    return RowColumns(
        width=width,
        height=height,
        box_starts=box_starts,
        category=Coded.of(_strings(chain.from_iterable(categories))),
        boxes_xywh=_floats(list(chain.from_iterable(flat_boxes))).reshape(-1, 4),
        relation_starts=relation_starts,
        subject=subject,
        predicate=Coded.of(_strings(chain.from_iterable(predicates))),
        object=object_,
        attributes=_attributes(attributes, categories),
        captions=_strings(captions),
        scorers=[scorer_of(row) for row in rows],
        images=_images(rows),
    )


def _starts(first: Sequence[Sequence[Any]], *others: Sequence[Sequence[Any]]) -> IntArray:
    counts = list(map(len, first))
    _demand(all(list(map(len, other)) == counts for other in others))
    return np.concatenate([[0], np.cumsum(_ints(counts))]).astype(np.int64)


def _attributes(
    attributes: Sequence[Sequence[str | None] | None], categories: Sequence[Sequence[str]]
) -> list[str]:
    if None in attributes:
        attributes = [
            [""] * len(names) if phrases is None else phrases
            for phrases, names in zip(attributes, categories, strict=True)
        ]
    filled: list[Sequence[str | None]] = [each for each in attributes if each is not None]
    _demand(list(map(len, filled)) == list(map(len, categories)))
    return _strings(phrase or "" for phrase in chain.from_iterable(filled))


def scorer_of(row: Row) -> str:
    """Who gave the row the CLIS-I that it carries, "" if it carries none."""
    if row.get("clis_i") is None:
        return ""
    provenance = row.get("provenance")
    named = row.get("scorer") or (provenance or {}).get("scorer")
    return str(named or "an unnamed scorer")


def _images(rows: Sequence[Row]) -> list[Any]:
    from acp.clis.row_images import is_image

    images = [row.get("image") for row in rows]
    _demand(all(is_image(image) for image in images if image is not None))
    return images


def _floats(values: Sequence[Any]) -> Float64Array:
    """`array` refuses text and None, which numpy would turn into numbers."""
    return np.frombuffer(array("d", values), np.float64) if len(values) else np.zeros(0)


def _ints(values: Sequence[Any]) -> IntArray:
    return np.frombuffer(array("q", values), np.int64) if len(values) else np.zeros(0, np.int64)


def _strings(values: Iterable[Any]) -> list[str]:
    strings = list(values)
    _demand(set(map(type, strings)) <= {str})
    return strings


def _demand(holds: bool | npt.NDArray[np.bool_]) -> None:
    if not np.all(holds):
        raise ValueError
