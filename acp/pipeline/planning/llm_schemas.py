"""JSON schemas of what a language model is asked for, built from the slots it has to fill."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from acp.core.types import Relation

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


def relation_label(relation: Relation, names: Sequence[str]) -> str:
    """The key of the slot of a relation's wording.

    >>> relation_label(Relation(1, "left of", 0), ("dog", "cow"))
    'cow ... dog'
    """
    return f"{names[relation.subject]} ... {names[relation.object]}"


def filled_scene_schema(
    names: Sequence[str],
    looks: Sequence[Sequence[str]],
    relations: Sequence[Relation],
    wordings: Sequence[Sequence[str]],
    places: Sequence[str],
    openings: Sequence[str],
) -> Schema:
    """Every slot a choice: what a model that draws from an inventory can show, and how to say it.

    >>> schema = filled_scene_schema(["cow"], [["brown", "black"]], [], [], ["on a meadow"], ["A"])
    >>> schema["properties"]["looks"]["properties"]["cow"]["enum"]
    ['brown', 'black']
    """
    slots: dict[str, Schema] = {"place": one_of(places)}
    slots["looks"] = record({name: one_of(look) for name, look in zip(names, looks, strict=True)})
    if relations:
        keys = [relation_label(relation, names) for relation in relations]
        pairs = zip(keys, wordings, strict=True)
        slots["relations"] = record({key: one_of(choices) for key, choices in pairs})
    slots["caption"] = one_of(openings)
    return record(slots)


def free_scene_schema(
    names: Sequence[str], longest_caption: int, with_relations: bool, most_relations: int = 6
) -> Schema:
    """Attributes, place and caption as free text; relations too where the model chooses them."""
    slots: dict[str, Schema] = {"attributes": record({name: text(60) for name in names})}
    if with_relations:
        relation = record(
            {"subject": one_of(names), "predicate": text(30), "object": one_of(names)}
        )
        least = min(1, len(names) - 1)
        most = most_relations if least else 0
        slots["relations"] = {
            "type": "array",
            "items": relation,
            "minItems": least,
            "maxItems": most,
        }
    return record({**slots, "place": text(60), "caption": text(longest_caption, 10)})


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
