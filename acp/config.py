"""The base of everything a recipe can say: strict, frozen, unknown keys are errors."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Base of stage settings and backend options.

    Fields are typed with JSON in mind (a YAML list fits a tuple). Every field has a default, and
    its `Field(description=...)` says what it does.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
