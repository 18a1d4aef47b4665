from __future__ import annotations

import json
from pathlib import Path

import pytest

from acp.core.errors import AcpError
from acp.core.vocabulary import HABITATS, categories, nearest, resolve

LVIS = Path(__file__).parents[3] / "shared" / "data" / "lvis_v1_categories.json"


def test_every_category_of_lvis_is_there_in_order() -> None:
    found = list(categories().values())
    assert [category.id for category in found] == list(range(1, 1204))


@pytest.mark.skipif(not LVIS.exists(), reason="needs ../shared/data/lvis_v1_categories.json")
def test_ids_names_and_counts_are_those_of_lvis() -> None:
    for record in json.loads(LVIS.read_text(encoding="utf-8")):
        category = categories()[record["name"]]
        assert (category.id, category.frequency) == (record["id"], record["frequency"])
        counts = (category.image_count, category.instance_count)
        assert counts == (record["image_count"], record["instance_count"])


def test_every_field_can_be_used() -> None:
    for category in categories().values():
        assert category.frequency in "rcf"
        assert category.habitat in HABITATS
        assert category.longest_cm > 0
        assert category.article in {"a", "an", "a pair of", "some", "", "the"}
        assert category.noun
        assert category.group


def test_nouns_tell_the_categories_apart() -> None:
    nouns = [category.noun for category in categories().values()]
    assert len(set(nouns)) == len(nouns)


@pytest.mark.parametrize(
    ("concept", "name"),
    [
        ("zebra", "zebra"),
        ("Teddy Bear", "teddy_bear"),
        ("teddy_bear", "teddy_bear"),
        ("aeroplane", "airplane"),
        ("bus", "bus_(vehicle)"),
        ("BUS_(vehicle)", "bus_(vehicle)"),
        ("christmas tree", "Christmas_tree"),
        ("  cellular   telephone ", "cellular_telephone"),
    ],
)
def test_resolves_names_nouns_and_synonyms(concept: str, name: str) -> None:
    assert resolve(concept).name == name


def test_every_name_and_noun_resolves_to_its_own_category() -> None:
    for name, category in categories().items():
        assert resolve(name) is category
        assert resolve(category.noun).name in {name, category.noun.replace(" ", "_")}


@pytest.mark.parametrize("concept", ["zebraa", "giraf", "teddy bera"])
def test_an_unknown_concept_is_told_the_nearest(concept: str) -> None:
    with pytest.raises(AcpError) as error:
        resolve(concept)
    assert concept in str(error.value)
    assert nearest(concept)[0] in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("concept", ["", "   ", "xyzzyxyzzy"])
def test_a_concept_like_nothing_is_refused_too(concept: str) -> None:
    with pytest.raises(AcpError, match="not an LVIS category"):
        resolve(concept)
