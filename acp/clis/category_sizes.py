"""What the priors tell of the sizes and shapes of categories: how likely a pair of boxes is with
these two categories against with any two.

The logarithm of the area ratio of a pair is, but for noise, the difference of two effects of the
categories (how long the real things are, and what is learnt of each on top) and what is learnt of
the very pair; the logarithm of a box's width / height is an effect of its category. Every effect is
shrunk to what is known without it, so that one or two boxes decide nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from acp.clis.chunks import IntArray
from acp.clis.features import Float64Array, PairGeometry
from acp.clis.similarity import fold_name, meaning
from acp.core.vocabulary import categories

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

TAIL = 20.0
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
    return -(TAIL + 1) / 2 * np.log1p(deviation**2 / TAIL)


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
