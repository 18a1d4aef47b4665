"""A recipe: one YAML file that says everything about a data set. Strict and typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from acp.backends.base import Backend, BackendOptions
from acp.backends.registry import OptionsOf, make_backend
from acp.core.config import Settings, parse_yaml
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


def _backend(name: str, does: str) -> Any:
    default = {"backend": name}
    return Field(default, validate_default=True, description=f"{does}: the backend, its options")


class Recipe(Settings):
    """Everything that decides what a data set contains, and how fast it is made."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", description="name of the recipe")
    description: str = Field("", description="one sentence for `acp recipes`")
    data_set: str = Field(
        default_factory=lambda earlier: str(earlier.get("name", "")),
        pattern=r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$",
        description="repository id; also the folder under `build/`; else the recipe's name",
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
    llm: Annotated[BackendOptions, OptionsOf("llm")] = _backend(
        "smollm2", "language model that writes scenes and proposes layouts"
    )
    renderer: Annotated[BackendOptions, OptionsOf("renderer")] = _backend(
        "cutpaste", "makes images from layouts"
    )
    segmenter: Annotated[BackendOptions, OptionsOf("segmenter")] = _backend(
        "exact", "finds the mask of each object"
    )
    scorer: Annotated[BackendOptions, OptionsOf("scorer")] = _backend(
        "embedded", "compares each image with what was asked for (CLIS-I)"
    )

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
        """The backend of `kind` ("llm", "renderer", "segmenter", "scorer") with its options."""
        return make_backend(kind, getattr(self, kind))

    def resolved(self) -> dict[str, Any]:
        """All keys with their defaults, those of the backends too, as plain values."""
        return self.model_dump(mode="json")


def load_recipe(
    source: str | Path | Mapping[str, Any],
    overrides: Sequence[str] | Mapping[str, Any] = (),
) -> Recipe:
    """A recipe with everything checked, the options of its backends too.

    An override that names another backend, as `llm.backend=sampler`, leaves the options behind that
    the recipe had written for the old one; what other overrides say stays.

    Args:
        source: the name of a recipe that comes along (see `recipe_names`), the path of a YAML file,
            or the keys and values themselves.
        overrides: "key=value" each, with a value in YAML, or a mapping of keys to values.

    Raises:
        AcpError: the recipe is missing, is not YAML, or holds a wrong key, type or value.

    >>> load_recipe("tiny", {"render.candidates": 8}).render.candidates
    8
    >>> load_recipe("demo", ["llm.backend=sampler"]).llm.backend
    'sampler'
    """
    values = deepcopy(dict(source)) if isinstance(source, Mapping) else _read_yaml(str(source))
    pairs = overrides.items() if isinstance(overrides, Mapping) else map(_parsed, overrides)
    for key, value in sorted(pairs, key=lambda pair: not _names_backend(pair[0])):
        _apply(values, key, value)
    where = "recipe" if isinstance(source, Mapping) else str(source)
    recipe: Recipe = validated(Recipe, values, where=where)
    return recipe


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(item.name[:-5] for item in RECIPES.iterdir() if item.name.endswith(".yaml"))


def recipe_schema() -> dict[str, Any]:
    """The JSON schema of a recipe, with all backends that are there and their options."""
    schema = Recipe.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _read_yaml(source: str) -> dict[str, Any]:
    path = Path(source)
    if path.suffix not in {".yaml", ".yml"} and source in recipe_names():
        text = (RECIPES / f"{source}.yaml").read_text(encoding="utf-8")
    elif path.is_file():
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise AcpError(f"{source}: cannot be read as UTF-8: {one_line(error, 200)}") from None
    else:
        hint = did_you_mean(source, recipe_names())
        raise AcpError(f"there is no recipe or file {source!r}; {hint}")
    values = parse_yaml(text, source)
    if not isinstance(values, dict):
        kind = type(values).__name__
        raise AcpError(f"{source}: expected a mapping of keys to values, got {kind}")
    return values


def _parsed(override: str) -> tuple[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise AcpError(f"--set {override}: expected key=value, such as --set render.candidates=2")
    return key, parse_yaml(text, f"--set {override}, which may need quotes")


def _names_backend(key: str) -> bool:
    return key.endswith(".backend")


def _apply(values: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise AcpError(f"{key}: {parent!r} holds a value, not keys")
    if _names_backend(key) and values.get(last) != value:
        values.clear()  # options of the old backend
    values[last] = value
