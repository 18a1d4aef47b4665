"""No language model: slots are filled by chance. This is how a recipe turns the LLM off."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from acp.backends.base import LLM, CompletionRequest
from acp.core.errors import AcpError
from acp.core.types import Failure, ModelInfo
from acp.core.version import __version__


class Sampler(LLM):
    """Fills every slot of a JSON schema with a draw from its choices, each as likely.

    It knows `const`, `enum`, bounded integers, booleans, arrays, objects and `anyOf`; of text
    without choices it can make none.
    """

    name = "sampler"
    summary = "no language model: slots are filled by chance, layouts come from the priors alone"
    writes_boxes: ClassVar[bool] = False

    def load(self) -> None:
        """Nothing to load."""

    def info(self) -> ModelInfo:
        return ModelInfo("sampler", __version__, "apache-2.0", "no language model")

    def complete(self, requests: Sequence[CompletionRequest]) -> list[str | Failure]:
        """One JSON text a request.

        Raises:
            AcpError: a slot wants free text.
        """
        return [
            json.dumps(_draw(r.json_schema, np.random.default_rng(r.seed), "")) for r in requests
        ]


def _draw(schema: Mapping[str, Any], rng: np.random.Generator, slot: str) -> Any:
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][rng.integers(len(schema["enum"]))]
    if "anyOf" in schema:
        return _draw(schema["anyOf"][rng.integers(len(schema["anyOf"]))], rng, slot)
    draw = {"object": _object, "array": _array, "integer": _integer, "boolean": _boolean}
    if schema.get("type") not in draw:
        raise AcpError(
            f"llm.backend: 'sampler' cannot write the free text of {slot or 'an answer'!r}; choose "
            "a language model, or a renderer with an inventory and relations from the priors"
        )
    return draw[schema["type"]](schema, rng, slot)


def _object(schema: Mapping[str, Any], rng: np.random.Generator, slot: str) -> dict[str, Any]:
    return {name: _draw(value, rng, name) for name, value in schema["properties"].items()}


def _array(schema: Mapping[str, Any], rng: np.random.Generator, slot: str) -> list[Any]:
    least = schema.get("minItems", 0)
    count = int(rng.integers(least, schema.get("maxItems", least), endpoint=True))
    return [_draw(schema["items"], rng, slot) for _ in range(count)]


def _integer(schema: Mapping[str, Any], rng: np.random.Generator, slot: str) -> int:
    return int(rng.integers(schema["minimum"], schema["maximum"], endpoint=True))


def _boolean(schema: Mapping[str, Any], rng: np.random.Generator, slot: str) -> bool:
    return bool(rng.integers(2))
