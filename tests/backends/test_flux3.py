"""FLUX 3: captions from graphs, and a tiny model from its folder through all steps."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("diffusers")

from acp.backends.base import RenderRequest
from acp.backends.registry import make_backend
from acp.backends.render_flux3 import Flux3, cite, graph_caption, layout_boxes
from acp.core.errors import AcpError
from acp.core.licences import strictest
from acp.core.types import Failure, Rendering, SceneGraph, SceneObject
from support.loopback_hub import Hub, serving
from support.tiny_flux3 import save_flux3

pytestmark = pytest.mark.usefixtures("without_videos")

PAIR = SceneGraph(
    (SceneObject("dog", "brown"), SceneObject("bench", "red")),
    (),
    "A photo of a brown dog to the left of a red bench in a park.",
)
BOXES = np.array([[0.1, 0.3, 0.3, 0.5], [0.5, 0.4, 0.4, 0.5]], dtype=np.float32)


def request(
    seed: int, graph: SceneGraph = PAIR, boxes: Any = BOXES, size: tuple[int, int] = (96, 64)
) -> RenderRequest:
    return RenderRequest(graph, np.asarray(boxes, dtype=np.float32), size, seed)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_flux3(tmp_path_factory.mktemp("flux3") / "klein")


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_flux3(tmp_path_factory.mktemp("flux3") / "base", distilled=False)


def renderer(folder: Path, **options: Any) -> Flux3:
    spec = {
        "backend": "flux3",
        "model": str(folder),
        "dtype": "float32",
        "steps": 3,
        "caption": "graph",
        "max_new_tokens": 12,
        **options,
    }
    made = make_backend("renderer", spec)
    assert isinstance(made, Flux3)
    return made


@pytest.fixture(scope="session")
def tiny(folder: Path) -> Flux3:
    return renderer(folder)


def pixels(result: Rendering | Failure) -> Any:
    assert isinstance(result, Rendering), result
    return result.image_rgb


def difference(one: Any, other: Any) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def test_caption_is_what_the_upsampler_would_write() -> None:
    text = graph_caption(PAIR, layout_boxes(PAIR, BOXES))
    prose, _, table = text.partition(" [")
    assert prose == (
        "A photo of a brown dog <dog_1> to the left of a red bench <bench_1> in a park."
    )
    assert json.loads("[" + table) == [
        {"id": "dog_1", "bbox": [300, 100, 800, 400], "desc": "a brown dog"},
        {"id": "bench_1", "bbox": [400, 500, 900, 900], "desc": "a red bench"},
    ]


def test_the_library_reads_the_caption_back() -> None:
    from diffusers.modular_pipelines.flux3 import prompt_upsampler as library

    boxes = layout_boxes(PAIR, BOXES)
    text = graph_caption(PAIR, boxes)
    prose, rows = library.split_caption(text)
    assert rows is not None
    assert all(library.valid_added_row(row, prose) for row in rows)
    # What the upsampler's own path makes of an answer that is already right: no change.
    assert library.reconcile_boxes(text, library.boxes_to_canvas([*boxes])) == text


@pytest.mark.parametrize(
    ("category", "expected"),
    [("drum_(musical_instrument)", "drum_1"), ("hot-air_balloon", "hot_air_balloon_1")],
)
def test_ids_are_words_that_the_library_takes(category: str, expected: str) -> None:
    from diffusers.modular_pipelines.flux3.prompt_upsampler import BOX_ID

    graph = SceneGraph((SceneObject(category),), (), "A thing.")
    assert [box["id"] for box in layout_boxes(graph, BOXES[:1])] == [expected]
    assert BOX_ID.fullmatch(expected)


def test_ids_count_from_left_to_right_within_a_class() -> None:
    items = tuple(SceneObject(name) for name in ("dog", "cat", "dog", "dog"))
    boxes = np.array([[0.6, 0, 0.1, 0.1], [0, 0, 0.1, 0.1], [0.1, 0.5, 0.1, 0.1]] * 2)[:4]
    boxes[3] = (0.1, 0.2, 0.1, 0.1)
    graph = SceneGraph(items, (), "Animals.")
    names = [box["id"] for box in layout_boxes(graph, boxes.astype(np.float32))]
    assert names == ["dog_3", "cat_1", "dog_2", "dog_1"]


def test_words_inside_other_words_are_not_cited() -> None:
    items = (SceneObject("dog"), SceneObject("hotdog"))
    cited = cite("A doghouse, a hotdog and a dog.", items, ["dog_1", "hotdog_1"])
    assert cited.startswith("A doghouse, a ")
    assert cited.count("<dog_1>") == cited.count("<hotdog_1>") == 1
    assert cited.endswith("a dog <dog_1>.")


def test_an_object_that_the_caption_does_not_name_is_listed() -> None:
    cited = cite("A park.", PAIR.objects[:1], ["dog_1"])
    assert cited == "A park. In the picture is a brown dog <dog_1>."


def test_draws_and_keeps_what_it_drew_apart(tiny: Flux3) -> None:
    requests = [request(1), request(2), request(1, boxes=BOXES[::-1]), request(3)]
    together = tiny.render(requests)
    assert [pixels(each).shape for each in together] == [(64, 96, 3)] * 4
    first = pixels(together[0])
    for other in together[1:]:
        assert difference(pixels(other), first) > 2  # another seed, other boxes


def test_an_image_does_not_depend_on_what_shares_its_batch(tiny: Flux3) -> None:
    longer = SceneGraph(PAIR.objects, (), PAIR.caption + " It rains on the trees." * 30)
    requests = [request(1), request(2, longer), request(3), request(4, longer), request(5)]
    together = tiny.render(requests)
    for one, result in zip(requests, together, strict=True):
        assert difference(pixels(tiny.render([one])[0]), pixels(result)) <= 1


def test_batches_are_equal_to_one_by_one_before_rounding(tiny: Flux3) -> None:
    import torch

    from acp.backends.models.diffusion import generators

    phases = tiny._phases
    texts = [tiny.caption(request(1)), tiny.caption(request(1, boxes=BOXES[::-1]))]
    embeds = torch.cat([phases.encode(prompt=text, output="prompt_embeds") for text in texts])
    shared = {"width": 96, "height": 64, "num_inference_steps": 3, "output_type": "np"}

    def draw(rows: Any, seeds: list[int]) -> Any:
        return phases.draw(
            prompt_embeds=rows, generator=generators(seeds), output="images", **shared
        )

    both = draw(embeds, [1, 2])
    assert np.abs(both[0] - draw(embeds[:1], [1])[0]).max() < 1e-4
    assert np.abs(both[1] - draw(embeds[1:], [2])[0]).max() < 1e-4
    assert np.abs(both[1] - draw(embeds[:1], [2])[0]).max() > 1e-2  # the caption matters


def test_the_upsampler_writes_around_our_boxes(folder: Path) -> None:
    made = renderer(folder, caption="upsampler")
    text = made.caption(request(1))
    assert isinstance(text, str)
    table = json.loads(text[text.rindex("[{") :])
    assert [row["bbox"] for row in table] == [[300, 100, 800, 400], [400, 500, 900, 900]]
    assert text == made.caption(request(2))  # greedy: of the layout, not of the seed
    assert np.array_equal(
        pixels(made.render([request(1)])[0]), pixels(made.render([request(1)])[0])
    )


def test_the_graph_needs_no_upsampler(folder: Path, tmp_path: Path) -> None:
    kept = tmp_path / "klein"
    shutil.copytree(folder, kept, ignore=shutil.ignore_patterns("prompt_upsampler*"))
    index = json.loads((kept / "modular_model_index.json").read_text())
    assert "prompt_upsampler" in index
    assert pixels(renderer(kept).render([request(1)])[0]).shape == (64, 96, 3)


def test_an_upsampler_of_its_own_folder(folder: Path, tmp_path: Path) -> None:
    pup = tmp_path / "pup"
    shutil.copytree(folder / "prompt_upsampler", pup)
    shutil.copytree(folder / "prompt_upsampler_processor", pup, dirs_exist_ok=True)
    made = renderer(folder, caption="upsampler", upsampler=str(pup))
    assert made.caption(request(1)) == renderer(folder, caption="upsampler").caption(request(1))
    info = made.info()
    assert "+pup@sha256-" in info.revision
    assert info.note == "captions by pup"


def test_a_moved_folder_still_loads(folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    text = (moved / "modular_model_index.json").read_text()
    (moved / "modular_model_index.json").write_text(text.replace(str(folder), "bfl/not-here"))
    made = renderer(moved)
    expected = pixels(renderer(folder).render([request(1)])[0])
    assert np.array_equal(pixels(made.render([request(1)])[0]), expected)


def test_unload_gives_everything_back(folder: Path) -> None:
    made = renderer(folder)
    before = pixels(made.render([request(1)])[0])
    made.unload()
    assert "_phases" not in vars(made)
    assert np.array_equal(pixels(made.render([request(1)])[0]), before)


def test_guidance_and_negative_prompt_of_the_base_model(base_folder: Path) -> None:
    images = [
        pixels(renderer(base_folder, **options).render([request(1), request(2)])[0])
        for options in (
            {"guidance_scale": 1.0},
            {"guidance_scale": 6.0},
            {"guidance_scale": 6.0, "negative_prompt": "rain on a window at night"},
        )
    ]
    assert difference(images[0], images[1]) > 2
    assert difference(images[1], images[2]) > 2


def test_the_distilled_model_takes_no_guidance(folder: Path) -> None:
    with pytest.raises(AcpError, match=r"distilled and takes no guidance; drop guidance_scale"):
        renderer(folder, guidance_scale=7.5).load()
    with pytest.raises(AcpError, match=r"takes no guidance; drop negative_prompt"):
        renderer(folder, negative_prompt="blurred").load()


def test_wrong_sizes_are_told_with_the_nearest_right_one(tiny: Flux3) -> None:
    with pytest.raises(AcpError, match=r"multiples of 16, got \[100, 64\]; use \[96, 64\]"):
        tiny.render([request(1, size=(100, 64))])


def test_a_caption_that_would_be_cut_is_refused(tiny: Flux3) -> None:
    endless = SceneGraph(PAIR.objects, (), "A dog and a bench." + " xyz" * 5000)
    long, short = tiny.render([request(1, endless), request(1)])
    assert isinstance(long, Failure)
    assert "of which 8192 would be read" in long.reason
    assert isinstance(short, Rendering)


def test_memory_options_do_not_change_the_image(folder: Path, tiny: Flux3) -> None:
    expected = pixels(tiny.render([request(1)])[0])
    made = renderer(folder, vae_slicing=True, channels_last=True, offload="model", batch_size=1)
    assert difference(pixels(made.render([request(1)])[0]), expected) <= 1
    assert made.content_options() == tiny.content_options()


def test_streaming_layers_does_not_change_the_image(folder: Path, tiny: Flux3) -> None:
    """What `offload: sequential` does on a GPU, from the CPU to the CPU."""
    import torch

    from acp.backends.models.flux3 import stream_layers

    made = renderer(folder)
    for phase in (made._phases.encode, made._phases.draw):
        stream_layers(phase, torch.device("cpu"))
    expected = pixels(tiny.render([request(1)])[0])
    assert difference(pixels(made.render([request(1)])[0]), expected) <= 1


def test_attention_slicing_is_refused(folder: Path) -> None:
    with pytest.raises(AcpError, match="knows no attention_slicing"):
        renderer(folder, attention_slicing=True).load()


def test_another_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    with pytest.raises(AcpError, match="renderer 'flux3'"):
        renderer(tmp_path).load()


def test_licence_of_a_folder_without_a_card_is_unknown(folder: Path) -> None:
    info = renderer(folder).info()
    assert info.licence == "unknown"
    assert strictest([info.licence, "apache-2.0"]) == "other"


FROM_THE_HUB = """
import hashlib, json, sys
from backends.test_flux3 import request
from acp.backends.registry import make_backend
from acp.core.errors import AcpError

told = []
for model, caption in json.loads(sys.argv[1]):
    spec = {"backend": "flux3", "model": model, "caption": caption, "dtype": "float32"}
    made = make_backend("renderer", {**spec, "steps": 3, "max_new_tokens": 12})
    try:
        image = made.render([request(1)])[0].image_rgb
        digest = hashlib.sha256(image.tobytes()).hexdigest()
        told.append([str(made.info()), made.info().licence, digest])
    except AcpError as error:
        told.append(str(error))
print(json.dumps(told))
"""
WITHOUT_VIDEOS = f"""
import sys

sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from support.videos import leave_out_videos

leave_out_videos()
"""


def as_on_the_hub(folder: Path, target: Path) -> dict[str, Path]:
    """The two repositories: the model, whose index names the other, and the prompt upsampler."""
    klein, pup = target / "klein", target / "pup"
    shutil.copytree(folder, klein, ignore=shutil.ignore_patterns("prompt_upsampler*"))
    shutil.copytree(folder / "prompt_upsampler", pup)
    shutil.copytree(folder / "prompt_upsampler_processor", pup, dirs_exist_ok=True)
    index = json.loads((klein / "modular_model_index.json").read_text())
    for name, value in index.items():
        if isinstance(value, list):
            where = {"pretrained_model_name_or_path": "bfl/klein", "subfolder": name}
            if "upsampler" in name:
                where = {"pretrained_model_name_or_path": "bfl/pup", "subfolder": ""}
            value[2] |= where
    (klein / "modular_model_index.json").write_text(json.dumps(index))
    return {"bfl/klein": klein, "bfl/pup": pup, "bfl/gated": klein}


@pytest.mark.slow
def test_from_the_hub_by_commit_with_its_upsampler_elsewhere(folder: Path, tmp_path: Path) -> None:
    hub = Hub(tmp_path / "hub")
    cards = {
        "bfl/klein": {"license": "other", "license_name": "flux-kommunity-license"},
        "bfl/pup": {"license": "apache-2.0"},
    }
    for name, model in as_on_the_hub(folder, tmp_path).items():
        gated = name == "bfl/gated"
        hub.put_folder(name, model, "model", gated=gated, card=cards.get(name))
    wanted = [("bfl/klein", "graph"), ("bfl/klein", "upsampler"), ("bfl/gated", "graph")]
    with serving(hub):
        ran = hub.run(WITHOUT_VIDEOS + FROM_THE_HUB, tmp_path / "cache", json.dumps(wanted))
    assert ran.returncode == 0, ran.stderr
    by_graph, by_upsampler, refused = json.loads(ran.stdout)
    klein, pup = (hub.head(name, repo_type="model") for name in ("bfl/klein", "bfl/pup"))
    kommunity = "flux-kommunity-license"
    assert strictest([kommunity, "apache-2.0"]) == "other"
    expected = [
        hashlib.sha256(pixels(renderer(folder, caption=name).render([request(1)])[0])).hexdigest()
        for name in ("graph", "upsampler")
    ]
    assert by_graph == [f"bfl/klein@{klein}", kommunity, expected[0]]
    assert by_upsampler == [f"bfl/klein@{klein}+bfl/pup@{pup}", kommunity, expected[1]]
    asked = [path for _, path, _ in hub.requests]
    files = [path for path in asked if "/resolve/" in path and "gated" not in path]
    assert files
    assert all(path.split("/")[4] in {klein, pup} for path in files)
    assert refused == (
        "renderer 'flux3': the Hub does not give bfl/gated: accept its licence on "
        "https://huggingface.co/bfl/gated, then log in: hf auth login"
    )


def test_the_render_stage_of_a_recipe(folder: Path) -> None:
    from acp.pipeline.pipeline import Pipeline
    from acp.pipeline.recipe import Recipe, validated
    from support.scenes import make_candidate, make_scene

    spec = {"backend": "flux3", "model": str(folder), "caption": "graph", "dtype": "float32"}
    values = {"name": "mine", "size_wh": [96, 64], "renderer": {**spec, "steps": 2}}
    recipe: Recipe = validated(Recipe, values, where="mine")
    # The runner goes on with all options written out.
    recipe = validated(Recipe, recipe.resolved(), where="mine")
    render = Pipeline(recipe).stages[3]
    (scene,) = render([make_scene(make_candidate())])
    assert [candidate.reject for candidate in scene.candidates] == [""] * 4
    images = [pixels(candidate.rendering) for candidate in scene.candidates if candidate.rendering]
    assert {image.shape for image in images} == {(64, 96, 3)}
    assert len({image.tobytes() for image in images}) == 4
