"""How a data set was made: the stages of its recipe as they ran, and what had to be reached."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from acp.backends.base import LLM, Backend, Scorer
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
