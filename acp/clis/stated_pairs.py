"""The real pairs that tell how a relation places things: its density for the variant `acp`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from acp.clis.chunks import IntArray
from acp.clis.features import Float64Array, PairGeometry
from acp.clis.placements import (
    Densities,
    couple_kernels,
    distances,
    mean_densities,
    parcels,
    placements,
    spaced,
)
from acp.clis.predicates import INVERSES, canonical, geometry_of

if TYPE_CHECKING:
    from acp.clis.priors import Priors
    from acp.clis.reference_sets import ReferenceSets

Triple = tuple[str, str, str]

PREDICATE_ROWS = 30.0
"""References of the same or similar categories that count as much as all of the predicate."""

MOST_OF_PREDICATE, MOST_OF_TRIPLE = 512, 256
"""So many pairs, evenly spaced in the file, stand for all of a kind."""

SIZE_WIDTH = 0.5
"""Of the log area ratio, where the nearest pair is sought."""


@dataclass(frozen=True)
class StatedPairs:
    """The real pairs of G relations.

    `by_predicate`: placements (M, 4) of the pairs of each predicate; `predicate` (G,) indexes them.
    The pairs of the same or similar categories, ragged, those of relation g from `starts[g]` to
    `starts[g + 1]`: placements `alike` (K, 4), log area ratios `sizes` (K,), `weights` (K,), `rows`
    (K,) of the priors, -1 for pairs of the inverse relation, turned round. Where no categories are
    alike they are those of the level that answers, with weight 0.
    """

    by_predicate: tuple[Float64Array, ...]
    predicate: IntArray
    alike: Float64Array
    sizes: Float64Array
    weights: Float64Array
    rows: IntArray
    starts: IntArray

    @classmethod
    def of(cls, triples: Sequence[Triple], priors: Priors, sets: ReferenceSets) -> StatedPairs:
        """Of the triples; `sets` are those of the priors."""
        wordings = {p: n for n, p in enumerate(dict.fromkeys(p for _, p, _ in triples))}
        inverses = [(o, INVERSES.get(canonical(p), ""), s) for s, p, o in triples]
        turned = priors.reference_sets(inverses)
        parts = [_alike(sets, turned, g) for g in range(len(triples))]
        none = np.zeros(0, np.int64), np.zeros(0), np.zeros(0)
        rows, signs, weights = (np.concatenate(each) for each in zip(none, *parts, strict=True))
        pairs = priors.geometry.take(rows)
        return cls(
            by_predicate=tuple(_of_predicate(p, priors) for p in wordings),
            predicate=np.array([wordings[p] for _, p, _ in triples], dtype=np.int64),
            alike=signs[:, None] * placements(pairs),
            sizes=signs * log_area_ratio(pairs),
            weights=weights,
            rows=np.where(signs > 0, rows, -1),
            starts=np.cumsum([0, *(len(part[0]) for part in parts)]),
        )

    def densities(self, at: Float64Array, group: IntArray) -> Densities:
        """Under the relation `group` (N,) that each placement `at` (N, 4) is of."""
        found = np.empty((3, len(at)))
        for number, rows in enumerate(self.by_predicate):
            which = np.flatnonzero(self.predicate[group] == number)
            of_all = mean_densities(at[which], rows)
            found[:, which] = of_all.relation, of_all.direction, of_all.place
        alike = np.zeros((3, len(at)))
        for some, couples, starts in self._couples(group):
            counts = np.diff(starts, append=len(couples))
            of_each = np.repeat(np.arange(len(at))[some], counts)
            weights = self.weights[couples]
            kernels = couple_kernels(at[of_each], self.alike[couples])
            parts = (*(weights * each for each in kernels), weights)
            alike[:, some] = [np.add.reduceat(part, starts) for part in parts]
        found[:2] = (PREDICATE_ROWS * found[:2] + alike[:2]) / (PREDICATE_ROWS + alike[2])
        return Densities(*found)

    def nearest(self, at: Float64Array, size: Float64Array, group: IntArray) -> IntArray:
        """The row of the priors placed and sized most alike, (N,), of the pairs that are not
        turned round; `size` (N,) are log area ratios."""
        found = np.empty(len(at), dtype=np.int64)
        for some, couples, starts in self._couples(group):
            counts = np.diff(starts, append=len(couples))
            of_each = np.repeat(np.arange(len(at))[some], counts)
            apart = ((size[of_each] - self.sizes[couples]) / SIZE_WIDTH) ** 2
            apart += sum(distances(at[of_each], self.alike[couples]))
            apart[self.rows[couples] < 0] = np.inf
            least = np.repeat(np.minimum.reduceat(apart, starts), counts)
            first = np.flatnonzero(apart == least)
            found[some] = self.rows[couples[first[np.searchsorted(first, starts)]]]
        return found

    def _couples(self, group: IntArray) -> Iterator[tuple[slice, IntArray, IntArray]]:
        """Parcels of candidates: which; the places of all their pairs, one candidate after the
        other; and where those of each begin."""
        counts = np.diff(self.starts)[group]
        for some in parcels(counts):
            here = counts[some]
            starts = np.cumsum(here) - here
            places = np.arange(here.sum()) + np.repeat(self.starts[group[some]] - starts, here)
            yield some, places, starts


def log_area_ratio(pairs: PairGeometry) -> Float64Array:
    """Of subject to object, (N,)."""
    subject = np.log(pairs.subject_w) + np.log(pairs.subject_h)
    return np.asarray(subject - np.log(pairs.object_w) - np.log(pairs.object_h))


def _alike(
    sets: ReferenceSets, turned: ReferenceSets, g: int
) -> tuple[IntArray, Float64Array, Float64Array]:
    """Rows of the priors, 1 or -1 for those turned round, and weights, of one relation."""
    found = []
    for each, sign in ((sets, 1.0), (turned, -1.0)):
        of_categories = each.level[g] in ("triple", "similar")
        if of_categories or each is sets:
            places = np.arange(each.starts[g], each.starts[g + 1])
            kept = spaced(places, MOST_OF_TRIPLE)
            weight = each.weights[kept] * (len(places) / len(kept)) * of_categories
            found.append((each.rows[kept], np.full(len(kept), sign), weight))
    rows, signs, weights = (np.concatenate(each) for each in zip(*found, strict=True))
    return rows, signs, weights


def _of_predicate(predicate: str, priors: Priors) -> Float64Array:
    """Placements of pairs with a predicate, and of those with its inverse turned round."""
    sets = priors.reference_sets([("", predicate, "")])
    meant = canonical(predicate) if sets.level[0] == "predicate" else geometry_of(predicate)
    found = [placements(priors.geometry.take(sets.rows))]
    if meant in INVERSES:
        turned = priors.reference_sets([("", INVERSES[meant], "")])
        if turned.level[0] == "predicate":
            found.append(-placements(priors.geometry.take(turned.rows)))
    joined = np.concatenate(found)
    return joined[spaced(np.arange(len(joined)), MOST_OF_PREDICATE)]
