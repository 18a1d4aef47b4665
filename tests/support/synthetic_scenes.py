"""Finished shards of many cheap scenes: noise that weighs what a small photograph weighs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from acp.core.boxes import as_boxes
from acp.core.seeds import rng
from acp.core.types import (
    Candidate,
    FloatArray,
    ImageScores,
    Instances,
    Layout,
    Relation,
    Scene,
    SceneGraph,
    SceneObject,
)
from acp.core.vocabulary import categories
from acp.executor.build import Build, open_build, rows_of
from acp.executor.shards import write_shard
from acp.pipeline.recipe import load_recipe
from acp.pipeline.render import encode_jpeg

LOOKS = ("brown, standing", "red", "small and round", "striped, lying", "made of wood")
PLACES = ("in a kitchen", "on a meadow", "by the sea", "in a street at night", "on a table")

Change = Callable[[Scene], Scene | None]
"""What is done to a scene before it is written; None leaves it without an image."""


def finish_build(
    work: Path, scenes: int, settings: Sequence[str] = (), change: Change = lambda scene: scene
) -> Build:
    """A build of the recipe `tiny` whose shards are all done: nothing of it is left to run."""
    build = open_build(load_recipe("tiny", [f"scenes={scenes}", *settings]), work)
    for shard in build.shards():
        made = [changed(scene(i, build.recipe.size_wh), change) for i in shard.scene_ids]
        statistics = {"counts": {"scenes": len(made)}, "seconds": {}}
        write_shard(shard, rows_of(build, made), build.fingerprint, statistics)
    return build


def changed(made: Scene, change: Change) -> Scene:
    return change(made) or replace(made, candidates=(), reject="test: left out")


def scene(scene_id: int, size_wh: tuple[int, int]) -> Scene:
    """Two or three objects with round masks, one candidate, kept."""
    random = rng(0, "synthetic", scene_id)
    names = sorted(categories())
    names = [names[i] for i in random.choice(len(names), 2 + scene_id % 2, replace=False)]
    looks = [str(random.choice(LOOKS)) for _ in names]
    things = tuple(SceneObject(name, look) for name, look in zip(names, looks, strict=True))
    setting = str(random.choice(PLACES))
    shown = ", ".join(
        f"{look} {name.replace('_', ' ')}" for name, look in zip(names, looks, strict=True)
    )
    graph = SceneGraph(
        things, (Relation(0, "left of", 1),), f"A photo of {shown} {setting}.", setting
    )
    layout = Layout(_boxes(random, len(things)), "priors", float(random.uniform(60, 100)))
    candidate = _candidate(random, layout, size_wh)
    return Scene(scene_id, scene_id, tuple(names), graph, (layout,), (candidate,))


def _boxes(random: np.random.Generator, count: int) -> FloatArray:
    sides = random.uniform(0.2, 0.3, (count, 2))
    left = (np.arange(count) + random.uniform(0.0, 0.1, count)) / count
    return as_boxes(np.column_stack([left, random.uniform(0.1, 0.6, count), sides]))


def _candidate(random: np.random.Generator, layout: Layout, size_wh: tuple[int, int]) -> Candidate:
    masks = np.stack([_disc(box, size_wh) for box in layout.boxes_xywhn])
    scores = tuple(float(score) for score in random.uniform(60, 100, len(masks)))
    return Candidate(
        index=0,
        seed=0,
        layout=layout,
        jpeg=encode_jpeg(photograph(random, size_wh), 90),
        instances=Instances(masks, _tight(masks), np.ones(len(masks), dtype=np.float32)),
        scores=ImageScores(float(np.mean(scores)), float(np.mean(scores)), scores),
    )


def _disc(box: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    width, height = size_wh
    x, y, w, h = box * np.array([width, height, width, height])
    rows, columns = np.mgrid[:height, :width]
    inside: np.ndarray = ((columns - x - w / 2) / w) ** 2 + ((rows - y - h / 2) / h) ** 2 < 0.25
    return inside


def _tight(masks: np.ndarray) -> np.ndarray:
    boxes = []
    for mask in masks:
        rows, columns = np.nonzero(mask)
        size = columns.max() - columns.min() + 1, rows.max() - rows.min() + 1
        boxes.append((columns.min(), rows.min(), *size))
    return np.array(boxes, dtype=np.float32)


def photograph(random: np.random.Generator, size_wh: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8: patches of light with a little grain, about 20 KB as JPEG at 320 x 240."""
    width, height = size_wh
    patches = random.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(patches).resize(size_wh, Image.Resampling.BICUBIC))
    grain = random.normal(0, 2.5, (height, width, 1))
    return np.clip(smooth + grain, 0, 255).astype(np.uint8)
