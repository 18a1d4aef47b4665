from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from acp.core.config import Settings
from acp.core.errors import AcpError
from acp.pipeline.combine import CombineSettings
from acp.pipeline.describe import DescribeSettings
from acp.pipeline.lay_out import LayOutSettings
from acp.pipeline.pick import PickSettings
from acp.pipeline.recipe import load_recipe, recipe_names
from acp.pipeline.render import RenderSettings


def test_the_recipes_that_come_along_are_valid_and_described() -> None:
    assert {"demo", "tiny", "lvis-longtail"} <= set(recipe_names())
    for name in recipe_names():
        recipe = load_recipe(name)
        assert recipe.name == name
        assert recipe.description
        assert yaml.safe_load(yaml.safe_dump(recipe.resolved())) == recipe.resolved()


def test_a_resolved_recipe_is_a_recipe_again(tmp_path: Path) -> None:
    path = tmp_path / "again.yaml"
    path.write_text(yaml.safe_dump(load_recipe("demo").resolved()), encoding="utf-8")
    assert load_recipe(str(path)).resolved() == load_recipe("demo").resolved()


@pytest.mark.parametrize("kind", ["llm", "renderer", "segmenter", "scorer"])
@pytest.mark.parametrize("name", ["demo", "tiny"])
def test_backends_of_the_embedded_recipes_exist(name: str, kind: str) -> None:
    assert load_recipe(name).backend(kind).name == getattr(load_recipe(name), kind)["backend"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("scens=4", "unknown key 'scens'; did you mean 'scenes'"),
        ("render.candidats=4", "unknown key 'render.candidats'; did you mean 'render.candidates'"),
        ("scenes=many", "scenes: input should be a valid integer, got 'many'"),
        ("scenes=0", "scenes: input should be greater than or equal to 1, got 0"),
        ("scenes=true", "scenes: input should be a valid integer"),
        ("size_wh=[640]", "size_wh"),
        ("size_wh=[640, 10]", "size_wh: sides must be 64 to 4096"),
        ("name=../up", "name"),
        ("data_set=../up", "data_set"),
        ("scenes", "expected key=value"),
        ("scenes=[", "not a YAML value"),
        ("seed.x=1", "holds a value"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(override: str, message: str) -> None:
    with pytest.raises(AcpError, match=r".+") as caught:
        load_recipe("tiny", [override])
    assert message in str(caught.value).lower() or message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_image_of_a_scene_has_an_id_of_its_own() -> None:
    load_recipe("tiny", ["lay_out.keep=2", "render.candidates=500"])
    with pytest.raises(AcpError, match=r"lay_out.keep x render.candidates: 1002 images of a"):
        load_recipe("tiny", ["lay_out.keep=2", "render.candidates=501"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("renderer.backend=cutpast", "did you mean 'cutpaste'"),
        ("renderer.backend=7", "renderer.backend: expected one of"),
        ("scorer.thread=1", "did you mean 'threads'"),
        ("renderer={backend: gligen, scheduler: X}", "'PNDMScheduler' or 'UniPC"),
        ("renderer={backend: gligen, steps: 1}", "^renderer: steps x .*: no box would count$"),
    ],
)
def test_backend_mistakes_too(override: str, message: str) -> None:
    recipe = load_recipe("tiny", [override])
    with pytest.raises(AcpError, match=message):
        recipe.backend(override.partition("=")[0].partition(".")[0])


def test_an_unknown_recipe_suggests_the_nearest() -> None:
    with pytest.raises(AcpError, match="did you mean 'demo'"):
        load_recipe("dem")


@pytest.mark.parametrize(("text", "message"), [("a: [", "not valid YAML"), ("- 1", "mapping")])
def test_files_that_are_no_recipes(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(AcpError, match=message):
        load_recipe(str(path))


def test_every_key_of_a_recipe_is_described() -> None:
    stages: list[type[Settings]] = [
        CombineSettings,
        DescribeSettings,
        LayOutSettings,
        RenderSettings,
        PickSettings,
    ]
    undescribed = [
        f"{model.__name__}.{key}"
        for model in stages
        for key, field in model.model_fields.items()
        if not field.description
    ]
    assert undescribed == []
