"""A language model behind an OpenAI-compatible server, its answers constrained by the server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from acp.backends._openai_client import OpenAIOptions, Served
from acp.backends.base import LLM, CompletionRequest
from acp.types import Failure


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
        wrapped, schema = in_object(request.json_schema)
        own = request.temperature
        text = self._client.chat(
            [dict(message) for message in request.messages],
            max_new_tokens=request.max_new_tokens,
            temperature=self.options.temperature if own is None else own,
            seed=request.seed,
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": schema, "strict": True},
            },
        )
        return text if isinstance(text, Failure) else checked(text, schema, wrapped)


def in_object(schema: Mapping[str, Any]) -> tuple[bool, Mapping[str, Any]]:
    """A schema whose root is an object, which servers insist on, and whether it was wrapped.

    >>> in_object({"type": "integer"})[1]["required"]
    ['answer']
    """
    if schema.get("type") == "object":
        return False, schema
    return True, {
        "type": "object",
        "properties": {"answer": dict(schema)},
        "required": ["answer"],
        "additionalProperties": False,
    }


def checked(text: str, schema: Mapping[str, Any], wrapped: bool) -> str | Failure:
    """JSON text that obeys `schema`, without the wrapping object.

    >>> checked('{"answer": 3}', in_object({"type": "integer"})[1], wrapped=True)
    '3'
    >>> checked("[1, ", {}, wrapped=False)
    Failure(reason="the answer is no JSON: '[1, '")
    """
    import jsonschema

    try:
        value = json.loads(text)
    except ValueError:
        return Failure(f"the answer is no JSON: {text[:60]!r}")
    try:
        jsonschema.validate(value, dict(schema))
    except jsonschema.ValidationError as error:
        return Failure(f"the answer breaks its schema: {error.message[:120]}")
    return json.dumps(value["answer"]) if wrapped else text
