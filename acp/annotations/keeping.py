"""Which geometric rows are kept: few of each triple, by chance that comes from the data alone."""

from __future__ import annotations

from collections import Counter

import numpy as np

from acp.annotations.boxes import BoxTable
from acp.annotations.pairs import PREDICATES, GeometricRows

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
