"""How the judgements of CLIS-I add up, and what is said where some are missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from acp.clis.image_questions import ImageRequest, Question, box_problem, boxes_of, request_problem
from acp.clis.image_settings import ClisISettings
from acp.core.errors import AcpError
from acp.core.types import Failure, ImageScores

PUBLISHED_THRESHOLD = 60.0
"""An object below is not used."""

Parts = Mapping[tuple[int | None, str], "PartResult"]


@dataclass(frozen=True, slots=True)
class JudgedBy:
    """Who scored: ids with revisions, and the version of the prompts."""

    captioner: str
    judge: str
    prompts: str

    def __str__(self) -> str:
        return f"{self.captioner} + {self.judge}, prompts {self.prompts}"


@dataclass(frozen=True, slots=True)
class PartResult:
    """What the captioner said and what it scored, 0-100; None with a reason."""

    caption: str = ""
    score: float | None = None
    reason: str = "not asked"


@dataclass(frozen=True, slots=True)
class ImageResult:
    """CLIS-I of an image, 0-100, and how it came about.

    `reason` and `instance_reasons` are empty where everything asked for could be judged. `parts`
    maps (instance, part) to the captions given and their scores; instance None is the whole.
    """

    clis_i: float | None
    clis_i_global: float | None
    clis_i_instances: tuple[float | None, ...]
    reason: str
    instance_reasons: tuple[str, ...]
    parts: Mapping[tuple[int | None, str], PartResult]
    judged_by: JudgedBy

    @property
    def scores(self) -> ImageScores:
        """The same without the captions."""
        return ImageScores(
            self.clis_i,
            self.clis_i_global,
            self.clis_i_instances,
            self.reason,
            self.instance_reasons,
            str(self.judged_by),
        )


def assemble(
    requests: Sequence[ImageRequest],
    questions: Sequence[Question],
    captions: Sequence[str | Failure],
    scores: Sequence[float | Failure],
    settings: ClisISettings,
    judged_by: JudgedBy,
) -> list[ImageResult]:
    """The results of requests from the scores, 0-100, of their questions."""
    parts: list[dict[tuple[int | None, str], PartResult]] = [{} for _ in requests]
    for question, caption, score in zip(questions, captions, scores, strict=True):
        part = PartResult(
            caption if isinstance(caption, str) else "",
            None if isinstance(score, Failure) else score,
            score.reason if isinstance(score, Failure) else "",
        )
        parts[question.request][question.instance, question.part] = part
    return [
        _image_result(request, found, settings, judged_by)
        for request, found in zip(requests, parts, strict=True)
    ]


def _image_result(
    request: ImageRequest,
    parts: Parts,
    settings: ClisISettings,
    judged_by: JudgedBy,
) -> ImageResult:
    count = len(request.instances)
    if problem := request_problem(request):
        nothing = (None,) * count
        return ImageResult(None, None, nothing, problem, (problem,) * count, parts, judged_by)
    whole = parts.get((None, "global"), PartResult(reason="no caption was given"))
    instances = [_instance(request, index, parts, settings) for index in range(count)]
    clis_i, reason = combine_image(whole.score, whole.reason, [s for s, _ in instances], settings)
    return ImageResult(
        clis_i,
        whole.score,
        tuple(score for score, _ in instances),
        reason,
        tuple(why for _, why in instances),
        parts,
        judged_by,
    )


def _instance(
    request: ImageRequest,
    index: int,
    parts: Parts,
    settings: ClisISettings,
) -> tuple[float | None, str]:
    problem = box_problem(boxes_of(request.boxes_xywhn)[index])
    if problem or not request.instances[index].strip():
        return None, problem or "no text was given"
    region = parts.get((index, "region"), PartResult())
    crop = parts.get((index, "crop"), PartResult())
    weights = (settings.region_weight, settings.crop_weight)
    score = weighted_mean((region.score, crop.score), weights)
    missing = [
        f"{name}: {part.reason}"
        for name, part, weight in (("region", region, weights[0]), ("crop", crop, weights[1]))
        if part.score is None and weight
    ]
    if score is not None and missing:
        missing.append("the other part stands for both")
    return score, "; ".join(missing)


def combine_image(
    whole: float | None,
    whole_reason: str,
    instances: Sequence[float | None],
    settings: ClisISettings,
) -> tuple[float | None, str]:
    """The score of an image and what is missing from it.

    >>> combine_image(80.0, "", [60.0, None], ClisISettings())
    (70.0, '1 of 2 objects not scored')
    >>> combine_image(None, "judge: timeout", [], ClisISettings())
    (None, 'global: judge: timeout')
    """
    scored = [score for score in instances if score is not None]
    mean = sum(scored) / len(scored) if scored else None
    total = weighted_mean((whole, mean), (settings.global_weight, settings.instances_weight))
    reasons = [f"global: {whole_reason}"] if whole is None else []
    if len(scored) < len(instances):
        reasons.append(f"{len(instances) - len(scored)} of {len(instances)} objects not scored")
    return total, "; ".join(reasons)


def weighted_mean(scores: Sequence[float | None], weights: Sequence[float]) -> float | None:
    """The mean of the scores that are there; None if none of them counts.

    >>> weighted_mean((100.0, 50.0), (0.8, 0.2)), weighted_mean((None, 50.0), (0.8, 0.2))
    (90.0, 50.0)
    """
    there = [(s, w) for s, w in zip(scores, weights, strict=True) if s is not None and w > 0]
    if not there:
        return None
    return round(sum(s * w for s, w in there) / sum(w for _, w in there), 4)


def usable_instances(
    scores: Iterable[float | None], threshold: float = PUBLISHED_THRESHOLD
) -> tuple[bool, ...]:
    """Which objects are used; the paper drops an image of which none is.

    An object that could not be scored passes. In a recipe, `pick.min_clis_i_instance` says it.

    >>> usable_instances([80.0, 40.0, None])
    (True, False, True)
    """
    return tuple(score is None or score >= threshold for score in scores)


def check_same_judges(made_by: Iterable[str | JudgedBy | None], where: str = "scores") -> None:
    """Refuse to mix scores of different captioners, judges or prompts; None and "" are skipped.

    Raises:
        AcpError: names them.
    """
    found = sorted({str(each) for each in made_by if each is not None and str(each)})
    if len(found) > 1:
        listed = "; ".join(f"({number}) {each}" for number, each in enumerate(found[:4], 1))
        raise AcpError(
            f"{where}: made by {len(found)} different judges, whose scores are not comparable: "
            f"{listed}; score everything with one captioner, judge and set of prompts"
        )
