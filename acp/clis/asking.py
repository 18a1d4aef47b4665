"""Many questions at once: each distinct one asked once, repeated if it fails, kept on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from acp.backends.base import Backend, Captioner, CaptionRequest, Judge, JudgeRequest
from acp.clis.image_questions import Question
from acp.core.cache import AnswerCache, answer_key
from acp.core.prompts import Prompt
from acp.core.seeds import derive_seed
from acp.core.types import Failure

T = TypeVar("T")
HIGHEST = 5
"""What a judge says of complete agreement; 0 is none."""


def ask_all(
    keys: Sequence[str],
    ask: Callable[[Sequence[int], int], Sequence[T | Failure]],
    valid: Callable[[Any], bool],
    attempts: int,
    chunk: int,
    cache: AnswerCache | None,
) -> list[T | Failure]:
    """An answer for each key, in order.

    Args:
        keys: what makes a question the same as another.
        ask: given places in `keys` and the number of the attempt, answers for these places.
        valid: whether an answer (also one from the cache) is one.
        attempts: how often a question that fails is asked in all.
        chunk: questions handed to `ask`, and answers put into the cache, at once.
        cache: where answers are kept; None for nowhere.
    """
    first: dict[str, int] = {}
    for place, key in enumerate(keys):
        first.setdefault(key, place)
    known = cache.get([*first]) if cache else {}
    answers: dict[str, Any] = {key: value for key, value in known.items() if valid(value)}
    failures: dict[str, Failure] = {}
    for attempt in range(attempts):
        pending = [(key, place) for key, place in first.items() if key not in answers]
        for start in range(0, len(pending), chunk):
            block = pending[start : start + chunk]
            found = ask([place for _, place in block], attempt)
            fresh = dict(zip((key for key, _ in block), found, strict=True))
            good = {key: value for key, value in fresh.items() if valid(value)}
            failures |= {key: _failure(fresh[key]) for key in fresh.keys() - good.keys()}
            answers |= good
            if cache:
                cache.put(good)
    return [answers[key] if key in answers else failures[key] for key in keys]


def _failure(answer: Any) -> Failure:
    return answer if isinstance(answer, Failure) else Failure(f"no usable answer: {answer!r:.80}")


def ask_captioner(
    questions: Sequence[Question],
    captioner: Captioner,
    prompts: str,
    *,
    seed: int = 0,
    attempts: int = 3,
    retry_temperature: float = 0.7,
    max_new_tokens: int = 256,
    cache: AnswerCache | None = None,
) -> list[str | Failure]:
    """A text for each question; `prompts` is the version of the prompts they were made with."""
    identity = ("caption", *_identity(captioner), str(max_new_tokens), prompts)
    keys = [answer_key(*identity, each.image_hash, _words(each)) for each in questions]

    def ask(places: Sequence[int], attempt: int) -> list[str | Failure]:
        captioner.load()
        requests = [
            CaptionRequest(
                questions[place].image_rgb,
                questions[place].messages,
                derive_seed(seed, keys[place], attempt),
                max_new_tokens,
                retry_temperature if attempt else 0.0,
                questions[place].box_xywhn,
            )
            for place in places
        ]
        return [_one_line(answer) for answer in captioner.caption(requests)]

    return ask_all(keys, ask, is_caption, attempts, captioner.chunk, cache)


def ask_judge(
    pairs: Sequence[tuple[str, str]],
    judge: Judge,
    prompt: Prompt,
    *,
    seed: int = 0,
    attempts: int = 3,
    retry_temperature: float = 0.7,
    cache: AnswerCache | None = None,
) -> list[int | Failure]:
    """An integer 0-5 for each pair of an expected text and a caption."""
    texts = [(" ".join(expected.split()), caption) for expected, caption in pairs]
    identity = ("judge", *_identity(judge), prompt.version)
    keys = [answer_key(*identity, expected, caption) for expected, caption in texts]

    def ask(places: Sequence[int], attempt: int) -> list[int | Failure]:
        judge.load()
        requests = [
            JudgeRequest(
                expected,
                caption,
                prompt.messages(expected=expected, caption=caption),
                derive_seed(seed, keys[place], attempt),
                retry_temperature if attempt else 0.0,
            )
            for place in places
            for expected, caption in [texts[place]]
        ]
        return judge.judge(requests)

    return ask_all(keys, ask, is_judgement, attempts, judge.chunk, cache)


def is_judgement(value: Any) -> bool:
    """Whether this is an integer 0-5.

    >>> [is_judgement(value) for value in (3, 6, True, "3", 2.0)]
    [True, False, False, False, False]
    """
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= HIGHEST


def is_caption(value: Any) -> bool:
    """Whether this is a text with something in it."""
    return isinstance(value, str) and bool(value.strip())


def _identity(backend: Backend) -> tuple[str, str, str]:
    info = backend.info()
    return info.id, info.revision, json.dumps(backend.content_options(), sort_keys=True)


def _words(question: Question) -> str:
    return json.dumps([[*map(dict, question.messages)], question.box_xywhn])


def _one_line(answer: str | Failure) -> str | Failure:
    return answer if isinstance(answer, Failure) else " ".join(answer.split())
