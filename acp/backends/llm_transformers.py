"""A local language model with transformers, its answers constrained to their JSON schema."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from pydantic import Field

from acp.backends.base import LLM, BackendOptions, CompletionRequest
from acp.backends.models.batches import Batches
from acp.backends.models.generation import (
    Draw,
    Grammars,
    Written,
    chats,
    checked,
    generate,
    in_batches,
)
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
    modules: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("accelerate", "torch", "transformers", "xgrammar"), MEND
    )
    speed_only = SPEED_ONLY
    chunk = 256
    options_type: ClassVar[type[BackendOptions]] = TransformersLLMOptions
    options: Any

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self._batches = Batches(self.options.batch_size, self._who, OUT_OF_MEMORY)

    def missing(self) -> list[Missing]:
        packed = self.options.gguf_file and importlib.util.find_spec("gguf") is None
        return super().missing() + [Missing("Python package 'gguf'", MEND)] * bool(packed)

    def load(self) -> None:
        _ = self._loaded, self._grammars

    def model_keys(self) -> frozenset[str]:
        return model_keys(self.options)

    def info(self) -> ModelInfo:
        return model_info(self.options)

    @property
    def _who(self) -> str:
        return f"language model {self.name!r}"

    def _saved(self) -> TextModelOptions:
        """Where the model is, and how it is loaded."""
        saved: TextModelOptions = self.options
        return saved

    @cached_property
    def _loaded(self) -> LocalModel:
        return load_model(self._saved(), self._who, images=False)

    @cached_property
    def _grammars(self) -> Grammars:
        return Grammars(self._loaded)

    def complete(self, requests: Sequence[CompletionRequest]) -> list[str | Failure]:
        return in_batches(requests, _length, self._batches, self._write, _whole)

    def _write(self, requests: Sequence[CompletionRequest]) -> list[Written]:
        return generate(
            self._loaded,
            self._prompts(requests),
            [self._draw(request) for request in requests],
            self._grammars.processor([request.json_schema for request in requests]),
        )

    def _draw(self, request: CompletionRequest) -> Draw:
        wanted = request.temperature
        temperature = self.options.temperature if wanted is None else wanted
        return Draw(temperature, request.seed, request.max_new_tokens)

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


def _whole(request: CompletionRequest, text: str) -> str | Failure:
    try:
        json.loads(text)
    except ValueError:
        return Failure(f"no complete answer within {request.max_new_tokens} tokens")
    return checked(text, request.json_schema)


def _length(request: CompletionRequest) -> int:
    return sum(len(message["content"]) for message in request.messages)
