from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset
from PIL import Image
from pycocotools import mask as coco_mask

from acp.core.types import Candidate
from acp.executor.rows import (
    CONFIGS,
    curated_row,
    curated_table,
    features,
    image_row,
    picked_rows,
    picked_table,
    scene_row,
)
from acp.pipeline.pick import Pick, PickSettings
from support.raw_rows import PROVENANCE, raw_row
from support.scenes import SIZE_WH, make_candidate, make_scene


def test_a_row_survives_datasets_and_keeps_image_boxes_and_masks() -> None:
    data = Dataset.from_list([raw_row()], features=features("raw"))
    row = data[0]
    assert row["image"].size == SIZE_WH
    assert (row["image_id"], row["objects"]["id"]) == (3002, [300201, 300202])
    assert row["objects"]["category"] == ["dog", "zebra"]
    assert row["objects"]["frequency"] == ["f", "f"]
    assert row["provenance"]["scene"] == 3
    for box, area, code in zip(
        *(row["objects"][key] for key in ("bbox", "area", "segmentation")), strict=True
    ):
        assert coco_mask.toBbox(code).tolist() == box
        assert coco_mask.decode(code).shape == (SIZE_WH[1], SIZE_WH[0])
        assert coco_mask.area(code) == area


def test_curated_drops_unused_objects_and_their_relations() -> None:
    row = raw_row(min_side_px=29)
    assert row["objects"]["reject"] == ["side below 29 px", ""]
    curated = curated_row(row)
    assert curated is not None
    assert curated["objects"]["category"] == ["zebra"]
    assert curated["relations"] == {"subject": [], "predicate": [], "object": []}
    assert "kept" not in curated
    Dataset.from_list([curated], features=features("curated"))


def test_curated_keeps_relations_between_used_objects() -> None:
    curated = curated_row(raw_row())
    assert curated is not None
    assert curated["relations"] == {"subject": [0], "predicate": ["left of"], "object": [1]}


def test_a_candidate_without_an_image_is_a_row_with_its_reason() -> None:
    failed = replace(
        make_candidate(), jpeg=b"", instances=None, scores=None, reject="render: no cut-out"
    )
    (row,) = picked_rows(
        [image_row(make_scene(failed), failed, SIZE_WH, PROVENANCE)], PickSettings()
    )
    (read,) = Dataset.from_list([row], features=features("raw"))
    assert read["image"] is None
    assert read["reject"] == "render: no cut-out"
    assert read["objects"]["category"] == []
    assert curated_row(row) is None


def test_scene_rows_hold_all_layouts_and_say_which_went_on() -> None:
    scene = make_scene(make_candidate())
    rejected = replace(scene.layouts[0], source="llm", reason="not among the best")
    row = scene_row(replace(scene, layouts=(*scene.layouts, rejected)), PROVENANCE)
    (read,) = Dataset.from_list([row], features=features("scene_graphs"))
    assert [layout["chosen"] for layout in read["layouts"]] == [True, False]
    assert read["layouts"][1]["source"] == "llm"


def test_a_rejected_scene_has_a_row_too() -> None:
    row = scene_row(
        replace(make_scene(), graph=None, reject="describe: nothing to say"), PROVENANCE
    )
    (read,) = Dataset.from_list([row], features=features("scene_graphs"))
    assert read["reject"] == "describe: nothing to say"


def measured_rows(*candidates: Candidate) -> list[dict[str, Any]]:
    scene = make_scene(*candidates)
    return [image_row(scene, each, SIZE_WH, PROVENANCE) for each in candidates]


def test_picking_rows_is_picking_candidates() -> None:
    candidates = [
        make_candidate(0, clis_i=70.0),
        make_candidate(1, clis_i=80.0),
        make_candidate(2, visible=(0.1, 0.2)),
        make_candidate(3, instance_scores=(None, 59.999), clis_i=None),
        replace(make_candidate(4), reject="mask: no room", instances=None, scores=None),
    ]
    (picked,) = Pick(PickSettings())([make_scene(*candidates)])
    rows = picked_rows(measured_rows(*candidates), PickSettings())
    assert [row["reject"] for row in rows] == [each.reject for each in picked.candidates]
    assert [row["clis"] for row in rows] == [each.clis for each in picked.candidates]
    objects = [tuple(row["objects"]["reject"]) for row in rows]
    assert objects == [each.reject_objects for each in picked.candidates]
    assert rows[3]["objects"]["clis_i"] == [None, 60.0]  # rounded after it was compared


def test_tables_are_picked_with_their_images() -> None:
    rows = measured_rows(make_candidate(0, clis_i=70.0), make_candidate(1, clis_i=80.0))
    measured = pa.Table.from_pylist(rows, features("measured").arrow_schema)
    raw = picked_table(measured, PickSettings())
    assert raw.schema.equals(features("raw").arrow_schema)
    assert raw.column("kept").to_pylist() == [False, True]
    curated = curated_table(raw)
    assert curated.schema.equals(features("curated").arrow_schema)
    assert curated.column("image").to_pylist() == [rows[1]["image"]]
    nothing = curated_table(picked_table(measured.slice(0, 0), PickSettings()))
    assert (nothing.num_rows, nothing.schema) == (0, curated.schema)


@pytest.mark.parametrize("config", [*CONFIGS, "measured"])
def test_features_travel_in_the_schema(config: str) -> None:
    from datasets import Features

    assert Features.from_arrow_schema(features(config).arrow_schema) == features(config)


def test_rows_hold_the_jpeg_as_it_was_made() -> None:
    row = raw_row()
    pixels = np.array(Image.open(io.BytesIO(row["image"]["bytes"])))
    assert pixels.shape == (SIZE_WH[1], SIZE_WH[0], 3)
    assert row["image"]["path"] == "000000003002.jpg"
