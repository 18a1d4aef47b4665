"""CLIS of rows: rows in, lists with an entry a row out, None for what has no score."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np

from acp.clis.image import (
    AnswerCache,
    ClisISettings,
    ImageRequest,
    ImageResult,
    instance_text,
    score_images,
)
from acp.clis.layout import VARIANTS, LayoutBatch, LayoutResults, real_scores, score_batch
from acp.clis.priors import Priors, PriorsLike, load_priors
from acp.clis.questions import Captioner, Judge, Prompts
from acp.clis.rows import RowColumns, image_rgb
from acp.core.boxes import BOX_FORMATS, in_words, other_format
from acp.core.config import validated
from acp.core.errors import AcpError, did_you_mean
from acp.core.types import Failure, Float64Array

PARTS = ("size", "distance", "direction", "evidence")
LAYOUT_SCORES = ("clis_l", "clis_l_percentile", *(f"clis_l_{part}" for part in PARTS))
ANSWERED = ("clis_l_level", "clis_l_references")
"""What answered for the relation of least evidence."""
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


def percentiles(scores: Float64Array, real: Float64Array) -> list[float | None]:
    """How many in a hundred of the real scores, rising, are lower; None where there are none.

    >>> percentiles(np.array([50.0, np.nan]), np.array([10.0, 50.0, 60.0, 70.0]))
    [25.0, None]
    """
    if not len(real):
        return [None] * len(scores)
    lower = np.searchsorted(real, scores) * 100 / len(real)
    return with_none(np.where(np.isnan(scores), np.nan, lower))


def layout_lists(results: LayoutResults, real: Float64Array) -> Lists:
    """CLIS-L, its percentile among `real` scores and its parts, an entry an image."""
    total = results.image_total
    lists: Lists = {"clis_l": with_none(total), "clis_l_percentile": percentiles(total, real)}
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


def explained(
    batch: LayoutBatch, results: LayoutResults, priors: Priors, real: Float64Array
) -> list[list[Any]]:
    """A list an image with a dict a relation: its scores, what answered, the nearest reference."""
    found: list[list[Any]] = [[] for _ in range(len(batch.box_starts) - 1)]
    columns = {name: with_none(getattr(results, name)) for name in ("total", *PARTS, "weight")}
    columns["percentile"] = percentiles(results.total, real)
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


COMPONENTS = ("layout", "image")


@dataclass(frozen=True, slots=True)
class ScoreOptions:
    """What to score and how; see `acp.score`."""

    priors: PriorsLike = None
    bbox_format: str | None = None
    components: tuple[str, ...] = ("layout",)
    variant: str = "paper"
    min_similarity: float = 0.8
    explain: bool = False
    captioner: Any = None
    judge: Any = None
    image_settings: Mapping[str, Any] = field(default_factory=dict)
    layout_weight: float = 0.5

    @classmethod
    def of(cls, **options: Any) -> ScoreOptions:
        """Checked options; None stands for the default.

        Raises:
            AcpError: an option or a value that there is none of.

        >>> ScoreOptions.of(varaint="paper")
        Traceback (most recent call last):
        ...
        acp.core.errors.AcpError: there is no option 'varaint'; did you mean 'variant'?
        """
        for name in options:
            _known("option", name, [each.name for each in fields(cls)])
        given = {name: value for name, value in options.items() if value is not None}
        if "components" in given:
            given["components"] = _components(given["components"])
        found = cls(**given)
        _known("variant", found.variant, VARIANTS)
        if found.bbox_format is not None:
            _known("bbox format", found.bbox_format, BOX_FORMATS)
        if not isinstance(found.image_settings, Mapping):
            raise AcpError(f"image_settings: expected a dict, got {found.image_settings!r}")
        for name in ("min_similarity", "layout_weight"):
            value = getattr(found, name)
            if not isinstance(value, int | float) or not 0 <= value <= 1:
                raise AcpError(f"{name}: expected a number from 0 to 1, got {value!r}")
        if "image" in found.components and found.captioner is None:
            raise AcpError(
                "captioner: the component 'image' needs one, for example captioner='embedded', "
                "judge='embedded'"
            )
        return found


def score_columns(columns: RowColumns, options: ScoreOptions) -> dict[str, Any]:
    """CLIS of rows that are columns already, with captioner and judge as models in `options`; see
    `acp.score`."""
    columns, faults = read_boxes(columns, options.bbox_format)
    lists = not_asked(columns, [name for name in COMPONENTS if name not in options.components])
    about: dict[str, Any] = {"variant": None, "components": list(options.components)}
    about |= dict.fromkeys(("priors", "captioner", "judge", "prompt_version"))
    if "layout" in options.components:
        priors, batch = load_priors(options.priors), columns.layouts()
        found = score_batch(
            batch, priors, variant=options.variant, min_similarity=options.min_similarity
        )
        real = real_scores(priors, options.variant)
        lists |= layout_lists(found, real)
        _without(lists, faults, LAYOUT_SCORES)
        about |= {"variant": options.variant, "priors": priors_identity(priors)}
        if options.explain:
            lists["explanation"] = explained(batch, found, priors, real)
    if "image" in options.components:
        images, made_by = image_lists(columns, options)
        _warn_of_others(columns, made_by)
        lists, about = lists | images, about | made_by
        _without(lists, columns.wrong, IMAGE_SCORES)
    lists["clis"] = clis_lists(lists, options.components, options.layout_weight)
    return {**lists, **means(lists), **about}


def read_boxes(
    columns: RowColumns, box_format: str | None = None
) -> tuple[RowColumns, dict[int, str]]:
    """Rows with their boxes read, and why rows have no CLIS-L, by their place.

    Without a format boxes are `[x, y, w, h]`; where they plainly are something else no row is
    scored.
    """
    said = "" if box_format else seems_otherwise(columns.fits())
    columns = columns.in_format(box_format) if box_format else columns
    faults = dict.fromkeys(range(len(columns)), said) if said else columns.faults()
    return columns, {**faults, **columns.wrong}


def seems_otherwise(fits: Mapping[str, int]) -> str:
    """What boxes look like that are plainly not `[x, y, w, h]`; "" otherwise."""
    other = other_format(fits, "xywh")
    if other is None:
        return ""
    return (
        f"the boxes look like {in_words(other)}: {fits[other]} of {fits['all']} lie in their images"
        f" so, {fits['xywh']} as [x, y, w, h]; give the bbox format {other}, or xywh if it is that"
    )


def _without(lists: Lists, reasons: Mapping[int, str], names: Sequence[str]) -> None:
    """Takes the scores of some rows away and gives the reason."""
    for place, reason in reasons.items():
        for name in names:
            lists[name][place] = None
        lists[f"{names[0]}_reason"][place] = reason


def _warn_of_others(columns: RowColumns, made_by: Mapping[str, Any]) -> None:
    """Rows that carry CLIS-I already: what is not to be compared with what."""
    others = sorted({scorer for scorer in columns.scorers if scorer})
    if others:
        count = sum(map(bool, columns.scorers))
        warnings.warn(
            f"{count} rows carry CLIS-I of {', '.join(others[:3])}; those scores are not used here "
            f"and not comparable with these of {made_by['captioner']} and {made_by['judge']}",
            stacklevel=3,
        )


def _components(value: Any) -> tuple[str, ...]:
    given = (
        [value] if isinstance(value, str) else list(value) if isinstance(value, Iterable) else ()
    )
    if not given:
        raise AcpError(f"components: expected some of {', '.join(COMPONENTS)}, got none")
    for name in given:
        _known("component", name, COMPONENTS)
    return tuple(name for name in COMPONENTS if name in given)


def _known(kind: str, name: Any, names: Sequence[str]) -> None:
    if name not in names:
        raise AcpError(f"there is no {kind} {name!r}; {did_you_mean(name, names)}")


IMAGES_AT_ONCE = 64
"""Asked about together; decoded images are large."""


def image_lists(
    columns: RowColumns, options: ScoreOptions
) -> tuple[dict[str, Any], dict[str, str | None]]:
    """The lists of CLIS-I, an entry a row, and who made them.

    Raises:
        AcpError: no such captioner or judge, or one that is not installed.
    """
    captioner, judge = options.captioner, options.judge
    settings = validated(ClisISettings, dict(options.image_settings), where="image_settings")
    cache, found = AnswerCache(), []
    for start in range(0, len(columns), IMAGES_AT_ONCE):
        places = range(start, min(start + IMAGES_AT_ONCE, len(columns)))
        found += _block(columns, places, captioner, judge, settings, cache)
    counts = np.diff(columns.box_starts).tolist()
    judged = [_Judged.of(each, count) for each, count in zip(found, counts, strict=True)]
    names = ("clis_i", "clis_i_global", "clis_i_instances", "clis_i_reason")
    lists = {name: [getattr(each, name) for each in judged] for name in names}
    return lists, {
        "captioner": str(captioner.info()),
        "judge": str(judge.info()),
        "prompt_version": Prompts.of(settings).version,
    }


class _Judged(NamedTuple):
    """What is listed of a row."""

    clis_i: float | None
    clis_i_global: float | None
    clis_i_instances: list[float | None]
    clis_i_reason: str | None

    @classmethod
    def of(cls, result: ImageResult | Failure, objects: int) -> _Judged:
        if isinstance(result, Failure):
            return cls(None, None, [None] * objects, result.reason)
        said = [f"object {i}: {why}" for i, why in enumerate(result.instance_reasons) if why]
        reason = "; ".join([result.reason, *said] if result.reason else said)
        return cls(
            result.clis_i, result.clis_i_global, list(result.clis_i_instances), reason or None
        )


def _block(
    columns: RowColumns,
    places: range,
    captioner: Captioner,
    judge: Judge,
    settings: ClisISettings,
    cache: AnswerCache,
) -> list[ImageResult | Failure]:
    requests = [_request(columns, place) for place in places]
    asked = [request for request in requests if not isinstance(request, Failure)]
    answers = iter(score_images(asked, captioner, judge, settings, cache))
    return [each if isinstance(each, Failure) else next(answers) for each in requests]


def _request(columns: RowColumns, place: int) -> ImageRequest | Failure:
    image = columns.images[place]
    pixels = Failure("no image") if image is None else image_rgb(image)
    if isinstance(pixels, Failure):
        return pixels
    start, stop = columns.box_starts[place : place + 2].tolist()
    size = [columns.width[place], columns.height[place]] * 2
    names = columns.category.names
    return ImageRequest(
        pixels,
        columns.captions[place],
        tuple(
            instance_text(names[columns.category.codes[i]], columns.attributes[i])
            for i in range(start, stop)
        ),
        np.asarray(columns.boxes_xywh[start:stop] / size, dtype=np.float32),
    )
