"""A language model behind an OpenAI-compatible server, its answers constrained by the server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from acp.backends.base import LLM, CompletionRequest
from acp.backends.models.generation import checked
from acp.backends.models.openai_client import OpenAIOptions, Served
from acp.core.types import Failure


class OpenAILLMOptions(OpenAIOptions):
    """Options of the language model `openai`."""

    temperature: float = Field(1.0, ge=0, le=2, description="of sampling; 0 takes the likeliest")


class OpenAILLM(Served, LLM):
    """Asks for JSON by `response_format`, and checks what comes."""

    summary = "any OpenAI-compatible server (vLLM, SGLang, llama.cpp, Ollama, OpenAI)"
    options_type = OpenAILLMOptions
    options: OpenAILLMOptions

    def __init__(self, options: OpenAILLMOptions | None = None, kind: str = "llm") -> None:
        super().__init__(options, kind)

    def complete(self, requests: Sequence[CompletionRequest]) -> list[str | Failure]:
        return self._client.chat_all(requests, self._one)

    def _one(self, request: CompletionRequest) -> str | Failure:
        schema = in_object(request.json_schema)
        own = request.temperature
        return self._client.chat(
            [dict(message) for message in request.messages],
            max_new_tokens=request.max_new_tokens,
            temperature=self.options.temperature if own is None else own,
            seed=request.seed,
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": schema, "strict": True},
            },
            read=lambda text: _read(text, schema, wrapped=schema is not request.json_schema),
        )


def in_object(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema whose root is an object, which servers insist on; others become its "answer".

    >>> in_object({"type": "integer"})["required"]
    ['answer']
    """
    if schema.get("type") == "object":
        return schema
    return {
        "type": "object",
        "properties": {"answer": dict(schema)},
        "required": ["answer"],
        "additionalProperties": False,
    }


def _read(text: str, schema: Mapping[str, Any], wrapped: bool) -> str | Failure:
    answer = checked(text, schema)
    if isinstance(answer, Failure) or not wrapped:
        return answer
    return json.dumps(json.loads(answer)["answer"])
