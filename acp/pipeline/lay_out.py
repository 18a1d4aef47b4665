"""Lay out: a box for each object. Several proposals a scene in one pool, the best go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from acp.backends.base import LLM
from acp.clis.layout import score_layouts
from acp.clis.priors import Priors
from acp.core.config import Settings
from acp.core.progress import Advance, silent
from acp.core.seeds import rng
from acp.core.types import Failure, Inventory, Layout, Scene
from acp.pipeline.planning.layout_checks import LayoutTask, Limits, defects, drawable, layout_task
from acp.pipeline.planning.layout_llm import propose
from acp.pipeline.planning.layout_sampler import propose_layouts

DRAWS = 16
"""Layouts drawn from the priors for each that is proposed, so that hard scenes have sound ones."""

WELL_FILLED = (0.45, 0.85)
"""How much of the frame's width or height the largest thing fills, where there is a choice."""

NOT_BEST = "not among the best"


class LayOutSettings(Settings):
    """How many layouts are proposed, and which of them go on."""

    llm_proposals: int = Field(2, ge=0, le=64, description="layouts asked of the language model")
    priors_proposals: int = Field(6, ge=0, le=256, description="layouts drawn from the priors")
    prompt: str | None = Field(
        None, description="path of a prompt file in place of acp/data/prompts/lay_out.md"
    )
    keep: int = Field(1, ge=1, le=64, description="layouts of a scene that go on, the best first")
    clis_l: Literal["paper", "reference", "acp"] = Field(
        "paper", description="variant of CLIS-L that ranks the layouts; see docs/clis.md"
    )
    min_clis_l: float | None = Field(
        None, ge=-100, le=100, description="least CLIS-L; null: it only ranks"
    )
    min_side: float = Field(
        0.05, ge=0, lt=1, description="least side of a box, as a share of the shorter image side"
    )
    max_size_error: float = Field(
        1.2, ge=1, description="how much larger the really smaller of two things may look"
    )
    min_visible: float = Field(
        0.5, ge=0, le=1, description="least share of a box that nearer boxes leave uncovered"
    )

    @model_validator(mode="after")
    def _some_proposal(self) -> LayOutSettings:
        if not self.llm_proposals + self.priors_proposals:
            raise ValueError("llm_proposals and priors_proposals must not both be 0")
        return self


class LayOut:
    """Proposals of the language model and of the priors, scored by CLIS-L, the best chosen.

    `layouts` then holds every proposal: those that go on first, with an empty `reason`, the best
    first; then the others, each with the reason. A scene without relations has no CLIS-L: its
    layouts have `clis_l` None and keep their order, those of the priors first. What the model wrote
    that is no layout at all is counted in the scene's notes.
    """

    name: ClassVar[str] = "lay out"

    def __init__(
        self,
        settings: LayOutSettings,
        llm: LLM | None,
        inventory: Inventory | None,
        priors: Priors,
        recipe_seed: int,
        size_wh: tuple[int, int],
    ) -> None:
        self.settings = settings
        self.inventory = inventory
        self.priors = priors
        self.recipe_seed = recipe_seed
        self.size_wh = size_wh
        self.llm = llm if llm and llm.writes_boxes and settings.llm_proposals else None
        self.limits = Limits(
            min_side_px=settings.min_side * min(size_wh),
            max_size_error=settings.max_size_error,
            min_visible=settings.min_visible,
        )

    def __call__(self, scenes: Sequence[Scene], advance: Advance = silent) -> list[Scene]:
        """Scenes with `layouts`, or with a `reject` where no proposal is sound."""
        block = max(1, self.llm.chunk // self.settings.llm_proposals) if self.llm else 1
        done: list[Scene] = []
        for start in range(0, len(scenes), block):
            done += self._block(scenes[start : start + block])
            advance(len(done) - start)
        return done

    def _block(self, scenes: Sequence[Scene]) -> list[Scene]:
        graphs = {
            place: scene.graph
            for place, scene in enumerate(scenes)
            if scene.graph is not None and not scene.reject
        }
        aspects = self.priors.typical_aspects
        tasks = [layout_task(g, self.inventory, aspects, self.size_wh) for g in graphs.values()]
        written: list[list[Layout | Failure]] = [[] for _ in tasks]
        if self.llm is not None:
            written = propose(
                [*graphs.values()],
                self.llm,
                self.settings.llm_proposals,
                [scenes[place].seed for place in graphs],
                [task.typical_aspects_wh for task in tasks],
                self.settings.prompt,
            )
        done = list(scenes)
        for place, task, proposals in zip(graphs, tasks, written, strict=True):
            done[place] = self._lay_out(scenes[place], task, proposals)
        return done

    def _lay_out(
        self, scene: Scene, task: LayoutTask, written: Sequence[Layout | Failure]
    ) -> Scene:
        layouts = [
            replace(each, boxes_xywhn=drawable(task, each.boxes_xywhn[None])[0])
            for each in written
            if isinstance(each, Layout)
        ]
        failures = [each.reason for each in written if isinstance(each, Failure)]
        if failures:
            note = f"{len(failures)} of {len(written)} of the llm's: {failures[0]}"
            scene = replace(scene, notes={**scene.notes, self.name: note})
        pool = self._scored(task, [*self._drawn(task, scene.scene_id), *layouts])
        sound = [layout for layout in pool if not layout.reason]
        unsound = [layout for layout in pool if layout.reason]
        if not sound:
            first = unsound[0].reason if unsound else "no layout was proposed"
            reject = f"{self.name}: none of {len(pool)} proposals is sound: {first}"
            return replace(scene, layouts=tuple(unsound), reject=reject)
        ranked = sorted(sound, key=_rank)
        best, rest = ranked[: self.settings.keep], ranked[self.settings.keep :]
        others = [replace(layout, reason=NOT_BEST) for layout in rest]
        return replace(scene, layouts=(*best, *others, *unsound))

    def _drawn(self, task: LayoutTask, scene_id: int) -> list[Layout]:
        """Proposals from the priors: sound ones first, well filled frames before others."""
        wanted = self.settings.priors_proposals
        if not wanted:
            return []
        draw = rng(self.recipe_seed, "lay out", scene_id)
        boxes = drawable(task, propose_layouts(task, self.priors, wanted * DRAWS, draw))
        unsound = [bool(reason) for reason in defects(task, boxes, self.limits)]
        largest = boxes[..., 2:].max(axis=(1, 2))
        badly_filled = np.maximum(WELL_FILLED[0] - largest, largest - WELL_FILLED[1]).clip(min=0)
        order = np.lexsort((badly_filled, unsound))[:wanted]
        return [Layout(boxes[index], source="priors") for index in order]

    def _scored(self, task: LayoutTask, layouts: Sequence[Layout]) -> list[Layout]:
        """With CLIS-L, and a reason where something is wrong."""
        if not layouts:
            return []
        boxes = np.stack([layout.boxes_xywhn for layout in layouts])
        scores = score_layouts(task.relations, task.names, boxes, self.priors, self.settings.clis_l)
        reasons = defects(task, boxes, self.limits)
        return [
            self._judged(layout, None if scores is None else _known(scores.total[index]), reason)
            for index, (layout, reason) in enumerate(zip(layouts, reasons, strict=True))
        ]

    def _judged(self, layout: Layout, clis_l: float | None, defect: str) -> Layout:
        least, reason = self.settings.min_clis_l, layout.reason or defect
        if not reason and clis_l is not None and least is not None and clis_l < least:
            reason = f"CLIS-L below {least:g}"
        return replace(layout, clis_l=clis_l, reason=reason)


def _known(score: float) -> float | None:
    return None if np.isnan(score) else float(score)


def _rank(layout: Layout) -> float:
    return 0.0 if layout.clis_l is None else -layout.clis_l
