"""The stages of a recipe in their order, with the backends they share. Knows nothing of shards."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast

from acp.backends.base import LLM, Backend, Renderer, Scorer, Segmenter
from acp.backends.registry import RECIPE_KINDS
from acp.clis.priors import default_priors
from acp.core.errors import AcpError, MissingRequirementError
from acp.core.progress import Advance, silent
from acp.core.types import Candidate, ModelInfo, Rendering, Scene
from acp.pipeline.combine import Combine
from acp.pipeline.describe import Describe
from acp.pipeline.lay_out import LayOut
from acp.pipeline.mask import Mask
from acp.pipeline.pick import Pick
from acp.pipeline.placement import Measures, Placement
from acp.pipeline.recipe import Recipe
from acp.pipeline.render import Render
from acp.pipeline.score import Score
from acp.pipeline.stage import Stage

AdvanceOf = Callable[[str], Advance]
"""Gives the `Advance` of a stage by its name."""


class Pipeline:
    """Runs the stages one after another over blocks of scenes.

    Every model is loaded before the first stage runs, so that one that cannot be is told before
    any work is done. They stay loaded from block to block, or with `residency: one` until a stage
    needs another model.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.backends: dict[str, Backend] = {kind: recipe.backend(kind) for kind in RECIPE_KINDS}
        self._placement = Placement(self.backends, recipe.residency)
        self._tried = False

    def resolved(self) -> dict[str, Any]:
        """The recipe with every default spelled out, those of the backends too."""
        backends = {
            kind: {"backend": backend.name, **backend.resolved_options()}
            for kind, backend in self.backends.items()
        }
        return {**self.recipe.model_dump(mode="json"), **backends}

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

    @property
    def block(self) -> int:
        """How many parts are best given to `run_block` at once."""
        return self.recipe.shards_per_block if self.recipe.residency == "one" else 1

    def run(
        self, scene_ids: Sequence[int], advance_of: AdvanceOf = lambda name: silent
    ) -> list[Scene]:
        """Everything for these scenes, picked."""
        (part,) = self.run_block([scene_ids], advance_of)
        if part.error is not None:
            raise part.error
        pick = self.stages[-1]
        return pick(part.scenes, advance_of(pick.name))

    def run_block(
        self, parts: Sequence[Sequence[int]], advance_of: AdvanceOf = lambda name: silent
    ) -> Iterator[Part]:
        """Every stage but pick: each for all parts before the next stage's model is needed.

        A stage is called once a part, so that what comes out does not depend on the block. Parts
        come in their order, each as soon as it is scored. One that fails carries the error, and
        the others go on.

        Raises:
            AcpError: what would stop every part (a user's mistake, a model that cannot be loaded).
        """
        waiting = deque(Part([Scene(scene_id, seed=0) for scene_id in ids]) for ids in parts)
        *stages, score, _ = self.stages
        if waiting:
            self._try_models(waiting[0].measures)
        for stage in stages:
            for part in waiting:
                self._advance(part, stage, advance_of)
        while waiting:
            part = waiting.popleft()
            self._advance(part, score, advance_of)
            yield part

    def _try_models(self, measures: Measures) -> None:
        """Load each model once. Where they make room for each other this is not measured: it is
        no part of what a block takes."""
        if self._tried:
            return
        one = self.recipe.residency == "one"
        with (Measures() if one else measures).of("load"):
            for kind in RECIPE_KINDS:
                self._placement.bring(kind)
        self._tried = True

    def _advance(self, part: Part, stage: Stage, advance_of: AdvanceOf) -> None:
        if part.error is not None:
            return
        try:
            if kind := STAGE_BACKENDS.get(stage.name):
                with part.measures.of("load"):
                    self._placement.bring(kind)
            with part.measures.of(stage.name):
                scenes = stage(part.scenes, advance_of(stage.name))
            part.scenes = [without_needless(scene, stage.name) for scene in scenes]
        except AcpError:
            raise
        except Exception as error:  # one part's failure must not lose the others
            part.fail(error)


@dataclass
class Part:
    """Scenes on their way through the stages together, and what that took.

    Where a stage failed, `error` says so and `trace` is its traceback.
    """

    scenes: list[Scene]
    measures: Measures = field(default_factory=Measures)
    error: Exception | None = None
    trace: str = ""

    def fail(self, error: Exception) -> None:
        self.trace = "".join(traceback.format_exception(error))
        self.scenes = []
        # Frames hold what they worked on: tensors of a GPU, whole batches of images.
        self.error = error.with_traceback(None)
        error.__cause__ = error.__context__ = None


def without_needless(scene: Scene, stage: str) -> Scene:
    """The scene without what no stage after `stage` looks at."""
    if stage not in ("render", "mask", "score"):
        return scene
    candidates = tuple(_lighter(candidate, stage) for candidate in scene.candidates)
    return replace(scene, candidates=candidates)


def _lighter(candidate: Candidate, stage: str) -> Candidate:
    if candidate.rendering is None or (stage == "render" and not candidate.reject):
        return candidate
    done = candidate.reject or stage == "score"  # the published pixels are in `jpeg`
    return replace(candidate, rendering=None if done else Rendering(candidate.rendering.image_rgb))


STAGE_BACKENDS = {
    "describe": "llm",
    "lay out": "llm",
    "render": "renderer",
    "mask": "segmenter",
    "score": "scorer",
}
MEASURING = ("combine", "describe", "lay out", "render", "mask", "score")
"""The stages of `run_block`, by name."""
