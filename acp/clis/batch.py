"""CLIS-L of many images at once: arrays in, arrays out, no Python loop over images or relations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from acp.clis.chunks import IntArray
from acp.clis.deviations import paper_weights
from acp.clis.features import Float64Array, PairGeometry, features_of, pair_geometry
from acp.clis.pairs import PairScores, score_pairs
from acp.clis.predicates import BoolArray, canonical, sided
from acp.core.types import FloatArray

if TYPE_CHECKING:
    from acp.clis.priors import Priors
    from acp.clis.reference_sets import ReferenceSets

VARIANTS = ("paper", "reference", "acp")
TRIPLES = 512
"""So many different triples are scored at a time: their references are held in memory."""

PARTS = ("total", "size", "distance", "direction")

NO_RELATIONS = "no relations"
MOST = 1e6
"""A box with a coordinate beyond so many image sides is no box."""
LEAST = 1e-100
"""A side below it is none: ratios of areas would leave the range of floats."""


@dataclass(frozen=True, slots=True)
class LayoutBatch:
    """I images with B boxes and R relations in all.

    `names`: categories; `category` (B,) indexes them. `predicates`; `predicate` (R,) indexes them.
    `boxes_xywhn` (B, 4) float64; those of image i are `box_starts[i]` to `box_starts[i + 1]`,
    `box_starts` (I + 1,). `subject`, `object` (R,) index the boxes. `relation_image` (R,): the
    image of each relation, rising.
    """

    names: tuple[str, ...]
    predicates: tuple[str, ...]
    boxes_xywhn: Float64Array
    category: IntArray
    box_starts: IntArray
    subject: IntArray
    object: IntArray
    predicate: IntArray
    relation_image: IntArray


@dataclass(frozen=True, slots=True)
class LayoutResults:
    """CLIS-L of R relations in I images.

    Of each relation, (R,): `total`, `size`, `distance`, `direction`, at most 100, by the penalty
    also below 0, NaN where it is not scored; `confidence`; `references`, how many there are;
    `nearest`, the row of the priors that the percentile chose, -1 for none; `level`, what answered
    (see `acp.clis.priors`); `reason`, empty or why it is not scored. Of each image, (I,), with the
    prefix `image_`: means of its relations weighted by confidence, and the least confidence, with
    the level, the number of references and the nearest one of the relation that has it (the first
    of several); "", 0 and -1 without relations.
    """

    total: Float64Array
    size: Float64Array
    distance: Float64Array
    direction: Float64Array
    confidence: Float64Array
    references: IntArray
    nearest: IntArray
    level: tuple[str, ...]
    reason: tuple[str, ...]
    image_total: Float64Array
    image_size: Float64Array
    image_distance: Float64Array
    image_direction: Float64Array
    image_confidence: Float64Array
    image_level: tuple[str, ...]
    image_references: IntArray
    image_nearest: IntArray
    image_reason: tuple[str, ...]


def score_batch(
    batch: LayoutBatch, priors: Priors, variant: str = "paper", min_similarity: float = 0.8
) -> LayoutResults:
    """CLIS-L of every relation and image of a batch.

    An image with a relation that cannot be scored, or with none, is not scored; in `reference` it
    scores 0 unless a box was refused. Other images in the batch change nothing.

    Args:
        batch: what to score.
        priors: the real pairs.
        variant: "paper", "reference" or "acp"; see `docs/clis.md`.
        min_similarity: of both categories, for a reference to count.

    Raises:
        ValueError: another variant.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant!r}: expected one of {', '.join(VARIANTS)}")
    triples, group = _triples(batch)
    no_box = refusals(batch)
    refused = no_box[batch.subject] | no_box[batch.object]
    relations, boxes = _unscored(len(group)), cast(FloatArray, batch.boxes_xywhn)
    order = np.argsort(group, kind="stable")
    for first in range(0, len(triples), TRIPLES):
        some = triples[first : first + TRIPLES]
        begin, end = np.searchsorted(group[order], [first, first + len(some)])
        which = order[begin:end]
        sets = priors.reference_sets(
            some, strict=variant == "reference", min_similarity=min_similarity
        )
        _describe(relations, which, group[which] - first, sets)
        which = which[~refused[which]]
        geometry = pair_geometry(boxes[batch.subject[which]], boxes[batch.object[which]])
        scores = score_geometry(geometry, group[which] - first, some, sets, priors, variant)
        for name in (*PARTS, "nearest"):
            relations[name][which] = getattr(scores, name)
    for place in np.flatnonzero(refused):
        subject, object_ = batch.subject[place], batch.object[place]
        relations["reason"][place] = _refusal(batch, int(subject if no_box[subject] else object_))
    images = _images(batch, relations, refused, variant)
    for name in ("level", "reason"):
        relations[name] = tuple(relations[name].tolist())
    return LayoutResults(**relations, **images)


def _triples(batch: LayoutBatch) -> tuple[list[tuple[str, str, str]], IntArray]:
    """The different triples of a batch, and which is that of each relation, (R,)."""
    names, predicates = max(1, len(batch.names)), max(1, len(batch.predicates))
    subject, object_ = batch.category[batch.subject], batch.category[batch.object]
    key = (subject * predicates + batch.predicate) * names + object_
    unique, group = np.unique(key, return_inverse=True)
    rest, o = np.divmod(unique, names)
    codes = zip(*(each.tolist() for each in (*np.divmod(rest, predicates), o)), strict=True)
    return [(batch.names[s], batch.predicates[p], batch.names[o]) for s, p, o in codes], group


def _unscored(count: int) -> dict[str, Any]:
    columns: dict[str, Any] = {name: np.full(count, np.nan) for name in PARTS}
    return columns | {
        "nearest": np.full(count, -1, np.int64),
        "confidence": np.zeros(count),
        "references": np.zeros(count, np.int64),
        "level": np.full(count, "", dtype=object),
        "reason": np.full(count, "", dtype=object),
    }


def _describe(
    relations: dict[str, Any], which: IntArray, group: IntArray, sets: ReferenceSets
) -> None:
    """Writes what the priors say of relations: `which` of the batch, `group` of the sets."""
    relations["confidence"][which] = sets.confidence[group]
    relations["references"][which] = np.diff(sets.starts)[group]
    for name in ("level", "reason"):
        relations[name][which] = np.array(getattr(sets, name), dtype=object)[group]


def score_geometry(
    geometry: PairGeometry,
    group: IntArray,
    triples: Sequence[tuple[str, str, str]],
    sets: ReferenceSets,
    priors: Priors,
    variant: str,
) -> PairScores:
    """Scores of N pairs by a variant; `group` (N,) indexes the triples and their sets."""
    if variant == "acp":
        from acp.clis.density import density_scores

        return density_scores(geometry, group, triples, priors, sets)
    may_mirror = np.array([not sided(canonical(predicate)) for _, predicate, _ in triples], bool)
    return score_pairs(
        features_of(geometry),
        group,
        priors.features.take(sets.rows),
        sets,
        may_mirror,
        variant,
        weights=paper_weights(priors) if variant == "paper" else None,
    )


def refusals(batch: LayoutBatch) -> BoolArray:
    """Which boxes are none, (B,): not finite, far out of all bounds, or without a side."""
    boxes = batch.boxes_xywhn
    return np.asarray(~((np.abs(boxes) <= MOST).all(axis=1) & (boxes[:, 2:] >= LEAST).all(axis=1)))


def _refusal(batch: LayoutBatch, box: int) -> str:
    image = int(np.searchsorted(batch.box_starts, box, side="right")) - 1
    values, name = batch.boxes_xywhn[box], batch.names[batch.category[box]]
    if not np.isfinite(values).all():
        what = "is not finite"
    elif (values[2:] < LEAST).any():
        what = "has no area"
    else:
        what = "is out of all bounds"
    return f"the box of object {box - int(batch.box_starts[image])} ({name}) {what}"


def _images(
    batch: LayoutBatch, relations: dict[str, Any], refused: BoolArray, variant: str
) -> dict[str, Any]:
    """Means over relations, weighted by confidence, and the least confidence."""
    count, of = len(batch.box_starts) - 1, batch.relation_image
    confidence = relations["confidence"]
    whole = np.bincount(of, confidence, minlength=count)
    share = confidence / np.where(whole > 0, whole, 1.0)[of]
    found = {
        name: np.bincount(of, relations[name] * share, minlength=count).astype(np.float64)
        for name in PARTS
    }
    found["confidence"] = np.full(count, np.inf)
    np.minimum.at(found["confidence"], of, confidence)
    images = _of_the_weakest(relations, of, count)
    reason = np.full(count, "", dtype=object)
    reason[np.bincount(of, minlength=count) == 0] = NO_RELATIONS
    # The last of them that is written is the first: a box that was refused, else no references.
    for which in (~refused, refused):
        given = np.flatnonzero(which & relations["reason"].astype(bool))[::-1]
        reason[of[given]] = relations["reason"][given]
    for values in found.values():
        values[reason.astype(bool)] = 0.0 if variant == "reference" else np.nan
        values[of[refused]] = np.nan
    images |= {f"image_{name}": values for name, values in found.items()}
    return images | {"image_reason": tuple(reason.tolist())}


def _of_the_weakest(relations: dict[str, Any], of: IntArray, count: int) -> dict[str, Any]:
    """What answered for the relation of least confidence of each image."""
    order = np.lexsort((relations["confidence"], of))  # stable: the first of several
    having, first = np.unique(of[order], return_index=True)
    weakest = order[first]
    level = np.full(count, "", dtype=object)
    level[having] = relations["level"][weakest]
    references, nearest = np.zeros(count, np.int64), np.full(count, -1, np.int64)
    references[having], nearest[having] = (
        relations["references"][weakest],
        relations["nearest"][weakest],
    )
    return {
        "image_level": tuple(level.tolist()),
        "image_references": references,
        "image_nearest": nearest,
    }
