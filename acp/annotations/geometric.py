"""Geometric relations of annotated boxes: every pair of an image, and which of them are kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from acp.annotations.boxes import Annotations, BoxTable, Float64Array, IntArray, MarkArray
from acp.clis.predicates import holds

PREDICATES = ("left of", "right of", "above", "below", "inside", "overlapping", "near")
"""Every one that holds of a pair is a row; of two boxes with an area at least one does."""

PAIRS_AT_ONCE = 1 << 18
NEAR = 0.25
"""Two boxes are near if the gap between them is at most this share of their diagonals' sum."""

_ODD = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True, slots=True)
class GeometricRows:
    """K geometric relations: boxes (K,) each, `predicate` (K,) into `PREDICATES`, and `chance`
    (K,), a hash of image and boxes that decides which rows are kept."""

    subject: IntArray
    object: IntArray
    predicate: npt.NDArray[np.int8]
    chance: MarkArray

    def __len__(self) -> int:
        return len(self.subject)

    def take(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> GeometricRows:
        """Some of the rows."""
        return GeometricRows(
            self.subject[rows], self.object[rows], self.predicate[rows], self.chance[rows]
        )


def geometric_rows(
    annotations: Annotations, image_marks: MarkArray
) -> Iterator[tuple[GeometricRows, int]]:
    """All geometric relations, a block at a time, each with the number of boxes done.

    Pairs come in both orders. A block has about `PAIRS_AT_ONCE` pairs, or those of one box.
    """
    table = annotations.table
    blocks = _stated_pairs(annotations) if annotations.pairs_stated_only else all_pairs(table.image)
    for subject, object_, done in blocks:
        true = true_predicates(table.boxes_xywhn[subject], table.boxes_xywhn[object_])
        pair, predicate = np.nonzero(true)
        subject, object_ = subject[pair], object_[pair]
        chance = _hash(table, image_marks, subject, object_)
        yield GeometricRows(subject, object_, predicate.astype(np.int8), chance), done


def true_predicates(
    subject_xywhn: Float64Array, object_xywhn: Float64Array
) -> npt.NDArray[np.bool_]:
    """Which of `PREDICATES` hold of each pair of boxes, both (N, 4): shape (N, 7).

    "near" is tested here, the others by `acp.clis.predicates.holds`, as for layouts.

    >>> import itertools
    >>> boxes = np.array([[0.1, 0.5, 0.2, 0.2], [0.6, 0.5, 0.2, 0.2]])
    >>> list(itertools.compress(PREDICATES, true_predicates(boxes[:1], boxes[1:])[0]))
    ['left of']
    """
    found = np.empty((len(subject_xywhn), len(PREDICATES)), dtype=bool)
    for place, name in enumerate(PREDICATES[:-1]):
        found[:, place] = holds(name, subject_xywhn, object_xywhn)  # type: ignore[arg-type]
    found[:, -1] = _near(subject_xywhn, object_xywhn)
    return found


def _near(a: Float64Array, b: Float64Array) -> npt.NDArray[np.bool_]:
    low = np.maximum(a[:, :2], b[:, :2])
    high = np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:])
    gap = np.hypot(*np.maximum(low - high, 0).T)
    return np.asarray(gap <= NEAR * (np.hypot(*a[:, 2:].T) + np.hypot(*b[:, 2:].T)))


def all_pairs(image: IntArray) -> Iterator[tuple[IntArray, IntArray, int]]:
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


def _stated_pairs(annotations: Annotations) -> Iterator[tuple[IntArray, IntArray, int]]:
    stated, total = annotations.stated, np.int64(len(annotations.table))
    pairs = stated.subject * total + stated.object
    both = np.unique(np.concatenate([pairs, stated.object * total + stated.subject]))
    for begin in range(0, len(both), PAIRS_AT_ONCE):
        subject, object_ = np.divmod(both[begin : begin + PAIRS_AT_ONCE], total)
        yield subject.astype(np.int32), object_.astype(np.int32), int(subject[-1]) + 1


def _hash(
    table: BoxTable, image_marks: MarkArray, subject: IntArray, object_: IntArray
) -> MarkArray:
    mixed = _mix(image_marks[table.image[subject]])
    mixed = _mix(mixed ^ table.marks[subject])
    return _mix(mixed ^ table.marks[object_])


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
        self.seen: Counter[str] = Counter()
        self._table, self._most, self._most_rows = table, most, most_rows
        self._kept: list[GeometricRows] = []
        self._waiting = 0
        self._full_keys = np.zeros(0, np.int64)
        self._worst = np.zeros(0, np.uint64)
        self._limit: np.uint64 | None = None

    def add(self, rows: GeometricRows) -> None:
        """Count the rows and keep those that are among the best so far."""
        counts = np.bincount(rows.predicate, minlength=len(PREDICATES))
        self.seen.update(dict(zip(PREDICATES, counts.tolist(), strict=True)))
        rows = rows.take(self._hopeful(rows))
        self._kept.append(rows)
        self._waiting += len(rows)
        if self._waiting > _GATHER:
            self._settle()

    def rows(self) -> GeometricRows:
        """What is kept, by image, subject, object and predicate."""
        rows = self._settle()
        order = np.lexsort(
            (rows.predicate, rows.object, rows.subject, self._table.image[rows.subject])
        )
        return rows.take(order)

    def _keys(self, rows: GeometricRows) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        names = np.int64(max(1, len(self._table.names)))
        subject, object_ = self._table.category[rows.subject], self._table.category[rows.object]
        return np.asarray((subject * names + object_) * len(PREDICATES) + rows.predicate)

    def _hopeful(self, rows: GeometricRows) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Rows that are not surely worse than what is kept already."""
        hopeful = np.ones(len(rows), dtype=bool)
        if self._limit is not None:
            hopeful &= rows.chance <= self._limit
        if len(self._full_keys):
            keys = self._keys(rows)
            at = np.minimum(np.searchsorted(self._full_keys, keys), len(self._full_keys) - 1)
            hopeful &= (self._full_keys[at] != keys) | (rows.chance < self._worst[at])
        return hopeful

    def _settle(self) -> GeometricRows:
        rows = _joined(self._kept)
        keys = self._keys(rows)
        order = np.lexsort((rows.object, rows.subject, rows.chance, keys))
        keys, chance = keys[order], rows.chance[order]
        again = np.zeros(len(order), dtype=bool)  # a pair of a file that was given twice
        again[1:] = (keys[1:] == keys[:-1]) & (chance[1:] == chance[:-1])
        order, keys, chance = order[~again], keys[~again], chance[~again]
        rank = _rank(keys)
        within = rank < self._most
        order, keys, chance, rank = order[within], keys[within], chance[within], rank[within]
        if len(order) > self._most_rows:
            best = np.sort(np.lexsort((chance, rank))[: self._most_rows])
            order, keys, chance, rank = order[best], keys[best], chance[best], rank[best]
            # As long as only first rows of a triple fit, none of more chance ever will.
            self._limit = chance.max() if rank.max() == 0 else None
        full = rank == self._most - 1
        self._full_keys, self._worst = keys[full], chance[full]
        self._kept, self._waiting = [rows.take(order)], 0
        return self._kept[0]


def _rank(
    keys: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The place of each within its run of equal keys."""
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]]) if len(keys) else keys
    lengths = np.diff(np.r_[starts, len(keys)])
    return np.arange(len(keys)) - np.repeat(starts, lengths)


def _joined(blocks: list[GeometricRows]) -> GeometricRows:
    if not blocks:
        none = np.zeros(0, np.int32)
        return GeometricRows(none, none, none.astype(np.int8), none.astype(np.uint64))
    return GeometricRows(
        np.concatenate([block.subject for block in blocks]),
        np.concatenate([block.object for block in blocks]),
        np.concatenate([block.predicate for block in blocks]),
        np.concatenate([block.chance for block in blocks]),
    )
