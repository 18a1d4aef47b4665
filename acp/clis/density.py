"""The variant `acp` of CLIS-L: how much likelier a pair of boxes is under the relation stated of
these two things than as any pair of things.

    log ratio = direction + distance + size, each part a log ratio of two densities
    score = 100 / (1 + exp(-log ratio))

- direction: where the object lies, seen from the subject, under this relation against any.
- distance: how far apart they are and how they overlap, given the direction, under this relation
  against any; and, for less, in any real relation against chance.
- size: the area ratio and the shapes of these two categories against any two (`CategorySizes`).

The relation's density is made of kernels on the real pairs with the predicate, and more and more of
those with the same or similar categories, the more there are; a relation with an inverse ("left
of", "right of") has the pairs of that, turned round, too (`StatedPairs`). So every pair has a
score, 50 stands for "as likely under this relation as by any", and few references decide little.
What differs from the published metric and what that gains: docs/clis.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from acp.clis.features import PairGeometry, PairScores
from acp.clis.predicates import INVERSES, canonical, geometry_of
from acp.clis.priors import Priors
from acp.clis.references import ReferenceSets
from acp.clis.similarity import fold_name, meaning
from acp.core.types import Float64Array, IntArray
from acp.core.vocabulary import categories

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


OFFSET_WIDTH, DIRECTION_WIDTH = 0.28, 0.09
"""Bandwidths of the kernel of a relation, in compressed offsets and in units of the direction."""

PLACE_WIDTH = 0.12
"""Bandwidth of the finer kernel that tells real placements from chance."""

NO_DIRECTION = 0.05
"""An offset of so many mean diagonals has half a direction; none at all has none."""

FARTHEST = 6.0
"""Of a compressed offset: some 400 mean sides apart."""

TAIL = 4.0
"""Of the kernels, (1 + q / TAIL) ** -(TAIL + dimensions) / 2: heavy, so that of two layouts far
from all that was seen the one less far scores more."""

BLOCK = 1 << 14
"""Candidates times references that are worked out at a time; changes no score."""


@dataclass(frozen=True, slots=True)
class Densities:
    """Of N placements, (N,) each, but for constants that are the same for all: of offset and
    direction together, of direction alone, of offset alone (finer)."""

    relation: Float64Array
    direction: Float64Array
    place: Float64Array


def placements(pairs: PairGeometry) -> Float64Array:
    """Shape (..., 4): compressed offset x, y; direction x, y (length 0 to 1)."""
    x, y = pairs.dx, pairs.dy
    diagonal = np.hypot(pairs.subject_w, pairs.subject_h) + np.hypot(pairs.object_w, pairs.object_h)
    length = np.hypot(x, y) + NO_DIRECTION / 2 * diagonal
    along = _compressed(2 * x / (pairs.subject_w + pairs.object_w))
    down = _compressed(2 * y / (pairs.subject_h + pairs.object_h))
    return np.stack([along, down, x / length, y / length], axis=-1)


def _compressed(offset: Float64Array) -> Float64Array:
    return np.asarray(np.sign(offset) * np.minimum(np.log1p(np.abs(offset)), FARTHEST))


def mean_densities(at: Float64Array, rows: Float64Array) -> Densities:
    """Means over `rows` (M, 4) of the kernels at `at` (N, 4)."""
    found = np.empty((3, len(at)))
    for some in parcels(np.full(len(at), len(rows))):
        offset, direction = distances(at[some, None], rows[None])
        found[0, some] = _space_kernel(offset, direction).mean(axis=1)
        found[1, some] = _plane_kernel(direction).mean(axis=1)
        found[2, some] = _plane_kernel(offset * (OFFSET_WIDTH / PLACE_WIDTH) ** 2).mean(axis=1)
    return Densities(*found)


def one_wide_kernel(at: Float64Array, widths: Float64Array) -> Densities:
    """At `at` (N, 4): kernels of `widths` (4,) about no offset, in units of the narrow ones."""
    far = (at / widths) ** 2
    offset, direction = far[:, 0] + far[:, 1], far[:, 2] + far[:, 3]
    offset_area, direction_area = widths[:2].prod(), widths[2:].prod()
    return Densities(
        _space_kernel(offset, direction)
        * (OFFSET_WIDTH**2 / offset_area * DIRECTION_WIDTH**2 / direction_area),
        _plane_kernel(direction) * (DIRECTION_WIDTH**2 / direction_area),
        _plane_kernel(offset) * (PLACE_WIDTH**2 / offset_area),
    )


def couple_kernels(a: Float64Array, b: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Of couples of placements, (M, 4) each: the kernels of the relation and of the direction."""
    offset, direction = distances(a, b)
    return _space_kernel(offset, direction), _plane_kernel(direction)


def distances(a: Float64Array, b: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Squared distances of offset and of direction, in bandwidths, of what broadcasts, (..., 4)."""
    apart = [(a[..., i] - b[..., i]) ** 2 for i in range(4)]
    return (apart[0] + apart[1]) / OFFSET_WIDTH**2, (apart[2] + apart[3]) / DIRECTION_WIDTH**2


def _space_kernel(offset: Float64Array, direction: Float64Array) -> Float64Array:
    base = 1 + (offset + direction) / TAIL
    return np.asarray(1 / ((base * base) * (base * base)))


def _plane_kernel(q: Float64Array) -> Float64Array:
    base = 1 + q / TAIL
    return np.asarray(1 / (base * base * base))


def parcels(sizes: IntArray) -> Iterator[slice]:
    """Runs of candidates with `sizes` (N,) references each, of about `BLOCK` together, or one."""
    edges = np.flatnonzero(np.diff(np.cumsum(sizes) // BLOCK)) + 1
    bounds = [0, *edges.tolist(), len(sizes)] if len(sizes) else []
    yield from (slice(*both) for both in pairwise(bounds))


def spaced(rows: IntArray, most: int) -> IntArray:
    """At most so many of the rows, evenly spaced.

    >>> spaced(np.arange(9), 3).tolist()
    [0, 4, 8]
    """
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


OWN_ROWS = 20.0
"""An effect of a category is halved where it was seen in so many pairs."""

PAIR_ROWS = 8.0
"""An effect of a pair of categories is halved where it was seen so often."""

SPREAD_ROWS = 15.0
"""How many boxes the spread of all shapes counts for beside those of one category."""

START_ROWS, START_SLOPE = 20.0, 0.5
START_SPREAD = 1.0, 0.5
"""What the slope of size on length and the spreads of size and shape are taken to be before any
data, and how many rows that counts for."""

SIZE_TAIL = 20.0
"""Degrees of freedom of Student's distribution, in place of a normal one: what is far off is far
off, not impossible."""

STEPS = 60
"""Steps of conjugate gradients; far more than a few thousand categories need."""


@dataclass(frozen=True)
class CategorySizes:
    """The model, for C categories known by number; number C stands for one that was never seen.

    `slope`: of the log area ratio on that of the real lengths. `own`, `shape`, `shape_spread`
    (C + 1,); `known` (C + 1,), in how many pairs each was seen. `pairs` (P,) are sorted codes of
    unordered pairs of categories, `pair_effect` (P,). `spread`, `spread_any`: of the log area ratio
    given the categories and without them; `shape_any`: mean and spread of all shapes.
    """

    numbers: dict[str, int]
    slope: float
    own: Float64Array
    known: Float64Array
    pairs: IntArray
    pair_effect: Float64Array
    spread: float
    spread_any: float
    shape: Float64Array
    shape_spread: Float64Array
    shape_any: tuple[float, float]

    @classmethod
    def fit(
        cls, names: Sequence[str], subject: IntArray, object_: IntArray, geometry: PairGeometry
    ) -> CategorySizes:
        """Of R >= 1 pairs; `subject` and `object_` (R,) index the folded `names`."""
        meanings = [meaning(name) for name in names]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(meanings))}
        of_name = np.array([numbers[name] for name in meanings], dtype=np.int64)
        a, b, count = of_name[subject], of_name[object_], len(numbers)
        size, shapes = _sizes(geometry)
        lengths = _log_lengths(numbers)
        longer = lengths[a] - lengths[b]
        slope = (longer @ size + START_ROWS * START_SLOPE) / (longer @ longer + START_ROWS)
        rest = size - slope * longer
        own = np.append(_difference_effects(a, b, rest, count), 0.0)
        rest = rest - own[a] + own[b]
        codes, effect = _pair_effects(a, b, rest, count + 1)
        shape, spread, any_ = _shapes(np.concatenate([a, b]), np.concatenate(shapes), count)
        return cls(
            numbers=numbers,
            slope=float(slope),
            own=own,
            known=np.bincount(np.concatenate([a, b]), minlength=count + 1).astype(np.float64),
            pairs=codes,
            pair_effect=effect,
            spread=_spread(rest, START_SPREAD[0]),
            spread_any=_spread(size, START_SPREAD[0]),
            shape=shape,
            shape_spread=spread,
            shape_any=any_,
        )

    def log_ratio(
        self, geometry: PairGeometry, group: IntArray, names: Sequence[tuple[str, str]]
    ) -> Float64Array:
        """log of p(sizes and shapes | these categories) / p(... | any), shape (N,).

        Args:
            geometry: the pairs, (N,).
            group: which of `names` each pair is of, (N,).
            names: G pairs of categories, subject's and object's, as they come.
        """
        a, b = self._codes([s for s, _ in names]), self._codes([o for _, o in names])
        lengths = [_log_lengths(meaning(fold_name(pair[i])) for pair in names) for i in (0, 1)]
        size, (shape_a, shape_b) = _sizes(geometry)
        expected = self.slope * (lengths[0] - lengths[1]) + self.own[a] - self.own[b]
        expected += self._pair_effect(a, b)
        doubt = 1 + sum(1 / (self.known[code] + OWN_ROWS) for code in (a, b))
        spread = self.spread * np.sqrt(doubt)
        found = _log_student((size - expected[group]) / spread[group]) - np.log(spread)[group]
        found -= _log_student(size / self.spread_any) - np.log(self.spread_any)
        return found + self._shape_ratio(shape_a, a[group]) + self._shape_ratio(shape_b, b[group])

    def _shape_ratio(self, shape: Float64Array, code: IntArray) -> Float64Array:
        mean, spread = self.shape_any
        own = self.shape_spread[code]
        found = _log_student((shape - self.shape[code]) / own) - np.log(own)
        return np.asarray(found - _log_student((shape - mean) / spread) + np.log(spread))

    def _codes(self, names: Sequence[str]) -> IntArray:
        unseen = len(self.numbers)
        found = [self.numbers.get(meaning(fold_name(name)), unseen) for name in names]
        return np.array(found, dtype=np.int64)

    def _pair_effect(self, a: IntArray, b: IntArray) -> Float64Array:
        code, sign = _pair_code(a, b, len(self.own))
        at = np.minimum(np.searchsorted(self.pairs, code), len(self.pairs) - 1)
        return np.where(self.pairs[at] == code, sign * self.pair_effect[at], 0.0)


def _sizes(pairs: PairGeometry) -> tuple[Float64Array, tuple[Float64Array, Float64Array]]:
    """Log area ratio, and log width / height of the subject and of the object."""
    w_a, h_a = np.log(pairs.subject_w), np.log(pairs.subject_h)
    w_b, h_b = np.log(pairs.object_w), np.log(pairs.object_h)
    return (w_a + h_a) - (w_b + h_b), (w_a - h_a, w_b - h_b)


def _difference_effects(a: IntArray, b: IntArray, value: Float64Array, count: int) -> Float64Array:
    """Shrunk least squares of `value` (R,) on effect[a] - effect[b], (C,), by conjugate gradients
    over the distinct pairs."""
    pairs, at, rows = np.unique(a * count + b, return_inverse=True, return_counts=True)
    sums = np.bincount(at.ravel(), value).astype(np.float64)
    counts = rows.astype(np.float64)
    a, b = pairs // count, pairs % count

    def spread_out(of_pair: Float64Array) -> Float64Array:
        found = np.bincount(a, of_pair, minlength=count) - np.bincount(b, of_pair, minlength=count)
        return np.asarray(found, dtype=np.float64)

    effect = np.zeros(count)
    left = spread_out(sums)
    direction, size = left.copy(), left @ left
    for _ in range(STEPS):
        if size < 1e-20:
            break
        image = spread_out(counts * (direction[a] - direction[b])) + OWN_ROWS * direction
        step = size / (direction @ image)
        effect += step * direction
        left -= step * image
        size, before = left @ left, size
        direction = left + size / before * direction
    return effect


def _pair_effects(
    a: IntArray, b: IntArray, rest: Float64Array, base: int
) -> tuple[IntArray, Float64Array]:
    code, sign = _pair_code(a, b, base)
    codes, at, rows = np.unique(code, return_inverse=True, return_counts=True)
    return codes, np.bincount(at.ravel(), sign * rest) / (rows + PAIR_ROWS)


def _pair_code(a: IntArray, b: IntArray, base: int) -> tuple[IntArray, Float64Array]:
    """A number for the unordered pair; 1, or -1 where they are turned round, or 0 for twice one."""
    return np.minimum(a, b) * base + np.maximum(a, b), np.sign(b - a).astype(np.float64)


def _shapes(
    code: IntArray, shape: Float64Array, count: int
) -> tuple[Float64Array, Float64Array, tuple[float, float]]:
    """Mean and spread of each category and of one never seen, (C + 1,), and of all."""
    mean, rows = shape.mean(), np.bincount(code, minlength=count + 1)
    share = np.bincount(code, shape - mean, minlength=count + 1) / (rows + OWN_ROWS)
    rest = shape - mean - share[code]
    typical = _spread(rest, START_SPREAD[1])
    squares = np.bincount(code, rest**2, minlength=count + 1)
    spread = np.sqrt((squares + SPREAD_ROWS * typical**2) / (rows + SPREAD_ROWS))
    return mean + share, spread, (float(mean), _spread(shape - mean, START_SPREAD[1]))


def _spread(rest: Float64Array, start: float) -> float:
    """Root mean square, with a start that counts for some rows."""
    return float(np.sqrt((rest @ rest + START_ROWS * start**2) / (len(rest) + START_ROWS)))


def _log_student(deviation: Float64Array) -> Float64Array:
    """Student's log density but for its constant."""
    return -(SIZE_TAIL + 1) / 2 * np.log1p(deviation**2 / SIZE_TAIL)


def _log_lengths(folded: Iterable[str]) -> Float64Array:
    """Log of the real lengths in cm; the vocabulary's mean where it is not known."""
    known, mean = _known_lengths()
    return np.array([known.get(name, mean) for name in folded], dtype=np.float64)


@cache
def _known_lengths() -> tuple[dict[str, float], float]:
    found = {
        fold_name(each.name): float(np.log(each.longest_cm))
        for each in categories().values()
        if each.longest_cm > 0
    }
    return found, float(np.mean(list(found.values())))
