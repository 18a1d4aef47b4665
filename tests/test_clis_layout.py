"""CLIS-L against a slow re-derivation from the paper's definitions, one pair and one reference at
a time, in plain Python."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acp.clis.features import PairFeatures, pair_features
from acp.clis.layout import score_layouts, score_pairs
from acp.clis.predicates import INVERSES, PREDICATES, canonical, holds
from acp.priors import default_priors
from acp.types import FloatArray, Relation

Box = tuple[float, float, float, float]


def slow_features(a: Box, b: Box) -> tuple[float, float, float, float, float]:
    (ax, ay, aw, ah), (bx, by, bw, bh) = a, b
    across = max(0.0, min(ax + aw, bx + bw) - max(ax, bx))
    down = max(0.0, min(ay + ah, by + bh) - max(ay, by))
    union = aw * ah + bw * bh - across * down
    dx, dy = bx + bw / 2 - ax - aw / 2, by + bh / 2 - ay - ah / 2
    diagonal = (math.hypot(aw, ah) + math.hypot(bw, bh)) / 2
    return (
        aw * ah / (bw * bh) if bw * bh else 0.0,
        across * down / union if union > 0 else 0.0,
        math.hypot(dx, dy) / diagonal if diagonal else 0.0,
        dx,
        dy,
    )


def slow_s(a: float, b: float) -> float:
    return 1.0 if a == b == 0 else 1 - abs(a - b) / max(a, b)


def slow_cosine(a: tuple[float, float], b: tuple[float, float]) -> float:
    lengths = math.hypot(*a) * math.hypot(*b)
    return max(-1.0, min(1.0, (a[0] * b[0] + a[1] * b[1]) / lengths))


def slow_direction(a: tuple[float, float], b: tuple[float, float], mirror: bool) -> float:
    still_a, still_b = math.hypot(*a) <= 1e-9, math.hypot(*b) <= 1e-9
    if still_a or still_b:
        return float(still_a and still_b)
    cosine = slow_cosine(a, b)
    if mirror:
        cosine = max(cosine, slow_cosine(a, (-b[0], b[1])))
    return (cosine + 1) / 2


def slow_penalty(value: float) -> float:
    return value if value >= 0.03 else -1 + (value / 0.03) * 1.03


def slow_score(box: tuple[Box, Box], references: list[list[float]], mirror: bool) -> float:
    a1, iou1, rd1, dx1, dy1 = slow_features(*box)
    totals = []
    for a2, iou2, rd2, dx2, dy2, weight in references:
        size = slow_s(a1, a2)
        overlap, apart = slow_s(iou1, iou2), slow_s(rd1, rd2)
        share = 0.2 if overlap > 0.95 else 0.8 if apart > 0.95 else 0.5
        distance = share * overlap + (1 - share) * apart
        direction = slow_direction((dx1, dy1), (dx2, dy2), mirror)
        parts = [slow_penalty(weight * part) for part in (size, distance, direction)]
        totals.append((0.5 * parts[0] + 1.0 * parts[1] + 0.8 * parts[2]) / 2.3)
    totals.sort(reverse=True)
    return 100 * totals[len(totals) // 50]


side = st.sampled_from([0.0, 0.25, 0.5]) | st.floats(0.001, 1.0)
box = st.tuples(st.floats(-0.2, 1.0), st.floats(-0.2, 1.0), side, side)


step = st.integers(0, 32).map(lambda n: n / 32)
exact_box = st.tuples(step, step, step, step)
"""Boxes whose mirror image is exact in any float."""


def table(columns: list[list[float]]) -> tuple[PairFeatures, Any]:
    array = np.array(columns)
    return PairFeatures(*array[:, :5].T), array[:, 5]


@settings(deadline=None, max_examples=150)
@given(
    candidates=st.lists(st.tuples(box, box), min_size=1, max_size=4),
    references=st.lists(st.tuples(box, box, st.floats(0.05, 1)), min_size=1, max_size=120),
    mirror=st.booleans(),
)
def test_scores_are_those_of_the_slow_derivation(
    candidates: list[tuple[Box, Box]], references: list[tuple[Box, Box, float]], mirror: bool
) -> None:
    rows = [[*slow_features(a, b), weight] for a, b, weight in references]
    features, weights = table(rows)
    subject = np.array([pair[0] for pair in candidates])
    object_ = np.array([pair[1] for pair in candidates])
    found = score_pairs(pair_features(subject, object_), features, weights, may_mirror=mirror)
    expected = [slow_score(pair, rows, mirror) for pair in candidates]
    assert found.total == pytest.approx(expected, abs=1e-6)
    parts = 0.5 * found.size + 1.0 * found.distance + 0.8 * found.direction
    assert found.total == pytest.approx(parts / 2.3, abs=1e-6)
    assert (np.abs(found.total) <= 100 + 1e-9).all()


@settings(deadline=None)
@given(pair=st.tuples(box, box), factor=st.floats(0.2, 3), dx=st.floats(-1, 1))
def test_moving_and_scaling_an_image_changes_no_ratio(
    pair: tuple[Box, Box], factor: float, dx: float
) -> None:
    boxes = np.array(pair)
    moved = boxes * factor + np.array([dx, dx, 0, 0])
    a, b = pair_features(boxes[:1], boxes[1:]), pair_features(moved[:1], moved[1:])
    for name in ("area_ratio", "iou", "distance"):
        assert getattr(a, name) == pytest.approx(getattr(b, name), rel=1e-6, abs=1e-6)
    assert factor * a.dx == pytest.approx(b.dx, abs=1e-6)


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


@settings(deadline=None)
@given(pair=st.tuples(box, box), predicate=st.sampled_from([*PREDICATES, "riding"]))
def test_any_finite_boxes_get_a_finite_score(pair: tuple[Box, Box], predicate: str) -> None:
    scores = score_layouts(*graph(predicate), layouts(pair), default_priors())
    assert scores is not None
    for array in (scores.total, scores.relation, scores.size, scores.distance, scores.direction):
        assert np.isfinite(array).all()
        assert (np.abs(array) <= 100 + 1e-6).all()


@settings(deadline=None, max_examples=50)
@given(pair=st.tuples(exact_box, exact_box), predicate=st.sampled_from(list(PREDICATES)))
def test_only_sided_predicates_tell_a_layout_from_its_mirror_image(
    pair: tuple[Box, Box], predicate: str
) -> None:
    mirrored = tuple((1 - x - w, y, w, h) for x, y, w, h in pair)
    boxes = layouts(pair, mirrored)  # type: ignore[arg-type]
    scores = score_layouts(*graph(predicate), boxes, default_priors())
    assert scores is not None
    if "left" not in predicate and "right" not in predicate:
        assert scores.total[0] == pytest.approx(scores.total[1])


def test_the_mean_over_relations_is_weighted_by_confidence() -> None:
    relations = [Relation(0, "next to", 1), Relation(0, "left of", 2)]
    boxes = np.array([[LEFT, RIGHT, HIGH]], dtype=np.float32)
    scores = score_layouts(relations, ["cat", "dog", "zebra"], boxes, default_priors())
    assert scores is not None
    expected = np.average(scores.relation[0], weights=scores.confidence)
    assert scores.total[0] == pytest.approx(expected)
    assert scores.relation.shape == (1, 2)
    assert len(scores.level) == 2


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


def test_the_percentile_forgives_a_few_odd_references() -> None:
    rows = [[1.0, 0.0, 1.0, 0.5, 0.0, 1.0]] * 99 + [[9.0, 0.9, 0.1, -0.5, 0.4, 1.0]]
    features, weights = table(rows)
    odd = PairFeatures(*(np.array([value]) for value in rows[-1][:5]))
    found = score_pairs(odd, features, weights, may_mirror=False)
    assert found.nearest[0] != 99
    assert found.total[0] < 50


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
