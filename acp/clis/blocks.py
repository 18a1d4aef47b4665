"""A block: candidates and their references, laid out so that the formulas run along long rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from acp.clis.chunks import Chunk, IntArray
from acp.clis.predicates import BoolArray
from acp.clis.similarities import FloatBuffer, Scratch
from acp.clis.terms import Formula

Write = Callable[[Scratch, FloatBuffer, FloatBuffer, Formula], BoolArray | None]


@dataclass(frozen=True, slots=True)
class Block:
    """M candidates with up to K references each.

    `c`, `r`: their terms, to broadcast to (M, K), or to (K, M) where `upright`. `first`, `sizes`:
    of the references of each candidate, (M,) or one number. Sets that are shorter than K are
    padded with their last reference.
    """

    c: FloatBuffer
    r: FloatBuffer
    first: IntArray | int
    sizes: IntArray | int
    upright: bool

    @classmethod
    def of(cls, chunk: Chunk, c: FloatBuffer, r: FloatBuffer, *, upright: bool) -> Block:
        """That of a chunk.

        Args:
            chunk: of candidates.
            c: terms of its candidates, (8 or 6, M).
            r: terms of all references.
            upright: whether rows run along the candidates, where these are more.
        """
        width = int(np.max(chunk.sizes))
        upright = upright and c.shape[1] > width
        if isinstance(chunk.sizes, int):
            r = r[:, int(chunk.first) : int(chunk.first) + width]
            r = r[:, :, None] if upright else r[:, None, :]
        else:
            first, last, place = np.asarray(chunk.first), chunk.sizes - 1, np.arange(width)
            if upright:
                at = first + np.minimum(place[:, None], last)
            else:
                at = first[:, None] + np.minimum(place, last[:, None])
            r = r.take(at, axis=1)  # the rows of r[:, at] would not be contiguous
        c = c[:, None, :] if upright else c[:, :, None]
        return cls(c, r, chunk.first, chunk.sizes, upright)

    def totals(
        self, write: Write, scratch: Scratch, formula: Formula, size: int
    ) -> tuple[FloatBuffer, BoolArray | bool]:
        """What `write` writes, in `scratch` where its `size` is enough, and for which candidates it
        is unsure."""
        shape = (
            max(self.c.shape[1], self.r.shape[1]),
            max(self.c.shape[2], self.r.shape[2]),
        )
        if shape[0] * shape[1] <= size:
            found = scratch.shaped(*shape)
            unsure = write(found, self.c, self.r, formula)
            axis = 0 if self.upright else 1
            return found.total, False if unsure is None else np.asarray(unsure.any(axis=axis))
        total, some_unsure = np.empty(shape, scratch.total.dtype), False
        for at in range(0, shape[1], size):  # one candidate has more references than a block
            some = slice(at, at + size)
            part = scratch.shaped(1, total[:, some].shape[1])
            unsure = write(part, self.c, self.r[:, :, some], formula)
            some_unsure |= unsure is not None and bool(unsure.any())
            total[:, some] = part.total
        return total, some_unsure

    def without_padding(self, total: FloatBuffer) -> FloatBuffer:
        """With padding put below all else; not where `upright`."""
        if not isinstance(self.sizes, int):
            total[np.arange(total.shape[1]) >= self.sizes[:, None]] = -np.inf
        return total

    def places(self, mask: BoolArray) -> tuple[IntArray, IntArray]:
        """Which candidate (0 to M - 1) and which reference is at each True but for padding."""
        row, column = np.divmod(np.flatnonzero(mask), mask.shape[1])
        candidate, place = (column, row) if self.upright else (row, column)
        if isinstance(self.sizes, int) or isinstance(self.first, int):
            return candidate, np.asarray(place + self.first, np.int64)
        real = place < self.sizes[candidate]
        return candidate[real], place[real] + self.first[candidate[real]]


def rank_of(total: FloatBuffer, rank: IntArray) -> FloatBuffer:
    """The value of each row of `total` (M, K) at its `rank` (M,) in falling order, (M,)."""
    if not rank.any():
        return np.asarray(total.max(axis=1))
    place = total.shape[1] - 1 - rank
    return np.asarray(np.partition(total, np.unique(place), axis=1)[np.arange(len(rank)), place])


def place_of(total: FloatBuffer, rank: IntArray) -> IntArray:
    """The column of each row of `total` (M, K) at its `rank` (M,) in falling order, of equal ones
    in turn."""
    if not rank.any():
        return np.asarray(total.argmax(axis=1))
    value = rank_of(total, rank)[:, None]
    turn = rank - (total > value).sum(axis=1)
    row, column = np.nonzero(total == value)
    nth = np.arange(len(row)) - np.searchsorted(row, row)
    return np.asarray(column[nth == turn[row]])
