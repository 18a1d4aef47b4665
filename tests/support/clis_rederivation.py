"""CLIS-L once more, slow and obvious: plain Python, one pair and one reference at a time.

Follows the definition in `docs/clis.md` line by line and shares no code with `acp.clis`. The tests
compare the two; `benchmarks/clis_l_speed.py` measures how much faster the package is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Box = tuple[float, float, float, float]
"""x, y, w, h"""

T = 0.03
"""The penalty begins below it."""

CODE_WEIGHTS = (0.5, 1.0, 0.8)
"""Of size, distance and direction in the authors' code."""


@dataclass
class Reference:
    """A real pair, and how like its categories are."""

    subject: Box
    object: Box
    weight: float = 1.0
    close: bool = True


@dataclass
class Score:
    """0-100; `index` is that of the reference which the percentile chose."""

    total: float
    size: float
    distance: float
    direction: float
    index: int = -1


def area_ratio(subject: Box, object_: Box) -> float:
    return (subject[2] * subject[3]) / (object_[2] * object_[3])


def iou(a: Box, b: Box) -> float:
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(0.0, across) * max(0.0, down)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def direction(subject: Box, object_: Box) -> tuple[float, float]:
    return (
        (object_[0] + object_[2] / 2) - (subject[0] + subject[2] / 2),
        (object_[1] + object_[3] / 2) - (subject[1] + subject[3] / 2),
    )


def relative_distance(subject: Box, object_: Box) -> float:
    diagonals = math.hypot(subject[2], subject[3]) + math.hypot(object_[2], object_[3])
    return math.hypot(*direction(subject, object_)) / (diagonals / 2)


def alike(a: float, b: float) -> float:
    """S(a, b); values so small that they are nothing are alike."""
    if a + b < 1e-10:
        return 1.0
    return 1 - abs(a - b) / max(a, b)


def penalised(value: float) -> float:
    """[0, t] to [-1, t]."""
    if value >= T:
        return value
    return -1 + value / T * (1 + T)


def cosine(a: tuple[float, float], b: tuple[float, float]) -> float:
    return (a[0] * b[0] + a[1] * b[1]) / (math.hypot(*a) * math.hypot(*b))


def best_cosine(a: tuple[float, float], b: tuple[float, float], may_mirror: bool) -> float:
    if may_mirror:
        return max(cosine(a, b), cosine(a, (-b[0], b[1])))
    return cosine(a, b)


def weighted_mean(parts: Sequence[float], weights: Sequence[float]) -> float:
    return sum(p * w for p, w in zip(parts, weights, strict=True)) / sum(weights)


def reference_score(subject: Box, object_: Box, real: Reference) -> Score:
    """The authors' code with its quirks, against one reference."""
    ratios = area_ratio(subject, object_), area_ratio(real.subject, real.object)
    size = penalised(alike(*ratios) * real.weight)

    # Quirk 1: the relative distances do not count; the second half is the first, penalised again.
    overlap = penalised(alike(iou(subject, object_), iou(real.subject, real.object)) * real.weight)
    again = penalised(overlap)
    shares = (0.2, 0.8) if overlap > 0.95 else (0.8, 0.2) if again > 0.95 else (0.5, 0.5)
    distance = shares[0] * overlap + shares[1] * again

    # Quirk 3: no weight and no penalty without a direction. Quirk 5: always mirrored.
    a, b = direction(subject, object_), direction(real.subject, real.object)
    if not any(a) or not any(b):
        towards = float(a == b)
    else:
        towards = penalised((best_cosine(a, b, may_mirror=True) + 1) / 2 * real.weight)
    return Score(weighted_mean((size, distance, towards), CODE_WEIGHTS), size, distance, towards)


NO_OVERLAP = NO_DISTANCE = 1e-9
"""Below it, two boxes do not overlap; centres coincide and there is no direction."""


def paper_score(
    subject: Box, object_: Box, real: Reference, weights: Sequence[float], may_mirror: bool
) -> Score:
    """As published, against one reference; `weights` are 1 / sigma of the three."""
    ratios = area_ratio(subject, object_), area_ratio(real.subject, real.object)
    size = penalised(alike(*ratios) * real.weight)

    overlap = alike(
        *(
            v if v > NO_OVERLAP else 0.0
            for v in (iou(subject, object_), iou(real.subject, real.object))
        )
    )
    apart1, apart2 = (
        v if v > NO_DISTANCE else 0.0
        for v in (relative_distance(subject, object_), relative_distance(real.subject, real.object))
    )
    apart = alike(apart1, apart2)
    shares = (0.2, 0.8) if overlap > 0.95 else (0.8, 0.2) if apart > 0.95 else (0.5, 0.5)
    distance = penalised((shares[0] * overlap + shares[1] * apart) * real.weight)

    if apart1 == 0 or apart2 == 0:
        towards = float(apart1 == apart2)
    else:
        a, b = direction(subject, object_), direction(real.subject, real.object)
        towards = (best_cosine(a, b, may_mirror) + 1) / 2
    towards = penalised(towards * real.weight)
    return Score(weighted_mean((size, distance, towards), weights), size, distance, towards)


def over_references(scores: Sequence[Score], close: int, over: str = "percentile") -> Score:
    """The one at index floor(close / 50) in falling order, or the mean; times 100."""
    if over == "average":
        return Score(
            *(
                100 * sum(getattr(s, name) for s in scores) / len(scores)
                for name in ("total", "size", "distance", "direction")
            )
        )
    order = sorted(range(len(scores)), key=lambda index: scores[index].total, reverse=True)
    index = order[close // 50]
    chosen = scores[index]
    return Score(
        100 * chosen.total, 100 * chosen.size, 100 * chosen.distance, 100 * chosen.direction, index
    )


def pair_score(
    subject: Box,
    object_: Box,
    references: Sequence[Reference],
    variant: str = "paper",
    weights: Sequence[float] = CODE_WEIGHTS,
    may_mirror: bool = True,
    over: str = "percentile",
) -> Score:
    """One pair against all its references."""
    scores = [
        reference_score(subject, object_, real)
        if variant == "reference"
        else paper_score(subject, object_, real, weights, may_mirror)
        for real in references
    ]
    return over_references(scores, sum(real.close for real in references), over)


def category_weight(similarity: float) -> float:
    """What a reference of a similar category weighs."""
    for least, power in ((0.9, 1), (0.8, 2), (0.7, 3), (0.6, 4)):
        if similarity >= least:
            return math.prod([similarity] * power)
    return math.prod([similarity] * 5)


def evidence(references: Sequence[Reference]) -> float:
    """Of a pair; of an image it is the least of its pairs'."""
    return sum(real.weight * (1 if real.close else 0.0001) for real in references)


def image_score(pairs: Sequence[tuple[Score, float]]) -> Score:
    """The mean of an image's pairs, weighted by their evidence; 0 if it is 0 in all."""
    whole = sum(evidence for _, evidence in pairs)
    if whole == 0:
        return Score(0, 0, 0, 0)
    return Score(
        *(
            sum(getattr(score, name) * evidence / whole for score, evidence in pairs)
            for name in ("total", "size", "distance", "direction")
        )
    )
