"""CLIS-I: how well an image agrees with its scene graph (arXiv 2406.20085, Sec. 3.2, Eq. 9).

A captioner says what it sees: in the whole image, in the box of each object (asked about on the
full image), and in each object cut out. A judge then says how well each text agrees with what was
meant, from 0 to 5, times 20. An object scores `0.8 region + 0.2 crop`, an image
`0.5 global + 0.5 mean(objects)`. What could not be judged is left out of a mean, never counted as
0, and the weights of what is there are scaled up; the reason says so. Only an image without any
judgement is unscored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from acp.clis.questions import (
    HIGHEST,
    Box,
    Captioner,
    Chat,
    ClisISettings,
    ImageRequest,
    Judge,
    Prompts,
    Question,
    ask_captioner,
    ask_judge,
    box_problem,
    box_text,
    boxes_of,
    instance_text,
    questions_of,
    request_problem,
)
from acp.core.cache import AnswerCache
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


__all__ = [
    "AnswerCache",
    "ClisISettings",
    "ImageRequest",
    "ImageResult",
    "check_same_judges",
    "instance_text",
    "score_images",
    "usable_instances",
]


def score_images(
    requests: Sequence[ImageRequest],
    captioner: Captioner,
    judge: Judge,
    settings: ClisISettings | None = None,
    cache: AnswerCache | None = None,
) -> list[ImageResult]:
    """CLIS-I of each request, in order.

    All captions are asked together, then all judgements; identical questions once.

    Raises:
        AcpError: what would fail for every image, such as a server that is down.
    """
    settings = settings or ClisISettings()
    prompts = Prompts.of(settings)
    questions = plan_questions(requests, captioner, settings, prompts)
    captions = caption_questions(questions, captioner, settings, prompts, cache)
    scores = judge_captions(questions, captions, judge, settings, prompts, cache)
    judged_by = JudgedBy(str(captioner.info()), str(judge.info()), prompts.version)
    return assemble(requests, questions, captions, scores, settings, judged_by)


def plan_questions(
    requests: Sequence[ImageRequest],
    captioner: Captioner,
    settings: ClisISettings,
    prompts: Prompts,
) -> list[Question]:
    """Everything to ask `captioner` about these requests; nothing about one of a wrong shape."""
    whole = prompts.whole.messages()

    def about_region(box: Box, size_wh: tuple[int, int]) -> Chat:
        own, seen_wh = captioner.reads_boxes_as(size_wh)
        convention = own if settings.box_convention == "auto" else settings.box_convention
        return prompts.region.messages(box=box_text(box, seen_wh, convention))

    weights = {"region": settings.region_weight, "crop": settings.crop_weight}
    return [
        question
        for index, request in enumerate(requests)
        if not request_problem(request)
        for question in questions_of(index, request, whole, about_region)
        if weights.get(question.part, 1.0)
    ]


def caption_questions(
    questions: Sequence[Question],
    captioner: Captioner,
    settings: ClisISettings,
    prompts: Prompts,
    cache: AnswerCache | None,
) -> list[str | Failure]:
    """What the captioner says to each question, or why nothing."""
    return ask_captioner(
        questions,
        captioner,
        prompts.captions_version,
        seed=settings.seed,
        attempts=settings.attempts,
        retry_temperature=settings.retry_temperature,
        max_new_tokens=settings.max_caption_tokens,
        cache=cache,
    )


def judge_captions(
    questions: Sequence[Question],
    captions: Sequence[str | Failure],
    judge: Judge,
    settings: ClisISettings,
    prompts: Prompts,
    cache: AnswerCache | None,
) -> list[float | Failure]:
    """Scores 0-100 of captions against what was meant; a failed caption's failure goes on."""
    scores: list[float | Failure] = []
    answers = iter(
        ask_judge(
            [
                (question.expected, caption)
                for question, caption in zip(questions, captions, strict=True)
                if isinstance(caption, str)
            ],
            judge,
            prompts.judge,
            seed=settings.seed,
            attempts=settings.attempts,
            retry_temperature=settings.retry_temperature,
            cache=cache,
        )
    )
    for caption in captions:
        if isinstance(caption, Failure):
            scores.append(Failure(f"captioner: {caption.reason}"))
            continue
        answer = next(answers)
        if isinstance(answer, Failure):
            scores.append(Failure(f"judge: {answer.reason}"))
        else:
            scores.append(answer * 100 / HIGHEST)
    return scores
