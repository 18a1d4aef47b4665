"""A recipe: one YAML file that says everything about a data set. Strict and typed."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, field_validator, model_validator

from acp.backends.base import Backend
from acp.backends.registry import BACKENDS, RECIPE_KINDS, make_backend
from acp.core.config import Settings
from acp.core.config import validated as validated
from acp.core.errors import AcpError, did_you_mean, one_line
from acp.pipeline.combine import CombineSettings
from acp.pipeline.describe import DescribeSettings
from acp.pipeline.lay_out import LayOutSettings
from acp.pipeline.pick import PickSettings
from acp.pipeline.placement import ResidencyName
from acp.pipeline.render import RenderSettings

CANDIDATES_PER_SCENE_ID = 1000
"""`image_id` is scene_id * 1000 + candidate."""
RECIPES = resources.files("acp.recipes")


class Recipe(Settings):
    """Everything that decides what a data set contains, and how fast it is made."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", description="name of the recipe")
    description: str = Field("", description="one sentence for `acp recipes`")
    data_set: str = Field(
        "acp/lvis-synth",
        pattern=r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$",
        description="repository id; also the folder under `build/`",
    )
    seed: int = Field(0, ge=0, description="every random draw derives from it")
    scenes: int = Field(16, ge=1, description="how many scenes; more extend a finished build")
    scenes_per_shard: int = Field(8, ge=1, description="scenes of a unit of work")
    residency: ResidencyName = Field(
        "all", description="models in memory: all that were used, or one at a time; speed only"
    )
    shards_per_block: int = Field(
        4, ge=1, description="shards between changes of the model with residency one; speed only"
    )
    size_wh: tuple[int, int] = Field((640, 480), description="image size in pixels")
    combine: CombineSettings = Field(default_factory=CombineSettings)
    describe: DescribeSettings = Field(default_factory=DescribeSettings)
    lay_out: LayOutSettings = Field(default_factory=LayOutSettings)
    render: RenderSettings = Field(default_factory=RenderSettings)
    pick: PickSettings = Field(default_factory=PickSettings)
    llm: dict[str, Any] = Field({"backend": "smollm2"}, description="backend and its options")
    renderer: dict[str, Any] = Field({"backend": "cutpaste"}, description="likewise")
    segmenter: dict[str, Any] = Field({"backend": "exact"}, description="likewise")
    scorer: dict[str, Any] = Field({"backend": "embedded"}, description="likewise")

    @field_validator("size_wh")
    @classmethod
    def _sides(cls, size_wh: tuple[int, int]) -> tuple[int, int]:
        if not all(64 <= side <= 4096 for side in size_wh):
            raise ValueError("sides must be 64 to 4096 pixels")
        return size_wh

    @model_validator(mode="after")
    def _image_ids(self) -> Recipe:
        images = self.lay_out.keep * self.render.candidates
        if images > CANDIDATES_PER_SCENE_ID:
            raise ValueError(
                f"lay_out.keep x render.candidates: {images} images of a scene, more than the "
                f"{CANDIDATES_PER_SCENE_ID} that have an image_id of their own"
            )
        return self

    def backend(self, kind: str) -> Backend:
        """The backend of `kind` ("llm", "renderer", "segmenter", "scorer") with its options.

        Raises:
            AcpError: unknown backend or wrong options.
        """
        return make_backend(kind, getattr(self, kind))

    def resolved(self) -> dict[str, Any]:
        """All keys with their defaults, those of the backends too, as plain values."""
        values = self.model_dump(mode="json")
        for kind in RECIPE_KINDS:
            if values[kind].get("backend") in BACKENDS[kind]:
                backend = self.backend(kind)
                values[kind] = {"backend": backend.name, **backend.resolved_options()}
        return values


def load_recipe(source: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by name (see `recipe_names`) or path, apply `key=value` overrides, check all.

    Raises:
        AcpError: the recipe is missing, is not YAML, or holds a wrong key, type or value. Backends
            and their options are checked by `Recipe.backend`.
    """
    values = _read_yaml(source)
    for override in overrides:
        _apply(values, override)
    recipe: Recipe = validated(Recipe, values, where=source)
    return recipe


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(item.name[:-5] for item in RECIPES.iterdir() if item.name.endswith(".yaml"))


def _read_yaml(source: str) -> dict[str, Any]:
    path = Path(source)
    if path.suffix not in {".yaml", ".yml"} and source in recipe_names():
        text = (RECIPES / f"{source}.yaml").read_text(encoding="utf-8")
    elif path.is_file():
        text = path.read_text(encoding="utf-8")
    else:
        hint = did_you_mean(source, recipe_names())
        raise AcpError(f"there is no recipe or file {source!r}; {hint}")
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise AcpError(f"{source}: not valid YAML: {one_line(error)}") from None
    if not isinstance(values, dict):
        kind = type(values).__name__
        raise AcpError(f"{source}: expected a mapping of keys to values, got {kind}")
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise AcpError(f"--set {override}: expected key=value, such as --set render.candidates=2")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise AcpError(f"--set {override}: {text!r} is not a YAML value; quote it") from None
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise AcpError(f"--set {override}: {parent!r} holds a value, not keys")
    values[last] = value
