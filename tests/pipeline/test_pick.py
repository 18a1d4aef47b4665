from __future__ import annotations

from typing import Any

import pytest

from acp.core.types import Candidate
from acp.pipeline.pick import Pick, PickSettings
from support.scenes import make_candidate, make_scene


def picked(candidate: Candidate, **settings: Any) -> Candidate:
    (scene,) = Pick(PickSettings(**settings))([make_scene(candidate)])
    return scene.candidates[0]


def test_the_best_candidate_is_kept_and_the_others_say_why_not() -> None:
    scene = make_scene(make_candidate(0, clis_i=70.0), make_candidate(1, clis_i=80.0))
    (picked,) = Pick(PickSettings())([scene])
    assert [c.reject for c in picked.candidates] == ["pick: not the best of its scene", ""]
    assert [c.clis for c in picked.candidates] == [80.0, 85.0]


def test_a_better_score_does_not_save_a_candidate_that_fails_a_threshold() -> None:
    hidden = make_candidate(0, clis_i=99.0, visible=(0.1, 0.1))
    (picked,) = Pick(PickSettings())([make_scene(hidden, make_candidate(1))])
    assert picked.candidates[1].reject == ""
    assert picked.candidates[0].reject == "pick: no usable object (visible share below 0.5)"


@pytest.mark.parametrize(
    ("settings", "candidate", "reasons"),
    [
        ({}, make_candidate(), ("", "")),
        (
            {},
            make_candidate(instance_scores=(59.9, 60.0)),
            ("clis_i of the instance below 60", ""),
        ),
        ({}, make_candidate(instance_scores=(None, None), clis_i=None), ("", "")),
        ({"min_side_px": 29}, make_candidate(), ("side below 29 px", "")),
        ({"min_visible": 0.95}, make_candidate(), ("", "visible share below 0.95")),
    ],
)
def test_objects_are_judged_one_by_one(
    settings: dict[str, float], candidate: Candidate, reasons: tuple[str, ...]
) -> None:
    judged = picked(candidate, **settings)
    assert judged.reject_objects == reasons
    assert judged.reject == ""


@pytest.mark.parametrize(
    ("settings", "reject"),
    [
        ({"min_clis_i": 76}, "pick: clis_i below 76"),
        ({"min_clis_l": 91}, "pick: clis_l below 91"),
        ({"min_side_px": 29, "min_objects_share": 1}, "pick: share of usable objects below 1"),
        ({"min_clis_i_instance": 90}, "pick: no usable object (clis_i of the instance below 90)"),
    ],
)
def test_images_are_judged(settings: dict[str, float], reject: str) -> None:
    assert picked(make_candidate(), **settings).reject == reject


def test_a_scene_of_one_object_has_no_layout_score_and_is_ranked_by_its_image() -> None:
    assert picked(make_candidate(clis_l=None, clis_i=64.0)).clis == 64.0
    assert picked(make_candidate(clis_l=None, clis_i=None)).clis is None


def test_of_equals_the_first_is_kept() -> None:
    (scene,) = Pick(PickSettings())([make_scene(make_candidate(0), make_candidate(1))])
    assert [not each.reject for each in scene.candidates] == [True, False]


def test_no_candidates_no_picks() -> None:
    (scene,) = Pick(PickSettings())([make_scene()])
    assert scene.candidates == ()


def test_an_earlier_reject_is_kept() -> None:
    from dataclasses import replace

    failed = replace(make_candidate(), reject="render: no cut-out", instances=None)
    (picked,) = Pick(PickSettings())([make_scene(failed)])
    assert picked.candidates[0].reject == "render: no cut-out"
