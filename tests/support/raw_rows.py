"""A row of the configuration `raw`."""

from __future__ import annotations

from typing import Any

from acp.executor.rows import image_row, picked_rows
from acp.pipeline.pick import PickSettings
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
    scene = make_scene(make_candidate(2))
    measured = image_row(scene, scene.candidates[0], SIZE_WH, PROVENANCE)
    (row,) = picked_rows([measured], PickSettings(**limits))
    return row
