"""Prompts through a local model in batches, and what comes out as text or JSON.

An answer depends on its own request and seed alone. Each row draws with a generator of its own, and
a row in which two tokens came so close that the rounding noise of a batch could decide between them
is written again alone (in float32; half precision is too coarse for that).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from acp.backends.models.batches import Batches
from acp.backends.models.local_models import LocalModel
from acp.core.types import Failure

NEAR_TIE = 1e-3
"""Difference of two tokens' scores below which a row is written again alone."""
GRAMMAR_BYTES = 256 * 2**20
"""Most memory of compiled grammars that are kept between batches."""

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Draw:
    """How a row is drawn: temperature 0 takes the likeliest token; `limit` is its longest."""

    temperature: float
    seed: int
    limit: int


class Written(NamedTuple):
    """The new text of a row, and whether the rest of its batch could have decided it."""

    text: str
    doubtful: bool


def generate(
    loaded: LocalModel, inputs: Mapping[str, Any], draws: Sequence[Draw], grammar: Any = None
) -> list[Written]:
    """The new text of each row of `inputs`, padded on the left.

    Raises:
        ValueError: a prompt with its answer is longer than what the model was made for.
    """
    import torch
    from transformers import GenerationConfig, LogitsProcessorList

    model, tokenizer = loaded.model, loaded.tokenizer
    start, limit = inputs["input_ids"].shape[1], max(draw.limit for draw in draws)
    if start + limit > loaded.longest:
        raise ValueError(f"the prompt has {start} tokens, too many")
    stops = stop_tokens(loaded)
    config = GenerationConfig(
        do_sample=False,
        max_new_tokens=limit,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=stops,
        bos_token_id=tokenizer.bos_token_id,
    )
    drawing = _Drawing(draws, start, torch.tensor(stops, device=model.device))
    chain = LogitsProcessorList([drawing] if grammar is None else [grammar, drawing])
    inputs = {name: _moved(value, model) for name, value in inputs.items()}
    with torch.inference_mode():
        tokens = model.generate(**inputs, generation_config=config, logits_processor=chain)
    fresh = [row[start : start + draw.limit] for row, draw in zip(tokens, draws, strict=True)]
    texts = tokenizer.batch_decode(fresh, skip_special_tokens=True)
    shared = len(draws) > 1 and model.dtype == torch.float32
    return [Written(*each) for each in zip(texts, (drawing.close & shared).tolist(), strict=True)]


class _Drawing:
    """A logits processor that draws by noise: the largest of logits + T x Gumbel noise is a draw
    at temperature T. `close` says of each row whether there was a near tie in it."""

    def __init__(self, draws: Sequence[Draw], start: int, stops: Any) -> None:
        import torch

        self._draws, self._start, self._stops = draws, start, stops
        self._generators = [torch.Generator(stops.device).manual_seed(draw.seed) for draw in draws]
        self.close = torch.zeros(len(draws), dtype=torch.bool, device=stops.device)

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        import torch

        for row, draw, generator in zip(scores, self._draws, self._generators, strict=True):
            if draw.temperature > 0:
                noise = torch.empty_like(row, dtype=torch.float32).exponential_(generator=generator)
                row -= draw.temperature * noise.log().to(row.dtype)
        first, second = scores.topk(2).values.T
        ended = torch.isin(input_ids[:, self._start :], self._stops).any(dim=1)
        self.close |= (first - second < NEAR_TIE) & ~ended
        return scores


def stop_tokens(loaded: LocalModel) -> list[int]:
    """The tokens that end an answer: what the model was saved with, and the tokenizer's own."""
    saved = getattr(loaded.model.generation_config, "eos_token_id", None)
    known = saved if isinstance(saved, list) else [saved]
    return sorted({each for each in (*known, loaded.tokenizer.eos_token_id) if each is not None})


def _moved(value: Any, model: Any) -> Any:
    if not hasattr(value, "to"):
        return value
    return value.to(model.device, model.dtype if value.is_floating_point() else value.dtype)


def in_batches(
    requests: Sequence[R],
    length: Callable[[R], int],
    batches: Batches,
    write: Callable[[Sequence[R]], Sequence[Written]],
    read: Callable[[R, str], str | Failure],
) -> list[str | Failure]:
    """What `read` makes of what `write` makes of batches of requests, in the order of the requests.

    Requests of a batch have a like `length`, so that batches pad little.

    Raises:
        AcpError: a single request does not fit into memory.
    """

    def answers(batch: Sequence[R]) -> list[str | Failure]:
        return [
            read(request, write([request])[0].text if doubtful else text)
            for request, (text, doubtful) in zip(batch, write(batch), strict=True)
        ]

    order = sorted(range(len(requests)), key=lambda place: length(requests[place]))
    done = batches.run([requests[place] for place in order], answers)
    by_place = dict(zip(order, done, strict=True))
    return [by_place[place] for place in range(len(requests))]


def chats(
    loaded: LocalModel, conversations: Sequence[Sequence[Mapping[str, Any]]]
) -> Sequence[Sequence[Mapping[str, Any]]]:
    """Messages of plain text in the form that the model's template reads."""
    if not loaded.multimodal:
        return conversations
    return [
        [{"role": m["role"], "content": _parts(m["content"])} for m in conversation]
        for conversation in conversations
    ]


def _parts(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


class Grammars:
    """Schemas compiled for a model's tokens, those of a batch side by side.

    A scene's schema can take 14 MB: what is kept for later ones is bounded.
    """

    def __init__(self, loaded: LocalModel) -> None:
        import xgrammar

        info = xgrammar.TokenizerInfo.from_huggingface(
            loaded.tokenizer, vocab_size=loaded.vocabulary, stop_token_ids=stop_tokens(loaded)
        )
        self._threads = min(8, os.cpu_count() or 1)
        self._compiler = xgrammar.GrammarCompiler(
            info, max_threads=self._threads, cache_limit_bytes=GRAMMAR_BYTES
        )

    def processor(self, schemas: Sequence[Mapping[str, Any]]) -> Any:
        """A logits processor for one batch; it cannot be used twice."""
        from xgrammar.contrib.hf import LogitsProcessor

        return LogitsProcessor(self.compiled([json.dumps(schema) for schema in schemas]))

    def compiled(self, schemas: Sequence[str]) -> list[Any]:
        """A grammar for each schema in JSON; the same one for the same schema."""
        distinct = [*dict.fromkeys(schemas)]
        # The first alone: it takes long, and brings most of what the others are made of.
        done = dict(zip(distinct[:1], map(self._compile, distinct[:1]), strict=True))
        with ThreadPoolExecutor(self._threads) as pool:
            done |= zip(distinct[1:], pool.map(self._compile, distinct[1:]), strict=True)
        return [done[schema] for schema in schemas]

    def _compile(self, schema: str) -> Any:
        return self._compiler.compile_json_schema(schema, any_whitespace=False)


def checked(text: str, schema: Mapping[str, Any]) -> str | Failure:
    """JSON text that obeys `schema`, as it came.

    >>> checked("[1, ", {})
    Failure(reason='the answer is no JSON')
    >>> checked('"a"', {"type": "integer"})
    Failure(reason='the answer breaks its schema (type)')
    """
    from jsonschema import Draft202012Validator

    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return Failure("the answer is no JSON")
    error = next(Draft202012Validator(dict(schema)).iter_errors(value), None)
    if error is not None:  # without the words: reasons are counted
        return Failure(f"the answer breaks its schema ({error.validator})")
    return text
