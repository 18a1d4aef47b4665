"""Geometric relations of annotated boxes: every pair of an image, and which of them are kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from acp.annotations.reading import Annotations, BoxTable, Int32Array, MarkArray, Relations, mark_of
from acp.clis.predicates import holds
from acp.core.boxes import sides_shared
from acp.core.types import BoolArray, IntArray

PREDICATES = ("left of", "right of", "above", "below", "inside", "overlapping", "near")
"""Every one that holds of a pair is a row; of two boxes with an area at least one does."""

PAIRS_AT_ONCE = 1 << 18
NEAR = 0.25
"""Two boxes are near if the gap between them is at most this share of their diagonals' sum."""

_ODD = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


ROW = np.dtype(
    [("subject", np.int32), ("object", np.int32), ("predicate", np.int8), ("chance", np.uint64)]
)
"""A geometric relation: boxes, an index into `PREDICATES`, and a hash of image and boxes that
decides which rows are kept."""
Rows = npt.NDArray[np.void]


def geometric_rows(annotations: Annotations) -> Iterator[tuple[Rows, int]]:
    """All geometric relations, a block at a time, each with the number of boxes done.

    Pairs come in both orders. A block has about `PAIRS_AT_ONCE` pairs, or those of one box.
    """
    table = annotations.table
    image_marks = np.array([mark_of(each) for each in table.image_ids], dtype=np.uint64)
    blocks = _stated_pairs(annotations) if annotations.pairs_stated_only else all_pairs(table.image)
    for subject, object_, done in blocks:
        true = true_predicates(table.boxes_xywhn[subject], table.boxes_xywhn[object_])
        pair, predicate = np.nonzero(true)
        rows = np.empty(len(pair), ROW)
        rows["subject"], rows["object"], rows["predicate"] = subject[pair], object_[pair], predicate
        mixed = _mix(image_marks[table.image[rows["subject"]]])
        mixed = _mix(mixed ^ table.marks[rows["subject"]])
        rows["chance"] = _mix(mixed ^ table.marks[rows["object"]])
        yield rows, done


def true_predicates(subject_xywhn: npt.NDArray[Any], object_xywhn: npt.NDArray[Any]) -> BoolArray:
    """Which of `PREDICATES` hold of each pair of boxes, both (N, 4): shape (N, 7).

    "near" is tested here, the others by `acp.clis.predicates.holds`, as for layouts.

    >>> import itertools
    >>> boxes = np.array([[0.1, 0.5, 0.2, 0.2], [0.6, 0.5, 0.2, 0.2]])
    >>> list(itertools.compress(PREDICATES, true_predicates(boxes[:1], boxes[1:])[0]))
    ['left of']
    """
    a, b = subject_xywhn, object_xywhn
    found = [holds(name, a, b) for name in PREDICATES[:-1]]
    diagonals = np.hypot(*a[:, 2:].T) + np.hypot(*b[:, 2:].T)
    gap = np.hypot(*np.minimum(sides_shared(a, b), 0).T)
    return np.stack([*found, gap <= NEAR * diagonals], axis=1)


def all_pairs(image: Int32Array) -> Iterator[tuple[Int32Array, Int32Array, int]]:
    """Every ordered pair of different boxes of an image, by image, subject and object.

    Args:
        image: of each box, (B,).

    >>> [(s.tolist(), o.tolist()) for s, o, _ in all_pairs(np.array([5, 7, 5, 5]))]
    [([0, 0, 2, 2, 3, 3], [2, 3, 0, 3, 0, 2])]
    """
    order = np.argsort(image, kind="stable").astype(np.int32)
    _, first, inverse, counts = np.unique(
        image[order], return_index=True, return_inverse=True, return_counts=True
    )
    partners, starts = counts[inverse] - 1, first[inverse]
    ends = np.cumsum(partners)
    begin = 0
    while begin < len(order):
        before = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, before + PAIRS_AT_ONCE, side="right")))
        count = partners[begin:end]
        place = np.repeat(np.arange(begin, end), count)
        partner = np.arange(len(place)) - np.repeat(np.cumsum(count) - count, count)
        other = starts[place] + partner
        other += other >= place  # a box is no partner of its own
        if len(place):
            yield order[place], order[other], end
        begin = end


def _stated_pairs(annotations: Annotations) -> Iterator[tuple[Int32Array, Int32Array, int]]:
    stated, total = annotations.stated, np.int64(len(annotations.table))
    pairs = stated.subject * total + stated.object
    both = np.unique(np.concatenate([pairs, stated.object * total + stated.subject]))
    for begin in range(0, len(both), PAIRS_AT_ONCE):
        subject, object_ = np.divmod(both[begin : begin + PAIRS_AT_ONCE], total)
        yield subject.astype(np.int32), object_.astype(np.int32), int(subject[-1]) + 1


def _mix(values: MarkArray) -> MarkArray:
    """splitmix64: every bit of the input moves every bit of the output."""
    with np.errstate(over="ignore"):
        values = values + _ODD[0]
        values = (values ^ (values >> np.uint64(30))) * _ODD[1]
        values = (values ^ (values >> np.uint64(27))) * _ODD[2]
    return np.asarray(values ^ (values >> np.uint64(31)))


MOST_ROWS = 3_000_000
"""Geometric rows of a priors file, whatever the number of triples."""

_GATHER = 1 << 20


class Keeper:
    """Keeps at most `most` rows of each (subject, predicate, object), and `most_rows` in all.

    Rows of a triple are ranked by their chance; those of least (rank, chance) are kept. That
    depends neither on the order of the rows nor on the blocks they come in, and memory is bounded
    by what is kept.
    """

    def __init__(self, table: BoxTable, most: int, most_rows: int = MOST_ROWS) -> None:
        self.seen = Counter(dict.fromkeys(PREDICATES, 0))
        self._table, self._most, self._most_rows = table, most, most_rows
        self._kept = [np.zeros(0, ROW)]
        self._full_keys = np.zeros(0, np.int64)
        self._worst = np.zeros(0, np.uint64)
        self._limit: np.uint64 | None = None

    def add(self, rows: Rows) -> None:
        """Count the rows and keep those that are among the best so far."""
        counts = np.bincount(rows["predicate"], minlength=len(PREDICATES))
        self.seen.update(dict(zip(PREDICATES, counts.tolist(), strict=True)))
        self._kept.append(rows[self._hopeful(rows)])
        if sum(map(len, self._kept[1:])) > _GATHER:
            self._settle()

    def relations(self) -> Relations:
        """What is kept, by image, subject, object and predicate."""
        rows = self._settle()
        subject, object_, predicate = (rows[name] for name in ("subject", "object", "predicate"))
        order = np.lexsort((predicate, object_, subject, self._table.image[subject]))
        columns = np.stack([subject, object_, predicate], axis=1)
        return Relations.of(columns[order], PREDICATES)

    def _keys(self, rows: Rows) -> IntArray:
        names = np.int64(max(1, len(self._table.names)))
        category = self._table.category
        pairs = category[rows["subject"]] * names + category[rows["object"]]
        return np.asarray(pairs * len(PREDICATES) + rows["predicate"])

    def _hopeful(self, rows: Rows) -> BoolArray:
        """Rows that are not surely worse than what is kept already."""
        hopeful = np.ones(len(rows), dtype=bool)
        if self._limit is not None:
            hopeful &= rows["chance"] <= self._limit
        if len(self._full_keys):
            keys = self._keys(rows)
            at = np.minimum(np.searchsorted(self._full_keys, keys), len(self._full_keys) - 1)
            hopeful &= (self._full_keys[at] != keys) | (rows["chance"] < self._worst[at])
        return hopeful

    def _settle(self) -> Rows:
        rows = np.concatenate(self._kept)
        keys = self._keys(rows)
        order = np.lexsort((rows["object"], rows["subject"], rows["chance"], keys))
        rows, keys = rows[order], keys[order]
        again = np.zeros(len(rows), dtype=bool)  # a pair of a file that was given twice
        again[1:] = (keys[1:] == keys[:-1]) & (rows["chance"][1:] == rows["chance"][:-1])
        rows, keys = rows[~again], keys[~again]
        rank = np.arange(len(keys)) - np.searchsorted(keys, keys)  # among those of its triple
        within = rank < self._most
        rows, keys, rank = rows[within], keys[within], rank[within]
        if len(rows) > self._most_rows:
            best = np.sort(np.lexsort((rows["chance"], rank))[: self._most_rows])
            rows, keys, rank = rows[best], keys[best], rank[best]
            # As long as only first rows of a triple fit, none of more chance ever will.
            self._limit = rows["chance"].max() if rank.max() == 0 else None
        full = rank == self._most - 1
        self._full_keys, self._worst = keys[full], rows["chance"][full]
        self._kept = [rows]
        return rows
