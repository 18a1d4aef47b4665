"""Which reference the percentile chooses for each candidate, block by block.

Most totals are far from the one that is wanted. So all are bounded first, in float32, and only the
few that may be it are worked out; where these do not settle it, all of the candidate's are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from acp.clis.blocks import Block, place_of, rank_of
from acp.clis.chunks import Chunk, IntArray, chunks
from acp.clis.features import Float64Array
from acp.clis.similarities import (
    BOUND_ERROR,
    FloatBuffer,
    Scratch,
    bound_into,
    similarities_of,
    total_into,
)
from acp.clis.terms import Formula, coarse, coarse_references

COUPLES = 4096
"""So many couples are looked at in full at a time."""

SPARE = 8
"""Where not the best total is wanted, twice as many as its rank are looked at, and these."""


@dataclass(frozen=True, slots=True)
class Search:
    """Terms of N candidates and K references, and which of a candidate's totals is wanted.

    `group` (N,): the set of each candidate. Set g has the references `starts[g]` to
    `starts[g + 1]`, `starts` (G + 1,); of its totals in falling order that at `ranks[g]` is wanted,
    of equal ones the first.
    """

    candidates: Float64Array
    references: Float64Array
    formula: Formula
    group: IntArray
    starts: IntArray
    ranks: IntArray
    block: int

    def chosen(self) -> tuple[IntArray, Float64Array]:
        """The reference (0 to K - 1) chosen for each candidate, (N,), -1 where there is none, and
        the similarities with it, (3, N), NaN where there is none."""
        chosen, parts = np.full(len(self.group), -1), np.full((3, len(self.group)), np.nan)
        which = np.flatnonzero(np.diff(self.starts)[self.group] > 0)
        with _small_buffers():
            chosen[which], least = self._by_bounds(which)
            found = self.similarities(which, chosen[which])
            parts[:, which] = found
            again = which[self._totals(found) < least - BOUND_ERROR]
            chosen[again] = self._by_totals(again)
            parts[:, again] = self.similarities(again, chosen[again])
        return chosen, parts

    def similarities(self, candidates: IntArray, references: IntArray) -> Float64Array:
        """Size, distance and direction of couples, (3, M)."""
        found = np.empty((3, len(candidates)))
        for start in range(0, len(candidates), COUPLES):
            some = slice(start, start + COUPLES)
            c = self.candidates.take(candidates[some], axis=1)
            r = self.references.take(references[some], axis=1)
            found[:, some] = similarities_of(c, r, self.formula)
        return found

    def _by_bounds(self, among: IntArray) -> tuple[IntArray, Float64Array]:
        """The reference chosen for each candidate, and a bound that its total must reach to be the
        one: those left out are below it. It is infinite where bounds may be wrong."""
        limits = np.empty(len(among))
        c, r = coarse(self.candidates), coarse_references(self.references, self.formula)
        found = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
        scratch = Scratch.of(self.block, np.float32)
        for chunk, ranks in self._chunks(among):
            some = among[chunk.candidates]
            block = Block.of(chunk, c.take(some, axis=1), r, upright=not ranks[0])
            bound, unsure = block.totals(bound_into, scratch, self.formula, self.block)
            limit = self._limit(block, bound, ranks)
            near = np.subtract(limit, 2 * BOUND_ERROR)
            mask = np.greater_equal(bound, near if block.upright else near[:, None])
            candidate, reference = block.places(mask)
            found.append((chunk.candidates[candidate], reference))
            limits[chunk.candidates] = np.where(unsure, np.inf, limit)
        candidate, reference = (np.concatenate(each) for each in zip(*found, strict=True))
        return self._settled(among, candidate, reference), limits

    def _limit(self, block: Block, bound: FloatBuffer, ranks: IntArray) -> FloatBuffer:
        """The bound of the wanted rank, (M,); of about twice the rank where bounds are not so near
        to the totals that the best is the best."""
        if block.upright:
            return np.asarray(bound.max(axis=0))
        ranks = np.minimum(ranks * 2 + SPARE * (ranks > 0), np.subtract(block.sizes, 1))
        return rank_of(block.without_padding(bound), ranks)

    def _settled(self, among: IntArray, candidate: IntArray, reference: IntArray) -> IntArray:
        """The reference at the wanted rank among those given of each candidate."""
        chosen = np.empty(len(among), np.int64)
        several = (np.bincount(candidate, minlength=len(among)) > 1)[candidate]
        chosen[candidate[~several]] = reference[~several]
        candidate, reference = candidate[several], reference[several]
        totals = self._totals(self.similarities(among[candidate], reference))
        order = np.lexsort((reference, -totals, candidate))
        first = np.flatnonzero(np.diff(candidate[order], prepend=-1))
        who = candidate[order][first]
        chosen[who] = reference[order][first + self.ranks[self.group[among[who]]]]
        return chosen

    def _by_totals(self, among: IntArray) -> IntArray:
        """The reference chosen for each candidate, by all of its totals."""
        chosen, scratch = np.empty(len(among), np.int64), Scratch.of(self.block)
        for chunk, ranks in self._chunks(among):
            c = self.candidates.take(among[chunk.candidates], axis=1)
            block = Block.of(chunk, c, self.references, upright=not ranks[0])
            total, _ = block.totals(total_into, scratch, self.formula, self.block)
            if block.upright:
                place = total.argmax(axis=0)
            else:
                place = place_of(block.without_padding(total), ranks)
            chosen[chunk.candidates] = chunk.first + place
        return chosen

    def _totals(self, parts: Float64Array) -> Float64Array:
        size, distance, direction = self.formula.shares
        return np.asarray(parts[0] * size + parts[1] * distance + parts[2] * direction)

    def _chunks(self, among: IntArray) -> Iterator[tuple[Chunk, IntArray]]:
        """Chunks of some candidates, and the rank wanted of each."""
        group = self.group[among]
        for chunk in chunks(group, self.starts, self.ranks, self.block):
            yield chunk, self.ranks[group[chunk.candidates]]


@contextmanager
def _small_buffers() -> Iterator[None]:
    """Keeps numpy from copying the operands of a broadcast into buffers of its own, which it does
    with the usual size and which takes longer than the arithmetic."""
    before = np.setbufsize(32)
    try:
        yield
    finally:
        np.setbufsize(before)
