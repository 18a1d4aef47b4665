"""Small scenes, images and recipes that several tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from acp.stages.render import encode_jpeg
from acp.torch_tools import torch_threads
from acp.types import (
    Candidate,
    ImageScores,
    Instances,
    Layout,
    Relation,
    Rendering,
    Scene,
    SceneGraph,
    SceneObject,
)

if TYPE_CHECKING:
    from loopback_hub import Hub

SIZE_WH = (64, 48)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tiny models are tenfold slower with more threads than free cores."""
    with torch_threads(1):
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; its tests skip where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the folder ../shared/data is not there")
    return folder


def make_candidate(
    index: int = 0,
    instance_scores: tuple[float | None, ...] = (80.0, 70.0),
    clis_i: float | None = 75.0,
    clis_l: float | None = 90.0,
    visible: tuple[float, ...] = (1.0, 0.9),
) -> Candidate:
    """A candidate of two objects: a square at the left and a larger one at the right."""
    masks = np.zeros((2, SIZE_WH[1], SIZE_WH[0]), dtype=bool)
    masks[0, 10:40, 2:30] = True
    masks[1, 5:45, 32:62] = True
    boxes_px = np.array([[2, 10, 28, 30], [32, 5, 30, 40]], dtype=np.float32)
    boxes_xywhn = (boxes_px / np.array([64, 48, 64, 48])).astype(np.float32)
    image = np.full((SIZE_WH[1], SIZE_WH[0], 3), 40 * (index + 1), dtype=np.uint8)
    image[masks[0]] = (200, 30, 30)
    return Candidate(
        index=index,
        seed=index,
        layout=Layout(boxes_xywhn, "priors", clis_l),
        jpeg=encode_jpeg(image, 90),
        rendering=Rendering(image),
        instances=Instances(masks, boxes_px, np.array(visible, dtype=np.float32)),
        scores=ImageScores(clis_i, clis_i, instance_scores),
    )


def make_scene(*candidates: Candidate, scene_id: int = 3) -> Scene:
    """A dog left of a zebra, with these candidates."""
    graph = SceneGraph(
        (SceneObject("dog", "brown"), SceneObject("zebra", "black and white")),
        (Relation(0, "left of", 1),),
        "A photo of a brown dog to the left of a zebra on a meadow.",
        "on a meadow",
    )
    layouts = tuple(candidate.layout for candidate in candidates[:1])
    return Scene(scene_id, 7, ("dog", "zebra"), graph, layouts, candidates)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """An empty Hub on loopback; a test ends without a fault of its own."""
    from loopback_hub import Hub, serving

    with serving(Hub(tmp_path / "hub")) as found:
        yield found
    assert found.errors == []


@pytest.fixture(scope="session")
def six(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of six scenes, quickly made; nothing may change it."""
    from publishing import made

    return made(tmp_path_factory.mktemp("six"), 6)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe `tiny` with four scenes in four shards, made by one process."""
    from acp.build_command import build_recipe
    from acp.recipe import load_recipe

    out = tmp_path_factory.mktemp("built") / "acp" / "tiny"
    summary = list(build_recipe(load_recipe("tiny", ["scenes=4"]), out, 1))
    assert any("candidates  8" in line for line in summary), summary
    return out
