"""CLIS-L of layouts and of batches of images: what is scored, what is refused, and why."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from acp.clis import layout as batches
from acp.clis.layout import (
    PAPER_WEIGHTS,
    LayoutBatch,
    LayoutResults,
    Weights,
    held_out,
    paper_weights,
    real_scores,
    score_batch,
    score_layouts,
    score_pairs,
)
from acp.clis.predicates import INVERSES, PREDICATES, canonical, holds
from acp.clis.priors import Priors, default_priors, priors_of_records
from acp.core.types import FloatArray, Relation
from support import clis_rederivation as slow

Box = slow.Box
SCORES = ("total", "size", "distance", "direction")


def graph(predicate: str) -> tuple[list[Relation], list[str]]:
    return [Relation(0, predicate, 1)], ["cat", "dog"]


def layouts(*pairs: tuple[Box, Box]) -> FloatArray:
    return np.array(pairs, dtype=np.float32)


LEFT: Box = (0.05, 0.4, 0.3, 0.4)
RIGHT: Box = (0.6, 0.4, 0.3, 0.4)
HIGH: Box = (0.3, 0.05, 0.3, 0.3)
LOW: Box = (0.3, 0.6, 0.3, 0.3)


@pytest.mark.parametrize(
    ("predicate", "right", "wrong"),
    [
        ("left of", (LEFT, RIGHT), (RIGHT, LEFT)),
        ("right of", (RIGHT, LEFT), (LEFT, RIGHT)),
        ("above", (HIGH, LOW), (LOW, HIGH)),
        ("below", (LOW, HIGH), (HIGH, LOW)),
    ],
)
def test_a_layout_that_keeps_its_relation_outscores_the_swapped_one(
    predicate: str, right: tuple[Box, Box], wrong: tuple[Box, Box]
) -> None:
    scores = score_layouts(*graph(predicate), layouts(right, wrong), default_priors())
    assert scores is not None
    assert scores.total[0] > scores.total[1] + 10


@pytest.mark.parametrize("variant", ["paper", "acp"])
def test_the_mean_over_relations_is_by_evidence_as_published_and_plain_in_acp(variant: str) -> None:
    relations = [Relation(0, "next to", 1), Relation(0, "left of", 2)]
    boxes = np.array([[LEFT, RIGHT, HIGH]], dtype=np.float32)
    names = ["cat", "dog", "zebra"]
    scores = score_layouts(relations, names, boxes, default_priors(), variant)
    assert scores is not None
    assert scores.evidence[0] > 100 * scores.evidence[1]
    weights = None if variant == "acp" else scores.evidence
    expected = np.average(scores.relation[0], weights=weights)
    assert scores.total[0] == pytest.approx(expected)
    assert scores.relation.shape == (1, 2)
    assert len(scores.level) == 2


def test_real_scores_are_of_pairs_that_were_left_out_and_tell_real_from_wrong() -> None:
    priors = default_priors()
    for rows, others in held_out(priors):
        assert priors.stated[rows].all()
        assert 0.7 < len(others) / len(priors) < 0.9
        sizes = {tuple(sorted(pair)) for pair in areas(others)}
        assert not sizes & {tuple(sorted(pair)) for pair in areas(priors, rows)}
    for variant, median in (("paper", 84), ("acp", 93)):
        found = real_scores(priors, variant)
        assert len(found) >= 1000
        assert (np.diff(found) >= 0).all()
        assert np.median(found) == pytest.approx(median, abs=2)


def areas(priors: Priors, rows: Any = slice(None)) -> np.ndarray:
    pairs = priors.geometry
    sides = np.stack([pairs.subject_w * pairs.subject_h, pairs.object_w * pairs.object_h], axis=1)
    return np.asarray(sides.round(9)[rows])


def test_priors_of_few_pairs_tell_nothing_of_real_layouts(priors: Priors) -> None:
    assert real_scores(priors, "paper").shape == (0,)


def test_a_scene_without_relations_has_no_score() -> None:
    assert score_layouts([], ["cat"], np.zeros((3, 1, 4), np.float32), default_priors()) is None


def test_no_layout_at_all_gives_empty_scores() -> None:
    scores = score_layouts(*graph("next to"), np.zeros((0, 2, 4), np.float32), default_priors())
    assert scores is not None
    assert scores.total.shape == (0,)


@pytest.mark.parametrize(
    "boxes", [np.zeros((2, 4)), np.zeros((1, 3, 4)), np.full((1, 2, 4), np.nan)]
)
def test_wrong_boxes_are_refused(boxes: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        score_layouts(*graph("next to"), boxes, default_priors())


@pytest.mark.parametrize(
    ("predicate", "subject", "object_"),
    [
        ("left of", LEFT, RIGHT),
        ("above", HIGH, LOW),
        ("in front of", (0.3, 0.4, 0.3, 0.5), (0.4, 0.3, 0.3, 0.5)),
        ("next to", (0.1, 0.4, 0.3, 0.4), (0.45, 0.4, 0.3, 0.4)),
        ("on", (0.4, 0.2, 0.2, 0.3), (0.2, 0.4, 0.6, 0.5)),
        ("inside", (0.4, 0.5, 0.2, 0.2), (0.2, 0.4, 0.6, 0.5)),
    ],
)
def test_plain_meanings(predicate: str, subject: Box, object_: Box) -> None:
    a, b = np.array([subject], np.float32), np.array([object_], np.float32)
    assert holds(predicate, a, b)[0]
    if predicate != "next to":
        assert not holds(predicate, b, a)[0]
    if predicate in INVERSES:
        assert holds(INVERSES[predicate], b, a)[0]


def test_wordings_mean_one_predicate_each() -> None:
    wordings = [wording for words in PREDICATES.values() for wording in words]
    assert len(set(wordings)) == len(wordings)
    for predicate, words in PREDICATES.items():
        assert {canonical(wording) for wording in words} == {predicate} == {canonical(predicate)}


def test_what_has_no_geometry_holds_of_anything() -> None:
    assert holds("eating", np.zeros((2, 4), np.float32), np.ones((2, 4), np.float32)).all()


Real = tuple[str, str, str, Box, Box]

REAL: list[Real] = [
    ("cat", "next to", "dog", (0.1, 0.4, 0.3, 0.4), (0.5, 0.4, 0.3, 0.4)),
    ("cat", "next to", "dog", (0.5, 0.4, 0.2, 0.3), (0.1, 0.3, 0.3, 0.4)),
    ("dog", "left of", "bench", (0.1, 0.5, 0.2, 0.3), (0.5, 0.3, 0.4, 0.5)),
    ("kid", "rides", "zebra", (0.4, 0.2, 0.1, 0.3), (0.2, 0.4, 0.5, 0.5)),
]


def priors_of(real: list[Real]) -> Priors:
    names = ("subject", "predicate", "object", "subject_box", "object_box")
    return priors_of_records([dict(zip(names, each, strict=True)) for each in real])


@pytest.fixture(scope="module")
def priors() -> Priors:
    return priors_of(REAL)


Image = tuple[list[tuple[str, Box]], list[tuple[int, str, int]]]


def batch_of(*images: Image) -> LayoutBatch:
    objects = [each for image, _ in images for each in image]
    relations = [
        (start + s, p, start + o, place)
        for place, (start, (_, said)) in enumerate(
            zip(np.cumsum([0, *(len(image) for image, _ in images)]).tolist(), images, strict=False)
        )
        for s, p, o in said
    ]
    names = tuple(dict.fromkeys(name for name, _ in objects))
    predicates = tuple(dict.fromkeys(p for _, p, _, _ in relations))

    def column(place: int) -> Any:
        return np.array([relation[place] for relation in relations], dtype=np.int64)

    return LayoutBatch(
        names=names,
        predicates=predicates,
        boxes_xywhn=np.array([box for _, box in objects], dtype=np.float64).reshape(-1, 4),
        category=np.array([names.index(name) for name, _ in objects], dtype=np.int64),
        box_starts=np.cumsum([0, *(len(image) for image, _ in images)]),
        subject=column(0),
        object=column(2),
        predicate=np.array([predicates.index(p) for _, p, _, _ in relations], dtype=np.int64),
        relation_image=column(3),
    )


PAIR: list[tuple[str, Box]] = [("cat", (0.2, 0.4, 0.25, 0.3)), ("dog", (0.55, 0.4, 0.3, 0.3))]
BENCH: tuple[str, Box] = ("bench", (0.1, 0.2, 0.5, 0.3))
GOOD: Image = (PAIR, [(0, "next to", 1)])
TWO: Image = ([*PAIR, BENCH], [(0, "next to", 1), (1, "left of", 2)])
BARE: Image = (PAIR, [])
UNKNOWN: Image = ([*PAIR, BENCH], [(0, "next to", 1), (0, "eats", 2)])
FLAT: Image = ([PAIR[0], ("dog", (0.5, 0.4, 0.0, 0.3))], [(0, "next to", 1)])
NOWHERE: Image = ([PAIR[0], ("dog", (float("nan"), 0.4, 0.1, 0.3))], [(0, "next to", 1)])
FAR: Image = ([PAIR[0], ("dog", (5e6, 0.4, 0.1, 0.3))], [(0, "next to", 1)])


def slow_relation(image: Image, place: int, variant: str, priors: Priors) -> slow.Score:
    objects, said = image
    s, p, o = said[place]
    real = [
        slow.Reference(a, b)
        for subject, predicate, object_, a, b in REAL
        if (subject, predicate, object_) == (objects[s][0], p, objects[o][0])
    ]
    weights = paper_weights(priors) if variant == "paper" else slow.CODE_WEIGHTS
    boxes = objects[s][1], objects[o][1]
    return slow.pair_score(*boxes, real, variant, weights, "left" not in p)


@pytest.mark.parametrize("variant", ["paper", "reference"])
def test_images_score_as_in_the_slow_derivation(variant: str, priors: Priors) -> None:
    found = score_batch(batch_of(GOOD, TWO), priors, variant)
    relations = [slow_relation(*each, variant, priors) for each in ((GOOD, 0), (TWO, 0), (TWO, 1))]
    whole = [slow.image_score([(relations[0], 2.0)])]
    whole.append(slow.image_score([(relations[1], 2.0), (relations[2], 1.0)]))
    for name in SCORES:
        expected = [getattr(score, name) for score in relations]
        assert getattr(found, name) == pytest.approx(expected, abs=1e-6)
        expected = [getattr(score, name) for score in whole]
        assert getattr(found, f"image_{name}") == pytest.approx(expected, abs=1e-6)
    assert found.evidence.tolist() == [2.0, 2.0, 1.0]
    assert found.image_evidence.tolist() == [2.0, 1.0]
    assert found.weight == pytest.approx([1, 2 / 3, 1 / 3])
    assert found.references.tolist() == [2, 2, 1]
    assert set(found.nearest[:2]) <= {0, 1}
    assert found.nearest[2] == 2
    assert set(found.level) == {"triple"}
    assert found.image_reason == ("", "")


@pytest.mark.parametrize("variant", ["paper", "reference", "acp"])
@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (FLAT, "the box of object 1 (dog) has no area"),
        (NOWHERE, "the box of object 1 (dog) is not finite"),
        (FAR, "the box of object 1 (dog) is out of all bounds"),
    ],
)
def test_what_is_no_box_is_refused_with_a_reason(
    image: Image, reason: str, variant: str, priors: Priors
) -> None:
    found = score_batch(batch_of(GOOD, image, GOOD), priors, variant)
    assert found.reason == found.image_reason == ("", reason, "")
    for name in SCORES:
        for values in (getattr(found, name), getattr(found, f"image_{name}")):
            assert np.isnan(values).tolist() == [False, True, False]
    assert np.isnan(found.image_evidence).tolist() == [False, True, False]
    assert found.nearest[1] == -1


def test_a_box_without_area_that_no_relation_names_does_no_harm(priors: Priors) -> None:
    image: Image = ([*PAIR, ("bench", (0.1, 0.1, 0.0, 0.0))], [(0, "next to", 1)])
    assert score_batch(batch_of(image), priors).image_reason == ("",)


@pytest.mark.parametrize("variant", ["paper", "reference"])
@pytest.mark.parametrize(
    "boxes",
    [
        ((0.2, 0.2, 0.2, 0.2), (0.2, 0.2, 0.2, 0.2)),
        ((0.2, 0.2, 0.2, 0.2), (0.1, 0.1, 0.4, 0.4)),
        ((-3.0, 0.2, 0.2, 0.2), (5.0, 5.0, 0.4, 0.4)),
        ((0.1, 0.1, 1e-9, 1e-9), (0.1, 0.1, 0.9, 0.9)),
    ],
)
def test_coincident_centres_and_boxes_beyond_the_image_are_scored(
    boxes: tuple[Box, Box], variant: str, priors: Priors
) -> None:
    image: Image = ([("cat", boxes[0]), ("dog", boxes[1])], [(0, "next to", 1)])
    found = score_batch(batch_of(image), priors, variant)
    assert np.isfinite(found.image_total).all()


def test_a_relation_never_seen_backs_off_or_makes_the_image_0(priors: Priors) -> None:
    found = score_batch(batch_of(UNKNOWN), priors, "paper")
    assert found.level[0] == "triple"
    assert found.level[1] != "none"
    assert np.isfinite(found.image_total).all()
    found = score_batch(batch_of(UNKNOWN, GOOD), priors, "reference")
    assert found.level == ("triple", "none", "triple")
    assert "eats" in found.image_reason[0]
    assert found.reason == ("", found.image_reason[0], "")
    for name in (*SCORES, "evidence"):
        assert getattr(found, f"image_{name}")[0] == 0
        assert getattr(found, f"image_{name}")[1] != 0
    assert np.isnan(found.total).tolist() == [False, True, False]


@pytest.mark.parametrize(("variant", "score"), [("paper", None), ("reference", 0.0)])
def test_an_image_without_relations(variant: str, score: float | None, priors: Priors) -> None:
    found = score_batch(batch_of(BARE, GOOD), priors, variant)
    assert found.image_reason == ("no relations", "")
    assert found.image_total[0] == score or score is None
    assert np.isnan(found.image_total[0]) == (score is None)


@pytest.mark.parametrize("variant", ["paper", "reference", "acp"])
def test_no_images(variant: str, priors: Priors) -> None:
    found = score_batch(batch_of(), priors, variant)
    assert found.image_total.shape == found.total.shape == (0,)
    assert found.image_reason == found.level == ()


def test_the_authors_code_knows_only_what_is_written_as_in_the_priors(priors: Priors) -> None:
    objects: list[tuple[str, Box]] = [
        ("kid", (0.4, 0.2, 0.1, 0.3)),
        ("zebra", (0.2, 0.4, 0.5, 0.5)),
    ]
    for predicate, scored in (("rides", True), ("Rides", True), ("riding", False)):
        found = score_batch(batch_of((objects, [(0, predicate, 1)])), priors, "reference")
        assert (found.image_total[0] != 0) == scored


def test_mirroring_is_for_predicates_that_tell_no_side(priors: Priors) -> None:
    right: Image = ([("dog", (0.7, 0.5, 0.2, 0.3)), ("bench", (0.1, 0.3, 0.4, 0.5))],
                    [(0, "left of", 1)])  # fmt: skip
    assert score_batch(batch_of(right), priors, "reference").image_direction[0] > 95
    assert score_batch(batch_of(right), priors, "paper").image_direction[0] < 10


IMAGES = [GOOD, TWO, BARE, UNKNOWN, FLAT, FAR, TWO, GOOD]


def test_what_shares_a_batch_changes_nothing(
    priors: Priors, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = score_batch(batch_of(*IMAGES), priors)
    for place, image in enumerate(IMAGES):
        alone = score_batch(batch_of(image), priors)
        for name in ("total", "size", "distance", "direction", "evidence"):
            values = getattr(whole, f"image_{name}")[place : place + 1]
            assert np.array_equal(getattr(alone, f"image_{name}"), values, equal_nan=True)
        assert alone.image_reason[0] == whole.image_reason[place]
    monkeypatch.setattr(batches, "TRIPLES", 1)
    assert equal(score_batch(batch_of(*IMAGES), priors), whole)


def equal(a: LayoutResults, b: LayoutResults) -> bool:
    return all(
        getattr(a, name) == getattr(b, name)
        if isinstance(getattr(a, name), tuple)
        else np.array_equal(getattr(a, name), getattr(b, name), equal_nan=True)
        for name in a.__slots__
    )


def test_unknown_variants_are_named(priors: Priors) -> None:
    with pytest.raises(ValueError, match="'papr': expected one of paper, reference, acp"):
        score_batch(batch_of(GOOD), priors, "papr")
    with pytest.raises(ValueError, match='knows "paper" and "reference"'):
        score_one([("cat", "next to", "dog", *LEFT_RIGHT)], variant="acp")
    with pytest.raises(ValueError, match='expected "percentile" or "average"'):
        score_one([("cat", "next to", "dog", *LEFT_RIGHT)], over="max")
    with pytest.raises(ValueError, match="expected numbers above 0"):
        score_one([("cat", "next to", "dog", *LEFT_RIGHT)], weights=Weights(1.0, 1.0, 0.0))


LEFT_RIGHT = LEFT, RIGHT


def score_one(real: list[Real], **options: Any) -> Any:
    priors = priors_of(real)
    sets = priors.reference_sets([("cat", "next to", "dog")])
    features = priors.features
    return score_pairs(
        features.take(np.array([0])), np.array([0]), features.take(sets.rows), sets,
        np.array([True]), **options,
    )  # fmt: skip


def test_the_percentile_forgives_one_odd_reference_in_fifty() -> None:
    like: Real = ("cat", "next to", "dog", LEFT, RIGHT)
    odd: Real = ("cat", "next to", "dog", HIGH, LOW)
    for count, nearest in ((48, 0), (49, 1), (98, 1), (99, 2)):
        found = score_one([like, *[odd] * count])
        assert found.nearest[0] == nearest
        assert (found.total[0] < 99) == (nearest > 0)
    found = score_one([like, *[odd] * 49, like])
    assert found.nearest[0] == 50
    assert found.total[0] == pytest.approx(100)


def test_of_equal_references_the_first_is_the_nearest() -> None:
    like: Real = ("cat", "next to", "dog", LEFT, RIGHT)
    assert score_one([like] * 7).nearest[0] == 0
    assert score_one([like] * 100).nearest[0] == 2


def test_the_average_counts_every_reference() -> None:
    like: Real = ("cat", "next to", "dog", LEFT, RIGHT)
    odd: Real = ("cat", "next to", "dog", HIGH, LOW)
    scores = [score_one([like, odd][:count], over="average").total[0] for count in (1, 2)]
    assert scores[0] == pytest.approx(100)
    assert scores[1] < 90
    assert score_one([like, odd], over="average").nearest[0] == -1


def test_the_weights_of_paper_are_one_by_the_deviations(priors: Priors) -> None:
    assert paper_weights(priors) == PAPER_WEIGHTS  # too few pairs to tell
    found = paper_weights(default_priors())
    assert found is paper_weights(default_priors())
    assert tuple(found.shares()) == pytest.approx(tuple(PAPER_WEIGHTS.shares()), abs=0.03)
    draw = np.random.default_rng(0)
    boxes = np.concatenate([draw.random((600, 2, 2)), draw.random((600, 2, 2)) / 2 + 0.1], axis=2)
    real: list[Real] = [
        ("cat", "left of", "dog", (*pair[0],), (*pair[1],)) for pair in boxes.tolist()
    ]
    expected = [
        slow.paper_score(a[3], a[4], slow.Reference(b[3], b[4]), (1, 1, 1), may_mirror=False)
        for a, b in pairwise(real)
    ]
    deviations = [np.std([getattr(score, name) for score in expected]) for name in SCORES[1:]]
    assert [1 / each for each in paper_weights(priors_of(real))] == pytest.approx(deviations)


def test_sizes_of_other_categories_are_carried_over(priors: Priors) -> None:
    sets = priors.reference_sets([("cat", "next to", "dog")])
    larger = replace(sets, area_factor=sets.area_factor * 4)
    features = priors.features
    args = features.take(np.array([0])), np.array([0]), features.take(sets.rows)
    plain, scaled = (score_pairs(*args, each, np.array([True])) for each in (sets, larger))
    assert plain.size[0] == pytest.approx(100)
    assert scaled.size[0] < 60


def test_a_layout_with_an_empty_box_has_no_score() -> None:
    boxes = layouts((LEFT, RIGHT), (LEFT, (0.5, 0.5, 0.0, 0.1)))
    for variant in ("paper", "reference", "acp"):
        scores = score_layouts(*graph("next to"), boxes, default_priors(), variant)
        assert scores is not None
        assert np.isnan(scores.total).tolist()[1]
