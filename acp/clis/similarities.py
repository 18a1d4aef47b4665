"""How alike two pairs of boxes are in size, distance and direction (arXiv 2406.20085, Eq. 4-6).

One set of formulas, on arrays that broadcast and in buffers that are used again, serves blocks of
candidates times references (`acp.clis.pairs`) and single couples alike (`pair_similarities`).
`docs/clis.md` has the definitions, and where the variants `paper` and `reference` differ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from acp.clis.features import Float64Array, PairFeatures
from acp.clis.predicates import BoolArray
from acp.clis.terms import ALIKE_BELOW, Formula, Weights, reference_terms_of, terms_of

FloatBuffer = npt.NDArray[np.floating]

PENALTY_BELOW = 0.03
"""The penalty maps values below it linearly from [0, t] to [-1, t]."""

BALANCED_ABOVE = 0.95
"""Where the overlap is more alike than this, or else the distance, the other counts 0.8."""

BOUND_ERROR = 3e-6
"""More than rounding to float32 changes a total by, of 1."""

_SLOPE = (1 + PENALTY_BELOW) / PENALTY_BELOW
_UNSURE = 1e-6


@dataclass(frozen=True, slots=True)
class Scratch:
    """Buffers of one shape, that of a block; float64, or float32 for terms of that."""

    total: FloatBuffer
    part: FloatBuffer
    spare: FloatBuffer
    other: FloatBuffer
    mask: BoolArray

    @classmethod
    def of(cls, size: int, dtype: type[np.floating] = np.float64) -> Scratch:
        """Buffers for blocks of up to `size` elements."""
        total, part, spare, other = np.empty((4, size), dtype)
        return cls(total, part, spare, other, np.empty(size, bool))

    def shaped(self, *shape: int) -> Scratch:
        """The same memory as a block of this shape."""
        size = math.prod(shape)
        floats = self.total, self.part, self.spare, self.other
        total, part, spare, other = (buffer[:size].reshape(shape) for buffer in floats)
        return Scratch(total, part, spare, other, self.mask[:size].reshape(shape))


def total_into(block: Scratch, c: FloatBuffer, r: FloatBuffer, formula: Formula) -> None:
    """Writes the sums of the three similarities, by their shares, to `block.total`.

    Args:
        block: of the shape that candidates and references broadcast to.
        c: terms of the candidates, with axes to broadcast behind the first.
        r: terms of the references, the same.
        formula: that of the terms.
    """
    _size_into(block.total, block, c, r, formula, True)
    _distance_into(block.part, block, c, r, formula, True)
    np.add(block.total, block.part, out=block.total)
    _direction_into(block.part, block, c, r, formula, True)
    np.add(block.total, block.part, out=block.total)


def bound_into(
    block: Scratch, c: FloatBuffer, r: FloatBuffer, formula: Formula
) -> BoolArray | None:
    """Writes bounds to `block.total`: no total is higher than its bound by `BOUND_ERROR`.

    In half the time: in float32, without the penalty, and with the distance's likeness never
    balanced. Most totals that matter are as high as their bounds.

    Args:
        block: of float32; see `total_into`.
        c: terms of the candidates by `coarse`.
        r: terms of the references by `coarse`.
        formula: that of the terms.

    Returns:
        Where the bound may be wrong, because float32 cannot tell whether the overlap's likeness is
        balanced; None where it never is.
    """
    _size_into(block.total, block, c, r, formula, False)
    unsure = _distance_bound_into(block.part, block, c, r, formula)
    np.add(block.total, block.part, out=block.total)
    _direction_into(block.part, block, c, r, formula, False)
    np.add(block.total, block.part, out=block.total)
    return unsure


def similarities_of(c: Float64Array, r: Float64Array, formula: Formula) -> Float64Array:
    """Size, distance and direction of M couples, (3, M), -1 to 1; `reference` can push the distance
    down to about -18.2.

    Args:
        c: terms of the candidates, (8 or 6, M).
        r: terms of the references, (10 or 7, M).
        formula: that of the terms.
    """
    found, block = np.empty((3, c.shape[1])), Scratch.of(c.shape[1])
    for out, write in zip(found, (_size_into, _distance_into, _direction_into), strict=True):
        write(out, block, c, r, formula, True)
    found /= np.reshape(formula.shares, (3, 1))
    return found


def pair_similarities(
    candidates: PairFeatures,
    references: PairFeatures,
    weights: Float64Array,
    mirrored: BoolArray,
    variant: str = "paper",
) -> Float64Array:
    """Size, distance and direction of N candidates, each against one reference.

    Args:
        candidates: shape (N,).
        references: shape (N,).
        weights: 0-1, how like the reference's categories are, (N,).
        mirrored: whether the reference may be mirrored left-right, (N,).
        variant: "paper" or "reference".

    Returns:
        Shape (3, N); see `similarities_of`.
    """
    ones = Weights(1.0, 1.0, 1.0)
    c = terms_of(candidates, mirrored, variant)
    r = reference_terms_of(references, weights, mirrored, ones, variant)
    return similarities_of(c, r, Formula.of(variant, ones, c, r))


def penalised(similarity: FloatBuffer) -> FloatBuffer:
    """Values below t = 0.03 are mapped linearly from [0, t] to [-1, t].

    >>> penalised(np.array([0.0, 0.03, 0.5])).tolist()
    [-1.0, 0.03, 0.5]
    """
    return np.asarray(np.minimum(similarity, similarity * _SLOPE - 1))


def _size_into(
    out: FloatBuffer,
    block: Scratch,
    c: FloatBuffer,
    r: FloatBuffer,
    formula: Formula,
    penalty: bool,
) -> None:
    share = formula.shares.size
    _ratio_into(out, block.spare, c[:2], r[:2])
    if formula.variant == "reference" and formula.tiny:
        _alike_where_nothing(out, c[0], r[0], r[6] * (2 * share / formula.shares.direction))
    if penalty:
        _penalise(out, block.spare, _SLOPE, share)


def _distance_into(
    out: FloatBuffer,
    block: Scratch,
    c: FloatBuffer,
    r: FloatBuffer,
    formula: Formula,
    penalty: bool,
) -> None:
    share = formula.shares.distance
    _ratio_into(out, block.spare, c[2:4], r[2:4])
    if formula.variant == "paper":
        _ratio_into(block.other, block.spare, c[6:8], r[7:9])
        _balance_into(out, block)
        np.multiply(out, r[9], out=out)
        slope, depth = _SLOPE, 1.0
    else:
        if formula.tiny:
            _alike_where_nothing(out, c[2], r[2], r[6] * (2 * share / formula.shares.direction))
        # Half is penalised once and half twice; both begin at t, so their mean is one line.
        slope, depth = (_SLOPE + _SLOPE**2) / 2, 1 + _SLOPE / 2
    if penalty:
        _penalise(out, block.spare, slope, share * depth)


def _distance_bound_into(
    out: FloatBuffer, block: Scratch, c: FloatBuffer, r: FloatBuffer, formula: Formula
) -> BoolArray | None:
    if formula.variant == "reference":
        _distance_into(out, block, c, r, formula, False)
        return None
    _ratio_into(out, block.spare, c[2:4], r[2:4])
    _ratio_into(block.other, block.spare, c[6:8], r[7:9])
    np.greater(out, BALANCED_ABOVE - _UNSURE, out=block.mask)
    least = np.count_nonzero(block.mask)
    np.greater(out, BALANCED_ABOVE + _UNSURE, out=block.mask)
    unsure = None
    if np.count_nonzero(block.mask) != least:
        unsure = (out > BALANCED_ABOVE - _UNSURE) & ~block.mask
    block.spare.fill(0.5)
    np.copyto(block.spare, 0.2, where=block.mask)
    _mix_into(out, block)
    np.multiply(out, r[9], out=out)
    return unsure


def _balance_into(overlap: FloatBuffer, block: Scratch) -> None:
    """Overlap and distance (`block.other`) half and half, or 0.2 and 0.8, into `overlap`."""
    share, distance = block.spare, block.other
    share.fill(0.5)
    np.greater(distance, BALANCED_ABOVE, out=block.mask)
    np.copyto(share, 0.8, where=block.mask)
    np.greater(overlap, BALANCED_ABOVE, out=block.mask)
    np.copyto(share, 0.2, where=block.mask)
    _mix_into(overlap, block)


def _mix_into(overlap: FloatBuffer, block: Scratch) -> None:
    """Shares (`block.spare`) of the overlap, the rest of the distance (`block.other`)."""
    np.subtract(overlap, block.other, out=overlap)
    np.multiply(overlap, block.spare, out=overlap)
    np.add(overlap, block.other, out=overlap)


def _direction_into(
    out: FloatBuffer,
    block: Scratch,
    c: FloatBuffer,
    r: FloatBuffer,
    formula: Formula,
    penalty: bool,
) -> None:
    """`(cos + 1) / 2`."""
    share = formula.shares.direction
    np.multiply(c[4], r[4], out=out)
    np.multiply(c[5], r[5], out=block.spare)
    np.add(out, block.spare, out=out)
    np.add(out, r[6], out=out)
    if penalty:
        _penalise(out, block.spare, _SLOPE, share)
    if not formula.rests:
        return
    rests_c, rests_r = (c[4] == 0) & (c[5] == 0), (r[4] == 0) & (r[5] == 0)
    if rests_c.any() or rests_r.any():
        both, one = _resting(r[6] * 2, formula, penalty)
        np.copyto(out, one, where=rests_c ^ rests_r)
        np.copyto(out, both, where=rests_c & rests_r)


def _resting(
    most: FloatBuffer, formula: Formula, penalty: bool
) -> tuple[FloatBuffer | float, float]:
    """What the direction counts where neither pair has one, and where only one has."""
    share = formula.shares.direction
    if formula.variant == "reference":  # neither weighed nor penalised
        return share, 0.0
    return (penalised(most / share) * share, -share) if penalty else (most, 0.0)


def _ratio_into(out: FloatBuffer, spare: FloatBuffer, a: FloatBuffer, b: FloatBuffer) -> None:
    """`S(a, b) = 1 - |a - b| / max(a, b) = min(a / b, b / a)`, of values with their inverses."""
    np.multiply(a[0], b[1], out=out)
    np.multiply(a[1], b[0], out=spare)
    np.minimum(out, spare, out=out)


def _penalise(values: FloatBuffer, spare: FloatBuffer, slope: float, depth: float) -> None:
    """The line below t is steeper than the identity and meets it at t: the lesser of the two."""
    np.multiply(values, slope, out=spare)
    np.subtract(spare, depth, out=spare)
    np.minimum(values, spare, out=values)


def _alike_where_nothing(
    out: FloatBuffer, a: FloatBuffer, b: FloatBuffer, most: FloatBuffer
) -> None:
    """`most` where the sum of the two is as good as 0; `b` is multiplied by `most` already."""
    np.copyto(out, most, where=a * most + b < ALIKE_BELOW * most)
