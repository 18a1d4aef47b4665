"""The base of everything a recipe can say: strict, frozen, unknown keys are errors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from acp.core.errors import AcpError, closest, did_you_mean, one_line


class Settings(BaseModel):
    """Base of stage settings and backend options.

    Fields are typed with JSON in mind (a YAML list fits a tuple). Every field has a default, and
    its `Field(description=...)` says what it does.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases, of which a few hundred bytes can stand for gigabytes, and without keys
    that are given twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not read", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                problem = f"the key {key.value!r} is given twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(getattr(key, "value", None) if isinstance(key, yaml.ScalarNode) else id(key))
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, where: str) -> Any:
    """Plain values of YAML of anybody.

    Raises:
        AcpError: it is no YAML, nested too deeply, or has aliases or a key twice; with the line.

    >>> parse_yaml("a: [1, 2]", "x.yaml")
    {'a': [1, 2]}
    """
    try:
        return yaml.load(text, _PlainLoader)  # noqa: S506 - it is a safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        what = one_line(error.problem or error.context or "")
        raise AcpError(f"{where}: not valid YAML: {place}{what}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise AcpError(f"{where}: not valid YAML: {one_line(error, 200)}") from None
    except RecursionError:
        raise AcpError(f"{where}: not valid YAML: nested too deeply") from None


def validated(kind: Any, values: Any, where: str) -> Any:
    """`values` as a `kind` (a model, or what pydantic takes as one), with mistakes in one line.

    Raises:
        AcpError: names each wrong key or value, where it stands, and the nearest known key.
    """
    try:
        return TypeAdapter(kind).validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        lines = [_explain(kind, values, detail) for detail in error.errors()]
        raise AcpError(f"{where}: " + "; ".join(lines)) from None


def _explain(kind: Any, values: Any, detail: Any) -> str:
    location = [str(part) for part in detail["loc"]]
    key = ".".join(location)
    if detail["type"] != "extra_forbidden":
        reason = detail["msg"].removeprefix("Value error, ")
        reason = f"{key}: {reason[:1].lower()}{reason[1:]}".removeprefix(": ")
        whole = isinstance(detail["input"], dict)  # of many keys, one is wrong
        return reason if whole else f"{reason}, got {detail['input']!r}"
    known = _keys_at(kind, values, location[:-1])
    near = closest(location[-1], known)
    full = ".".join([*location[:-1], *near])
    return f"unknown key {key!r}; " + did_you_mean(full, [full] if near else known)


def _keys_at(kind: Any, values: Any, location: Sequence[str]) -> list[str]:
    model = _model_of([kind, *get_args(kind)], values)
    for part in location:
        field = model.model_fields.get(part) if model else None
        if field is None:
            return []
        values = values.get(part) if isinstance(values, Mapping) else None
        kinds = [*field.metadata, field.annotation, *get_args(field.annotation)]  # also `X | None`
        model = _model_of(kinds, values)
    return [*model.model_fields] if model else []


def _model_of(kinds: Sequence[Any], values: Any) -> type[BaseModel] | None:
    """The model among `kinds`; an annotation with `model_of` chooses it by the values."""
    for each in kinds:
        if hasattr(each, "model_of"):
            chosen: type[BaseModel] = each.model_of(values)
            return chosen
    models = (each for each in kinds if isinstance(each, type) and issubclass(each, BaseModel))
    return next(models, None)
