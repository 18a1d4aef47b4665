"""Small scenes and images that several tests share."""

from __future__ import annotations

import numpy as np

from acp.core.types import (
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
from acp.pipeline.render import encode_jpeg

SIZE_WH = (64, 48)


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
