from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from math import log
from typing import Any

import pytest
from pydantic import ValidationError

from acp.clis.priors import default_priors
from acp.core.errors import AcpError
from acp.core.types import Inventory, Look, Scene
from acp.core.vocabulary import categories
from acp.pipeline.combine import Combine, CombineSettings

HABITATS = {
    "zebra": "ground",
    "giraffe": "ground",
    "elephant": "ground",
    "lion": "ground",
    "horse": "ground",
    "cow": "ground",
    "bus_(vehicle)": "ground",
    "gull": "air",
    "dolphin": "water",
    "grape": "surface",
    "apple": "surface",
    "banana": "surface",
    "carrot": "surface",
    "bowl": "surface",
}
SETTINGS = {
    "on a meadow": frozenset({"ground", "air"}),
    "on a table": frozenset({"surface"}),
    "in the sea": frozenset({"water", "air"}),
}


def inventory(habitats: Mapping[str, str] = HABITATS, looks: int = 2) -> Inventory:
    ways = tuple(Look(f"look {index}", 1.2) for index in range(looks))
    return Inventory(dict.fromkeys(habitats, ways), SETTINGS, habitats)


def combined(
    count: int = 60, bank: Inventory | None = None, seed: int = 0, **values: Any
) -> list[Scene]:
    settings = CombineSettings.model_validate_json(json.dumps(values))
    stage = Combine(settings, bank, default_priors(), seed)
    return stage([Scene(scene_id, seed=0) for scene_id in range(count)])


def test_no_scenes() -> None:
    assert combined(0) == []


def test_a_scene_is_the_same_whatever_shares_its_batch() -> None:
    stage = Combine(CombineSettings.model_validate({}), inventory(), default_priors(), 5)
    together = stage([Scene(scene_id, seed=0) for scene_id in range(20)])
    assert [stage([Scene(scene_id, seed=0)])[0] for scene_id in range(20)] == together
    assert len({scene.seed for scene in together}) == 20
    assert together != combined(20, inventory(), seed=6)


def test_a_rejected_scene_passes_through() -> None:
    rejected = Scene(1, seed=0, reject="because")
    assert Combine(CombineSettings.model_validate({}), None, default_priors(), 0)([rejected]) == [
        rejected
    ]


def test_counts_follow_their_weights() -> None:
    scenes = combined(300, objects_per_scene={1: 1, 3: 2}, repeat_chance=0)
    counts = Counter(len(scene.concepts) for scene in scenes)
    assert set(counts) == {1, 3}
    assert 1.5 < counts[3] / counts[1] < 2.7


@pytest.mark.parametrize(("frequency", "least"), [("r", 0.95), ("c", 0.95), ("f", 0.95)])
def test_a_recipe_can_favour_a_frequency_class(frequency: str, least: float) -> None:
    scenes = combined(100, frequency_weights={"r": 0, "c": 0, "f": 0, frequency: 1})
    first = [categories()[scene.concepts[0]].frequency for scene in scenes]
    assert first.count(frequency) >= least * len(first)


def test_within_a_class_each_category_starts_about_as_many_scenes() -> None:
    scenes = combined(140, inventory(), frequency_weights={"f": 1})
    first = Counter(scene.concepts[0] for scene in scenes)
    frequent = [name for name in HABITATS if categories()[name].frequency == "f"]
    assert set(first) == set(frequent)
    assert max(first.values()) - min(first.values()) <= 3


def test_only_what_a_setting_can_show_together() -> None:
    for scene in combined(200, inventory()):
        needed = {HABITATS[name] for name in scene.concepts}
        assert any(needed <= offered for offered in SETTINGS.values())


def test_real_sizes_stay_comparable() -> None:
    priors = default_priors()
    for scene in combined(200, largest_size_ratio=5):
        for a in scene.concepts:
            for b in scene.concepts:
                known = 2 if priors.cooccurrence(a).get(b) else 1
                ratio = categories()[a].longest_cm / categories()[b].longest_cm
                assert log(ratio) <= log(5 * known) + 1e-6


def test_partners_are_of_a_kind_or_seen_together() -> None:
    partners: Counter[str] = Counter()
    for scene in combined(400, inventory()):
        if scene.concepts[0] == "zebra":
            partners.update(scene.concepts[1:])
    assert not partners["grape"]
    assert partners["giraffe"] > partners["bus_(vehicle)"]


def test_repeats_need_two_looks() -> None:
    def repeated(looks: int) -> bool:
        scenes = combined(100, inventory(looks=looks), repeat_chance=0.5)
        return any(len(set(scene.concepts)) < len(scene.concepts) for scene in scenes)

    assert repeated(looks=2)
    assert not repeated(looks=1)


def test_listed_concepts_are_used_about_equally() -> None:
    wanted = ["Zebra", "giraffe", "bus", "lion"]
    scenes = combined(100, inventory(), concepts=wanted, repeat_chance=0)
    used = Counter(name for scene in scenes for name in scene.concepts)
    assert set(used) == {"zebra", "giraffe", "bus_(vehicle)", "lion"}
    assert max(used.values()) < 1.3 * min(used.values())


def test_one_concept_alone() -> None:
    scenes = combined(10, concepts=["zebra"], objects_per_scene={3: 1}, repeat_chance=0)
    assert {scene.concepts for scene in scenes} == {("zebra",)}


def test_a_misspelt_concept_is_told_the_nearest() -> None:
    with pytest.raises(AcpError, match=r"combine\.concepts: .*'zebraa'.*'zebra'"):
        combined(concepts=["zebraa"])


def test_concepts_that_the_bank_does_not_have_are_named() -> None:
    with pytest.raises(AcpError, match=r"combine\.concepts: .* no aardvark|no piano, sofa"):
        combined(bank=inventory(), concepts=["zebra", "piano", "sofa"])


def test_what_no_setting_can_show_is_not_there() -> None:
    with pytest.raises(AcpError, match="no lamp"):
        combined(bank=inventory({"zebra": "ground", "lamp": "wall"}), concepts=["lamp"])


def test_an_empty_bank_is_an_error() -> None:
    with pytest.raises(AcpError, match="nothing to draw"):
        combined(bank=inventory({}))


def test_weights_that_leave_nothing_are_an_error() -> None:
    bank = inventory({"zebra": "ground"})
    with pytest.raises(AcpError, match="frequency_weights"):
        combined(bank=bank, frequency_weights={"r": 1})


@pytest.mark.parametrize(
    "values",
    [
        {"concepts": []},
        {"concepts": "zebra"},
        {"concepts": [None]},
        {"objects_per_scene": {7: 1}},
        {"objects_per_scene": {0: 1}},
        {"objects_per_scene": {}},
        {"objects_per_scene": {2: 0}},
        {"objects_per_scene": {2: -1, 3: 1}},
        {"frequency_weights": {"rare": 1}},
        {"frequency_weights": {"r": 0}},
        {"largest_size_ratio": 0.5},
        {"repeat_chance": 2},
        {"unknown": 1},
    ],
)
def test_wrong_settings_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CombineSettings.model_validate_json(json.dumps(values))
