"""JSON schemas of what a language model is asked for, built from the slots it has to fill."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any]

CANVAS = 100
"""Side of the square that a language model lays out on, in whole numbers."""


def labels(nouns: Sequence[str]) -> tuple[str, ...]:
    """What objects are called towards a language model: nouns, numbered where they repeat.

    >>> labels(["cow", "dog", "cow"])
    ('cow 1', 'dog', 'cow 2')
    """
    total, seen, names = Counter(nouns), Counter[str](), []
    for noun in nouns:
        seen[noun] += 1
        names.append(f"{noun} {seen[noun]}" if total[noun] > 1 else noun)
    return tuple(names)


def one_of(choices: Sequence[str]) -> Schema:
    """One of the choices, each listed once."""
    return {"type": "string", "enum": list(dict.fromkeys(choices))}


def text(longest: int, shortest: int = 1) -> Schema:
    """Free text of so many characters."""
    return {"type": "string", "minLength": shortest, "maxLength": longest}


def record(slots: Mapping[str, Schema]) -> Schema:
    """An object with exactly these keys, in this order."""
    return {
        "type": "object",
        "properties": dict(slots),
        "required": list(slots),
        "additionalProperties": False,
    }


def layout_schema(names: Sequence[str]) -> Schema:
    """`[x, y, w, h]` for each object, whole numbers on the canvas."""
    number = {"type": "integer", "minimum": 0, "maximum": CANVAS}
    box = {"type": "array", "items": number, "minItems": 4, "maxItems": 4}
    return record(dict.fromkeys(names, box))


def parse(answer: str, schema: Schema) -> Any:
    """The value of a JSON text that obeys `schema`; whoever wrote it may not have been bound to.

    Raises:
        ValueError: it is not JSON, or the message names the first slot that is wrong.

    >>> parse('{"cow": [1, 2, 3, 4]}', layout_schema(["cow"]))
    {'cow': [1, 2, 3, 4]}
    """
    from jsonschema import Draft202012Validator

    try:
        value = json.loads(answer)
    except ValueError:
        raise ValueError("the answer is not JSON") from None
    error = next(Draft202012Validator(schema).iter_errors(value), None)
    if error is not None:
        slot = next((key for key in reversed(error.path) if isinstance(key, str)), "answer")
        raise ValueError(f"the {slot} is not as the schema asks")
    return value
