"""What the formulas of CLIS-L take: the terms of pairs, worked out once for each pair.

The terms of N candidates are the rows of an array:

    size, 1 / size, overlap, 1 / overlap, x, y[, distance, 1 / distance]

of area ratio, IoU, the unit vector from subject to object ((0, 0): no direction), and, for `paper`,
relative distance. A reference's terms are multiplied by what they count, and hold that too:

    size, 1 / size, overlap, 1 / overlap, x, y, direction / 2[, distance, 1 / distance, distance]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from acp.clis.features import Float64Array, PairFeatures
from acp.clis.predicates import BoolArray

CoarseTerms = npt.NDArray[np.float32]

NOTHING = 1e-9
"""`paper`: an overlap or relative distance up to this is none; without distance, no direction."""

ALIKE_BELOW = 1e-10
"""`reference`: two values whose sum is below this are alike."""

_SLICE = 4096
_LEAST, _MOST = 1e-150, 1e150  # so that no product of a feature with another's inverse overflows


class Weights(NamedTuple):
    """What the three similarities count in a pair's total."""

    size: float
    distance: float
    direction: float

    def shares(self) -> Weights:
        """The same with a sum of 1."""
        return Weights(*(float(weight / sum(self)) for weight in self))


CODE_WEIGHTS = Weights(0.5, 1.0, 0.8)
"""Those of the authors' code, and so of `reference`."""


@dataclass(frozen=True, slots=True)
class Formula:
    """What the terms of a call share.

    `variant`: "paper" or "reference". `shares`: what each similarity counts in the total. `rests`:
    some pair has no direction. `tiny`: some area ratio or overlap is as good as 0 but not 0.
    """

    variant: str
    shares: Weights
    rests: bool = True
    tiny: bool = True

    @classmethod
    def of(cls, variant: str, shares: Weights, *terms: Float64Array) -> Formula:
        """That of a call with these terms of candidates and references."""
        rests = any(bool(((t[4] == 0) & (t[5] == 0)).any()) for t in terms)
        tiny = any(bool(((t[:4:2] > _LEAST) & (t[:4:2] < ALIKE_BELOW)).any()) for t in terms)
        return cls(variant, shares, rests, tiny)


def terms_of(features: PairFeatures, mirrored: BoolArray, variant: str) -> Float64Array:
    """Terms of candidates, (8 or 6, N); `mirrored` (N,) where left and right are the same."""
    terms = np.empty((8 if variant == "paper" else 6, len(mirrored)))
    for start in range(0, len(mirrored), _SLICE):  # a slice at a time stays in the cache
        some = np.arange(start, min(start + _SLICE, len(mirrored)))
        for row, values in enumerate(_rows(features.take(some), mirrored[some], variant)):
            terms[row, start : start + _SLICE] = values
    return terms


def _rows(features: PairFeatures, mirrored: BoolArray, variant: str) -> list[Float64Array]:
    overlap, distance = features.iou, features.distance
    length = np.hypot(features.dx, features.dy)
    if variant == "paper":
        overlap = np.where(overlap > NOTHING, overlap, 0.0)
        distance = np.where(distance > NOTHING, distance, 0.0)
        length = np.where(distance > 0, length, 0.0)
    inverse = np.divide(1.0, length, out=np.zeros_like(length), where=length > 1e-300)
    x, y = features.dx * inverse, features.dy * inverse
    x = np.where(mirrored, np.abs(x), x)
    rows = [*_with_inverse(features.area_ratio), *_with_inverse(overlap), x, y]
    return rows + (_with_inverse(distance) if variant == "paper" else [])


def reference_terms_of(
    features: PairFeatures,
    weights: Float64Array,
    mirrored: BoolArray,
    shares: Weights,
    variant: str,
) -> Float64Array:
    """Terms of references, (10 or 7, K).

    Args:
        features: shape (K,).
        weights: 0-1, how like the reference's categories are, (K,).
        mirrored: where left and right are the same, (K,).
        shares: what each similarity counts in the total.
        variant: "paper" or "reference".
    """
    plain = terms_of(features, mirrored, variant)
    half = weights * (shares.direction / 2)
    terms = np.empty((len(plain) + (2 if variant == "paper" else 1), len(weights)))
    np.multiply(plain[:2], weights * shares.size, out=terms[:2])
    np.multiply(plain[4:6], half, out=terms[4:6])
    terms[6] = half
    if variant == "paper":
        terms[2:4], terms[7:9], terms[9] = plain[2:4], plain[6:], weights * shares.distance
    else:
        np.multiply(plain[2:4], weights * shares.distance, out=terms[2:4])
    return terms


def coarse(terms: Float64Array) -> CoarseTerms:
    """Terms of candidates in float32. What is beyond its range comes nearer to all else, so that
    likenesses only rise."""
    return _clipped(terms, dict.fromkeys([0, 1, 2, 3, *range(6, len(terms))], 1.0))


def coarse_references(terms: Float64Array, formula: Formula) -> CoarseTerms:
    """Terms of references in float32; see `coarse`."""
    share = 2 * terms[6] / formula.shares.direction
    size = share * formula.shares.size
    if formula.variant == "paper":
        return _clipped(terms, {0: size, 1: size} | dict.fromkeys([2, 3, 7, 8], 1.0))
    overlap = share * formula.shares.distance
    return _clipped(terms, {0: size, 1: size, 2: overlap, 3: overlap})


def _clipped(terms: Float64Array, counts: Mapping[int, Float64Array | float]) -> CoarseTerms:
    """In float32, rows within its range by what they are multiplied with."""
    rounded = np.empty(terms.shape, np.float32)
    for row, values in enumerate(terms):
        if row in counts:
            values = np.clip(values, counts[row] * 1e-18, counts[row] * 1e18)
        rounded[row] = values
    return rounded


def _with_inverse(values: Float64Array) -> list[Float64Array]:
    bounded = np.clip(values, _LEAST, _MOST)
    return [bounded, 1 / bounded]
