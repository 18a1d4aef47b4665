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
from acp.clis.predicates import BoolArray
from acp.clis.search import Search
from acp.clis.terms import CODE_WEIGHTS, Formula, Weights, reference_terms_of, terms_of

if TYPE_CHECKING:
    from acp.clis.reference_sets import ReferenceSets

ONE_IN = 50
"""The percentile: index floor(n_close / 50) of the scores in falling order, the 98th."""

PAPER_WEIGHTS = Weights(3.06, 3.85, 5.27)
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
        sets: G sets; see `acp.clis.priors.ReferenceSets`.
        may_mirror: of each set, whether its references count mirrored left-right too, (G,);
            `reference` always mirrors.
        variant: "paper" or "reference".
        weights: what the three similarities count, each above 0; None: what the variant has
            without priors.
        over: "percentile", or "average" over the references (`nearest` is then -1).
        block: candidates times references that are scored at a time; changes no score.

    Raises:
        ValueError: another variant, another `over`, or a weight that is not above 0.
    """
    if variant not in ("paper", "reference"):
        raise ValueError(f'variant {variant!r}: score_pairs knows "paper" and "reference"')
    if over not in ("percentile", "average"):
        raise ValueError(f'over {over!r}: expected "percentile" or "average"')
    if weights is None:
        weights = CODE_WEIGHTS if variant == "reference" else PAPER_WEIGHTS
    if not min(weights) > 0:
        raise ValueError(f"weights {tuple(weights)}: expected numbers above 0")
    shares = weights.shares()
    of_candidate = np.asarray(group, np.int64)
    references = replace(references, area_ratio=references.area_ratio * sets.area_factor)
    mirrored = np.asarray(may_mirror, bool) | (variant == "reference")
    c = terms_of(candidates, mirrored[of_candidate], variant)
    of_each = np.repeat(mirrored, np.diff(sets.starts))
    r = reference_terms_of(references, sets.weights, of_each, shares, variant)
    close = np.concatenate([[0], np.cumsum(sets.close)])[sets.starts]
    search = Search(
        candidates=c,
        references=r,
        formula=Formula.of(variant, shares, c, r),
        group=of_candidate,
        starts=sets.starts,
        ranks=np.diff(close) // ONE_IN,
        block=block,
    )
    if over == "average":
        return _scores(_average(search), shares, np.full(len(group), -1))
    chosen, parts = search.chosen()
    nearest = np.full(len(chosen), -1)
    nearest[chosen >= 0] = sets.rows[chosen[chosen >= 0]]
    return _scores(parts, shares, nearest)


def _average(search: Search) -> Float64Array:
    """Means of the similarities over the references, (3, N)."""
    sizes = np.diff(search.starts)[search.group]
    parts = np.full((3, len(sizes)), np.nan)
    which = np.flatnonzero(sizes > 0)
    parcels = np.flatnonzero(np.diff(np.cumsum(sizes[which]) // search.block))
    for some in np.split(which, parcels + 1) if len(which) else ():
        starts = np.cumsum(sizes[some]) - sizes[some]
        offset = np.repeat(search.starts[search.group[some]] - starts, sizes[some])
        couples = np.repeat(some, sizes[some]), offset + np.arange(len(offset))
        sums = np.add.reduceat(search.similarities(*couples), starts, axis=1)
        parts[:, some] = sums / sizes[some]
    return parts


def _scores(parts: Float64Array, shares: Weights, nearest: IntArray) -> PairScores:
    size, distance, direction = parts * 100
    total = size * shares.size + distance * shares.distance + direction * shares.direction
    return PairScores(total, size, distance, direction, nearest)
