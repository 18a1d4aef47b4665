"""The variant `acp` of CLIS-L: how much likelier a pair of boxes is under the relation stated of
these two things than as any pair of things.

    log ratio = direction + distance + size, each part a log ratio of two densities
    score = 100 / (1 + exp(-log ratio))

- direction: where the object lies, seen from the subject, under this relation against any.
- distance: how far apart they are and how they overlap, given the direction, under this relation
  against any; and, for less, in any real relation against chance.
- size: the area ratio and the shapes of these two categories against any two (`category_sizes`).

The relation's density is made of kernels on the real pairs with the predicate, and more and more of
those with the same or similar categories, the more there are; a relation with an inverse ("left
of", "right of") has the pairs of that, turned round, too. So every pair has a score, 50 stands for
"as likely under this relation as by any", and few references decide little. What differs from the
published metric and what that gains: docs/clis.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from acp.clis.category_sizes import CategorySizes
from acp.clis.features import Float64Array, PairGeometry
from acp.clis.pairs import PairScores
from acp.clis.placements import (
    DIRECTION_WIDTH,
    OFFSET_WIDTH,
    PLACE_WIDTH,
    direction_kernel,
    place_kernel,
    placements,
    relation_kernel,
    squares,
)
from acp.clis.predicates import INVERSES, canonical, geometry_of

if TYPE_CHECKING:
    from acp.priors import Priors
    from acp.reference_sets import ReferenceSets

IntArray = npt.NDArray[np.int64]
Triple = tuple[str, str, str]

PREDICATE_ROWS = 30.0
"""References of the same or similar categories that count as much as all of the predicate."""

CHANCE_SHARE, CHANCE_SPREAD = 0.3, 1.5
"""Of "any": what falls anywhere, so many times as widely as real pairs do; the rest is real."""

LEAST_SHARE = 0.01
"""Of "any" in every density: no layout is less likely than that under a relation."""

REAL_WEIGHT, SIZE_WEIGHT = 0.4, 0.5
"""What real against chance and what the sizes count, beside the relation's 1."""

SIZE_BEND = 3.0
"""From about this log ratio on, ever stranger sizes count ever less."""

MOST_ANY, MOST_OF_PREDICATE, MOST_OF_TRIPLE = 512, 512, 256
"""So many pairs, evenly spaced in the file, stand for all of a kind."""

BLOCK = 1 << 15
"""Candidates times references that are worked out at a time; changes no score."""


@dataclass(frozen=True)
class _Densities:
    """Of candidates, (N,): of direction and offset, of direction alone, of offset alone."""

    relation: Float64Array
    direction: Float64Array
    place: Float64Array


def density_scores(
    candidates: PairGeometry,
    group: npt.NDArray[np.integer],
    triples: Sequence[Triple],
    priors: Priors,
    sets: ReferenceSets | None = None,
) -> PairScores:
    """Score N pairs of boxes, 0 to 100; 50: as likely under the relation as any pair is.

    The same for boxes shifted or scaled; a pair's score does not depend on the others. `nearest` is
    the row of the priors that is placed most alike, of the level that answers.

    Args:
        candidates: geometry of shape (N,), finite, with sides > 0.
        group: which of the triples each is of, 0 to G - 1, shape (N,).
        triples: G times subject, predicate and object, as they come.
        priors: what is known of real pairs; what is worked out from them once is kept.
        sets: `priors.reference_sets(triples)`, where it is known.

    >>> from acp.priors import default_priors
    >>> dog_and_cat = [0.2, 0.2], [0.3, 0.3], [0.2, 0.2], [0.2, 0.2], [0.3, -0.3], [0.0, 0.0]
    >>> pairs = PairGeometry(*np.array(dog_and_cat))
    >>> right = [("dog", "left of", "cat")]
    >>> scores = density_scores(pairs, np.array([0, 0]), right, default_priors())
    >>> (scores.total > 50).tolist()
    [True, False]
    """
    which = np.asarray(group, dtype=np.int64)
    model = _model(priors)
    at = placements(candidates)
    known = _Relations.of(triples, priors, sets)
    of_any, chance = model.any(at), model.chance(at)
    any_ = _mixed(of_any, chance, CHANCE_SHARE)
    stated, nearest = known.densities(at, which)
    joint = _log_ratio(stated.relation, any_.relation)
    direction = _log_ratio(stated.direction, any_.direction)
    real = np.log((of_any.place + 2 * LEAST_SHARE * chance.place) / chance.place)
    names = [(subject, object_) for subject, _, object_ in triples]
    sizes = model.sizes.log_ratio(candidates, which, names)
    size = SIZE_WEIGHT * SIZE_BEND * np.arcsinh(sizes / SIZE_BEND)
    distance = joint - direction + REAL_WEIGHT * real
    return PairScores(
        total=_score(direction + distance + size),
        size=_score(size),
        distance=_score(distance),
        direction=_score(direction),
        nearest=nearest,
    )


def _score(log_ratio: Float64Array) -> Float64Array:
    return np.asarray(100 / (1 + np.exp(-log_ratio)))


def _log_ratio(stated: Float64Array, any_: Float64Array) -> Float64Array:
    return np.asarray(np.log(stated / any_ + LEAST_SHARE))


def _mixed(a: _Densities, b: _Densities, share: float | Float64Array) -> _Densities:
    """`share` of `b` and the rest of `a`."""
    pairs = ((getattr(a, f.name), getattr(b, f.name)) for f in fields(_Densities))
    return _Densities(*((1 - share) * x + share * y for x, y in pairs))


@dataclass(frozen=True)
class _Model:
    """What is worked out once of priors: `rows` (M, 4), placements of pairs, some either way
    round; `spread` (4,) of them; the sizes of categories."""

    rows: Float64Array
    spread: Float64Array
    sizes: CategorySizes

    def any(self, at: Float64Array) -> _Densities:
        """Of a real pair in whatever relation."""
        return _kernels(at, self.rows)

    def chance(self, at: Float64Array) -> _Densities:
        """Of a pair that lies anyhow: one kernel about no offset, as wide as all pairs and wider,
        at the scale of the others."""
        widths = np.array([OFFSET_WIDTH] * 2 + [DIRECTION_WIDTH] * 2)
        wide = CHANCE_SPREAD * self.spread
        far = (at / wide) ** 2
        offset, direction = far[:, 0] + far[:, 1], far[:, 2] + far[:, 3]
        narrow = widths / wide
        return _Densities(
            relation_kernel(offset * OFFSET_WIDTH**2, direction * DIRECTION_WIDTH**2)
            * narrow.prod(),
            direction_kernel(direction * DIRECTION_WIDTH**2) * narrow[2:].prod(),
            place_kernel(offset * PLACE_WIDTH**2) * (PLACE_WIDTH / wide[:2]).prod(),
        )


_MODELS: WeakKeyDictionary[Priors, _Model] = WeakKeyDictionary()


def _model(priors: Priors) -> _Model:
    if priors not in _MODELS:
        table = priors.table
        some = placements(table.geometry.take(_spaced(np.arange(len(table)), MOST_ANY)))
        _MODELS[priors] = _Model(
            rows=np.concatenate([some, -some]),
            spread=np.sqrt((some**2).mean(axis=0)) + 0.1,
            sizes=CategorySizes.fit(table.names, table.subject, table.object, table.geometry),
        )
    return _MODELS[priors]


def _spaced(rows: IntArray, most: int) -> IntArray:
    """At most so many of the rows, evenly spaced."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def _kernels(at: Float64Array, rows: Float64Array) -> _Densities:
    """Means over `rows` (M, 4) of the kernels at `at` (N, 4)."""
    found = np.empty((3, len(at)))
    for some in _parcels(np.full(len(at), len(rows))):
        offset, direction = squares(at[some, None], rows[None])
        found[0, some] = relation_kernel(offset, direction).mean(axis=1)
        found[1, some] = direction_kernel(direction).mean(axis=1)
        found[2, some] = place_kernel(offset).mean(axis=1)
    return _Densities(*found)


def _parcels(sizes: IntArray) -> Iterator[slice]:
    """Runs of candidates with so many references each, of up to `BLOCK` together or one."""
    if not len(sizes):
        return
    parcel = np.cumsum(sizes) // BLOCK
    edges = np.flatnonzero(np.diff(parcel)) + 1
    for start, end in zip([0, *edges.tolist()], [*edges.tolist(), len(sizes)], strict=True):
        yield slice(start, end)


@dataclass(frozen=True)
class _Relations:
    """The real pairs of G relations.

    `by_predicate`: placements (M, 4) of pairs of each of the predicates; `predicate` (G,) indexes
    them. The pairs of the same or similar categories, ragged, those of relation g from `starts[g]`
    to `starts[g + 1]`: placements `alike` (K, 4), `weights` (K,), `rows` (K,) of the priors. If no
    categories are alike they are those of the level that answers, with weight 0.
    """

    by_predicate: tuple[Float64Array, ...]
    predicate: IntArray
    alike: Float64Array
    weights: Float64Array
    rows: IntArray
    starts: IntArray

    @classmethod
    def of(
        cls, triples: Sequence[Triple], priors: Priors, sets: ReferenceSets | None
    ) -> _Relations:
        wordings = {p: n for n, p in enumerate(dict.fromkeys(p for _, p, _ in triples))}
        sets = sets or priors.reference_sets(triples)
        turned = priors.reference_sets(
            [(o, INVERSES.get(canonical(p), ""), s) for s, p, o in triples]
        )
        parts = [_alike(sets, turned, g) for g in range(len(triples))]
        rows = np.concatenate([part[0] for part in parts] or [np.zeros(0, np.int64)])
        signs = np.concatenate([part[1] for part in parts] or [np.zeros(0)])
        return cls(
            by_predicate=tuple(_of_predicate(p, priors) for p in wordings),
            predicate=np.array([wordings[p] for _, p, _ in triples], dtype=np.int64),
            alike=signs[:, None] * placements(priors.geometry.take(rows)),
            weights=np.concatenate([part[2] for part in parts] or [np.zeros(0)]),
            rows=rows,
            starts=np.cumsum([0, *(len(part[0]) for part in parts)]),
        )

    def densities(self, at: Float64Array, group: IntArray) -> tuple[_Densities, IntArray]:
        """Under the relation that each candidate (N, 4) is of, and the nearest pair's row."""
        found = np.empty((3, len(at)))
        for number, rows in enumerate(self.by_predicate):
            which = np.flatnonzero(self.predicate[group] == number)
            of_predicate = _kernels(at[which], rows)
            found[:, which] = [getattr(of_predicate, f.name) for f in fields(_Densities)]
        alike, weight, nearest = self._alike(at, group)
        share = PREDICATE_ROWS / (PREDICATE_ROWS + weight)
        found[:2] = share * found[:2] + alike / (PREDICATE_ROWS + weight)
        return _Densities(*found), nearest

    def _alike(
        self, at: Float64Array, group: IntArray
    ) -> tuple[Float64Array, Float64Array, IntArray]:
        """Sums of the weighted kernels (2, N), of the weights (N,), and the nearest rows (N,)."""
        sizes = np.diff(self.starts)[group]
        sums, total = np.zeros((2, len(at))), np.zeros(len(at))
        nearest = np.full(len(at), -1, dtype=np.int64)
        for some in _parcels(sizes):
            here, ends = sizes[some], np.cumsum(sizes[some])
            starts = ends - here
            couple = np.arange(here.sum()) + np.repeat(self.starts[group[some]] - starts, here)
            offset, direction = squares(np.repeat(at[some], here, axis=0), self.alike[couple])
            kernels = relation_kernel(offset, direction), direction_kernel(direction)
            weights = self.weights[couple]
            sums[:, some] = [np.add.reduceat(weights * each, starts) for each in kernels]
            total[some] = np.add.reduceat(weights, starts)
            best = np.maximum.reduceat(kernels[0], starts)
            first = np.flatnonzero(kernels[0] == np.repeat(best, here))
            nearest[some] = self.rows[couple[first[np.searchsorted(first, starts)]]]
        return sums, total, nearest


def _alike(
    sets: ReferenceSets, turned: ReferenceSets, g: int
) -> tuple[IntArray, Float64Array, Float64Array]:
    """Rows of the priors, 1 or -1 for those turned round, and weights, of one relation."""
    found = []
    for each, sign in ((sets, 1.0), (turned, -1.0)):
        categories = each.level[g] in ("triple", "similar")
        if categories or each is sets:
            places = np.arange(each.starts[g], each.starts[g + 1])
            kept = _spaced(places, MOST_OF_TRIPLE)
            weight = each.weights[kept] * (len(places) / len(kept)) * categories
            found.append((each.rows[kept], np.full(len(kept), sign), weight))
    rows, signs, weights = zip(*found, strict=True)
    return np.concatenate(rows), np.concatenate(signs), np.concatenate(weights)


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
    return joined[_spaced(np.arange(len(joined)), MOST_OF_PREDICATE)]
