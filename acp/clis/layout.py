"""CLIS-L of many layouts of one scene graph (arXiv 2406.20085, Sec. 3.2, Eq. 4-8).

What `acp.clis.batch` does for images of a data set, for the proposals a scene's layout is chosen
from. `docs/clis.md` has the definition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from acp.clis.batch import LayoutBatch, score_batch
from acp.clis.features import Float64Array
from acp.core.types import FloatArray, Relation

if TYPE_CHECKING:
    from acp.clis.priors import Priors


@dataclass(frozen=True, slots=True)
class LayoutScores:
    """CLIS-L of P layouts with R >= 1 relations.

    `total` has shape (P,); `relation`, `size`, `distance` and `direction` have shape (P, R); all
    are at most 100, by the penalty also below 0, and NaN for a layout with a box without area (the
    parts: for its relations). `confidence` (R,) and `level` (R of them) are those of the priors.
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
    names: Sequence[str],
    boxes_xywhn: FloatArray,
    priors: Priors,
    variant: str = "paper",
) -> LayoutScores | None:
    """CLIS-L of every layout of a scene graph; None if the graph has no relation to score.

    Args:
        relations: of the graph, R of them; subject and object index `names`.
        names: categories of the objects, N of them.
        boxes_xywhn: P layouts, shape (P, N, 4).
        priors: where the references come from.
        variant: "paper", "reference" or "acp"; see `docs/clis.md`.

    Raises:
        ValueError: boxes of another shape, or not finite; another variant.
    """
    boxes = np.asarray(boxes_xywhn, np.float64)
    if boxes.ndim != 3 or boxes.shape[1:] != (len(names), 4):
        raise ValueError(f"expected boxes of shape (P, {len(names)}, 4), got {boxes.shape}")
    if not np.isfinite(boxes).all():
        raise ValueError("expected finite boxes")
    if not relations:
        return None
    found = score_batch(_batch(relations, names, boxes), priors, variant)
    shape = len(boxes), len(relations)
    triples = [(names[each.subject], each.predicate, names[each.object]) for each in relations]
    sets = priors.reference_sets(triples, strict=variant == "reference")
    return LayoutScores(
        total=found.image_total,
        relation=found.total.reshape(shape),
        size=found.size.reshape(shape),
        distance=found.distance.reshape(shape),
        direction=found.direction.reshape(shape),
        confidence=sets.confidence,
        level=sets.level,
    )


def _batch(relations: Sequence[Relation], names: Sequence[str], boxes: Float64Array) -> LayoutBatch:
    """Layouts (P, N, 4) as P images."""
    layouts, objects = boxes.shape[:2]
    known = sorted({relation.predicate for relation in relations})
    first = np.arange(layouts)[:, None] * objects
    return LayoutBatch(
        names=tuple(names),
        predicates=tuple(known),
        boxes_xywhn=boxes.reshape(-1, 4),
        category=np.tile(np.arange(objects), layouts),
        box_starts=np.arange(layouts + 1) * objects,
        subject=(first + [relation.subject for relation in relations]).ravel(),
        object=(first + [relation.object for relation in relations]).ravel(),
        predicate=np.tile([known.index(relation.predicate) for relation in relations], layouts),
        relation_image=np.repeat(np.arange(layouts), len(relations)),
    )
