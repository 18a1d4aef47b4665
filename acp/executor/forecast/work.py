"""How much a recipe asks for: images, answers, questions, by stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Literal, cast

from acp.backends.base import LLM
from acp.pipeline.recipe import Recipe

Item = Literal[
    "scenes",
    "answers",
    "layouts",
    "drawn layouts",
    "images",
    "masks",
    "captions",
    "judgements",
    "scores",
    "candidates",
]
"""What a rate counts: answers that describe a scene, layouts that a language model writes, scenes
whose layouts are drawn from the priors, images rendered, images masked, ..."""


@dataclass(frozen=True, slots=True)
class Work:
    """The items of each stage, and what makes an image cheap or dear."""

    scenes: int
    shards: int
    candidates: int
    items: Mapping[str, Mapping[Item, float]]
    size_wh: tuple[int, int]
    steps: int
    second_pass: bool = False
    """Whether a refiner goes over each image; its time is in no rate but a build's."""

    @property
    def pixels(self) -> int:
        """Of all candidates."""
        return self.candidates * self.size_wh[0] * self.size_wh[1]

    @property
    def image_cost(self) -> float:
        """Pixels times steps: what the time of an image grows with."""
        return self.size_wh[0] * self.size_wh[1] * self.steps


def work_of(recipe: Recipe, scenes: int | None = None) -> Work:
    """The work of all scenes of the recipe, or of so many, as if none were rejected.

    Raises:
        AcpError: unknown backend or wrong options.
    """
    scenes = scenes or recipe.scenes
    candidates = scenes * recipe.lay_out.keep * recipe.render.candidates
    items: dict[str, dict[Item, float]] = {
        "combine": {"scenes": scenes},
        "describe": {"answers": scenes},
        "lay out": _layouts(recipe, scenes),
        "render": {"images": candidates},
        "mask": {"masks": candidates},
        "score": _scores(recipe, candidates),
        "pick": {"candidates": candidates},
    }
    renderer = recipe.backend("renderer").resolved_options()
    steps = renderer.get("steps")
    return Work(
        scenes,
        ceil(scenes / recipe.scenes_per_shard),
        candidates,
        items,
        recipe.size_wh,
        steps if isinstance(steps, int) else 1,
        bool(renderer.get("refiner")),
    )


def mean_objects(recipe: Recipe) -> float:
    """Objects of a scene, on average."""
    weights = recipe.combine.objects_per_scene
    return sum(count * weight for count, weight in weights.items()) / sum(weights.values())


def _layouts(recipe: Recipe, scenes: int) -> dict[Item, float]:
    asks = cast(LLM, recipe.backend("llm")).writes_boxes and recipe.lay_out.llm_proposals
    return {"layouts": scenes * recipe.lay_out.llm_proposals} if asks else {"drawn layouts": scenes}


def _scores(recipe: Recipe, candidates: int) -> dict[Item, float]:
    if recipe.backend("scorer").name != "clis":
        return {"scores": candidates}
    questions = candidates * (1 + 2 * mean_objects(recipe))  # the image, each box, each crop
    return {"captions": questions, "judgements": questions}
