"""The base of everything a recipe can say: strict, frozen, unknown keys are errors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from acp.core.errors import AcpError, closest, did_you_mean


class Settings(BaseModel):
    """Base of stage settings and backend options.

    Fields are typed with JSON in mind (a YAML list fits a tuple). Every field has a default, and
    its `Field(description=...)` says what it does.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def validated(model: type[Any], values: Any, where: str) -> Any:
    """`values` as a `model`, with mistakes told in one line.

    Raises:
        AcpError: names each wrong key or value, where it stands, and the nearest known key.
    """
    try:
        return model.model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        lines = [_explain(model, detail) for detail in error.errors()]
        raise AcpError(f"{where}: " + "; ".join(lines)) from None


def _explain(model: type[BaseModel], detail: Any) -> str:
    location = [str(part) for part in detail["loc"]]
    key = ".".join(location)
    if detail["type"] != "extra_forbidden":
        told = detail["msg"].removeprefix("Value error, ")
        told = f"{key}: {told[:1].lower()}{told[1:]}".removeprefix(": ")
        whole = isinstance(detail["input"], dict) and detail["type"] == "value_error"
        return told if whole else f"{told}, got {detail['input']!r}"  # of many keys, one is wrong
    known = _keys_at(model, location[:-1])
    near = closest(location[-1], known)
    full = ".".join([*location[:-1], *near])
    return f"unknown key {key!r}; " + did_you_mean(full, [full] if near else known)


def _keys_at(model: type[BaseModel], location: Sequence[str]) -> list[str]:
    for part in location:
        field = model.model_fields.get(part)
        said = field.annotation if field is not None else None
        nested = (each for each in (said, *get_args(said)) if _is_model(each))  # also of `X | None`
        found = next(nested, None)
        if found is None:
            return []
        model = found
    return [*model.model_fields]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
