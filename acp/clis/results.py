"""Results as lists for people: None for what has no score, means of what has one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from acp.clis.layout import LayoutBatch, LayoutResults
from acp.clis.priors import Priors
from acp.clis.rows import RowColumns
from acp.core.errors import AcpError
from acp.core.types import Float64Array

PARTS = ("size", "distance", "direction", "confidence")
LAYOUT_SCORES = ("clis_l", *(f"clis_l_{part}" for part in PARTS))
ANSWERED = ("clis_l_level", "clis_l_references")
"""What answered for the relation of least confidence."""
IMAGE_SCORES = ("clis_i", "clis_i_global")
GEOMETRY = ("subject_w", "subject_h", "object_w", "object_h", "dx", "dy")

Lists = dict[str, Any]


def with_none(scores: Float64Array) -> list[float | None]:
    """An array as a list, NaN as None.

    >>> with_none(np.array([1.5, np.nan]))
    [1.5, None]
    """
    values: list[float | None] = scores.tolist()
    for place in np.flatnonzero(np.isnan(scores)):
        values[place] = None
    return values


def not_asked(columns: RowColumns, components: Iterable[str]) -> Lists:
    """Lists of None, with the reason, for components that were not asked for."""
    lists: Lists = {}
    for component in components:
        names = LAYOUT_SCORES if component == "layout" else IMAGE_SCORES
        lists |= {name: [None] * len(columns) for name in names}
        if component == "layout":
            lists |= {name: [None] * len(columns) for name in ANSWERED}
        lists[f"{names[0]}_reason"] = [f"component {component!r} not asked for"] * len(columns)
        if component == "image":
            counts = np.diff(columns.box_starts).tolist()
            lists["clis_i_instances"] = [[None] * count for count in counts]
    return lists


def layout_lists(results: LayoutResults) -> Lists:
    """CLIS-L and its parts, an entry an image."""
    lists: Lists = {"clis_l": with_none(results.image_total)}
    for part in PARTS:
        lists[f"clis_l_{part}"] = with_none(getattr(results, f"image_{part}"))
    lists["clis_l_level"] = [level or None for level in results.image_level]
    lists["clis_l_references"] = results.image_references.tolist()
    lists["clis_l_reason"] = [reason or None for reason in results.image_reason]
    return lists


def clis_lists(lists: Lists, components: Sequence[str], layout_weight: float) -> list[float | None]:
    """CLIS: the weighted mean of the components asked for; None where one of them is None.

    >>> clis_lists({"clis_l": [80.0, None], "clis_i": [60.0, 60.0]}, ("layout", "image"), 0.5)
    [70.0, None]
    """
    if len(components) == 1:
        return list(lists["clis_l" if "layout" in components else "clis_i"])
    return [
        None if a is None or b is None else layout_weight * a + (1 - layout_weight) * b
        for a, b in zip(lists["clis_l"], lists["clis_i"], strict=True)
    ]


def means(lists: Lists) -> dict[str, Any]:
    """`mean_*` of every score, over the rows that have one (instances: over all instances), None
    where there is none; `unscored_*`, how many rows have none."""
    found: dict[str, Any] = {}
    for name in (*LAYOUT_SCORES, *IMAGE_SCORES, "clis"):
        found[f"mean_{name}"] = mean(lists[name])
    instances = [each for row in lists["clis_i_instances"] for each in row]
    found["mean_clis_i_instances"] = mean(instances)
    for name in ("clis_l", "clis_i", "clis"):
        found[f"unscored_{name}"] = lists[name].count(None)
    return found


def mean(scores: Sequence[float | None]) -> float | None:
    """The mean of the scores that are there."""
    there = [score for score in scores if score is not None]
    return float(np.mean(there)) if there else None


def priors_identity(priors: Priors) -> dict[str, Any]:
    """What a score must name to be repeated: where the priors came from, and what they are."""
    table = priors.table
    return {
        "name": table.origin,
        "version": table.info.get("version"),
        "sha256": table.digest,
        "pairs": len(table),
    }


def explained(batch: LayoutBatch, results: LayoutResults, priors: Priors) -> list[list[Any]]:
    """A list an image with a dict a relation: its scores, what answered, the nearest reference."""
    found: list[list[Any]] = [[] for _ in range(len(batch.box_starts) - 1)]
    columns = {name: with_none(getattr(results, name)) for name in ("total", *PARTS)}
    for place, image in enumerate(batch.relation_image.tolist()):
        subject, object_ = int(batch.subject[place]), int(batch.object[place])
        first = int(batch.box_starts[image])
        found[image].append(
            {
                "subject": batch.names[batch.category[subject]],
                "predicate": batch.predicates[batch.predicate[place]],
                "object": batch.names[batch.category[object_]],
                "subject_index": subject - first,
                "object_index": object_ - first,
                **{name: values[place] for name, values in columns.items()},
                "level": results.level[place],
                "references": int(results.references[place]),
                "nearest": _nearest(int(results.nearest[place]), priors),
                "reason": results.reason[place] or None,
            }
        )
    return found


def _nearest(row: int, priors: Priors) -> dict[str, Any] | None:
    """The reference that the percentile chose: its triple, sides and offset of the centres in
    shares of its image, and the image's id where the priors know it."""
    if row < 0:
        return None
    table = priors.table
    subject, predicate, object_ = priors.triple(row)
    return {
        "subject": subject,
        "predicate": predicate,
        "object": object_,
        **{name: float(getattr(table.geometry, name)[row]) for name in GEOMETRY},
        "source": "stated" if table.stated[row] else "geometric",
        "image_id": None if table.images is None else table.images[row].as_py(),
    }


SAME = ("variant", "components", "priors", "captioner", "judge", "prompt_version")
"""What results must share to be put together."""


def merge(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Results of several batches as one, with the means of all.

    Raises:
        AcpError: they were made in different ways, by other priors or judges say, whose scores are
            not comparable; or there are none.
    """
    if not results:
        raise AcpError("there are no results to merge")
    for key in SAME:
        values = [result[key] for result in results]
        other = next((value for value in values if value != values[0]), None)
        if any(value != values[0] for value in values):
            raise AcpError(
                f"{key}: results with {values[0]!r} and with {other!r} are not comparable and "
                "cannot be merged; score everything in one way"
            )
    names = [name for name, value in results[0].items() if _is_column(name, value)]
    lists = {name: [each for result in results for each in result[name]] for name in names}
    return {**lists, **means(lists), **{key: results[0][key] for key in SAME}}


def _is_column(name: str, value: Any) -> bool:
    return isinstance(value, list) and name not in SAME
