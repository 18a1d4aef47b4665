from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from acp.backends.registry import BACKENDS, backend_class
from acp.cli.main import app
from acp.core.config import Settings
from acp.core.errors import AcpError
from acp.pipeline.combine import CombineSettings
from acp.pipeline.describe import DescribeSettings
from acp.pipeline.lay_out import LayOutSettings
from acp.pipeline.pick import PickSettings
from acp.pipeline.recipe import RECIPES, load_recipe, recipe_names, recipe_schema
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
    assert load_recipe(name).backend(kind).name == getattr(load_recipe(name), kind).backend


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
        ("scenes=[", "not valid YAML"),
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
        ("renderer.backend=cutpast", "renderer.backend: there is no .* did you mean 'cutpaste'?"),
        ("renderer.backend=7", "renderer.backend: expected one of cutpaste, flux3, gligen, or mod"),
        ("renderer=cutpaste", "renderer.backend: expected one of cutpaste"),
        ("scorer.thread=1", "unknown key 'scorer.thread'; did you mean 'scorer.threads'?"),
        ("llm.threads=2", "unknown key 'llm.threads'; known: backend"),
        ("renderer={backend: gligen, scheduler: X}", "'PNDMScheduler' or 'UniPC"),
        ("renderer={backend: gligen, steps: 1}", "tiny: renderer: steps x .*: no box would count$"),
        ("renderer={backend: gligen, refiner: {step: 1}}", "did you mean 'renderer.refiner.steps'"),
        (
            "scorer={backend: clis, captioner: {backend: embeded}}",
            "scorer.captioner.backend: there is no captioner 'embeded'; did you mean 'embedded'",
        ),
        (
            "scorer={backend: clis, judge: {backend: openai, modl: x}}",
            "unknown key 'scorer.judge.modl'; did you mean 'scorer.judge.model'?",
        ),
    ],
)
def test_options_of_backends_are_checked_when_the_recipe_is_read(
    override: str, message: str
) -> None:
    with pytest.raises(AcpError, match=message) as caught:
        load_recipe("tiny", [override])
    assert "\n" not in str(caught.value)


def test_overrides_may_be_values_of_python_and_recipes_mappings() -> None:
    renderer = {"backend": "gligen", "steps": 30}
    values = {"name": "mine", "scenes": 3, "renderer": renderer}
    recipe = load_recipe(values, {"render.candidates": 8, "renderer.refiner": {"steps": 20}})
    assert (recipe.scenes, recipe.render.candidates) == (3, 8)
    assert recipe.resolved()["renderer"]["refiner"]["steps"] == 20
    assert renderer == {"backend": "gligen", "steps": 30}  # as it was
    with pytest.raises(AcpError, match="recipe: unknown key 'scens'; did you mean 'scenes'"):
        load_recipe({"name": "mine", "scens": 3})


def test_an_override_with_another_backend_leaves_the_options_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(load_recipe("demo").resolved()), encoding="utf-8")
    assert load_recipe(path, ["llm.backend=sampler"]).resolved()["llm"] == {"backend": "sampler"}
    changed = load_recipe("lvis-longtail", ["renderer.steps=8", "renderer.backend=flux3"])
    flux3 = load_recipe("tiny", {"renderer": {"backend": "flux3", "steps": 8}})
    assert changed.resolved()["renderer"] == flux3.resolved()["renderer"]
    same = load_recipe("lvis-longtail", ["renderer.backend=gligen"])
    assert same.resolved() == load_recipe("lvis-longtail").resolved()
    captioner = load_recipe("lvis-longtail", ["scorer.captioner.backend=embedded"])
    assert captioner.resolved()["scorer"]["captioner"]["backend"] == "embedded"
    assert captioner.resolved()["scorer"]["judge"]["batch_size"] == 64
    # Written by hand, not by an override, it is a mistake.
    with pytest.raises(AcpError, match=r"unknown key 'llm\.threads'"):
        load_recipe({"name": "mine", "llm": {"backend": "sampler", "threads": 1}})


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    ran = CliRunner().invoke(app, ["recipes", "--schema"])
    found = json.loads(ran.stdout)
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(found)


@pytest.mark.parametrize("name", recipe_names())
def test_the_schema_takes_the_recipes_that_come_along(
    schema: jsonschema.Draft202012Validator, name: str
) -> None:
    schema.validate(yaml.safe_load((RECIPES / f"{name}.yaml").read_text(encoding="utf-8")))
    schema.validate(load_recipe(name).resolved())


@pytest.mark.parametrize(
    "mistake",
    [
        {"scens": 4},
        {"scenes": "many"},
        {"render": {"candidats": 4}},
        {"renderer": {"backend": "cutpast"}},
        {"renderer": {"model": "me/model"}},
        {"renderer": {"backend": "gligen", "stepz": 30}},
        {"renderer": {"backend": "gligen", "refiner": {"steps": 0}}},
        {"scorer": {"backend": "clis", "judge": {"backend": "openai", "modl": "x"}}},
    ],
)
def test_the_schema_refuses_what_a_recipe_may_not_say(
    schema: jsonschema.Draft202012Validator, mistake: dict[str, Any]
) -> None:
    assert not schema.is_valid({"name": "mine", **mistake})
    with pytest.raises(AcpError):
        load_recipe({"name": "mine", **mistake})


def test_the_schema_describes_everything() -> None:
    properties = recipe_schema()["properties"]
    renderers = properties["renderer"]["anyOf"]
    titles = [each["title"] for each in renderers]
    assert titles == ["cutpaste", "flux3", "gligen", "module:Class"]
    gligen = renderers[titles.index("gligen")]["properties"]
    assert gligen["steps"]["default"] == 50
    assert properties["llm"]["default"] == {"backend": "smollm2"}


def test_an_unknown_recipe_suggests_the_nearest() -> None:
    with pytest.raises(AcpError, match="did you mean 'demo'"):
        load_recipe("dem")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not valid YAML: line 1"),
        ("- 1", "mapping"),
        ("a: &x [1, 2]\nb: *x", "line 2, column 4: aliases"),
        ("name: a\nname: b", "line 2, column 1: the key 'name' is given twice"),
        ("[" * 5000, "nested too deeply"),
        ("a: !!python/object/apply:os.system [id]", "could not determine a constructor"),
        ("a: 2024-99-99", "month must be in"),
    ],
)
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
        *(backend_class(kind, name).options_type for kind in BACKENDS for name in BACKENDS[kind]),
    ]
    undescribed = [
        f"{model.__name__}.{key}"
        for model in stages
        for key, field in model.model_fields.items()
        if not field.description
    ]
    assert undescribed == []


def test_a_recipe_without_a_data_set_goes_to_one_of_its_own_name() -> None:
    assert load_recipe({"name": "mine"}).data_set == "mine"
    assert load_recipe({"name": "mine", "data_set": "me/mine"}).data_set == "me/mine"
