"""Cuts candidates with sets of references of any size into blocks that fit a cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

BLOCK = 64 * 1024
"""Elements of a block, candidates times references: four arrays of as many float32 numbers, 1 MB,
stay in a cache of the second or third level. Smaller blocks lose more to the calls than they gain
(`benchmarks/clis_l_speed.py --blocks`)."""

OWN_BLOCK = 4 * 1024
"""A set whose candidates make so many elements gets blocks of its own; others share."""

CLASSES = 4
"""Sets that share blocks are padded to the largest; a doubling of sizes is so many classes."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Candidates (M,) and where their references are.

    Of one set: `first` is its first reference, `sizes` their number. Else arrays (M,) of these.
    """

    candidates: IntArray
    first: IntArray | int
    sizes: IntArray | int


def chunks(
    group: IntArray, starts: IntArray, ranks: IntArray, block: int = BLOCK
) -> Iterator[Chunk]:
    """All candidates that have references, each in one chunk.

    Chunks have up to `block` elements with padding, or one candidate. Those with a rank of 0 are
    never with others.

    Args:
        group: the set of each candidate, (N,).
        starts: set g has the references `starts[g]` to `starts[g + 1]`, (G + 1,).
        ranks: which of a set's scores is wanted, (G,).
        block: elements.
    """
    sizes = np.diff(starts)
    elements = np.bincount(group, minlength=len(sizes)) * sizes
    own = elements >= min(OWN_BLOCK, block)
    order = np.argsort(group, kind="stable")
    order = order[sizes[group[order]] > 0]
    apart = own[group[order]]
    yield from _own(order[apart], group, starts, block)
    yield from _shared(order[~apart], group, starts, ranks, block)


def _own(order: IntArray, group: IntArray, starts: IntArray, block: int) -> Iterator[Chunk]:
    """Chunks of one set each; `order` is by set."""
    edges = np.flatnonzero(np.diff(group[order], prepend=-1))
    for candidates in np.split(order, edges[1:]) if len(order) else ():
        first, end = starts[group[candidates[0]]], starts[group[candidates[0]] + 1]
        step = max(1, block // int(end - first))
        for at in range(0, len(candidates), step):
            yield Chunk(candidates[at : at + step], int(first), int(end - first))


def _shared(
    order: IntArray, group: IntArray, starts: IntArray, ranks: IntArray, block: int
) -> Iterator[Chunk]:
    """Chunks of sets of like size."""
    first, sizes = starts[group[order]], np.diff(starts)[group[order]]
    kind = np.ceil(np.log2(sizes) * CLASSES).astype(np.int64) * 2 + (ranks[group[order]] > 0)
    by_kind = np.argsort(kind, kind="stable")
    edges = np.flatnonzero(np.diff(kind[by_kind], prepend=-1))
    for alike in np.split(by_kind, edges[1:]) if len(order) else ():
        step = max(1, block // int(sizes[alike].max()))
        for at in range(0, len(alike), step):
            some = alike[at : at + step]
            yield Chunk(order[some], first[some], sizes[some])
