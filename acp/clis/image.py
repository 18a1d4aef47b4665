"""CLIS-I: how well an image agrees with its scene graph (arXiv 2406.20085, Sec. 3.2, Eq. 9).

A captioner says what it sees: in the whole image, in the box of each object (asked about on the
full image), and in each object cut out. A judge then says how well each text agrees with what was
meant, from 0 to 5, times 20. An object scores `0.8 region + 0.2 crop`, an image
`0.5 global + 0.5 mean(objects)`. What could not be judged is left out of a mean, never counted as
0, and the weights of what is there are scaled up; the reason says so. Only an image without any
judgement is unscored.
"""

from __future__ import annotations

from collections.abc import Sequence

from acp.backends.base import Captioner, Judge
from acp.clis.asking import HIGHEST, ask_captioner, ask_judge
from acp.clis.image_questions import (
    Box,
    Chat,
    ImageRequest,
    Question,
    box_text,
    instance_text,
    questions_of,
    request_problem,
)
from acp.clis.image_results import (
    ImageResult,
    JudgedBy,
    assemble,
    check_same_judges,
    usable_instances,
)
from acp.clis.image_settings import ClisISettings, Prompts
from acp.core.cache import AnswerCache
from acp.core.types import Failure

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
