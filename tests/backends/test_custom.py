"""Pipelines that recipes name: a real GLIGEN, code from folders, and layouts that arrive right."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("diffusers")

from acp.backends.base import RenderRequest
from acp.backends.models.custom_arguments import Constants, filled_in
from acp.backends.registry import make_backend
from acp.backends.render_custom import Custom
from acp.core.errors import AcpError
from acp.core.types import Failure, Rendering, SceneGraph, SceneObject
from support import painting_pipelines
from support.loopback_hub import Hub, serving
from support.tiny_diffusion import save_gligen

GRAPH = SceneGraph(
    (SceneObject("dog", "brown"), SceneObject("bench")), (), "A brown dog and a bench."
)
BOXES = ((0.125, 0.25, 0.25, 0.5), (0.5, 0.5, 0.375, 0.25))
GLIGEN: dict[str, Any] = {
    "gligen_phrases": {"each": "{phrase}"},
    "gligen_boxes": {"each": "{box}"},
    "gligen_scheduled_sampling_beta": 1.0,
    "output_type": "np",
}
MOSS: dict[str, Any] = {
    "prompt": {
        "json": {
            "caption": "{caption}",
            "elements": {"each": {"label": "object", "desc": "a {phrase}", "bbox": "{box}"}},
        }
    },
    "output_type": "np",
}
CENTRE = {"order": "yxyx", "unit": "pixels", "origin": "centre", "whole": True}


def request(
    seed: int, boxes: Any = BOXES, size: tuple[int, int] = (64, 64), graph: SceneGraph = GRAPH
) -> RenderRequest:
    return RenderRequest(graph, np.asarray(boxes, dtype=np.float32), size, seed)


def custom(model: Path, **options: Any) -> Custom:
    made = make_backend("renderer", {"backend": "custom", "model": str(model), **options})
    assert isinstance(made, Custom)
    return made


def pixels(result: Rendering | Failure) -> Any:
    assert isinstance(result, Rendering), result
    return result.image_rgb


@pytest.fixture(scope="session")
def gligen_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_gligen(tmp_path_factory.mktemp("custom") / "gligen")


@pytest.fixture
def empty_model(tmp_path: Path) -> Path:
    """A model whose weights say nothing."""
    from diffusers import AutoencoderTiny, DDIMScheduler

    small: dict[str, Any] = {
        "encoder_block_out_channels": (4, 4),
        "decoder_block_out_channels": (4, 4),
        "num_encoder_blocks": (1, 1),
        "num_decoder_blocks": (1, 1),
    }
    pipeline = painting_pipelines.FromCentre(DDIMScheduler(), AutoencoderTiny(**small))
    pipeline.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """A folder with code in pipeline.py, as diffusers wants it."""
    folder = tmp_path / "remote"
    folder.mkdir()
    source = Path(painting_pipelines.__file__).read_text(encoding="utf-8")
    text = source.partition("class InLists")[0]
    (folder / "pipeline.py").write_text(text, encoding="utf-8")
    return folder


def gligen(folder: Path, **options: Any) -> Custom:
    return custom(
        folder,
        pipeline="diffusers.StableDiffusionGLIGENPipeline",
        **{"arguments": GLIGEN, "steps": 2, "dtype": "float32", **options},
    )


def painted(image: Any, colour: tuple[int, int, int]) -> list[int]:
    """`[x_min, y_min, x_max, y_max]` of what has the colour."""
    rows, columns = np.nonzero((image == colour).all(axis=-1))
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_gligen_through_the_mapping_is_gligen(gligen_folder: Path) -> None:
    import torch
    from diffusers import StableDiffusionGLIGENPipeline

    made = gligen(gligen_folder)
    drawn = pixels(made.render([request(7)])[0])
    stock = StableDiffusionGLIGENPipeline.from_pretrained(gligen_folder)
    stock.set_progress_bar_config(disable=True)
    expected = stock(
        prompt=GRAPH.caption,
        negative_prompt="",
        width=64,
        height=64,
        num_inference_steps=2,
        guidance_scale=7.5,
        gligen_phrases=["brown dog", "bench"],
        gligen_boxes=[[0.125, 0.25, 0.375, 0.75], [0.5, 0.5, 0.875, 0.75]],
        gligen_scheduled_sampling_beta=1.0,
        generator=torch.Generator().manual_seed(7),
        output_type="np",
    ).images[0]
    assert np.array_equal(drawn, (expected * 255).round().astype(np.uint8))
    others = made.render([request(8), request(7, BOXES[::-1])])
    changes = [np.abs(pixels(other).astype(int) - drawn).max() for other in others]
    assert min(changes) > 0  # another seed, other boxes


def test_the_class_that_the_model_names(gligen_folder: Path) -> None:
    named = gligen(gligen_folder).render([request(1)])[0]
    made = custom(gligen_folder, arguments=GLIGEN, steps=2, dtype="float32")
    assert np.array_equal(pixels(made.render([request(1)])[0]), pixels(named))


def test_boxes_from_the_middle_of_the_canvas_arrive_where_they_belong(empty_model: Path) -> None:
    made = custom(
        empty_model,
        pipeline="support.painting_pipelines:FromCentre",
        arguments=MOSS,
        boxes=CENTRE,
        image="images[0]",
    )
    image = pixels(made.render([request(1, size=(96, 64))])[0])
    assert image.shape == (64, 96, 3)
    assert painted(image, painting_pipelines.COLOURS[0]) == [12, 16, 36, 48]
    assert painted(image, painting_pipelines.COLOURS[1]) == [48, 32, 84, 48]


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ({}, [0.125, 0.25, 0.375, 0.75]),
        ({"order": "xywh"}, [0.125, 0.25, 0.25, 0.5]),
        ({"order": "yxyx", "unit": "thousandths", "whole": True}, [250, 125, 750, 375]),
        ({"order": "cxcywh", "unit": "pixels"}, [24, 32, 24, 32]),
        ({"origin": "centre"}, [-0.375, -0.25, -0.125, 0.25]),
        ({"order": "xywh", "unit": "pixels", "origin": "centre"}, [-36, -16, 24, 32]),
    ],
)
def test_conventions_of_boxes(boxes: Any, expected: list[float]) -> None:
    made = make_backend("renderer", {"backend": "custom", "boxes": boxes})
    assert isinstance(made, Custom)
    assert made.options.boxes.written(request(1, size=(96, 64)))[0] == pytest.approx(expected)


def in_lists(model: Path, **options: Any) -> Custom:
    arguments = {
        "regions": {"each": {"desc": "{phrase}", "box": "{box}"}},
        "seeds": "{seed}",
        **options.pop("arguments", {}),
    }
    return custom(
        model,
        pipeline="support.painting_pipelines:InLists",
        arguments=arguments,
        boxes={"order": "xywh"},
        image="pictures",
        batched=True,
        **options,
    )


def test_lists_in_one_call_and_seeds_without_a_generator(empty_model: Path) -> None:
    made = in_lists(empty_model)
    requests = [request(1), request(2, BOXES[::-1]), request(3, size=(32, 96))]
    together = [pixels(each) for each in made.render(requests)]
    alone = [pixels(made.render([each])[0]) for each in requests]
    assert all(np.array_equal(a, b) for a, b in zip(together, alone, strict=True))
    assert painted(together[0], painting_pipelines.COLOURS[0]) == [8, 16, 24, 48]
    assert painted(together[1], painting_pipelines.COLOURS[0]) == [32, 32, 56, 48]
    assert together[2].shape == (96, 32, 3)


def test_lists_are_halved_where_memory_runs_out(empty_model: Path) -> None:
    made = in_lists(empty_model, arguments={"largest": 3}, batch_size=8)
    assert all(isinstance(each, Rendering) for each in made.render([request(i) for i in range(9)]))
    assert made._batches.size == 2


def test_scenes_with_too_many_objects_are_rejected(empty_model: Path) -> None:
    made = in_lists(empty_model, most_objects=1)
    one = SceneGraph(GRAPH.objects[:1], (), "A brown dog.")
    results = made.render([request(1), request(2, BOXES[:1], graph=one)])
    assert results[0] == Failure("more than 1 objects")
    assert isinstance(results[1], Rendering)


def test_remote_code_is_refused_without_the_flag(remote: Path, empty_model: Path) -> None:
    (remote / "pipeline.py").write_text("raise SystemExit('it ran')", encoding="utf-8")
    made = custom(empty_model, custom_pipeline=str(remote), arguments=MOSS, boxes=CENTRE)
    with pytest.raises(AcpError, match="read it, then write trust_remote_code: true"):
        made.load()


@pytest.mark.parametrize("name", ["lpw_stable_diffusion", "somebody/pipelines"])
def test_code_of_the_hub_is_refused_before_anything_is_fetched(
    name: str, empty_model: Path
) -> None:
    made = custom(empty_model, custom_pipeline=name, arguments=MOSS)
    with pytest.raises(AcpError, match=rf"custom_pipeline {name} comes with Python code"):
        made.load()


def test_remote_code_runs_with_the_flag_and_is_told(
    remote: Path, empty_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = custom(
        empty_model,
        custom_pipeline=str(remote),
        trust_remote_code=True,
        arguments=MOSS,
        boxes=CENTRE,
    )
    with caplog.at_level(logging.WARNING):
        image = pixels(made.render([request(1)])[0])
    assert painted(image, painting_pipelines.COLOURS[1]) == [32, 32, 56, 48]
    told = [record.getMessage() for record in caplog.records if record.name.startswith("acp.")]
    assert len(told) == 1
    assert "running Python code that comes with model at revision sha256-" in told[0]
    assert "remote at revision sha256-" in told[0]
    before = made.info().revision
    source = (remote / "pipeline.py").read_text(encoding="utf-8")
    (remote / "pipeline.py").write_text(source + "\n# other code\n", encoding="utf-8")
    assert made.info().revision != before


def test_code_beside_the_model(
    remote: Path, empty_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As MOSS-Image has it: the class stands in a file of the model's own repository."""
    (remote / "pipeline.py").rename(empty_model / "pipeline_own.py")
    index = empty_model / "model_index.json"
    saved = json.loads(index.read_text(encoding="utf-8"))
    saved["_class_name"] = ["pipeline_own", "FromCentre"]
    index.write_text(json.dumps(saved), encoding="utf-8")
    options: dict[str, Any] = {"arguments": MOSS, "boxes": CENTRE}
    for more in ({}, {"custom_pipeline": "pipeline_own"}):
        with pytest.raises(AcpError, match="comes with Python code of its own; read it"):
            custom(empty_model, **options, **more).load()
        made = custom(empty_model, trust_remote_code=True, **options, **more)
        image = pixels(made.render([request(1)])[0])
        assert painted(image, painting_pipelines.COLOURS[0]) == [8, 16, 24, 48]
        assert "+" not in made.info().revision
    assert "comes with model at revision sha256-" in caplog.text


def test_code_of_the_hub_by_commit(remote: Path, empty_model: Path, tmp_path: Path) -> None:
    spec = {
        "backend": "custom",
        "model": "user/model",
        "custom_pipeline": "user/code",
        "trust_remote_code": True,
        "arguments": MOSS,
        "boxes": CENTRE,
    }
    code = """
import json, sys
from backends.test_custom import request, painted
from acp.backends.registry import make_backend
made = make_backend("renderer", json.loads(sys.argv[1]))
image = made.render([request(1)])[0].image_rgb
print(json.dumps([str(made.info()), [int(side) for side in painted(image, (255, 0, 0))]]))
"""
    hub = Hub(tmp_path / "hub")
    main = hub.put_folder("user/model", empty_model, "model", card={"license": "apache-2.0"})
    code_main = hub.put_folder("user/code", remote, "model")
    with serving(hub):
        ran = hub.run(code, tmp_path / "cache", json.dumps(spec))
    assert ran.returncode == 0, ran.stderr
    model, pipes = f"user/model@{main}", f"user/code@{code_main}"
    assert json.loads(ran.stdout) == [f"{model}+{pipes}", [8, 16, 24, 48]]
    told = [line for line in ran.stderr.splitlines() if "running Python code" in line]
    assert told == [
        "renderer 'custom': running Python code that comes with "
        f"{model.replace('@', ' at revision ')} and {pipes.replace('@', ' at revision ')}"
    ]
    asked = [path for _, path, _ in hub.requests if path.endswith("pipeline.py")]
    assert asked
    assert all(code_main in path for path in asked)


def test_pickled_weights_are_not_read(gligen_folder: Path, tmp_path: Path) -> None:
    import shutil

    import torch
    from safetensors.torch import load_file

    folder = tmp_path / "pickled"
    shutil.copytree(gligen_folder, folder)
    for part, name in (("unet", "diffusion_pytorch_model"), ("text_encoder", "model")):
        weights = folder / part / f"{name}.safetensors"
        target = "pytorch_model" if part == "text_encoder" else name
        torch.save(load_file(weights), folder / part / f"{target}.bin")
        weights.rename(tmp_path / "away.safetensors")
        with pytest.raises(AcpError, match="cannot load"):
            gligen(folder).load()
        (tmp_path / "away.safetensors").rename(weights)
    gligen(folder).load()


def test_a_recipe_is_checked_without_importing(tmp_path: Path) -> None:
    made = custom(tmp_path, pipeline="not_there_at_all.pipes:Class", arguments=MOSS)
    assert [missing.what for missing in made.missing()] == ["Python package 'not_there_at_all'"]
    with pytest.raises(AcpError, match=r"cannot import not_there_at_all\.pipes .* PYTHONPATH"):
        made.load()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"pipeline": "diffusers.NoSuchPipeline"}, "diffusers has no NoSuchPipeline"),
        ({"pipeline": "json:dumps"}, "json:dumps is no pipeline: it has no from_pretrained"),
        ({"arguments": {**GLIGEN, "boxen": "{seed}"}}, "arguments.boxen: Stable.* it takes prompt"),
        ({"arguments": {"gligen_phrases": {"each": "{noun}"}}}, "nothing holds {box}"),
        ({"generator": "noise"}, "takes no 'noise'; name the argument"),
        ({"model": ""}, "model: name an id on the Hub or a folder"),
    ],
)
def test_what_does_not_fit_the_pipeline(
    options: dict[str, Any], told: str, gligen_folder: Path
) -> None:
    spec = {
        "backend": "custom",
        "model": str(gligen_folder),
        "pipeline": "diffusers.StableDiffusionGLIGENPipeline",
        "arguments": GLIGEN,
        **options,
    }
    with pytest.raises(AcpError, match=told) as caught:
        make_backend("renderer", spec).load()
    assert "\n" not in str(caught.value)


def test_an_argument_that_is_needed(empty_model: Path) -> None:
    made = custom(empty_model, pipeline="support.painting_pipelines:InLists", arguments=MOSS)
    with pytest.raises(AcpError, match="takes no such argument; it takes prompt, regions"):
        made.load()
    made = custom(
        empty_model,
        pipeline="support.painting_pipelines:InLists",
        arguments={"regions": {"each": "{box}"}},
    )
    with pytest.raises(AcpError, match="arguments: InLists needs seeds"):
        made.load()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"arguments": {"prompt": "{captoin}"}}, "prompt: there is no place {captoin}; did you"),
        ({"arguments": {"boxes": "{box}"}}, "{box} belongs to an object: put it inside `each`"),
        ({"arguments": {"prompt": "{caption.x}"}}, "a place is a name in braces"),
        ({"arguments": {"prompt": "{"}}, "prompt: "),
        ({"arguments": {"a": {"each": {"each": "{box}"}}}}, "`each` inside `each`"),
        ({"pipeline": "a b"}, "pipeline"),
        ({"pipeline": "a.B", "custom_pipeline": "c/d"}, "either pipeline or custom_pipeline"),
        ({"loading": {"use_safetensors": False}}, "use_safetensors: options of the renderer"),
        ({"image": "images["}, "image"),
        ({"boxes": {"order": "xxyy"}}, "boxes.order"),
        ({"boxes": {"odrer": "xyxy"}}, "odrer"),
    ],
)
def test_mistakes_that_the_recipe_shows(options: dict[str, Any], told: str) -> None:
    with pytest.raises(AcpError) as caught:
        make_backend("renderer", {"backend": "custom", **options})
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("image", "told"),
    [
        ("pictures", "there is no 'pictures' in what the pipeline returns"),
        ("images[3]", "there is no '3'"),
    ],
)
def test_an_image_that_is_not_there(image: str, told: str, empty_model: Path) -> None:
    made = custom(
        empty_model,
        pipeline="support.painting_pipelines:FromCentre",
        arguments=MOSS,
        boxes=CENTRE,
        image=image,
    )
    with pytest.raises(AcpError, match=told):
        made.render([request(1)])


def test_a_call_that_fails_for_one_scene_is_a_failure(empty_model: Path) -> None:
    made = custom(
        empty_model,
        pipeline="support.painting_pipelines:FromCentre",
        arguments={**MOSS, "output_type": "pil"},
        boxes=CENTRE,
    )
    assert made.render([request(1)]) == [Failure("ValueError: np alone")]


def test_a_call_that_cannot_be_made_is_an_error(empty_model: Path) -> None:
    made = custom(
        empty_model,
        pipeline="support.painting_pipelines:FromCentre",
        arguments={**MOSS, "height": "tall"},
        boxes=CENTRE,
    )
    with pytest.raises(AcpError, match="arguments: FromCentre cannot be called so"):
        made.render([request(1)])


def test_parts_in_another_dtype(gligen_folder: Path) -> None:
    import torch

    made = gligen(gligen_folder, dtype="bfloat16", part_dtypes={"vae": "float32"})
    assert made._pipeline.vae.dtype == torch.float32
    assert made._pipeline.unet.dtype == torch.bfloat16
    with pytest.raises(AcpError, match=r"part_dtypes\.vea: .* it has vae, text_encoder"):
        gligen(gligen_folder, part_dtypes={"vea": "float32"}).load()


def test_a_licence_that_the_card_does_not_tell(gligen_folder: Path) -> None:
    assert gligen(gligen_folder).info().licence == "unknown"
    told = gligen(gligen_folder, licence="creativeml-openrail-m").info()
    assert told.licence == "creativeml-openrail-m"


def test_the_render_stage_of_a_recipe(empty_model: Path) -> None:
    from acp.pipeline.pipeline import Pipeline
    from acp.pipeline.recipe import Recipe, validated
    from support.scenes import make_candidate, make_scene

    renderer = {
        "backend": "custom",
        "model": str(empty_model),
        "pipeline": "support.painting_pipelines:FromCentre",
        "arguments": MOSS,
        "boxes": CENTRE,
    }
    values = {"name": "mine", "size_wh": [96, 64], "renderer": renderer}
    recipe: Recipe = validated(Recipe, values, where="mine")
    # The runner goes on with all options written out.
    recipe = validated(Recipe, recipe.resolved(), where="mine")
    (scene,) = Pipeline(recipe).stages[3]([make_scene(make_candidate())])
    assert [candidate.reject for candidate in scene.candidates] == [""] * 4
    image = pixels(scene.candidates[0].rendering or Failure("none"))
    assert image.shape == (64, 96, 3)
    assert image[30, 25].argmax() == 0
    assert image[30, 75].argmax() == 1


def test_the_recipes_of_the_documentation_are_read() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "renderers.md").read_text("utf-8")
    recipes = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    named = [recipe["renderer"] for recipe in recipes if "renderer" in recipe]
    made = [make_backend("renderer", spec) for spec in named]
    assert [each.name for each in made].count("custom") == 4
    assert "flux3" in {each.name for each in made}
    customs = [each for each in made if isinstance(each, Custom)]
    (moss,) = [each for each in customs if "MOSS" in each.options.model]
    prompt = filled_in(
        moss.options.arguments["prompt"],
        request(1, size=(96, 64)),
        moss.options.boxes,
        Constants(50, 3.0, ""),
    )
    assert json.loads(prompt)["items"][0] == {
        "label": "object",
        "caption": "brown dog",
        "bbox": [-16, -36, 16, -12],
    }
