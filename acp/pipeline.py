"""The stages of a recipe in their order, with the backends they share. Knows nothing of shards."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import cast

from acp.backends.base import LLM, Backend, Renderer, Scorer, Segmenter
from acp.backends.registry import RECIPE_KINDS
from acp.errors import MissingRequirementError
from acp.priors import default_priors
from acp.recipe import Recipe
from acp.stages.base import Advance, Stage, silent
from acp.stages.combine import Combine
from acp.stages.describe import Describe
from acp.stages.lay_out import LayOut
from acp.stages.mask import Mask
from acp.stages.pick import Pick
from acp.stages.render import Render
from acp.stages.score import Score
from acp.types import ModelInfo, Scene

AdvanceOf = Callable[[str], Advance]
"""Gives the `Advance` of a stage by its name."""


class Pipeline:
    """Runs the stages one after another over a block of scenes.

    Models are loaded when their stage first runs and stay loaded from block to block.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.backends: dict[str, Backend] = {kind: recipe.backend(kind) for kind in RECIPE_KINDS}
        self.seconds: dict[str, float] = {}

    def info(self) -> dict[str, ModelInfo]:
        """Id, revision and licence of each backend, by kind. Loads nothing.

        Raises:
            MissingRequirementError: a package or an asset is not there.
        """
        self.require()
        return {kind: backend.info() for kind, backend in self.backends.items()}

    def require(self) -> None:
        """Check that every backend finds what it needs.

        Raises:
            MissingRequirementError: names what is missing and how to get it.
        """
        lacking: dict[tuple[str, str], list[str]] = {}
        for kind, backend in self.backends.items():
            for missing in backend.missing():
                found = lacking.setdefault((f"{kind} {backend.name!r}", missing.mend), [])
                found.append(missing.what)
        if lacking:
            needs = [f"{who} needs {', '.join(w)}: {mend}" for (who, mend), w in lacking.items()]
            raise MissingRequirementError("; ".join(needs))

    @cached_property
    def stages(self) -> list[Stage]:
        """The seven stages, built on first use. Loads no model."""
        recipe, priors = self.recipe, default_priors()
        llm = cast(LLM, self.backends["llm"])
        renderer = cast(Renderer, self.backends["renderer"])
        inventory = renderer.inventory()
        return [
            Combine(recipe.combine, inventory, priors, recipe.seed),
            Describe(llm, recipe.describe, inventory, priors, recipe.seed),
            LayOut(recipe.lay_out, llm, inventory, priors, recipe.seed, recipe.size_wh),
            Render(renderer, recipe.render, recipe.seed, recipe.size_wh),
            Mask(cast(Segmenter, self.backends["segmenter"])),
            Score(cast(Scorer, self.backends["scorer"])),
            Pick(recipe.pick),
        ]

    def run(
        self, scene_ids: Sequence[int], advance_of: AdvanceOf = lambda name: silent
    ) -> list[Scene]:
        """Everything for these scenes. `seconds` then holds the time by stage and for loading."""
        self.seconds = {}
        scenes = [Scene(scene_id, seed=0) for scene_id in scene_ids]
        for stage in self.stages:
            self._load_for(stage.name)
            started = time.perf_counter()
            scenes = stage(scenes, advance_of(stage.name))
            self.seconds[stage.name] = time.perf_counter() - started
        return scenes

    def _load_for(self, stage: str) -> None:
        started = time.perf_counter()
        kind = STAGE_BACKENDS.get(stage)
        if kind is not None:
            self.backends[kind].load()
        self.seconds["load"] = self.seconds.get("load", 0.0) + time.perf_counter() - started


STAGE_BACKENDS = {
    "describe": "llm",
    "lay out": "llm",
    "render": "renderer",
    "mask": "segmenter",
    "score": "scorer",
}
STAGE_NAMES = ("combine", "describe", "lay out", "render", "mask", "score", "pick")
