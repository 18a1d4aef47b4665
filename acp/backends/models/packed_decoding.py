"""Constrained decoding of many short JSON answers on few threads.

What is shared is computed once: the few-shot part of the prompts, a prompt that is asked several
times with different seeds, and text that the grammar forces (fed as one chunk, not token by token).
Prompts share forwards too, and an answer of one token needs no other than its prompt's.
Near ties, which rounding noise could decide, are settled by a forward of the row alone, so that an
answer does not depend on what shares its batch.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from acp.backends.base import CompletionRequest
from acp.backends.models.packed_cache import (
    Chunk,
    PackedCache,
    States,
    Tokens,
    common_prefix,
    states_of,
    states_together,
)
from acp.core.types import Failure

NEAR_TIE = 2e-3
"""Gap of perturbed logits below which a row is decided alone; batch noise is far smaller."""

_KEPT_PREFIXES, _KEPT_GRAMMARS = 4, 128
_PROMPT_TOKENS = 256  # of a forward; more would spend its time on what a mask hides
_UNFINISHED_WORD = re.compile(r"\s?\w*$")

T = TypeVar("T")


@dataclass(slots=True)
class _Row:
    """An answer on its way; the last `pending` tokens are chosen but not yet in the cache."""

    prompt: Tokens
    matcher: Any
    generator: np.random.Generator
    limit: int
    temperature: float
    segment: int = -1
    sees: frozenset[int] = frozenset()
    answer: list[int] = field(default_factory=list)
    pending: int = 0

    @property
    def tokens(self) -> list[int]:
        return [*self.prompt, *self.answer]

    @property
    def running(self) -> bool:
        return not self.matcher.is_terminated() and len(self.answer) < self.limit

    def chunk(self) -> Chunk:
        tokens = self.tokens
        start = len(tokens) - self.pending
        return Chunk(tokens[start:], start, self.segment, self.sees)


@dataclass(frozen=True, slots=True)
class _Prompt:
    """A prompt that went through the model: its last hidden state, (width,), and the states of its
    own tokens, those after `prefix`."""

    prefix: Tokens
    hidden: Any
    states: States


class PackedDecoder:
    """Answers requests with a causal language model of transformers and its tokenizer.

    The model computes in full precision on the CPU. `steps` and `tokens` count its forwards and
    the tokens of the answers so far.
    """

    def __init__(self, model: Any, tokenizer: Any, temperature: float, batch_size: int) -> None:
        import xgrammar

        self._model, self._tokenizer = model, tokenizer
        self._temperature, self._batch_size = temperature, batch_size
        self._vocabulary = int(model.config.vocab_size)
        self._context = int(model.config.max_position_embeddings)
        info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=self._vocabulary)
        self._compiler = xgrammar.GrammarCompiler(info, max_threads=1)
        self._grammars: OrderedDict[str, Any] = OrderedDict()
        self._prefixes: OrderedDict[Tokens, States] = OrderedDict()
        self.steps = self.tokens = self.settled_alone = 0

    def complete(self, requests: Sequence[CompletionRequest]) -> list[str | Failure]:
        """One answer a request, in order."""
        import torch

        answers: list[str | Failure] = []
        with torch.inference_mode():
            for start in range(0, len(requests), self._batch_size):
                answers += self._batch(requests[start : start + self._batch_size])
        return answers

    def _batch(self, requests: Sequence[CompletionRequest]) -> list[str | Failure]:
        rows, prompts = self._rows(requests)
        for row in rows:
            if isinstance(row, _Row) and row.running and not row.pending:
                self._extend(row, prompts[row.prompt].hidden)
        running = [row for row in rows if isinstance(row, _Row) and row.running]
        cache = self._joined(running, prompts)
        while running:
            hidden = cache.forward([row.chunk() for row in running])
            self.steps += 1
            for row, state in zip(running, hidden, strict=True):
                self._extend(row, state)
            running = [row for row in running if row.running]
            cache.keep(frozenset().union(*(row.sees for row in running)))
        return [row if isinstance(row, Failure) else self._answer(row) for row in rows]

    def _joined(self, rows: Sequence[_Row], prompts: Mapping[Tokens, _Prompt]) -> PackedCache:
        """A cache with the prompts of these rows, each once."""
        cache = PackedCache(self._model)
        segments: dict[Tokens, int] = {}
        for row in rows:
            prefix = prompts[row.prompt].prefix
            if prefix not in segments:
                segments[prefix] = cache.add(self._prefix_states(prefix), 0)
            if row.prompt not in segments:
                segments[row.prompt] = cache.add(prompts[row.prompt].states, len(prefix))
            row.segment = cache.new_segment()
            row.sees = frozenset({segments[prefix], segments[row.prompt], row.segment})
        return cache

    def _answer(self, row: _Row) -> str | Failure:
        self.tokens += len(row.answer)
        if not row.matcher.is_terminated():
            return Failure(f"no complete answer within {row.limit} tokens")
        text: str = self._tokenizer.decode(row.answer)
        return text

    def _rows(
        self, requests: Sequence[CompletionRequest]
    ) -> tuple[list[_Row | Failure], dict[Tokens, _Prompt]]:
        """Rows, and their prompts, each distinct one through the model once."""
        rows: list[_Row | Failure] = []
        prefixes: dict[Tokens, Tokens] = {}
        for request in requests:
            prefix, prompt = self._prompt(request)
            if len(prompt) + request.max_new_tokens > self._context:
                rows.append(Failure(f"the prompt has {len(prompt)} tokens, too many"))
                continue
            prefixes[prompt] = prefix
            rows.append(self._row(request, prompt))
        return rows, self._prompts(prefixes)

    def _prompts(self, prefixes: Mapping[Tokens, Tokens]) -> dict[Tokens, _Prompt]:
        """Prompts through the model, several a forward; `prefixes` maps each to its beginning."""
        found: dict[Tokens, _Prompt] = {}
        for prefix in dict.fromkeys(prefixes.values()):
            states = self._prefix_states(prefix)
            mine = [prompt for prompt, own in prefixes.items() if own == prefix]
            for group in _groups(mine, len(prefix)):
                ends = [prompt[len(prefix) :] for prompt in group]
                self.steps += 1
                for prompt, (hidden, own) in zip(
                    group, states_together(self._model, ends, states), strict=True
                ):
                    found[prompt] = _Prompt(prefix, hidden, own)
        return found

    def _row(self, request: CompletionRequest, prompt: Tokens) -> _Row:
        import xgrammar

        grammar = self._grammar(request.json_schema)
        matcher = xgrammar.GrammarMatcher(grammar, terminate_without_stop_token=True)
        generator = np.random.default_rng(request.seed)
        wanted = request.temperature
        temperature = self._temperature if wanted is None else wanted
        row = _Row(prompt, matcher, generator, request.max_new_tokens, temperature)
        self._force(row)
        return row

    def _prompt(self, request: CompletionRequest) -> tuple[Tokens, Tokens]:
        """Tokens of the messages but the last, and of the whole prompt, which begins with them."""
        messages = [dict(message) for message in request.messages]
        whole = self._templated(messages, add_generation_prompt=True)
        if len(messages) < 2:
            return whole[:1], whole
        fixed = self._templated(messages[:-1], add_generation_prompt=False)
        return whole[: min(common_prefix([fixed, whole]), len(whole) - 2)], whole

    def _templated(self, messages: list[dict[str, str]], add_generation_prompt: bool) -> Tokens:
        text = self._tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt
        )
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))

    def _prefix_states(self, prefix: Tokens) -> States:
        return _remembered(
            self._prefixes, prefix, _KEPT_PREFIXES, lambda: states_of(self._model, prefix, [])[1]
        )

    def _grammar(self, schema: Mapping[str, Any]) -> Any:
        text = json.dumps(schema)
        return _remembered(
            self._grammars,
            text,
            _KEPT_GRAMMARS,
            lambda: self._compiler.compile_json_schema(text, any_whitespace=False),
        )

    def _extend(self, row: _Row, hidden: Any) -> None:
        """Choose the row's next token and append what the grammar then forces."""
        row.pending = 1
        token = self._choose(row, hidden)
        row.answer.append(token)
        row.matcher.accept_token(token)
        self._force(row)

    def _force(self, row: _Row) -> None:
        if row.matcher.is_terminated():
            return
        text = row.matcher.find_jump_forward_string()
        forced = self._tokenizer.encode(_UNFINISHED_WORD.sub("", text), add_special_tokens=False)
        for token in forced:
            row.matcher.accept_token(token)
        row.answer += forced
        row.pending += len(forced)

    def _choose(self, row: _Row, hidden: Any) -> int:
        """Sample among the tokens that the grammar allows, with the row's own noise."""
        allowed = self._allowed(row.matcher)
        if len(allowed) == 1:
            return int(allowed[0])
        noise = np.zeros(len(allowed))
        if row.temperature > 0:
            noise = row.temperature * row.generator.gumbel(size=len(allowed))
        scores = self._logits(hidden, allowed) + noise
        second, first = np.partition(scores, -2)[-2:]
        if first - second < NEAR_TIE:
            self.settled_alone += 1
            alone, _ = states_of(self._model, row.tokens, [])
            scores = self._logits(alone[-1], allowed) + noise
        return int(allowed[np.argmax(scores)])

    def _allowed(self, matcher: Any) -> np.ndarray:
        import xgrammar

        bits = xgrammar.allocate_token_bitmask(1, self._vocabulary)
        matcher.fill_next_token_bitmask(bits)
        flags: np.ndarray = np.unpackbits(bits.numpy().view(np.uint8)[0], bitorder="little")
        return np.asarray(np.flatnonzero(flags[: self._vocabulary]))

    def _logits(self, hidden: Any, allowed: np.ndarray) -> np.ndarray:
        """Logits of the allowed tokens alone, float64."""
        weight = self._model.lm_head.weight
        few = len(allowed) < self._vocabulary // 4
        logits = (weight[allowed] @ hidden) if few else (weight @ hidden)[allowed]
        return np.asarray(logits.double().numpy())


def _groups(prompts: Sequence[Tokens], shared: int) -> Iterator[list[Tokens]]:
    """Prompts of like length, so many that their own tokens fill a forward."""
    group: list[Tokens] = []
    filled = 0
    for prompt in sorted(prompts, key=len):
        if group and filled + len(prompt) - shared > _PROMPT_TOKENS:
            yield group
            group, filled = [], 0
        group.append(prompt)
        filled += len(prompt) - shared
    if group:
        yield group


def _remembered(kept: OrderedDict[Any, T], key: Any, most: int, make: Callable[[], T]) -> T:
    if key not in kept:
        kept[key] = make()
    kept.move_to_end(key)
    while len(kept) > most:
        kept.popitem(last=False)
    return kept[key]
