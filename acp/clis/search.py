"""Which reference the percentile chooses for each candidate, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from acp.clis.chunks import Chunk, IntArray, chunks
from acp.clis.features import Float64Array
from acp.clis.similarities import Scratch, similarities_of, total_into
from acp.clis.terms import Formula

COUPLES = 4096
"""So many couples are looked at in full at a time."""


@dataclass(frozen=True, slots=True)
class Search:
    """Terms of N candidates and K references, and which of a candidate's totals is wanted.

    `group` (N,): the set of each candidate. Set g has the references `starts[g]` to
    `starts[g + 1]`, `starts` (G + 1,); of its totals in falling order that at `ranks[g]` is wanted.
    """

    candidates: Float64Array
    references: Float64Array
    formula: Formula
    group: IntArray
    starts: IntArray
    ranks: IntArray
    block: int

    def chosen(self, among: IntArray, *, penalty: bool) -> IntArray:
        """The reference (0 to K - 1) chosen for each candidate of `among`; -1 where there is none.

        Of equal totals the first reference counts as the higher. `penalty`: see `total_into`.
        """
        chosen = np.full(len(among), -1, np.int64)
        scratch = Scratch.of(self.block)
        with _small_buffers():
            for chunk in chunks(self.group[among], self.starts, self.ranks, self.block):
                candidates = among[chunk.candidates]
                choose = self._of_one_set if isinstance(chunk.first, int) else self._of_many_sets
                chosen[chunk.candidates] = chunk.first + choose(chunk, candidates, scratch, penalty)
        return chosen

    def similarities(self, candidates: IntArray, references: IntArray) -> Float64Array:
        """Size, distance and direction of couples, (3, M)."""
        found = np.empty((3, len(candidates)))
        for start in range(0, len(candidates), COUPLES):
            some = slice(start, start + COUPLES)
            c, r = self.candidates[:, candidates[some]], self.references[:, references[some]]
            found[:, some] = similarities_of(c, r, self.formula)
        return found

    def _of_one_set(
        self, chunk: Chunk, candidates: IntArray, scratch: Scratch, penalty: bool
    ) -> IntArray:
        rank = self.ranks[self.group[candidates]]
        c, r = self.candidates[:, candidates], self.references[:, chunk.first :][:, : chunk.sizes]
        if rank[0] == 0 and len(candidates) > chunk.sizes:  # numpy is fast along long rows
            total = self._totals(c[:, None, :], r[:, :, None], scratch, penalty)
            return np.asarray(total.argmax(axis=0))
        total = self._totals(c[:, :, None], r[:, None, :], scratch, penalty)
        return _at_rank(total, rank)

    def _of_many_sets(
        self, chunk: Chunk, candidates: IntArray, scratch: Scratch, penalty: bool
    ) -> IntArray:
        """Sets are padded with their last reference."""
        rank, width = self.ranks[self.group[candidates]], int(np.max(chunk.sizes))
        c, places = self.candidates[:, candidates], np.arange(width)
        if rank[0] == 0 and len(candidates) > width:
            at = chunk.first + np.minimum(places[:, None], np.subtract(chunk.sizes, 1))
            total = self._totals(c[:, None, :], self.references[:, at], scratch, penalty)
            return np.asarray(total.argmax(axis=0))
        first, sizes = np.expand_dims(chunk.first, 1), np.expand_dims(chunk.sizes, 1)
        at = first + np.minimum(places, sizes - 1)
        total = self._totals(c[:, :, None], self.references[:, at], scratch, penalty)
        total[places >= sizes] = -np.inf
        return _at_rank(total, rank)

    def _totals(
        self, c: Float64Array, r: Float64Array, scratch: Scratch, penalty: bool
    ) -> Float64Array:
        """Totals of the shape that `c` and `r` broadcast to; in `scratch` where they fit in."""
        shape = np.broadcast_shapes(c.shape[1:], r.shape[1:])
        if np.prod(shape) <= self.block:
            total_into(found := scratch.shaped(*shape), c, r, self.formula, penalty=penalty)
            return found.total
        total = np.empty(shape)  # one candidate with more references than a block has elements
        for at in range(0, shape[1], self.block):
            some = slice(at, at + self.block)
            part = scratch.shaped(1, total[:, some].shape[1])
            total_into(part, c, r[:, :, some], self.formula, penalty=penalty)
            total[:, some] = part.total
        return total


@contextmanager
def _small_buffers() -> Iterator[None]:
    """Keeps numpy from copying the operands of a broadcast into buffers of its own, which it does
    with the usual size and which takes longer than the arithmetic."""
    before = np.setbufsize(32)
    try:
        yield
    finally:
        np.setbufsize(before)


def _at_rank(total: Float64Array, rank: IntArray) -> IntArray:
    """The column of each row of `total` (M, K) that is at its `rank` (M,) in falling order."""
    if not rank.any():
        return np.asarray(total.argmax(axis=1))
    rows, place = np.arange(len(total)), total.shape[1] - 1 - rank
    value = np.partition(total, np.unique(place), axis=1)[rows, place][:, None]
    turn = rank - (total > value).sum(axis=1)
    row, column = np.nonzero(total == value)
    nth = np.arange(len(row)) - np.searchsorted(row, row)
    return np.asarray(column[nth == turn[row]])
