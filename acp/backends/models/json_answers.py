"""Answers in JSON: what every language model backend makes sure of, whoever wrote the text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from acp.core.types import Failure


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


def checked(text: str, schema: Mapping[str, Any], wrapped: bool = False) -> str | Failure:
    """JSON text that obeys `schema`, without the wrapping object.

    >>> checked('{"answer": 3}', in_object({"type": "integer"})[1], wrapped=True)
    '3'
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
    return json.dumps(value["answer"]) if wrapped else text
