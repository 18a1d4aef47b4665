from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from acp.backends.llm_sampler import Sampler
from acp.clis.layout import score_layouts
from acp.clis.predicates import holds
from acp.clis.priors import default_priors
from acp.core.boxes import inside
from acp.core.seeds import rng
from acp.core.types import Inventory, Look, Relation, Scene, SceneGraph, SceneObject
from acp.core.vocabulary import categories
from acp.pipeline.lay_out import NOT_BEST, LayOut, LayOutSettings
from acp.pipeline.planning.layout_checks import (
    Limits,
    defects,
    drawable,
    layout_task,
    visible_shares,
)
from acp.pipeline.planning.layout_sampler import propose_layouts
from acp.pipeline.planning.scene_relations import draw_relations

SIZE_WH = (640, 480)
NAMES = ("zebra", "giraffe", "cow", "gull", "lion", "horse")
LOOKS = {name: (Look("", 1.3), Look("tall", 0.6)) for name in NAMES}
BANK = Inventory(
    looks=LOOKS,
    settings={"on a meadow": frozenset({"ground", "air"})},
    habitats={name: "air" if name == "gull" else "ground" for name in NAMES},
)
LIMITS = Limits(min_side_px=24, max_size_error=1.2, min_visible=0.5)


class BoxSampler(Sampler):
    """Writes boxes by chance, so that the path of a model that lays out can be walked."""

    name = "box-sampler"
    writes_boxes = True


def graph(names: Sequence[str], relations: Sequence[tuple[int, str, int]]) -> SceneGraph:
    objects = tuple(SceneObject(name) for name in names)
    return SceneGraph(objects, tuple(Relation(*each) for each in relations), "a caption")


def scene(scene_id: int, count: int = 3) -> Scene:
    names = NAMES[:count]
    habitats = [BANK.habitats[name] for name in names]
    relations = draw_relations(names, habitats, default_priors().predicate_weights, rng(scene_id))
    objects = tuple(SceneObject(name) for name in names)
    return Scene(scene_id, scene_id, names, SceneGraph(objects, relations, "a caption"))


def stage(llm: Sampler | None = None, inventory: Inventory | None = BANK, **values: Any) -> LayOut:
    return LayOut(LayOutSettings(**values), llm, inventory, default_priors(), 0, SIZE_WH)


def test_no_scenes() -> None:
    assert stage()([]) == []


@pytest.mark.parametrize("count", range(1, 7))
def test_the_best_proposals_go_on_and_all_are_kept(count: int) -> None:
    for done in stage(keep=2)([scene(i, count) for i in range(12)]):
        assert not done.reject
        assert len(done.layouts) == 6
        assert [layout.reason for layout in done.layouts[:2]] == ["", ""]
        assert all(layout.reason for layout in done.layouts[2:])
        sound = [each.clis_l for each in done.layouts if each.reason in ("", NOT_BEST)]
        if count > 1:
            assert sound == sorted(sound, key=lambda score: -(score or 0))
        else:
            assert sound == [None] * 6


@pytest.mark.parametrize("count", range(1, 7))
def test_what_goes_on_keeps_its_relations_in_the_frame(count: int) -> None:
    for done in stage()([scene(i, count) for i in range(12)]):
        chosen = done.layouts[0].boxes_xywhn
        assert chosen.dtype == np.float32
        assert inside(chosen).all()
        assert (chosen[:, 2:] * SIZE_WH >= 24).all()
        assert done.graph is not None
        for each in done.graph.relations:
            a, b = chosen[each.subject, None], chosen[each.object, None]
            assert holds(each.predicate, a, b)[0]


@pytest.mark.parametrize("count", range(1, 7))
def test_draws_from_the_priors_are_mostly_sound_and_always_in_bounds(count: int) -> None:
    found: list[str] = []
    for scene_id in range(10):
        done = scene(scene_id, count)
        assert done.graph is not None
        task = layout_task(done.graph, BANK, {}, SIZE_WH)
        boxes = propose_layouts(task, default_priors(), 32, rng(scene_id))
        assert boxes.shape == (32, count, 4)
        assert inside(boxes.reshape(-1, 4)).all()
        found += defects(task, boxes, LIMITS)
    assert found.count("") > 0.4 * len(found)


PREDICATES = ["left of", "right of", "next to", "in front of", "behind", "above", "below"]


@pytest.mark.parametrize("predicate", [*PREDICATES, "on", "inside", "eating"])
@pytest.mark.parametrize("ends", [(0, 1), (1, 0)])
def test_any_predicate_can_be_laid_out(predicate: str, ends: tuple[int, int]) -> None:
    pair = graph(("cat", "suitcase"), [(ends[0], predicate, ends[1])])
    task = layout_task(pair, None, {}, SIZE_WH)
    boxes = propose_layouts(task, default_priors(), 64, rng(1))
    kept = holds(predicate, boxes[:, ends[0]], boxes[:, ends[1]])
    assert kept.mean() > 0.8


def test_relations_that_are_no_tree_are_laid_out_too() -> None:
    star = [(1, "left of", 0), (2, "left of", 0), (1, "next to", 2)]
    for relations in ([], star):
        done = stage()([Scene(0, 0, NAMES[:3], graph(NAMES[:3], relations))])[0]
        assert done.layouts[0].boxes_xywhn.shape == (3, 4)


def test_what_cannot_be_is_rejected_with_its_proposals() -> None:
    cannot = graph(("zebra", "cow"), [(0, "left of", 1), (0, "right of", 1)])
    done = stage()([Scene(0, 0, ("zebra", "cow"), cannot)])[0]
    assert done.reject.startswith("lay out: none of 6 proposals is sound: the ")
    assert len(done.layouts) == 6
    assert all(layout.reason for layout in done.layouts)


def test_a_scene_without_a_graph_or_rejected_before_passes_through() -> None:
    scenes = [replace(scene(1), reject="describe: no"), replace(scene(2), reject="x", graph=None)]
    assert stage()(scenes) == scenes


def test_a_scene_is_the_same_whatever_shares_its_batch() -> None:
    scenes = [scene(i, 1 + i % 6) for i in range(12)]
    for llm in (None, BoxSampler()):
        together = stage(llm)(scenes)
        alone = [stage(llm)([each])[0] for each in scenes]
        for a, b in zip(together, alone, strict=True):
            assert (a.reject, a.notes) == (b.reject, b.notes)
            assert [x.reason for x in a.layouts] == [x.reason for x in b.layouts]
            assert [x.clis_l for x in a.layouts] == [x.clis_l for x in b.layouts]
            for x, y in zip(a.layouts, b.layouts, strict=True):
                assert np.array_equal(x.boxes_xywhn, y.boxes_xywhn)


def test_what_the_model_writes_is_in_the_pool_with_its_source() -> None:
    done = stage(BoxSampler(), llm_proposals=4)([scene(i, 2) for i in range(12)])
    sources = {layout.source for each in done for layout in each.layouts}
    assert sources == {"llm", "priors"}
    for each in done:
        written = [layout for layout in each.layouts if layout.source == "llm"]
        note = each.notes.get("lay out", "0 of 4")
        assert len(written) == 4 - int(note.split()[0])


def test_a_model_that_does_not_lay_out_is_not_asked() -> None:
    for llm in (Sampler(), None):
        done = stage(llm, llm_proposals=4)([scene(1)])[0]
        assert {layout.source for layout in done.layouts} == {"priors"}


def test_without_any_proposal_the_scene_is_rejected() -> None:
    (done,) = stage(priors_proposals=0)([scene(1)])  # no model that lays out either
    assert done.reject == "lay out: none of 0 proposals is sound: no layout was proposed"
    with pytest.raises(ValueError, match="must not both be 0"):
        LayOutSettings(llm_proposals=0, priors_proposals=0)


def test_a_threshold_on_clis_l() -> None:
    done = stage(min_clis_l=100)([scene(1)])[0]
    assert "CLIS-L below 100" in done.reject
    assert not stage(min_clis_l=0)([scene(1)])[0].reject


def test_progress_counts_every_scene() -> None:
    counts: list[int] = []
    for llm in (None, BoxSampler()):
        counts.clear()
        stage(llm)([scene(i) for i in range(40)], counts.append)
        assert sum(counts) == 40


def check(names: Sequence[str], relations: Sequence[tuple[int, str, int]], boxes: Any) -> str:
    task = layout_task(graph(names, relations), BANK, {}, SIZE_WH)
    return defects(task, np.array([boxes], dtype=np.float32), LIMITS)[0]


@pytest.mark.parametrize(
    ("boxes", "defect"),
    [
        ([[0.1, 0.5, 0.3, 0.3], [0.5, 0.3, 0.4, 0.6]], ""),
        ([[0.1, 0.5, 0.3, 0.3], [0.7, 0.3, 0.4, 0.6]], "a box is outside the image"),
        ([[0.1, 0.5, 0.3, 0.0], [0.5, 0.3, 0.4, 0.6]], "a box is outside the image"),
        ([[0.1, 0.6, 0.03, 0.3], [0.5, 0.3, 0.4, 0.6]], "the zebra is smaller than 24 pixels"),
        ([[0.6, 0.5, 0.3, 0.3], [0.1, 0.3, 0.4, 0.6]], "the zebra is not left of the giraffe"),
        ([[0.0, 0.2, 0.6, 0.7], [0.7, 0.7, 0.2, 0.2]], "the zebra looks larger than the giraffe"),
        ([[0.1, 0.1, 0.3, 0.3], [0.5, 0.0, 0.4, 0.9]], "the zebra floats"),
    ],
)
def test_defects(boxes: Any, defect: str) -> None:
    assert check(("zebra", "giraffe"), [(0, "left of", 1)], boxes) == defect


def test_what_is_hidden() -> None:
    covered = [[0.1, 0.5, 0.3, 0.3], [0.05, 0.3, 0.8, 0.6]]
    assert check(("zebra", "giraffe"), [], covered) == "too little of the zebra is visible"


def test_what_is_far_away_or_flies_may_look_smaller() -> None:
    far = [[0.1, 0.45, 0.2, 0.15], [0.4, 0.4, 0.5, 0.5]]
    assert check(("giraffe", "zebra"), [], far) == ""
    near = [[0.1, 0.75, 0.2, 0.15], [0.4, 0.4, 0.5, 0.5]]
    assert check(("giraffe", "zebra"), [], near) == "the zebra looks larger than the giraffe"


def test_without_an_inventory_nothing_has_to_stand_low() -> None:
    task = layout_task(graph(("zebra",), []), None, {}, SIZE_WH)
    assert defects(task, np.array([[[0.3, 0.05, 0.3, 0.3]]], np.float32), LIMITS) == [""]


def test_visible_shares() -> None:
    boxes = np.array([[[0.0, 0.0, 0.5, 0.5], [0.25, 0.25, 0.5, 0.5]]], dtype=np.float32)
    assert visible_shares(boxes)[0] == pytest.approx([0.75, 1.0])
    assert visible_shares(np.zeros((2, 1, 4), np.float32)).shape == (2, 1)


def test_the_shape_is_that_of_the_look() -> None:
    tall = replace(scene(1, 1), graph=SceneGraph((SceneObject("zebra", "tall"),), (), "c"))
    for layout in stage()([tall])[0].layouts:
        w, h = layout.boxes_xywhn[0, 2:] * SIZE_WH
        assert w / h == pytest.approx(0.6, rel=1e-3)


def test_typical_shapes_come_from_the_priors() -> None:
    aspects = default_priors().typical_aspects
    assert aspects["train_(railroad_vehicle)"] > aspects["person"]
    assert set(aspects) & set(categories())


def test_layouts_shrink_as_a_whole_to_what_can_be_drawn() -> None:
    bank = replace(BANK, looks={**LOOKS, "cow": (Look("", 1.3, max_side_px=64.0),)})
    relations = (Relation(0, "left of", 1),)
    wide = [[[0.1, 0.4, 0.2, 0.2], [0.5, 0.3, 0.4, 0.5]]]
    boxes = np.array(wide, dtype=np.float32)
    task = layout_task(graph(("zebra", "cow"), [(0, "left of", 1)]), bank, {}, SIZE_WH)
    (small,) = drawable(task, boxes)
    assert small[1, 3] * SIZE_WH[1] <= 64.01
    assert small[1, 2] * SIZE_WH[0] <= 64.01
    assert np.allclose(small[:, 2:] / boxes[0, :, 2:], small[1, 3] / 0.5)
    assert small[1, 1] + small[1, 3] == pytest.approx(0.8)  # the lowest edge stays
    scores = [
        score_layouts(relations, task.names, each[None], default_priors())
        for each in (boxes[0], small)
    ]
    assert scores[0] is not None
    assert scores[1] is not None
    assert scores[1].total[0] == pytest.approx(scores[0].total[0], abs=0.05)
    unlimited = layout_task(graph(("zebra", "zebra"), []), BANK, {}, SIZE_WH)
    assert np.allclose(drawable(unlimited, boxes), boxes)
