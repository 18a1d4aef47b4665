"""The face: what `import acp` offers, as the documentation uses it."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
from PIL import Image

import acp
from acp.core.errors import AcpError


def test_everything_public_is_there_and_says_what_it_does() -> None:
    assert set(acp.__all__) == set(dir(acp))
    for name in acp.__all__:
        value = getattr(acp, name)
        assert isinstance(value, str) or len(inspect.getdoc(value) or "") > 20


def test_what_is_not_named_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'buidl'"):
        acp.buidl  # noqa: B018


def test_a_data_set_is_built_checked_shown_and_described(tmp_path: Path) -> None:
    recipe = acp.load_recipe("tiny", {"scenes": 2, "render.candidates": 1})
    dataset = acp.build(recipe, out=tmp_path / "two")
    assert dataset.check().ok
    assert len(dataset.load("scene_graphs")) == 2
    assert "# me/two" in dataset.card("me/two")
    sheet = dataset.show(tmp_path / "sheet.jpg")
    with Image.open(tmp_path / "sheet.jpg") as picture:
        assert picture.size == sheet.size
    again = acp.build(recipe, out=tmp_path / "two")
    assert again.receipt() == dataset.receipt()


def test_a_pipeline_runs_in_memory() -> None:
    scenes = acp.Pipeline(acp.load_recipe("tiny")).run(range(2))
    assert [scene.scene_id for scene in scenes] == [0, 1]
    assert any(not candidate.reject for scene in scenes for candidate in scene.candidates)


def test_a_folder_of_something_else_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(AcpError, match="not a data set of acp build"):
        acp.Dataset(tmp_path).card()


def test_priors_are_built_kept_and_read(tmp_path: Path) -> None:
    boxes = [[10, 10, 100, 80], [200, 30, 120, 140]]
    content = {
        "images": [{"id": 1, "width": 640, "height": 480, "file_name": "a.jpg"}],
        "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}],
        "annotations": [
            {"id": place, "image_id": 1, "category_id": place + 1, "bbox": box, "iscrowd": 0}
            for place, box in enumerate(boxes)
        ],
    }
    (tmp_path / "instances.json").write_text(json.dumps(content), encoding="utf-8")
    out = tmp_path / "own.parquet"
    priors = acp.build_priors([tmp_path / "instances.json"], format="coco", out=out)
    assert len(priors) == len(acp.Priors.load(out)) > 0
