"""How a data set was made, and how to make it again: stages, thresholds, models, commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from acp.backends.base import LLM, Backend, Scorer
from acp.backends.registry import RECIPE_KINDS
from acp.core.types import ModelInfo
from acp.dataset.card.markdown import NOTHING, code, number, table, text
from acp.pipeline.recipe import Recipe

LEAST_CLIS_L = -100
"""A limit of CLIS-L that every layout reaches."""
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
        [
            stage.replace("_", " "),
            _does(recipe, stage, does),
            _by(recipe, models, stage, kind),
            _settings(recipe, stage, kind),
        ]
        for stage, kind, does in STAGES
    ]
    return table(["stage", "what it does", "by", "settings"], rows)


def _does(recipe: Recipe, stage: str, does: str) -> str:
    if stage != "score" or not has_proxy(recipe):
        return does
    if recipe.backend("scorer").name == "random":
        return "gives scores by chance in place of CLIS-I"
    return does.replace("(CLIS-I)", "(a proxy of CLIS-I)")


def has_proxy(recipe: Recipe) -> bool:
    """Whether the scores stand in for the paper's CLIS-I."""
    scorer = recipe.backend("scorer")
    return isinstance(scorer, Scorer) and scorer.is_proxy


def thresholds(recipe: Recipe) -> str:
    """What objects and images had to reach, in a sentence each."""
    pick = recipe.pick
    limits = [
        ("CLIS-I is null or", pick.min_clis_i, 0),
        ("CLIS-L is null or", pick.min_clis_l, LEAST_CLIS_L),
        ("the share of its objects that are labelled is", pick.min_objects_share, 0),
    ]
    asked = [f"{name} at least {number(least)}" for name, least, never in limits if least > never]
    also = f" where {' and '.join(asked)}" if asked else ""
    best = "the best image is" if pick.per_scene == 1 else f"the best {pick.per_scene} images are"
    return (
        f"An object is labelled where {_of_the_mask(recipe)}its CLIS-I is null or at least "
        f"{number(pick.min_clis_i_instance)}, at least {number(pick.min_visible)} of it is visible "
        f"and its shorter side has at least {pick.min_side_px} px. An image with a labelled "
        f"object can be kept{also}; of each scene {best} kept."
    )


def _of_the_mask(recipe: Recipe) -> str:
    exact = recipe.backend("segmenter").name == "exact"
    return "" if exact else "its mask keeps to the settings of the stage mask, "


def models_table(models: Mapping[str, ModelInfo]) -> str:
    """Every model or tool with id, revision, licence and note."""
    rows = [
        [kind, code(model.id), code(model.revision), code(model.licence), text(model.note)]
        for kind, model in sorted(models.items())
    ]
    return table(["part", "id", "revision", "licence", "note"], rows)


def _by(recipe: Recipe, models: Mapping[str, ModelInfo], stage: str, kind: str | None) -> str:
    told = [code(models[kind].id)] if kind and kind in models else []
    if stage == "lay_out":
        with_priors = bool(recipe.lay_out.priors_proposals)
        told = told if _asks_for_boxes(recipe) else []
    else:
        with_priors = stage == "describe" and recipe.describe.relations_from == "priors"
    told += ["priors"] if with_priors else []
    return ", ".join(told) or ("priors" if stage == "combine" else NOTHING)


def _asks_for_boxes(recipe: Recipe) -> bool:
    llm = recipe.backend("llm")
    return bool(recipe.lay_out.llm_proposals) and isinstance(llm, LLM) and llm.writes_boxes


def _settings(recipe: Recipe, stage: str, kind: str | None) -> str:
    values: dict[str, Any] = {}
    if hasattr(recipe, stage):
        values.update(getattr(recipe, stage).model_dump(mode="json"))
    if kind and stage != "lay_out":  # told once, at the first stage of a model
        values.update(_options(recipe.backend(kind)))
    if stage == "lay_out" and not _asks_for_boxes(recipe):
        values["llm_proposals"] = 0  # whatever the recipe says
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
    return file_name(str(value)) or str(value)


def file_name(value: str) -> str:
    """The last name of what looks like a path of somebody's machine, else nothing."""
    return last_name(value) if re.match(r"[/~]|\.\.?/|[A-Za-z]:\\", value) else ""


def last_name(path: str) -> str:
    """The last name of a path of any system."""
    return PurePosixPath(path.replace("\\", "/")).name or "/"


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
