"""Describe: a scene graph and a caption for each combination of objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from acp.backends.base import LLM, CompletionRequest
from acp.clis.priors import Priors
from acp.core.config import Settings
from acp.core.errors import AcpError
from acp.core.progress import Advance, silent
from acp.core.prompts import load_prompt
from acp.core.seeds import derive_seed, rng
from acp.core.types import Failure, Inventory, Relation, Scene, SceneGraph
from acp.core.vocabulary import Category, resolve
from acp.pipeline.planning.scene_plans import PLACEHOLDERS, FilledPlan, FreePlan, Plan
from acp.pipeline.planning.scene_relations import draw_relations

OPENINGS = (
    "A photo of {objects} {place}.",
    "A photograph of {objects} {place}.",
    "A picture of {objects} {place}.",
    "An image of {objects} {place}.",
    "This photo shows {objects} {place}.",
    "There is {objects} {place}.",
    "{place}, there is {objects}.",
)


class DescribeSettings(Settings):
    """How scene graphs and captions are written."""

    relations_from: Literal["priors", "llm"] = Field(
        "priors", description="who chooses the relations; llm: for renderers that draw anything"
    )
    prompt: str | None = Field(
        None, description="path of a prompt file in place of acp/data/prompts/describe*.md"
    )
    openings: tuple[str, ...] = Field(
        OPENINGS, description="sentences to begin a caption with, with {objects} and {place}"
    )
    most_places: int = Field(
        2, ge=1, description="fitting places the model chooses from; a small one repeats itself"
    )
    longest_caption: int = Field(400, ge=40, description="characters of a caption in free words")
    max_attempts: int = Field(3, ge=1, description="answers asked for before a scene is rejected")
    max_new_tokens: int = Field(512, ge=16, description="longest answer of the language model")

    @field_validator("openings")
    @classmethod
    def _fillable(cls, openings: tuple[str, ...]) -> tuple[str, ...]:
        if not openings:
            raise ValueError("there must be at least one opening")
        for opening in openings:
            if opening.count("{objects}") != 1 or opening.count("{place}") != 1:
                raise ValueError(f"{opening!r} must hold {{objects}} and {{place}} once each")
            if "{" in opening.replace("{objects}", "").replace("{place}", ""):
                raise ValueError(f"{opening!r} may hold no other braces")
        return openings


class Describe:
    """Asks a language model to fill the slots of each scene, and checks what it answers.

    With an inventory every slot is a choice, and the caption is put together from the answers;
    without one the model writes attributes, place and caption in its own words.
    """

    name: ClassVar[str] = "describe"

    def __init__(
        self,
        llm: LLM,
        settings: DescribeSettings,
        inventory: Inventory | None,
        priors: Priors,
        seed: int,
    ) -> None:
        """Raises AcpError for settings that contradict each other, or a wrong prompt file."""
        if inventory is not None and settings.relations_from == "llm":
            raise AcpError(
                "describe.relations_from: 'llm' needs a renderer that draws anything; use 'priors'"
            )
        self.llm = llm
        self.settings = settings
        self.inventory = inventory
        self.priors = priors
        self.seed = seed
        packaged = "describe_free" if inventory is None else "describe"
        self.prompt = load_prompt(settings.prompt or packaged, PLACEHOLDERS)

    def __call__(self, scenes: Sequence[Scene], advance: Advance = silent) -> list[Scene]:
        """Scenes with their `graph`, or a reason why they have none."""
        done: list[Scene] = []
        for start in range(0, len(scenes), self.llm.chunk):
            done += self._describe(scenes[start : start + self.llm.chunk])
            advance(len(done) - start)
        return done

    def _describe(self, scenes: Sequence[Scene]) -> list[Scene]:
        done = list(scenes)
        plans: dict[int, Plan] = {}
        for index, scene in enumerate(scenes):
            if scene.reject:
                continue
            try:
                plans[index] = self._plan(scene)
            except (ValueError, AcpError) as error:
                done[index] = replace(scene, reject=f"describe: {error}")
        for attempt in range(self.settings.max_attempts):
            asked = {index: (scenes[index], plan) for index, plan in plans.items()}
            for index, found in zip(plans, self._ask([*asked.values()], attempt), strict=True):
                if isinstance(found, Failure):
                    done[index] = replace(scenes[index], reject=f"describe: {found.reason}")
                else:
                    done[index] = replace(scenes[index], graph=found)
            plans = {index: plan for index, plan in plans.items() if done[index].reject}
        return done

    def _ask(self, asked: Sequence[tuple[Scene, Plan]], attempt: int) -> list[SceneGraph | Failure]:
        requests = [
            CompletionRequest(
                self.prompt.messages(**plan.values()),
                plan.schema(),
                derive_seed(self.seed, "describe", scene.scene_id, attempt),
                self.settings.max_new_tokens,
            )
            for scene, plan in asked
        ]
        answers = self.llm.complete(requests) if requests else []
        return [_read(plan, answer) for (_, plan), answer in zip(asked, answers, strict=True)]

    def _plan(self, scene: Scene) -> Plan:
        """Raises ValueError or AcpError where the scene cannot be."""
        categories = tuple(resolve(concept) for concept in scene.concepts)
        if not categories:
            raise ValueError("the scene has no objects")
        if self.inventory is None:
            own = self.settings.relations_from == "llm"
            relations = None if own else self._relations(scene, categories)
            return FreePlan(categories, relations, self.settings.longest_caption)
        return FilledPlan.make(
            categories,
            self._relations(scene, categories),
            self.inventory,
            self.settings.openings,
            self.settings.most_places,
            rng(self.seed, "choices", scene.scene_id),
        )

    def _relations(self, scene: Scene, categories: Sequence[Category]) -> tuple[Relation, ...]:
        known = self.inventory.habitats if self.inventory else {}
        habitats = [known.get(category.name, category.habitat) for category in categories]
        names = [category.name for category in categories]
        draw = rng(self.seed, "relations", scene.scene_id)
        return draw_relations(names, habitats, self.priors.predicate_weights, draw)


def _read(plan: Plan, answer: str | Failure) -> SceneGraph | Failure:
    if isinstance(answer, Failure):
        return answer
    try:
        return plan.read(answer)
    except ValueError as error:
        return Failure(str(error))
