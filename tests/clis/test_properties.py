"""CLIS-L against the slow re-derivation, and what must hold of any boxes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from acp.clis.features import PairFeatures, PairScores, pair_features
from acp.clis.layout import LayoutBatch, Weights, score_batch, score_pairs
from acp.clis.priors import Priors, priors_of_records
from acp.clis.references import ReferenceSets
from support import clis_rederivation as slow

VARIANTS = ("paper", "reference")
WEIGHTS = Weights(3.0, 4.0, 7.0)
COLUMNS = ("total", "size", "distance", "direction")

Pair = tuple[slow.Box, slow.Box]
Set = list[slow.Reference]

step = st.integers(-40, 240).map(lambda n: n / 200)
side = st.integers(1, 200).map(lambda n: n / 200)
box = st.tuples(step, step, side, side)
"""On a grid: nearly touching boxes would make rounding, and not the formulas, differ."""

exact_step = st.integers(-16, 80).map(lambda n: n / 64)
exact_side = st.integers(1, 64).map(lambda n: n / 64)
exact_box = st.tuples(exact_step, exact_step, exact_side, exact_side)
"""Exact in floats, also when doubled, moved or mirrored."""

weight = st.just(1.0) | st.floats(0.01, 1.0)
real_set = st.lists(st.builds(slow.Reference, box, box, weight, st.booleans()), max_size=70)


def arrays(pairs: Sequence[Pair]) -> PairFeatures:
    boxes = np.array(pairs, dtype=np.float64).reshape(-1, 2, 4)
    return pair_features(boxes[:, 0], boxes[:, 1])


def sets_of(groups: Sequence[Set]) -> ReferenceSets:
    flat = [real for group in groups for real in group]
    return ReferenceSets(
        rows=np.arange(len(flat))[::-1].copy(),
        starts=np.cumsum([0, *map(len, groups)]),
        weights=np.array([real.weight for real in flat]),
        close=np.array([real.close for real in flat], dtype=bool),
        area_factor=np.ones(len(flat)),
        level=("triple",) * len(groups),
        evidence=np.array([slow.evidence(group) for group in groups]),
        reason=("",) * len(groups),
    )


def fast(
    pairs: Sequence[Pair],
    group: Sequence[int],
    groups: Sequence[Set],
    variant: str = "paper",
    mirror: Sequence[bool] | bool = True,
    **options: Any,
) -> PairScores:
    flat = [(real.subject, real.object) for each in groups for real in each]
    may_mirror = np.broadcast_to(np.asarray(mirror, bool), (len(groups),))
    if variant == "paper":
        options = {"weights": WEIGHTS, **options}
    return score_pairs(
        arrays(pairs),
        np.array(group, dtype=np.int64),
        arrays(flat),
        sets_of(groups),
        may_mirror,
        variant,
        **options,
    )


def same(a: PairScores, b: PairScores) -> bool:
    return all(
        np.array_equal(getattr(a, name), getattr(b, name), equal_nan=True)
        for name in (*COLUMNS, "nearest")
    )


def on_an_edge(pair: Pair, real: slow.Reference) -> bool:
    """Whether rounding decides if the parts of the distance are balanced."""
    likenesses = (
        slow.alike(slow.iou(*pair), slow.iou(real.subject, real.object)),
        slow.alike(
            slow.relative_distance(*pair), slow.relative_distance(real.subject, real.object)
        ),
    )
    return any(abs(value - 0.95) < 1e-9 for value in likenesses)


@settings(deadline=None, max_examples=60)
@given(data=st.data(), variant=st.sampled_from(VARIANTS))
@pytest.mark.parametrize("over", ["percentile", "average"])
def test_ragged_sets_score_as_in_the_slow_derivation(data: Any, variant: str, over: str) -> None:
    groups: list[Set] = data.draw(st.lists(real_set, min_size=1, max_size=4))
    mirror = data.draw(st.lists(st.booleans(), min_size=len(groups), max_size=len(groups)))
    pairs: list[Pair] = data.draw(st.lists(st.tuples(box, box), max_size=6))
    group = [data.draw(st.integers(0, len(groups) - 1)) for _ in pairs]
    found = fast(pairs, group, groups, variant, mirror, over=over)
    weights = WEIGHTS if variant == "paper" else slow.CODE_WEIGHTS
    for place, (pair, g) in enumerate(zip(pairs, group, strict=True)):
        values = [float(getattr(found, name)[place]) for name in COLUMNS]
        if not groups[g]:
            assert np.isnan(values).all()
            assert found.nearest[place] == -1
            continue
        assume(not any(on_an_edge(pair, real) for real in groups[g]))
        score = slow.pair_score(*pair, groups[g], variant, weights, mirror[g], over)
        assert values[0] == pytest.approx(score.total, abs=1e-6)
        if tied(pair, groups[g], variant, weights, mirror[g], score):
            continue
        assert values == pytest.approx([getattr(score, name) for name in COLUMNS], abs=1e-6)
        if over == "percentile":
            first = sum(map(len, groups[:g]))
            row = sum(map(len, groups)) - 1 - (first + score.index)
            assert found.nearest[place] == row


def tied(
    pair: Pair,
    group: Set,
    variant: str,
    weights: Sequence[float],
    mirror: bool,
    score: slow.Score,
) -> bool:
    """Whether another reference has the same total but for rounding."""
    totals = [
        slow.pair_score(*pair, [real], variant, weights, mirror, "average").total for real in group
    ]
    return sum(abs(total - score.total) < 1e-9 for total in totals) > 1


@settings(deadline=None, max_examples=40)
@given(data=st.data(), variant=st.sampled_from(VARIANTS))
def test_blocks_and_order_change_no_bit(data: Any, variant: str) -> None:
    groups = data.draw(st.lists(real_set, min_size=1, max_size=4))
    pairs = data.draw(st.lists(st.tuples(box, box), min_size=1, max_size=12))
    group = [data.draw(st.integers(0, len(groups) - 1)) for _ in pairs]
    whole = fast(pairs, group, groups, variant)
    for block in (1, 13, 200):
        assert same(whole, fast(pairs, group, groups, variant, block=block))
    turned = fast(pairs[::-1], group[::-1], groups, variant)
    for name in (*COLUMNS, "nearest"):
        assert np.array_equal(getattr(turned, name)[::-1], getattr(whole, name), equal_nan=True)
    alone = [fast([pair], [g], groups, variant) for pair, g in zip(pairs, group, strict=True)]
    assert np.array_equal(whole.total, [each.total[0] for each in alone], equal_nan=True)


exact_set = st.lists(st.builds(slow.Reference, exact_box, exact_box), min_size=1, max_size=5)
exact_pair = st.tuples(exact_box, exact_box)


@settings(deadline=None)
@given(pair=exact_pair, group=exact_set, variant=st.sampled_from(VARIANTS), mirror=st.booleans())
@pytest.mark.parametrize(("factor", "dx", "dy"), [(0.5, 0, 0), (4, 0, 0), (1, 0.25, -2), (2, 1, 3)])
def test_a_common_scale_and_a_move_change_nothing(
    pair: Pair,
    group: Set,
    variant: str,
    mirror: bool,
    factor: float,
    dx: float,
    dy: float,
) -> None:
    def changed(each: slow.Box) -> slow.Box:
        x, y, w, h = (value * factor for value in each)
        return x + dx, y + dy, w, h

    a, b = (fast([each], [0], [group], variant, mirror) for each in (pair, apply(changed, pair)))
    for name in COLUMNS:
        assert getattr(a, name) == pytest.approx(getattr(b, name), abs=1e-6)


@settings(deadline=None)
@given(pair=exact_pair, group=exact_set, factor=st.sampled_from([0.5, 2.0]))
def test_another_shape_of_the_image_changes_neither_size_nor_overlap(
    pair: Pair, group: Set, factor: float
) -> None:
    wide = apply(lambda each: (each[0] * factor, each[1], each[2] * factor, each[3]), pair)
    a, b = arrays([pair]), arrays([wide])
    assert a.area_ratio == pytest.approx(b.area_ratio)
    assert a.iou == pytest.approx(b.iou)
    one = [group[:1]]
    sizes = [fast([each], [0], one).size[0] for each in (pair, wide)]
    assert sizes[0] == pytest.approx(sizes[1])


def apply(change: Any, pair: Pair) -> Pair:
    return change(pair[0]), change(pair[1])


def mirrored(each: slow.Box) -> slow.Box:
    x, y, w, h = each
    return 1 - x - w, y, w, h


@settings(deadline=None)
@given(pair=exact_pair, group=exact_set, variant=st.sampled_from(VARIANTS))
def test_a_mirrored_pair_scores_the_same_where_no_side_is_told(
    pair: Pair, group: Set, variant: str
) -> None:
    a = fast([pair, apply(mirrored, pair)], [0, 0], [group], variant, mirror=True)
    assert a.total[0] == pytest.approx(a.total[1], abs=1e-6)


@settings(deadline=None)
@given(pair=exact_pair, group=exact_set)
def test_where_a_side_is_told_references_are_mirrored_too(pair: Pair, group: Set) -> None:
    other = [
        slow.Reference(mirrored(real.subject), mirrored(real.object), real.weight, real.close)
        for real in group
    ]
    a = fast([pair], [0], [group], mirror=False)
    b = fast([apply(mirrored, pair)], [0], [other], mirror=False)
    assert a.total == pytest.approx(b.total, abs=1e-6)


@settings(deadline=None)
@given(pair=exact_pair, group=exact_set, variant=st.sampled_from(VARIANTS), mirror=st.booleans())
def test_subject_and_object_may_change_places_in_all(
    pair: Pair, group: Set, variant: str, mirror: bool
) -> None:
    swapped = [slow.Reference(real.object, real.subject, real.weight, real.close) for real in group]
    a = fast([pair], [0], [group], variant, mirror)
    b = fast([pair[::-1]], [0], [swapped], variant, mirror)
    assert a.total == pytest.approx(b.total, abs=1e-6)


@settings(deadline=None)
@given(pair=st.tuples(box, box), group=real_set.filter(len), variant=st.sampled_from(VARIANTS))
def test_range(pair: Pair, group: Set, variant: str) -> None:
    found = fast([pair], [0], [group], variant)
    least = {"paper": -100.0, "reference": -100 * (0.5 + 18.2 + 0.8) / 2.3}[variant]
    assert least - 1e-6 <= found.total[0] <= 100 + 1e-9
    for name in ("size", "direction"):
        assert -100 - 1e-9 <= getattr(found, name)[0] <= 100 + 1e-9


@given(pair=exact_pair, variant=st.sampled_from(VARIANTS))
@settings(deadline=None)
def test_a_pair_like_its_reference_scores_100(pair: Pair, variant: str) -> None:
    found = fast([pair], [0], [[slow.Reference(*pair)]], variant, mirror=False)
    assert found.total == pytest.approx(100)


anything = st.floats(allow_nan=True, allow_infinity=True)
odd_side = st.sampled_from([0.0, -0.5, 5e-324, 1e-200, 1e-12, 0.5, 1e6, 1e308]) | anything
any_box = st.tuples(anything, anything, odd_side, odd_side) | exact_box


@pytest.fixture(scope="module")
def few_priors() -> Priors:
    boxes = [
        ([0, 0, 2, 4], [2, 0, 4, 4]),
        ([0, 0, 1, 1], [0, 0, 1, 1]),
        ([0, 0, 4, 4], [9, 9, 1, 1]),
    ]
    return priors_of_records(
        [
            {"width": 10, "height": 10, "subject": "cat", "predicate": "left of", "object": "dog",
             "subject_box": a, "object_box": b}
            for a, b in boxes
        ]
    )  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(pair=st.tuples(any_box, any_box), variant=st.sampled_from((*VARIANTS, "acp")))
@example(pair=((0.0, 0.0, 1e6, 1e6), (0.0, 0.0, 5e-324, 1e-160)), variant="paper")
@example(pair=((0.0, 0.0, 1e6, 1e6), (1e6, 1e6, 1e-100, 1e-100)), variant="paper")
@example(pair=((0.0, 0.0, 1e-100, 1e-100), (1e6, 1e6, 1e-100, 1e-100)), variant="acp")
@pytest.mark.filterwarnings("error")
def test_any_box_is_scored_or_refused(pair: Pair, variant: str, few_priors: Priors) -> None:
    found = score_batch(one_image(pair), few_priors, variant)
    refused = not all(
        all(abs(value) <= 1e6 for value in each) and min(each[2:]) >= 1e-100 for each in pair
    )
    assert bool(found.reason[0]) == bool(found.image_reason[0]) == refused
    for name in COLUMNS:
        assert math.isnan(getattr(found, name)[0]) == refused
        assert math.isnan(getattr(found, f"image_{name}")[0]) == refused


def one_image(pair: Pair) -> LayoutBatch:
    return LayoutBatch(
        names=("cat", "dog"),
        predicates=("left of",),
        boxes_xywhn=np.array(pair, dtype=np.float64),
        category=np.array([0, 1]),
        box_starts=np.array([0, 2]),
        subject=np.array([0]),
        object=np.array([1]),
        predicate=np.array([0]),
        relation_image=np.array([0]),
    )
