"""A row of the configuration `raw`."""

from __future__ import annotations

from typing import Any

from acp.executor.rows import image_row
from acp.pipeline.pick import Pick, PickSettings
from support.scenes import SIZE_WH, make_candidate, make_scene

PROVENANCE = {
    "recipe": "demo",
    "fingerprint": "f" * 16,
    "llm": "l@1",
    "renderer": "r@1",
    "scorer": "s@1",
    "segmenter": "g@1",
}


def raw_row(**limits: Any) -> dict[str, Any]:
    (scene,) = Pick(PickSettings(**limits))([make_scene(make_candidate(2))])
    return image_row(scene, scene.candidates[0], SIZE_WH, PROVENANCE)
