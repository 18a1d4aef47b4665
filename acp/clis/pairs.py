"""CLIS-L of pairs of boxes against ragged sets of references: pure functions on arrays.

No Python loop over pairs or references: candidates are taken in blocks that fit a cache, blocks are
scored by `acp.clis.similarities`, and of each candidate only the reference that the percentile
chose is looked at in full.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from acp.clis.chunks import BLOCK, IntArray
from acp.clis.features import Float64Array, PairFeatures
from acp.clis.search import Search
from acp.clis.similarities import (
    CODE_WEIGHTS,
    PENALTY_BELOW,
    BoolArray,
    Formula,
    Weights,
    pair_similarities,
    reference_terms_of,
    terms_of,
)

if TYPE_CHECKING:
    from acp.reference_sets import ReferenceSets

ONE_IN = 50
"""The percentile: index floor(n_close / 50) of the scores in falling order, the 98th."""

PAPER_WEIGHTS = Weights(0.5, 1.0, 0.8)
"""1 / sigma of the three similarities over the default priors; see `acp.clis.deviations`."""


@dataclass(frozen=True, slots=True)
class PairScores:
    """Scores of N pairs, at most 100, by the penalty also below 0; NaN without references.

    `nearest` is the row of the priors that the percentile chose, -1 for none; size, distance and
    direction are those against it.
    """

    total: Float64Array
    size: Float64Array
    distance: Float64Array
    direction: Float64Array
    nearest: IntArray


def score_pairs(
    candidates: PairFeatures,
    group: npt.NDArray[np.integer],
    references: PairFeatures,
    sets: ReferenceSets,
    may_mirror: BoolArray,
    variant: str = "paper",
    *,
    weights: Weights | None = None,
    over: str = "percentile",
    block: int = BLOCK,
) -> PairScores:
    """Score N candidate pairs, each against its set of references (Eq. 4-8).

    Args:
        candidates: features of shape (N,).
        group: the set of each candidate, 0 to G - 1, shape (N,).
        references: features of shape (K,): those of `sets.rows`, in their order.
        sets: G sets; see `acp.priors.ReferenceSets`.
        may_mirror: of each set, whether its references count mirrored left-right too, (G,);
            `reference` always mirrors.
        variant: "paper" or "reference".
        weights: what the three similarities count; None: what the variant has without priors.
        over: "percentile", or "average" over the references (`nearest` is then -1).
        block: candidates times references that are scored at a time; changes no score.

    Raises:
        ValueError: another variant, or another `over`.
    """
    if variant not in ("paper", "reference"):
        raise ValueError(f'variant {variant!r}: score_pairs knows "paper" and "reference"')
    if over not in ("percentile", "average"):
        raise ValueError(f'over {over!r}: expected "percentile" or "average"')
    default = CODE_WEIGHTS if variant == "reference" else PAPER_WEIGHTS
    work = _Work(
        candidates=candidates,
        group=np.asarray(group, np.int64),
        references=replace(references, area_ratio=references.area_ratio * sets.area_factor),
        sets=sets,
        mirrored=np.asarray(may_mirror, bool) | (variant == "reference"),
        variant=variant,
        shares=(weights or default).shares(),
    )
    return _average(work, block) if over == "average" else _percentile(work, block)


@dataclass(frozen=True, slots=True)
class _Work:
    """The arguments of `score_pairs`, completed."""

    candidates: PairFeatures
    group: IntArray
    references: PairFeatures
    sets: ReferenceSets
    mirrored: BoolArray
    variant: str
    shares: Weights

    def similarities(self, candidates: IntArray, references: IntArray) -> Float64Array:
        """Of couples, (3, M)."""
        return np.stack(
            pair_similarities(
                self.candidates.take(candidates),
                self.references.take(references),
                self.sets.weights[references],
                self.mirrored[self.group[candidates]],
                self.variant,
            )
        )

    def search(self, block: int) -> Search:
        sizes = np.diff(self.sets.starts)
        close = np.concatenate([[0], np.cumsum(self.sets.close)])[self.sets.starts]
        mirrored = self.mirrored[self.group], np.repeat(self.mirrored, sizes)
        c = terms_of(self.candidates, mirrored[0], self.variant)
        r = reference_terms_of(
            self.references, self.sets.weights, mirrored[1], self.shares, self.variant
        )
        formula, ranks = Formula.of(self.variant, self.shares, c, r), np.diff(close) // ONE_IN
        return Search(c, r, formula, self.group, self.sets.starts, ranks, block)


def _percentile(work: _Work, block: int) -> PairScores:
    """Where the best total is wanted, it is sought without the penalty first: if what is best then
    is not penalised, nothing is better with the penalty."""
    search, count = work.search(block), len(work.group)
    best = search.ranks[work.group] == 0
    chosen = np.full(count, -1, np.int64)
    chosen[best] = search.chosen(np.flatnonzero(best), penalty=False)
    parts = np.full((3, count), np.nan)
    parts[:, chosen >= 0] = work.similarities(np.flatnonzero(chosen >= 0), chosen[chosen >= 0])
    again = np.flatnonzero(~best | (parts < PENALTY_BELOW).any(axis=0))
    chosen[again] = search.chosen(again, penalty=True)
    found = again[chosen[again] >= 0]
    parts[:, found] = work.similarities(found, chosen[found])
    nearest = np.where(chosen >= 0, work.sets.rows[chosen] if len(work.sets.rows) else -1, -1)
    return _scores(work, parts, nearest)


def _average(work: _Work, block: int) -> PairScores:
    """Means over the references."""
    sizes = np.diff(work.sets.starts)[work.group]
    parts = np.full((3, len(sizes)), np.nan)
    which = np.flatnonzero(sizes > 0)
    parcels = np.cumsum(sizes[which]) // block
    for some in np.split(which, np.flatnonzero(np.diff(parcels)) + 1) if len(which) else ():
        ends = np.cumsum(sizes[some])
        first = np.repeat(work.sets.starts[work.group[some]] - ends + sizes[some], sizes[some])
        couples = work.similarities(np.repeat(some, sizes[some]), first + np.arange(ends[-1]))
        parts[:, some] = np.add.reduceat(couples, ends - sizes[some], axis=1) / sizes[some]
    return _scores(work, parts, np.full(len(sizes), -1))


def _scores(work: _Work, parts: Float64Array, nearest: IntArray) -> PairScores:
    size, distance, direction = parts * 100
    shares = work.shares
    total = size * shares.size + distance * shares.distance + direction * shares.direction
    return PairScores(total, size, distance, direction, nearest)
