"""A local language model with transformers, its answers constrained to their JSON schema."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, ClassVar

from pydantic import Field

from acp.backends.base import LLM, CompletionRequest
from acp.backends.models.batches import Batches
from acp.backends.models.json_answers import checked
from acp.backends.models.local_generation import chats, generate, in_batches, stop_tokens
from acp.backends.models.local_models import (
    MEND,
    OUT_OF_MEMORY,
    SPEED_ONLY,
    LocalModel,
    TextModelOptions,
    load_model,
    model_info,
    model_keys,
)
from acp.core.errors import Missing
from acp.core.types import Failure, ModelInfo

GRAMMAR_BYTES = 256 * 2**20
"""Most memory of compiled grammars that are kept between batches."""


class TransformersOptions(TextModelOptions):
    """Options of a judge `transformers`."""

    batch_size: int = Field(32, ge=1, description="requests of a forward; speed only")


class TransformersLLMOptions(TransformersOptions):
    """Options of the language model `transformers`."""

    temperature: float = Field(1.0, ge=0, le=2, description="of sampling; 0 takes the likeliest")


class TransformersLLM(LLM):
    """Any causal language model, or the text side of a multimodal one."""

    name = "transformers"
    summary = "local language model with transformers, every answer constrained to its JSON schema"
    modules: ClassVar[Mapping[str, str]] = {
        "accelerate": MEND,
        "torch": MEND,
        "transformers": MEND,
        "xgrammar": MEND,
    }
    speed_only = SPEED_ONLY
    chunk = 256
    options_type = TransformersLLMOptions
    options: TransformersLLMOptions

    def __init__(self, options: TransformersLLMOptions | None = None) -> None:
        super().__init__(options)
        who = "language model 'transformers'"
        self._batches = Batches(self.options.batch_size, who, OUT_OF_MEMORY)

    def missing(self) -> list[Missing]:
        packed = self.options.gguf_file and importlib.util.find_spec("gguf") is None
        return super().missing() + [Missing("Python package 'gguf'", MEND)] * bool(packed)

    def load(self) -> None:
        _ = self._loaded, self._grammars

    def model_keys(self) -> frozenset[str]:
        return model_keys(self.options)

    def info(self) -> ModelInfo:
        return model_info(self.options)

    @cached_property
    def _loaded(self) -> LocalModel:
        return load_model(self.options, "language model 'transformers'", images=False)

    @cached_property
    def _grammars(self) -> Grammars:
        return Grammars(self._loaded)

    def complete(self, requests: Sequence[CompletionRequest]) -> list[str | Failure]:
        return in_batches(requests, _limit, _length, self._batches, self._batch)

    def _batch(self, requests: Sequence[CompletionRequest]) -> list[str | Failure]:
        limit = requests[0].max_new_tokens
        wanted = [request.temperature for request in requests]
        texts = generate(
            self._loaded,
            self._prompts(requests),
            [self.options.temperature if each is None else each for each in wanted],
            [request.seed for request in requests],
            limit,
            [self._grammars.processor([request.json_schema for request in requests])],
        )
        schemas = [request.json_schema for request in requests]
        return [_whole(text, each, limit) for text, each in zip(texts, schemas, strict=True)]

    def _prompts(self, requests: Sequence[CompletionRequest]) -> Any:
        loaded = self._loaded
        conversations = chats(loaded, [[*map(dict, request.messages)] for request in requests])
        return loaded.tokenizer.apply_chat_template(
            conversations,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            padding=True,
            **loaded.template_options,
        )


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


def _whole(text: str, schema: Mapping[str, Any], limit: int) -> str | Failure:
    try:
        json.loads(text)
    except ValueError:
        return Failure(f"no complete answer within {limit} tokens")
    return checked(text, schema)


def _limit(request: CompletionRequest) -> int:
    return request.max_new_tokens


def _length(request: CompletionRequest) -> int:
    return sum(len(message["content"]) for message in request.messages)
