"""How a data set was made, and how to make it again: the stages of its recipe as they ran."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import acp
from acp.backends.base import Backend
from acp.backends.registry import RECIPE_KINDS
from acp.card.markdown import NOTHING, code, number, table, text
from acp.recipe import Recipe
from acp.types import ModelInfo

PACKAGE = "auto-cherry-picker"
FOLDER = "rebuild"
MOST_ENTRIES = 4
"""Longer lists are told by their length."""
STAGES = (
    ("combine", None, "draws categories that go together in real images"),
    ("describe", "llm", "writes a scene graph: attributes, relations, place, caption"),
    ("lay_out", "llm", "proposes boxes and keeps what CLIS-L finds most like real layouts"),
    ("render", "renderer", "draws several candidates of each layout, each from its own seed"),
    ("mask", "segmenter", "finds the visible mask and the tight box of each object"),
    ("score", "scorer", "compares image and objects with the scene graph (CLIS-I)"),
    ("pick", None, "keeps the best candidates that pass the thresholds"),
)
_TOLD_ELSEWHERE = {"backend", "model", "revision"}
_OF_THE_MACHINE = {"licence", "base_url", "api_key_env", "threads"}


def stages_table(recipe: Recipe, models: Mapping[str, ModelInfo]) -> str:
    """Every stage with what it does, the model that did it and the settings it ran with."""
    rows = [
        [stage.replace("_", " "), does, _by(models, kind), _settings(recipe, stage, kind)]
        for stage, kind, does in STAGES
    ]
    return table(["stage", "what it does", "by", "settings"], rows)


def thresholds(recipe: Recipe) -> str:
    """What objects and images had to reach, in a sentence each."""
    pick = recipe.pick
    images = {
        "CLIS-I": pick.min_clis_i,
        "CLIS-L": pick.min_clis_l,
        "the share of its labelled objects": pick.min_objects_share,
    }
    asked = [f"{name} is at least {number(least)}" for name, least in images.items() if least]
    also = f" where {' and '.join(asked)}" if asked else ""
    best = "the best image is" if pick.per_scene == 1 else f"the best {pick.per_scene} images are"
    return (
        f"An object is labelled where CLIS-I is at least {number(pick.min_clis_i_instance)}, at "
        f"least {number(pick.min_visible)} of it is visible and its shorter side has at least "
        f"{pick.min_side_px} px. An image with a labelled object can be kept{also}; of each scene "
        f"{best} kept."
    )


def models_table(models: Mapping[str, ModelInfo]) -> str:
    """Every model or tool with id, revision, licence and note."""
    rows = [
        [kind, code(model.id), code(model.revision), code(model.licence), text(model.note)]
        for kind, model in sorted(models.items())
    ]
    return table(["part", "id", "revision", "licence", "note"], rows)


def _by(models: Mapping[str, ModelInfo], kind: str | None) -> str:
    return code(models[kind].id) if kind and kind in models else NOTHING


def _settings(recipe: Recipe, stage: str, kind: str | None) -> str:
    values: dict[str, Any] = {}
    if hasattr(recipe, stage):
        values.update(getattr(recipe, stage).model_dump(mode="json"))
    if kind and stage != "lay_out":  # told once, at the first stage of a model
        values.update(_options(recipe.backend(kind)))
    if stage == "render":
        values["size"] = "{} x {} px".format(*recipe.size_wh)
    told = {key: show(value) for key, value in values.items()}
    return ", ".join(f"{text(k)} {text(v)}" for k, v in told.items() if v != NOTHING) or NOTHING


def _options(backend: Backend) -> dict[str, Any]:
    options = backend.content_options()
    left_out = _TOLD_ELSEWHERE | _OF_THE_MACHINE
    return {key: value for key, value in options.items() if key not in left_out}


def show(value: Any) -> str:
    """A value of a recipe in words; paths by their last name alone.

    >>> show({"r": 2.0, "c": 1.5}), show(None), show("/home/me/bank"), show([1, 2])
    ('(r: 2, c: 1.5)', '-', 'bank', '(1, 2)')
    """
    if value is None or (isinstance(value, (str, list, tuple, dict)) and not value):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return number(value)
    if isinstance(value, Mapping):
        told = {str(key): show(each) for key, each in value.items() if key not in _OF_THE_MACHINE}
        return f"({', '.join(f'{key}: {each}' for key, each in told.items() if each != NOTHING)})"
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) > MOST_ENTRIES:
            return f"({len(value)} entries)"
        return f"({', '.join(show(each) for each in value)})"
    return _file(str(value)) or str(value)


def local_files(recipe: Recipe, models: Mapping[str, ModelInfo]) -> dict[str, str]:
    """The files and folders of its maker that a recipe names: their last names by key."""
    local = {
        kind: model.id
        for kind, model in sorted(models.items())
        if model.revision.startswith("sha256-")  # of a folder; one of the Hub has a commit
    }
    return {**dict(_local_files(recipe.resolved())), **local}


def _local_files(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _local_files(value, f"{prefix}{key}.")
        elif key in _FILES and isinstance(value, str):
            yield f"{prefix}{key}", _last(value)
        elif isinstance(value, str) and (name := _file(value)):
            yield f"{prefix}{key}", name


_FILES = {"prompt", "cutouts", "backgrounds", "path"}


def _file(value: str) -> str:
    """The last name of what looks like a path of somebody's machine, else nothing."""
    return _last(value) if re.match(r"[/~]|\.\.?/|[A-Za-z]:\\", value) else ""


def _last(path: str) -> str:
    return PurePosixPath(path.replace("\\", "/")).name or "/"


def rebuild_command(recipe: Recipe, data_set: str) -> str:
    """The commands that make the data set again, from the recipe in its repository."""
    backends = [*_backends(recipe)]
    extras = sorted(_extras(backends))
    package = f"{PACKAGE}[{','.join(extras)}]" if extras else PACKAGE
    return "\n".join(
        [
            f"pip install {shlex.quote(f'{package}=={acp.__version__}')}",
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
