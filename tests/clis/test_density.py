"""CLIS-L `acp`: against a slow re-derivation, and what must hold of any boxes."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acp.clis.density import density_scores
from acp.clis.features import PairGeometry, PairScores
from acp.clis.layout import LayoutBatch, score_batch
from acp.clis.priors import Priors, default_priors, priors_of_records
from acp.core.vocabulary import categories

Pair = tuple[float, float, float, float, float, float]
"""Sides of the subject, sides of the object, offset of the centres."""

Triple = tuple[str, str, str]

NAMES = ("zebra", "fork", "aaa", "bbb")
WORDS = ("left of", "right of", "on")
COLUMNS = ("total", "size", "distance", "direction")


def record(triple: Triple, pair: Pair) -> dict[str, Any]:
    w_a, h_a, w_b, h_b, dx, dy = pair
    subject = [5 - w_a / 2, 5 - h_a / 2, w_a, h_a]
    object_ = [5 + dx - w_b / 2, 5 + dy - h_b / 2, w_b, h_b]
    boxes = {"subject_box": subject, "object_box": object_}
    return dict(zip(("subject", "predicate", "object"), triple, strict=True)) | boxes


def random_pairs(count: int, seed: int) -> list[tuple[Triple, Pair]]:
    chance = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        a, b = chance.choice(NAMES, 2)
        triple = (str(a), str(chance.choice(WORDS)), str(b))
        sides, offset = np.exp(chance.normal(-1.5, 0.6, 4)), chance.normal(0, 0.3, 2)
        found.append((triple, tuple(np.concatenate([sides, offset]).tolist())))
    return found


def priors_of(pairs: list[tuple[Triple, Pair]]) -> Priors:
    return priors_of_records([record(*each) for each in pairs])


def scored(pairs: list[tuple[Triple, Pair]], priors: Priors) -> PairScores:
    triples = list(dict.fromkeys(triple for triple, _ in pairs))
    geometry = PairGeometry(*np.array([pair for _, pair in pairs], float).reshape(-1, 6).T)
    group = np.array([triples.index(triple) for triple, _ in pairs], dtype=np.int64)
    return density_scores(geometry, group, triples, priors)


# The same once more, slow and obvious -----------------------------------------------------------


def slow_place(pair: Pair) -> tuple[float, float, float, float]:
    w_a, h_a, w_b, h_b, dx, dy = pair
    x, y = dx / ((w_a + w_b) / 2), dy / ((h_a + h_b) / 2)
    length = math.hypot(dx, dy) + 0.05 * (math.hypot(w_a, h_a) + math.hypot(w_b, h_b)) / 2
    squeezed = [math.copysign(math.log(1 + abs(v)), v) for v in (x, y)]
    return squeezed[0], squeezed[1], dx / length, dy / length


def slow_kernels(a: Any, b: Any, widths: tuple[float, float, float]) -> list[float]:
    """Relation, direction and place, each with its bandwidths as the unit."""
    offset = (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2
    turn = (a[2] - b[2]) ** 2 + (a[3] - b[3]) ** 2
    wide, narrow, fine = widths
    both = offset / wide**2 + turn / narrow**2
    return [
        (1 + both / 4) ** -4,
        (1 + turn / narrow**2 / 4) ** -3,
        (1 + offset / fine**2 / 4) ** -3,
    ]


def slow_total(triple: Triple, pair: Pair, real: list[tuple[Triple, Pair]]) -> float:
    widths, at = (0.28, 0.09, 0.12), slow_place(pair)
    inverse = {"left of": "right of", "right of": "left of"}.get(triple[1])

    def mean(places: list[Any]) -> list[float]:
        kernels = [slow_kernels(at, place, widths) for place in places]
        return [sum(k[i] for k in kernels) / len(kernels) for i in range(3)]

    def turned(place: Any) -> Any:
        return tuple(-v for v in place)

    every = [slow_place(p) for _, p in real]
    any_ = mean(every + [turned(place) for place in every])
    of_word = [slow_place(p) for t, p in real if t[1] == triple[1]]
    of_word += [turned(slow_place(p)) for t, p in real if t[1] == inverse]
    alike = [slow_place(p) for t, p in real if t == triple]
    alike += [turned(slow_place(p)) for t, p in real if t == (triple[2], inverse, triple[0])]
    own = [sum(slow_kernels(at, place, widths)[i] for place in alike) for i in (0, 1)]
    stated = [(30 * m + s) / (30 + len(alike)) for m, s in zip(mean(of_word), own, strict=False)]
    spread = [1.5 * (math.sqrt(sum(p[i] ** 2 for p in every) / len(every)) + 0.1) for i in range(4)]
    q = [(at[i] / spread[i]) ** 2 for i in range(4)]
    chance = [
        (1 + sum(q) / 4) ** -4 * (0.28**2 * 0.09**2) / math.prod(spread),
        (1 + (q[2] + q[3]) / 4) ** -3 * 0.09**2 / (spread[2] * spread[3]),
        (1 + (q[0] + q[1]) / 4) ** -3 * 0.12**2 / (spread[0] * spread[1]),
    ]
    relation = math.log(stated[0] / (0.7 * any_[0] + 0.3 * chance[0]) + 1e-4)
    real_or_not = math.log(any_[2] / chance[2] + 2e-4)
    size = 0.4 * 3 * math.asinh(slow_size(triple, pair, real) / 3)
    return 100 / (1 + math.exp(-(relation + 0.4 * real_or_not + size)))


def log_student(t: float) -> float:
    return -21 / 2 * math.log(1 + t**2 / 20)


def slow_size(triple: Triple, pair: Pair, real: list[tuple[Triple, Pair]]) -> float:
    known = {c.name.replace("_", " "): math.log(c.longest_cm) for c in categories().values()}
    unknown = sum(known.values()) / len(known)
    length = {name: known.get(name, unknown) for name in NAMES}

    def log_ratio(p: Pair) -> float:
        return math.log(p[0] * p[1] / (p[2] * p[3]))

    design = np.zeros((len(real), len(NAMES)))
    for row, ((a, _, b), _) in enumerate(real):
        design[row, NAMES.index(a)] += 1
        design[row, NAMES.index(b)] -= 1
    size = np.array([log_ratio(p) for _, p in real])
    longer = np.array([length[t[0]] - length[t[2]] for t, _ in real])
    slope = (longer @ size + 20 * 0.5) / (longer @ longer + 20)
    rest = size - slope * longer
    own = np.linalg.solve(design.T @ design + 20 * np.eye(len(NAMES)), design.T @ rest)
    rest = rest - design @ own
    spread = math.sqrt((rest @ rest + 20) / (len(rest) + 20))
    spread_any = math.sqrt((size @ size + 20) / (len(size) + 20))
    first, second = NAMES.index(triple[0]), NAMES.index(triple[2])
    same = [i for i, (t, _) in enumerate(real) if {t[0], t[2]} == {triple[0], triple[2]}]
    sign = {i: 1.0 if real[i][0][0] == triple[0] else -1.0 for i in same}
    of_pair = sum(sign[i] * rest[i] for i in same) / (len(same) + 8) if first != second else 0.0
    expected = slope * (length[triple[0]] - length[triple[2]]) + own[first] - own[second] + of_pair
    seen = [sum([t[0], t[2]].count(name) for t, _ in real) for name in (triple[0], triple[2])]
    spread *= math.sqrt(1 + sum(1 / (times + 20) for times in seen))
    found = log_student((log_ratio(pair) - expected) / spread) - math.log(spread)
    found -= log_student(log_ratio(pair) / spread_any) - math.log(spread_any)
    for name, shape in ((triple[0], pair[0] / pair[1]), (triple[2], pair[2] / pair[3])):
        found += slow_shape(name, math.log(shape), real)
    return found


def slow_shape(name: str, shape: float, real: list[tuple[Triple, Pair]]) -> float:
    boxes = [(t[0], math.log(p[0] / p[1])) for t, p in real]
    boxes += [(t[2], math.log(p[2] / p[3])) for t, p in real]
    mean = sum(v for _, v in boxes) / len(boxes)
    effect = {
        n: sum(v - mean for m, v in boxes if m == n) / (sum(m == n for m, _ in boxes) + 20)
        for n in NAMES
    }
    rest = [(n, v - mean - effect[n]) for n, v in boxes]
    typical = (sum(v**2 for _, v in rest) + 20 * 0.25) / (len(rest) + 20)
    all_ = math.sqrt((sum((v - mean) ** 2 for _, v in boxes) + 20 * 0.25) / (len(boxes) + 20))
    own = [v**2 for n, v in rest if n == name]
    spread = math.sqrt((sum(own) + 15 * typical) / (len(own) + 15))
    likely = log_student((shape - mean - effect[name]) / spread) - math.log(spread)
    return likely - log_student((shape - mean) / all_) + math.log(all_)


@pytest.mark.parametrize("count", [1, 2, 60])
def test_agrees_with_the_slow_one(count: int) -> None:
    real, asked = random_pairs(count, 1), random_pairs(40, 2)
    asked = [(t, p) for t, p in asked if any(r[1] == t[1] for r, _ in real)]
    expected = [slow_total(*each, real) for each in asked]
    np.testing.assert_allclose(scored(asked, priors_of(real)).total, expected, atol=1e-9)


# What must hold of any boxes --------------------------------------------------------------------

side = st.floats(1e-6, 1e4)
offset = st.floats(-1e6, 1e6)
pair = st.tuples(side, side, side, side, offset, offset)
REAL = random_pairs(80, 3)
PRIORS = priors_of(REAL)
triple = st.tuples(
    st.sampled_from([*NAMES, "cat", "never seen"]),
    st.sampled_from([*WORDS, "riding", "admiring", ""]),
    st.sampled_from([*NAMES, "cat", "never seen"]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(triple, pair), max_size=8))
def test_every_pair_has_finite_scores_within_bounds(pairs: list[tuple[Triple, Pair]]) -> None:
    scores = scored(pairs, PRIORS)
    for name in COLUMNS:
        values = getattr(scores, name)
        assert values.shape == (len(pairs),)
        assert ((values > 0) & (values < 100)).all()
    assert ((scores.nearest >= 0) & (scores.nearest < len(PRIORS))).all()


@settings(max_examples=60, deadline=None)
@given(triple, pair, st.floats(0.01, 100))
def test_a_change_of_scale_changes_nothing(said: Triple, boxes: Pair, scale: float) -> None:
    larger = tuple(scale * value for value in boxes)
    scores = scored([(said, boxes), (said, larger)], PRIORS)  # type: ignore[list-item]
    for name in COLUMNS:
        assert getattr(scores, name)[1] == pytest.approx(getattr(scores, name)[0], abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(triple, pair)
def test_the_inverse_said_of_the_pair_turned_round_scores_the_same(
    said: Triple, boxes: Pair
) -> None:
    a, _, b = said
    w_a, h_a, w_b, h_b, dx, dy = boxes
    turned = ((b, "right of", a), (w_b, h_b, w_a, h_a, -dx, -dy))
    scores = scored([((a, "left of", b), boxes), turned], PRIORS)
    for name in ("total", "distance", "direction"):
        assert getattr(scores, name)[1] == pytest.approx(getattr(scores, name)[0], abs=1e-6)


def test_a_score_does_not_depend_on_what_shares_the_batch() -> None:
    asked = random_pairs(3000, 4)
    together = scored(asked, PRIORS)
    for i in (0, 7, 2999):
        alone = scored([asked[i]], PRIORS)
        for name in (*COLUMNS, "nearest"):
            assert getattr(alone, name)[0] == getattr(together, name)[i]


def test_no_pairs_and_no_relations() -> None:
    assert scored([], PRIORS).total.shape == (0,)


def test_the_nearest_is_the_pair_itself_where_it_is_known() -> None:
    scores = scored(REAL, PRIORS)
    assert scores.nearest.tolist() == list(range(len(REAL)))


def test_layouts_at_the_top_stay_apart() -> None:
    real: list[tuple[Triple, Pair]] = [
        (("zebra", "left of", "fork"), (0.3, 0.3, 0.1, 0.1, 0.5 + 0.001 * i, 0.0))
        for i in range(300)
    ] + [(("fork", "above", "zebra"), (0.1, 0.1, 0.3, 0.3, 0.0, 0.4))] * 300
    best = [
        (("zebra", "left of", "fork"), (0.3, 0.3, 0.1, 0.1, 0.6 + i * 1e-3, 0.0)) for i in range(50)
    ]
    scores = scored(best, priors_of(real)).total
    assert scores.min() > 90
    assert scores.max() < 100
    assert len(np.unique(scores)) == len(best)


ABOVE, BESIDE = (0.0, -0.35), (0.5, 0.0)


@pytest.mark.parametrize(
    ("said", "sides", "right", "wrong"),
    [
        (("dog", "left of", "cat"), (0.2, 0.2, 0.2, 0.2), (0.4, 0.0), (-0.4, 0.0)),
        (("dog", "on", "bed"), (0.2, 0.2, 0.6, 0.4), (0.0, 0.15), ABOVE),
        (("dog", "riding", "skateboard"), (0.3, 0.4, 0.3, 0.1), (0.0, 0.2), BESIDE),
        (("elephant", "next to", "mosasaurus"), (0.5, 0.5, 0.3, 0.3), BESIDE, (0.0, 0.0)),
    ],
)
def test_the_packaged_priors_know_right_places(
    said: Triple,
    sides: tuple[float, float, float, float],
    right: tuple[float, float],
    wrong: tuple[float, float],
) -> None:
    scores = scored([(said, (*sides, *right)), (said, (*sides, *wrong))], default_priors()).total
    assert scores[0] > 50 > scores[1]


def test_the_packaged_priors_know_right_sizes() -> None:
    said = ("mouse_(computer_equipment)", "next to", "computer_keyboard")
    small, large = (0.1, 0.08), (0.4, 0.15)
    pairs: list[tuple[Triple, Pair]] = [
        (said, (*small, *large, 0.3, 0.0)),
        (said, (*large, *small, 0.3, 0.0)),
    ]
    scores = scored(pairs, default_priors())
    assert scores.total[0] > scores.total[1]
    assert scores.size[0] > 50 > scores.size[1]


def test_priors_of_one_pair() -> None:
    priors = priors_of(REAL[:1])
    assert np.isfinite(scored(REAL[1:20], priors).total).all()


def test_a_batch_by_this_variant() -> None:
    boxes = np.array([[0.1, 0.4, 0.2, 0.2], [0.6, 0.4, 0.2, 0.2], [0.6, 0.4, 0.0, 0.2]])
    batch = LayoutBatch(
        names=("dog", "cat"),
        predicates=("left of",),
        boxes_xywhn=boxes,
        category=np.array([0, 1, 1]),
        box_starts=np.array([0, 3]),
        subject=np.array([0, 1, 0]),
        object=np.array([1, 0, 2]),
        predicate=np.zeros(3, np.int64),
        relation_image=np.zeros(3, np.int64),
    )
    found = score_batch(batch, default_priors(), "acp")
    assert found.total[0] > 50 > found.total[1]
    assert np.isnan(found.total[2])
    assert "has no area" in found.reason[2]


def test_it_beats_the_other_variants_on_real_layouts(shared_data: Path) -> None:
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "clis_l_quality.py"
    spec = importlib.util.spec_from_file_location("clis_l_quality", path)
    assert spec
    assert spec.loader
    quality = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(quality)
    pairs, images = quality.load(shared_data / "nsr1k_spatial_train.json")
    scores = quality.cross_validated(pairs, images, quality.columns, folds=3, seed=9)
    assert np.isfinite(scores["acp"]["real"]).all()
    for check, (figure, real, wrong) in quality.ROWS.items():
        value = {name: figure(each[real], each[wrong]) for name, each in scores.items()}
        assert value["acp"] > max(value["paper"], value["reference"]), check
