from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from acp.clis.priors import INVERSES, PREDICATES, default_priors
from acp.clis.similarity import VECTORS
from acp.core.seeds import rng
from acp.core.types import Relation
from acp.core.vocabulary import HABITATS, categories
from acp.pipeline.planning.scene_relations import draw_relations

ROOT = Path(__file__).parents[2]
DATA = ROOT / "acp" / "data"
SHARED = ROOT.parent / "shared" / "data"


def test_cooccurrence_is_symmetric_and_of_lvis() -> None:
    priors = default_priors()
    for name in categories():
        for partner, images in priors.cooccurrence(name).items():
            assert partner in categories()
            assert priors.cooccurrence(partner)[name] == images >= 2


def test_colours_and_players_are_not_taken_for_things() -> None:
    zebra = default_priors().cooccurrence("zebra")
    assert zebra["giraffe"] > 5
    person = default_priors().cooccurrence("person")
    assert person["frisbee"] > person.get("orange_(fruit)", 0)
    assert default_priors().cooccurrence("batter_(food)") == {}


def test_nothing_is_known_of_an_unknown_name() -> None:
    assert default_priors().cooccurrence("no such thing") == {}


@pytest.mark.parametrize(
    ("triple", "level"),
    [
        (("cat", "next to", "dog"), "triple"),
        (("cat", "beside", "dog"), "triple"),
        (("zebra", "left of", "giraffe"), "predicate"),
        (("zebra", "eating", "giraffe"), "geometry"),
        (("no such thing", "above", "zebra"), "predicate"),
    ],
)
def test_back_off(triple: tuple[str, str, str], level: str) -> None:
    found = default_priors().references(*triple)
    assert found.level == level
    assert len(found) >= 1


@pytest.mark.parametrize("predicate", [*PREDICATES, "eating"])
def test_every_category_has_references_for_every_predicate(predicate: str) -> None:
    for name in list(categories())[::40]:
        found = default_priors().references(name, predicate, "zebra")
        for array in (found.features.area_ratio, found.features.distance, found.subject_wh):
            assert array.shape == found.weights.shape
            assert np.isfinite(array).all()
            assert (array >= 0).all()


def test_sizes_are_carried_over_to_what_is_asked_for() -> None:
    small = default_priors().references("mushroom", "left of", "giraffe")
    large = default_priors().references("giraffe", "left of", "mushroom")
    assert np.median(small.features.area_ratio) < 0.5 * np.median(large.features.area_ratio)


def test_the_same_triple_is_worked_out_once() -> None:
    triple = ("cat", "next to", "dog")
    assert default_priors().references(*triple) is default_priors().references(*triple)


NAMES = ["zebra", "giraffe", "bus_(vehicle)", "rabbit", "gull", "kite"]


def drawn(count: int, seed: int) -> tuple[Relation, ...]:
    names = NAMES[:count]
    habitats = [categories()[name].habitat for name in names]
    return draw_relations(names, habitats, default_priors().predicate_weights, rng(seed))


@pytest.mark.parametrize("count", range(1, 7))
def test_relations_are_a_tree_told_from_the_first_object(count: int) -> None:
    for seed in range(20):
        relations = drawn(count, seed)
        assert len(relations) == count - 1
        known = {0}
        for relation in relations:
            ends = {relation.subject, relation.object}
            assert len(ends) == 2
            assert len(ends & known) == 1
            known |= ends
        assert known == set(range(count))


def test_relations_fit_the_habitats() -> None:
    for seed in range(50):
        for relation in drawn(6, seed):
            upper = {relation.subject > 3, relation.object > 3}
            assert relation.predicate in PREDICATES
            assert (upper == {True, False}) == (relation.predicate in ("above", "below"))


@pytest.mark.parametrize("habitat", HABITATS)
def test_every_habitat_can_be_drawn(habitat: str) -> None:
    relations = draw_relations(NAMES[:4], [habitat] * 4, default_priors().predicate_weights, rng(1))
    assert len(relations) == 3


def test_relations_vary_and_repeat_with_their_seed() -> None:
    assert drawn(5, 3) == drawn(5, 3)
    predicates = Counter(r.predicate for seed in range(200) for r in drawn(4, seed))
    assert set(predicates) >= {"left of", "right of", "next to", "in front of", "behind"}


def test_what_is_much_larger_stands_behind() -> None:
    for seed in range(60):
        (relation,) = draw_relations(
            ["elephant", "rabbit"],
            ["ground", "ground"],
            default_priors().predicate_weights,
            rng(seed),
        )
        told = (relation.subject, relation.predicate)
        assert told not in {(0, "in front of"), (1, "behind")}


def test_inverses_are_inverse() -> None:
    assert all(INVERSES[INVERSES[predicate]] == predicate for predicate in INVERSES)


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")
def test_the_script_makes_the_files_again(tmp_path: Path) -> None:
    command = [sys.executable, "scripts/derive_priors.py", "--out", str(tmp_path)]
    for option, path in (
        ("captions", "coco_captions_val2017.json"),
        ("nsr1k", "nsr1k_spatial_train.json"),
        ("instances", "coco_tiny/instances.json"),
        ("instance-captions", "coco_tiny/captions.json"),
    ):
        command += [f"--{option}", str(SHARED / path)]
    subprocess.run(command, check=True, cwd=ROOT)
    for name in ("cooccurrence.tsv", "priors.parquet"):
        assert (tmp_path / name).read_bytes() == (DATA / name).read_bytes()
    made, kept = (np.load(folder / VECTORS) for folder in (tmp_path, DATA))
    assert made["names"].tolist() == kept["names"].tolist()
    # Another kind of processor may round the last bit otherwise.
    assert np.abs(made["vectors"].astype(int) - kept["vectors"]).max() <= 1


def test_the_files_stay_small() -> None:
    names = ("cooccurrence.tsv", "priors.parquet", VECTORS)
    assert sum((DATA / name).stat().st_size for name in names) < 2_000_000


def test_the_default_priors_hold_no_image_and_no_position() -> None:
    columns = pq.read_schema(DATA / "priors.parquet").names
    text = {"subject", "predicate", "object", "source"}
    assert set(columns) == text | {"subject_w", "subject_h", "object_w", "object_h", "dx", "dy"}
