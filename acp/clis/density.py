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
of", "right of") has the pairs of that, turned round, too (`stated_pairs`). So every pair has a
score, 50 stands for "as likely under this relation as by any", and few references decide little.
What differs from the published metric and what that gains: docs/clis.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from acp.clis.category_sizes import CategorySizes
from acp.clis.features import Float64Array, PairGeometry
from acp.clis.pairs import PairScores
from acp.clis.placements import Densities, mean_densities, one_wide_kernel, placements, spaced
from acp.clis.stated_pairs import StatedPairs, Triple, log_area_ratio

if TYPE_CHECKING:
    from acp.clis.priors import Priors
    from acp.clis.reference_sets import ReferenceSets

CHANCE_SHARE, CHANCE_SPREAD = 0.3, 1.5
"""Of "any": what falls anywhere, so many times as widely as real pairs do; the rest is real."""

LEAST_SHARE = 1e-4
"""Of "any" in every density: no layout is less likely than that under a relation."""

REAL_WEIGHT, SIZE_WEIGHT = 0.4, 0.4
"""What real against chance and what the sizes count, beside the relation's 1."""

SIZE_BEND = 3.0
"""From about this log ratio on, ever stranger sizes count ever less."""

MOST_ANY = 512
"""So many pairs, evenly spaced in the file, stand for all."""


def density_scores(
    candidates: PairGeometry,
    group: npt.NDArray[np.integer],
    triples: Sequence[Triple],
    priors: Priors,
    sets: ReferenceSets | None = None,
) -> PairScores:
    """Score N pairs of boxes, 0 to 100; 50: as likely under the relation as any pair is.

    The same for boxes shifted or scaled; a pair's score does not depend on the others. `nearest` is
    the row of the priors that is placed and sized most alike, of the level that answers.

    Args:
        candidates: geometry of shape (N,), finite, with sides > 0.
        group: which of the triples each is of, 0 to G - 1, shape (N,).
        triples: G times subject, predicate and object, as they come.
        priors: what is known of real pairs; what is worked out from them once is kept.
        sets: `priors.reference_sets(triples)`, where they are known.

    >>> from acp.clis.priors import default_priors
    >>> dog_and_cat = [0.2, 0.2], [0.3, 0.3], [0.2, 0.2], [0.2, 0.2], [0.3, -0.3], [0.0, 0.0]
    >>> pairs = PairGeometry(*np.array(dog_and_cat))
    >>> stated = [("dog", "left of", "cat")]
    >>> scores = density_scores(pairs, np.array([0, 0]), stated, default_priors())
    >>> (scores.total > 50).tolist()
    [True, False]
    """
    of_triple = np.asarray(group, dtype=np.int64)
    model, at = _model(priors), placements(candidates)
    stated = StatedPairs.of(triples, priors, sets or priors.reference_sets(triples))
    direction, distance = _placement_ratios(model, at, stated.densities(at, of_triple))
    names = [(subject, object_) for subject, _, object_ in triples]
    sizes = model.sizes.log_ratio(candidates, of_triple, names)
    size = SIZE_WEIGHT * SIZE_BEND * np.arcsinh(sizes / SIZE_BEND)
    return PairScores(
        total=_score(direction + distance + size),
        size=_score(size),
        distance=_score(distance),
        direction=_score(direction),
        nearest=stated.nearest(at, log_area_ratio(candidates), of_triple),
    )


@dataclass(frozen=True)
class _Model:
    """What is worked out once of priors: `rows` (M, 4), placements of pairs, each either way
    round; `spread` (4,) of them; the sizes of categories."""

    rows: Float64Array
    spread: Float64Array
    sizes: CategorySizes


_MODELS: WeakKeyDictionary[Priors, _Model] = WeakKeyDictionary()


def _model(priors: Priors) -> _Model:
    if priors not in _MODELS:
        table = priors.table
        some = placements(table.geometry.take(spaced(np.arange(len(table)), MOST_ANY)))
        _MODELS[priors] = _Model(
            rows=np.concatenate([some, -some]),
            spread=np.sqrt((some**2).mean(axis=0)) + 0.1,
            sizes=CategorySizes.fit(table.names, table.subject, table.object, table.geometry),
        )
    return _MODELS[priors]


def _placement_ratios(
    model: _Model, at: Float64Array, stated: Densities
) -> tuple[Float64Array, Float64Array]:
    """Log ratios of direction and of distance, (N,); together that of both under the relation."""
    any_ = mean_densities(at, model.rows)
    chance = one_wide_kernel(at, CHANCE_SPREAD * model.spread)
    both = _log_ratio(stated.relation, any_.relation, chance.relation)
    direction = _log_ratio(stated.direction, any_.direction, chance.direction)
    real = np.log(any_.place / chance.place + 2 * LEAST_SHARE)
    return direction, both - direction + REAL_WEIGHT * real


def _log_ratio(stated: Float64Array, real: Float64Array, chance: Float64Array) -> Float64Array:
    any_ = (1 - CHANCE_SHARE) * real + CHANCE_SHARE * chance
    return np.asarray(np.log(stated / any_ + LEAST_SHARE))


def _score(log_ratio: Float64Array) -> Float64Array:
    return np.asarray(100 / (1 + np.exp(-log_ratio)))
