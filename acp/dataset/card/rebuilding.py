"""How to make a data set again: the commands, and what its recipe leaves open."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from acp.backends.base import Backend
from acp.backends.registry import RECIPE_KINDS
from acp.core.types import ModelInfo
from acp.dataset.card.making import file_name, last_name
from acp.pipeline.recipe import Recipe

PACKAGE = "auto-cherry-picker"
FOLDER = "rebuild"


def local_files(recipe: Recipe, models: Mapping[str, ModelInfo]) -> dict[str, str]:
    """The files and folders of its maker that a recipe names: their last names by key."""
    local = {
        kind: model.id
        for kind, model in sorted(models.items())
        if model.revision.startswith(_OF_A_FOLDER)
    }
    return {**dict(_local_files(recipe.resolved())), **local}


def _local_files(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _local_files(value, f"{prefix}{key}.")
        elif key in _FILES and isinstance(value, str):
            yield f"{prefix}{key}", last_name(value)
        elif isinstance(value, str) and (name := file_name(value)):
            yield f"{prefix}{key}", name


_FILES = {"prompt", "cutouts", "backgrounds", "path"}


def unpinned(recipe: Recipe, models: Mapping[str, ModelInfo]) -> list[str]:
    """Keys of a recipe that name a model of the Hub without its revision."""
    specs = [(kind, recipe.resolved()[kind]) for kind in RECIPE_KINDS]
    specs += [
        (f"{kind}.{key}", value)
        for kind, spec in specs
        for key, value in spec.items()
        if isinstance(value, dict)
    ]
    local = {kind for kind, model in models.items() if model.revision.startswith(_OF_A_FOLDER)}
    return [
        key
        for key, spec in specs
        if spec.get("model") and spec.get("revision", "") is None and key not in local
    ]


_OF_A_FOLDER = "sha256-"
"""How the revision of a model in a folder begins; one of the Hub has a commit."""


def rebuild_command(recipe: Recipe, data_set: str, version: str) -> str:
    """The commands that make the data set again, from the recipe in its repository, with the
    `version` of this package that made it."""
    backends = [*_backends(recipe)]
    extras = sorted(_extras(backends))
    package = f"{PACKAGE}[{','.join(extras)}]" if extras else PACKAGE
    return "\n".join(
        [
            f"pip install {shlex.quote(f'{package}=={version}')}",
            *(f"pip install --no-deps {name}" for name in _beside(backends)),
            f"hf download {data_set} recipe.yaml --repo-type dataset --local-dir {FOLDER}",
            *_assets(backends),
            f"acp build {FOLDER}/recipe.yaml --out {FOLDER}/{data_set}",
        ]
    )


def _backends(recipe: Recipe) -> Iterator[Backend]:
    """The recipe's backends, and those that they ask themselves."""
    for kind in RECIPE_KINDS:
        backend = recipe.backend(kind)
        yield backend
        yield from getattr(backend, "parts", {}).values()


def _extras(backends: Sequence[Backend]) -> set[str]:
    """Names of the extras that the backends say they need."""
    mends = (mend for backend in backends for mend in backend.modules.values())
    return {extra for mend in mends for extra in re.findall(rf"{PACKAGE}\[(\w+)\]", mend)}


def _beside(backends: Sequence[Backend]) -> list[str]:
    """The packages of models that are installed without what they declare to need."""
    mends = (mend for backend in backends for mend in backend.modules.values())
    return sorted({name for mend in mends for name in re.findall(r"--no-deps ([\w.=-]+)", mend)})


def _assets(backends: Sequence[Backend]) -> list[str]:
    drawn = any(backend.name == "cutpaste" for backend in backends)
    return [f"acp assets fetch --for {FOLDER}/recipe.yaml"] if drawn else []
