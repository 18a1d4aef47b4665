"""CLIS-L, the layout part of the metric (arXiv 2406.20085, Sec. 3.2, Eq. 4-8).

A candidate pair of boxes is compared with every reference of the same relation in size, distance
and direction; a high percentile over the references is the relation's score, and the mean over the
relations, weighted by confidence, is the layout's. Constants are those of the authors' code as it
was meant; scores are on the 0-100 scale, and the penalty lets them fall to -100.

Boxes without an area, with the same centre or beyond the image get a defined, finite score: a ratio
with an empty box counts as 0, two zeros are alike, a zero and a non-zero are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from acp.clis.features import Float64Array, PairFeatures, pair_features
from acp.clis.predicates import sided
from acp.types import FloatArray, Relation

SIZE_WEIGHT, DISTANCE_WEIGHT, DIRECTION_WEIGHT = 0.5, 1.0, 0.8
PENALTY_BELOW = 0.03
ONE_IN = 50
"""The percentile: index floor(K / 50) of the K scores in falling order, the 98th."""

NO_LENGTH = 1e-9
"""Offsets shorter than this, in image sides, have no direction."""


class ReferenceSet(Protocol):
    """What `score_layouts` needs of `acp.priors.References`."""

    @property
    def features(self) -> PairFeatures: ...
    @property
    def weights(self) -> Float64Array: ...
    @property
    def confidence(self) -> float: ...
    @property
    def level(self) -> str: ...


class ReferenceSource(Protocol):
    """What `score_layouts` needs of `acp.priors.Priors`."""

    def references(self, subject: str, predicate: str, object_: str, /) -> ReferenceSet: ...


@dataclass(frozen=True, slots=True)
class PairScores:
    """Scores of N pairs, each array (N,), -100 to 100; `nearest` is the index of the reference
    that the percentile chose; size, distance and direction are those against it."""

    total: Float64Array
    size: Float64Array
    distance: Float64Array
    direction: Float64Array
    nearest: np.ndarray


@dataclass(frozen=True, slots=True)
class LayoutScores:
    """CLIS-L of P layouts with R >= 1 relations.

    `total` has shape (P,); `relation`, `size`, `distance` and `direction` have shape (P, R); all
    are -100 to 100. `confidence` (R,) and `level` (R of them) are those of the priors.
    """

    total: Float64Array
    relation: Float64Array
    size: Float64Array
    distance: Float64Array
    direction: Float64Array
    confidence: Float64Array
    level: tuple[str, ...]


def score_layouts(
    relations: Sequence[Relation],
    categories: Sequence[str],
    boxes_xywhn: FloatArray,
    priors: ReferenceSource,
) -> LayoutScores | None:
    """CLIS-L of every layout of a scene graph; None if the graph has no relation to score.

    Args:
        relations: of the graph, R of them; subject and object index `categories`.
        categories: LVIS names of the objects, N of them.
        boxes_xywhn: P layouts, shape (P, N, 4).
        priors: where the references come from.

    Raises:
        ValueError: boxes of another shape, or not finite.
    """
    boxes = np.asarray(boxes_xywhn)
    if boxes.ndim != 3 or boxes.shape[1:] != (len(categories), 4):
        raise ValueError(f"expected boxes of shape (P, {len(categories)}, 4), got {boxes.shape}")
    if not np.isfinite(boxes).all():
        raise ValueError("expected finite boxes")
    if not relations:
        return None
    found = [
        priors.references(categories[r.subject], r.predicate, categories[r.object])
        for r in relations
    ]
    pairs = [
        score_pairs(
            pair_features(boxes[:, r.subject], boxes[:, r.object]),
            references.features,
            references.weights,
            may_mirror=not sided(r.predicate),
        )
        for r, references in zip(relations, found, strict=True)
    ]
    columns = {
        name: np.stack([getattr(pair, name) for pair in pairs], axis=1)
        for name in ("size", "distance", "direction")
    }
    relation = np.stack([pair.total for pair in pairs], axis=1)
    confidence = np.array([references.confidence for references in found])
    return LayoutScores(
        total=relation @ (confidence / confidence.sum()),
        relation=relation,
        confidence=confidence,
        level=tuple(references.level for references in found),
        **columns,
    )


def score_pairs(
    candidates: PairFeatures, references: PairFeatures, weights: Float64Array, *, may_mirror: bool
) -> PairScores:
    """Score N candidate pairs against K >= 1 references of the same relation.

    Args:
        candidates: features of shape (N,).
        references: features of shape (K,).
        weights: shape (K,), 0-1, how like the reference's categories are.
        may_mirror: whether a reference counts mirrored left-right too; not so where the predicate
            tells left from right.
    """
    a, b = candidates.reshape(-1, 1), references.reshape(1, -1)
    size = penalised(weights * ratio_similarity(a.area_ratio, b.area_ratio))
    distance = penalised(weights * distance_similarity(a, b))
    direction = penalised(weights * direction_similarity(a, b, may_mirror=may_mirror))
    total = (SIZE_WEIGHT * size + DISTANCE_WEIGHT * distance + DIRECTION_WEIGHT * direction) / (
        SIZE_WEIGHT + DISTANCE_WEIGHT + DIRECTION_WEIGHT
    )
    rank = total.shape[1] // ONE_IN
    chosen = np.argsort(-total, axis=1, kind="stable")[:, rank : rank + 1]
    total, size, distance, direction = (
        100 * np.take_along_axis(values, chosen, axis=1)[:, 0]
        for values in (total, size, distance, direction)
    )
    return PairScores(total, size, distance, direction, nearest=chosen[:, 0])


def ratio_similarity(a: Float64Array, b: Float64Array) -> Float64Array:
    """`S(a, b) = 1 - |a - b| / max(a, b)`, elementwise for a, b >= 0; 1 where both are 0; 0-1.

    >>> ratio_similarity(np.array([1.0, 0.0, 0.0]), np.array([2.0, 0.0, 3.0])).tolist()
    [0.5, 1.0, 0.0]
    """
    larger = np.maximum(a, b)
    return 1 - np.divide(np.abs(a - b), larger, out=np.zeros_like(larger), where=larger > 0)


def distance_similarity(a: PairFeatures, b: PairFeatures) -> Float64Array:
    """Overlap and relative distance together, 0-1.

    Half and half; where one of the two is all but equal (above 0.95) it counts 0.2 and the other
    0.8, so that it does not hide a difference in the other.
    """
    overlap = ratio_similarity(a.iou, b.iou)
    apart = ratio_similarity(a.distance, b.distance)
    share = np.where(overlap > 0.95, 0.2, np.where(apart > 0.95, 0.8, 0.5))
    return np.asarray(share * overlap + (1 - share) * apart)


def direction_similarity(a: PairFeatures, b: PairFeatures, *, may_mirror: bool) -> Float64Array:
    """`(cos + 1) / 2` of the two directions from subject to object, 0-1.

    1 where neither pair has a direction, 0 where only one has.
    """
    length_a, length_b = np.hypot(a.dx, a.dy), np.hypot(b.dx, b.dy)
    flat = a.dx * b.dx
    product = (np.abs(flat) if may_mirror else flat) + a.dy * b.dy
    lengths = length_a * length_b
    none_a, none_b = length_a <= NO_LENGTH, length_b <= NO_LENGTH
    known = ~(none_a | none_b)
    cosine = np.divide(product, lengths, out=np.zeros_like(lengths), where=known)
    return np.asarray(np.where(known, (np.clip(cosine, -1, 1) + 1) / 2, none_a & none_b))


def penalised(similarity: Float64Array) -> Float64Array:
    """Values below t = 0.03 are mapped linearly from [0, t] to [-1, t].

    >>> penalised(np.array([0.0, 0.03, 0.5])).tolist()
    [-1.0, 0.03, 0.5]
    """
    below = similarity * (1 + PENALTY_BELOW) / PENALTY_BELOW - 1
    return np.where(similarity < PENALTY_BELOW, below, similarity)
