"""Render, mask and score, alone and with the real renderer and scorer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from acp.backends.base import Renderer, RenderRequest
from acp.backends.segment_exact import Exact
from acp.core.types import Failure, Layout, ModelInfo, Rendering, Scene
from acp.pipeline.mask import Mask
from acp.pipeline.pipeline import Pipeline
from acp.pipeline.recipe import load_recipe
from acp.pipeline.render import Render, RenderSettings

SIZE_WH = (320, 240)


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline(load_recipe("tiny"))


@pytest.fixture(scope="module")
def laid_out(pipeline: Pipeline) -> list[Scene]:
    scenes = [Scene(index, 0) for index in range(3)]
    for stage in pipeline.stages[:3]:
        scenes = stage(scenes)
    assert all(scene.layouts and not scene.reject for scene in scenes)
    return scenes


def test_every_stage_adds_its_part_and_keeps_the_order(
    pipeline: Pipeline, laid_out: list[Scene]
) -> None:
    reported: list[int] = []
    scenes = laid_out
    for stage in pipeline.stages[3:]:
        reported.clear()
        scenes = stage(scenes, reported.append)
        assert sum(reported) == len(scenes)
        assert [scene.scene_id for scene in scenes] == [0, 1, 2]
    for candidate in (candidate for scene in scenes for candidate in scene.candidates):
        assert candidate.jpeg.startswith(b"\xff\xd8")
        assert candidate.rendering is not None
        assert candidate.rendering.image_rgb.shape == (*SIZE_WH[::-1], 3)
        assert candidate.instances is not None
        assert candidate.instances.masks.any()
        assert candidate.scores is not None
        assert candidate.clis is not None
        assert len(candidate.reject_objects) == len(candidate.instances.masks)
    assert len({candidate.seed for scene in scenes for candidate in scene.candidates}) == 6


def test_a_box_outside_the_image_is_a_reject(pipeline: Pipeline, laid_out: list[Scene]) -> None:
    scene = laid_out[0]
    outside = scene.layouts[0].boxes_xywhn.copy()
    outside[0, 0] = 0.9
    wrong = replace(scene, layouts=(Layout(outside, "hand"), *scene.layouts[1:]))
    rendered = pipeline.stages[3]([wrong, laid_out[1]])
    assert [c.reject for c in rendered[0].candidates] == ["render: box outside the image"] * 2
    assert [c.reject for c in rendered[1].candidates] == ["", ""]


class Half(Renderer):
    """A renderer without masks that fails for every other image."""

    name = "half"
    summary = "fails for every other image"
    chunk = 3

    def load(self) -> None:
        """Nothing to load."""

    def info(self) -> ModelInfo:
        return ModelInfo("half", "1", "apache-2.0")

    def render(self, requests: Sequence[RenderRequest]) -> list[Rendering | Failure]:
        blank = Rendering(np.zeros((*SIZE_WH[::-1], 3), dtype=np.uint8))
        return [Failure("no luck") if request.seed % 2 else blank for request in requests]


def test_failures_become_rejects_with_a_reason(laid_out: list[Scene]) -> None:
    rendered = Render(Half(), RenderSettings(candidates=8), 0, SIZE_WH)(laid_out)
    masked = Mask(Exact())(rendered)
    candidates = [candidate for scene in masked for candidate in scene.candidates]
    assert len(candidates) == 24
    assert {candidate.reject for candidate in candidates} == {
        "render: no luck",
        "mask: the renderer gives no masks; choose another segmenter",
    }
    assert all((c.seed % 2 == 1) == c.reject.startswith("render") for c in candidates)


def test_a_rejected_scene_passes_through_every_stage(pipeline: Pipeline) -> None:
    rejected = Scene(5, 0, reject="combine: nothing fits")
    for stage in pipeline.stages:
        assert stage([rejected]) == [rejected]
        assert stage([]) == []
