"""The renderer `gligen`, with tiny random models saved and loaded by what users run."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("diffusers")

from acp.backends.base import RenderRequest
from acp.backends.models.diffusion import to_rendering, windows
from acp.backends.models.refiner import RefinerOptions
from acp.backends.registry import make_backend
from acp.backends.render_gligen import Gligen, GligenOptions, Row, SchedulerName
from acp.core.boxes import xywh_to_xyxy
from acp.core.errors import AcpError
from acp.core.images import decoded_rgb
from acp.core.seeds import derive_seed
from acp.core.types import Failure, Rendering, SceneGraph, SceneObject
from acp.pipeline.pipeline import Pipeline
from acp.pipeline.recipe import load_recipe
from support.scenes import make_scene
from support.tiny_diffusion import save_gligen, save_sdxl_refiner
from support.tiny_vision import save_sam2

Floats = npt.NDArray[np.float32]
pytestmark = pytest.mark.usefixtures("one_thread")

CLOSE = 1e-4
SIZE = (64, 64)


def request(
    caption: str,
    objects: Sequence[tuple[str, str]],
    boxes: Sequence[Sequence[float]],
    seed: int,
    size_wh: tuple[int, int] = SIZE,
) -> RenderRequest:
    graph = SceneGraph(tuple(SceneObject(*each) for each in objects), (), caption)
    return RenderRequest(graph, np.array(boxes, np.float32).reshape(-1, 4), size_wh, seed)


LEFT, RIGHT, LARGE = (0.0, 0.3, 0.4, 0.5), (0.5, 0.2, 0.4, 0.4), (0.1, 0.1, 0.8, 0.8)
SCENES = [
    request("a brown dog left of a cat", [("dog", "brown"), ("cat", "")], [LEFT, RIGHT], 1),
    request("a zebra on a meadow", [("zebra", "")], [LARGE], 2),
    request("a dog right of a cat", [("dog", "black"), ("cat", "white")], [RIGHT, LEFT], 7),
    request("an empty room", [], [], 3),
]
LONG = "the quick brown fox jumps over the lazy dog and runs into a forest of tall old trees " * 2
"""Over two windows of 75 tokens, where every letter is one."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    saved = save_gligen(tmp_path_factory.mktemp("models") / "gligen")
    (saved / "README.md").write_text("---\nlicense: creativeml-openrail-m\n---\n")
    return saved


@pytest.fixture(scope="module")
def refiner_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    saved = save_sdxl_refiner(tmp_path_factory.mktemp("models") / "refiner")
    (saved / "README.md").write_text("---\nlicense: openrail++\n---\n")
    return saved


@pytest.fixture(scope="module")
def plain(folder: Path) -> Gligen:
    return gligen(folder)


def gligen(folder: Path, **options: Any) -> Gligen:
    few = {"steps": 2, "scheduled_sampling_beta": 0.7}
    return Gligen(GligenOptions(**{"model": str(folder), "device": "cpu", **few, **options}))


def rows_of(backend: Gligen, requests: Sequence[RenderRequest]) -> list[Row]:
    rows = [backend.row_of(each) for each in requests]
    assert not [row for row in rows if isinstance(row, Failure)]
    return [row for row in rows if isinstance(row, Row)]


def draw(backend: Gligen, requests: Sequence[RenderRequest]) -> list[Floats]:
    images = backend.draw(rows_of(backend, requests))
    return [image for image in images if not isinstance(image, Failure)]


def apart(one: Sequence[Floats], other: Sequence[Floats]) -> float:
    assert len(one) == len(other)
    return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))


def reason(result: object) -> str:
    assert isinstance(result, Failure)
    return result.reason


def pixels(result: object) -> npt.NDArray[np.int64]:
    assert isinstance(result, Rendering)
    return result.image_rgb.astype(np.int64)


@pytest.mark.parametrize("scheduler", [None, *get_args(SchedulerName)])
def test_an_image_does_not_depend_on_what_shares_its_batch(
    folder: Path, scheduler: str | None
) -> None:
    backend = gligen(folder, scheduler=scheduler, dtype="float32")
    together = draw(backend, SCENES)
    alone = [draw(backend, [scene])[0] for scene in SCENES]
    assert apart(together, alone) < CLOSE
    moved = [replace(scene, boxes_xywhn=scene.boxes_xywhn[:, ::-1]) for scene in SCENES[:3]]
    for image, wrong in zip(together, draw(backend, moved), strict=False):
        assert apart([image], [wrong]) > 10 * CLOSE  # boxes matter, so the test above can fail


@pytest.mark.parametrize("beta", [0.3, 1.0])
def test_it_draws_what_the_stock_pipeline_draws(folder: Path, beta: float) -> None:
    from diffusers import StableDiffusionGLIGENPipeline

    stock = StableDiffusionGLIGENPipeline.from_pretrained(folder, safety_checker=None)
    backend = gligen(folder, scheduled_sampling_beta=beta, negative_prompt="ugly", steps=4)
    ours = draw(backend, SCENES[:3])
    assert apart(ours, [_stock(stock, scene, beta) for scene in SCENES[:3]]) < CLOSE


def _stock(pipeline: Any, scene: RenderRequest, beta: float) -> Floats:
    import torch

    images = pipeline(
        scene.graph.caption,
        height=SIZE[1],
        width=SIZE[0],
        num_inference_steps=4,
        gligen_scheduled_sampling_beta=beta,
        gligen_phrases=[f"{each.attributes} {each.category}" for each in scene.graph.objects],
        gligen_boxes=xywh_to_xyxy(scene.boxes_xywhn).tolist(),
        negative_prompt="ugly",
        generator=torch.Generator("cpu").manual_seed(scene.seed),
        output_type="np",
    ).images
    return np.asarray(images[0], dtype=np.float32)


def test_order_and_batch_size_do_not_matter(folder: Path, plain: Gligen) -> None:
    mixed = [*SCENES, replace(SCENES[1], size_wh=(48, 64)), _captioned(LONG)]
    forth = plain.render(mixed)
    back = gligen(folder, batch_size=2).render(mixed[::-1])[::-1]
    for one, other, scene in zip(forth, back, mixed, strict=True):
        assert pixels(one).shape == (scene.size_wh[1], scene.size_wh[0], 3)
        assert np.abs(pixels(one) - pixels(other)).max() <= 1  # a rounding to bytes may flip


def _captioned(caption: str) -> RenderRequest:
    return replace(SCENES[1], graph=replace(SCENES[1].graph, caption=caption))


def test_the_end_of_a_long_caption_matters(plain: Gligen) -> None:
    tokenizer = plain.pipeline.tokenizer
    assert len(tokenizer(LONG).input_ids) > 130
    cat, dog = (
        draw(plain, [_captioned(f"{LONG} with a {animal}")])[0] for animal in ("cat", "dog")
    )
    assert apart([cat], [dog]) > 0
    parts = windows(LONG, tokenizer)
    assert isinstance(parts, tuple)
    assert " ".join(parts).split() == LONG.split()
    assert all(len(tokenizer(part).input_ids) <= 77 for part in parts)


def test_what_does_not_fit_is_a_failure_with_its_reason(plain: Gligen) -> None:
    crowd = request("many", [("apple", "")] * 31, [LARGE] * 31, 0)
    wordy = request("a dog", [("dog", "very " * 20)], [LARGE], 0)
    found = plain.render([crowd, SCENES[0], wordy, _captioned("x" * 76)])
    assert reason(found[0]) == "31 objects; GLIGEN takes at most 30"
    assert "a phrase has 83 tokens of at most 75: 'very very" in reason(found[2])
    assert "a word of the prompt has 76 tokens" in reason(found[3])
    assert pixels(found[1]).shape == (64, 64, 3)
    full = request("many", [("apple", "")] * 30, [LARGE] * 30, 0)
    assert pixels(plain.render([full])[0]).any()


def test_how_much_is_read_is_known_where_the_tokenizer_does_not_say(
    folder: Path, tmp_path: Path
) -> None:
    silent = shutil.copytree(folder, tmp_path / "silent")
    config = silent / "tokenizer" / "tokenizer_config.json"
    said = json.loads(config.read_text())
    del said["model_max_length"]
    config.write_text(json.dumps(said))
    scene = request("a dog", [("dog", LONG)], [LARGE], 1)
    assert "a phrase has" in reason(gligen(silent).render([scene])[0])


def test_sides_that_the_decoder_cannot_make_are_scaled_down_to(plain: Gligen) -> None:
    odd, even = plain.render([replace(SCENES[1], size_wh=wh) for wh in ((60, 44), (64, 48))])
    assert pixels(odd).shape == (44, 60, 3)
    expected = to_rendering(pixels(even).astype(np.uint8), (60, 44))
    assert np.abs(pixels(odd) - pixels(expected)).max() <= 1


@contextmanager
def rows_a_forward(backend: Gligen, limit: float = float("inf")) -> Iterator[list[int]]:
    """Counts the rows of each forward; the real UNet runs out of memory above `limit`."""
    import torch

    seen: list[int] = []

    def count(_: Any, args: Any) -> None:
        seen.append(len(args[0]))
        if len(args[0]) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")

    handle = backend.pipeline.unet.register_forward_pre_hook(count)
    try:
        yield seen
    finally:
        handle.remove()


def test_guidance_and_negative_prompt(folder: Path, plain: Gligen) -> None:
    guided = draw(plain, SCENES)
    for scale in (1.0, 0.0):
        backend = gligen(folder, guidance_scale=scale)
        with rows_a_forward(backend) as rows:
            unguided = draw(backend, SCENES)
        assert set(rows) == {len(SCENES)}  # no unconditional half
        assert apart(guided, unguided) > CLOSE
        assert apart(unguided, [draw(backend, [scene])[0] for scene in SCENES]) < CLOSE
    against = gligen(folder, negative_prompt="ugly")
    assert apart(guided, draw(against, SCENES)) > 0
    longer = draw(gligen(folder, negative_prompt=LONG), SCENES[:1])
    longer_still = draw(gligen(folder, negative_prompt=f"{LONG} blur"), SCENES[:1])
    assert apart(longer, longer_still) > 0


def test_memory_options_change_no_picture(folder: Path, plain: Gligen) -> None:
    options: list[dict[str, Any]] = [
        {"attention_slicing": True, "vae_slicing": True, "channels_last": True},
        {"offload": "model"},
        {"offload": "sequential", "vae_tiling": True},  # too small to be tiled
    ]
    for each in options:
        assert apart(draw(plain, SCENES), draw(gligen(folder, **each), SCENES)) < CLOSE
    assert set(options[0]) | {"offload", "batch_size"} <= Gligen.speed_only


def test_a_compiled_model_is_compiled_once(
    folder: Path, plain: Gligen, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    graphs = []

    def backend(module: Any, _: Any) -> Callable[..., Any]:
        graphs.append(module)
        return module.forward  # type: ignore[no-any-return]

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    compiled = gligen(folder, compile=True, batch_size=3, scheduled_sampling_beta=1.0)
    open_ended = gligen(folder, scheduled_sampling_beta=1.0)
    assert apart(draw(open_ended, SCENES[:3]), draw(compiled, SCENES[:3])) < CLOSE
    once = len(graphs)
    assert once > 0
    last = draw(compiled, SCENES[2:3])  # filled up to three rows
    assert len(graphs) == once
    assert apart(draw(open_ended, SCENES[2:3]), last) < CLOSE


def test_batches_halve_where_memory_runs_out(folder: Path, plain: Gligen) -> None:
    backend = gligen(folder, batch_size=4)
    with rows_a_forward(backend, limit=4) as rows:  # two images under guidance
        found = backend.render(SCENES)
    assert rows[0] == 8
    assert set(rows[1:]) == {4}
    for one, other in zip(found, plain.render(SCENES), strict=True):
        assert np.abs(pixels(one) - pixels(other)).max() <= 1
    with rows_a_forward(backend, limit=1), pytest.raises(AcpError, match="offload: model"):
        backend.render(SCENES[:1])
    assert not backend.pipeline.unet._forward_pre_hooks


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(folder: Path, plain: Gligen, dtype: str) -> None:
    found, exact = gligen(folder, dtype=dtype).render(SCENES[:1]), plain.render(SCENES[:1])
    assert 0 < np.abs(pixels(found[0]) - pixels(exact[0])).mean() < 20


def test_weights_of_a_variant_keep_their_type(folder: Path, tmp_path: Path) -> None:
    import torch
    from diffusers import StableDiffusionGLIGENPipeline

    saved = StableDiffusionGLIGENPipeline.from_pretrained(folder, dtype=torch.float16)
    saved.save_pretrained(tmp_path, variant="fp16")
    pipeline = gligen(tmp_path, variant="fp16").pipeline
    assert {pipeline.unet.dtype, pipeline.vae.dtype, pipeline.text_encoder.dtype} == {torch.float16}
    with pytest.raises(AcpError, match="check `variant`"):
        gligen(tmp_path).load()


def test_flagged_and_broken_images_are_failures(tmp_path: Path) -> None:
    save_gligen(tmp_path / "strict", flagged=True)
    strict = gligen(tmp_path / "strict", safety_checker=True)
    assert {reason(each) for each in strict.render(SCENES[:2])} == {
        "the safety checker flagged the image"
    }
    assert pixels(gligen(tmp_path / "strict").render(SCENES[:1])[0]).any()  # off unless asked for
    strict.pipeline.safety_checker = None
    strict.pipeline.vae.decoder.conv_out.bias.data[:] = float("nan")
    assert "no finite numbers" in reason(strict.render(SCENES[:1])[0])


def test_mistakes_are_one_line(folder: Path, refiner_folder: Path, tmp_path: Path) -> None:
    def mistake(model: Path, **options: Any) -> str:
        with pytest.raises(AcpError) as error:
            gligen(model, **options).load()
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "neither a folder nor an id" in mistake(tmp_path / "nowhere")
    assert "model_index.json" in mistake(tmp_path)
    assert "it is no StableDiffusionGLIGENPipeline" in mistake(refiner_folder)
    assert "has no safety checker" in mistake(folder, safety_checker=True)
    ungated = shutil.copytree(folder, tmp_path / "ungated")
    config = json.loads((ungated / "unet" / "config.json").read_text())
    (ungated / "unet" / "config.json").write_text(
        json.dumps({**config, "attention_type": "default"})
    )
    assert "draws no boxes from text" in mistake(ungated)
    assert "refiner: " in (told := mistake(folder, refiner={"model": str(folder)}))
    assert "is no SDXL" in told
    bare = shutil.copytree(folder, tmp_path / "bare")
    shutil.rmtree(bare / "tokenizer")  # an empty one is made in its place
    assert "has no vocabulary" in mistake(bare)
    cut = shutil.copytree(folder, tmp_path / "cut")
    weights = cut / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "incomplete or damaged" in mistake(cut)
    assert "incomplete or damaged" in mistake(cut, dtype="auto")
    assert "sees" in mistake(folder, device="cuda:999")
    for options, message in (
        ({"scheduler": "LMS"}, "scheduler"),
        ({"compile": True, "offload": "model"}, "compile needs offload: none"),
        ({"refiner": {"steps": 2}}, "less than one step"),
        ({"refiner": {"strenght": 0.3}}, "did you mean 'refiner.strength'"),
        ({"steps": 3}, "no box would count"),
        ({"model": " "}, "model: .*name an id"),
        ({"refiner": {"model": ""}}, "refiner.model: .*name an id"),
        ({"device": "gpu"}, "device: "),
    ):
        with pytest.raises(AcpError, match=message):
            make_backend("renderer", {"backend": "gligen", **options})


class Bomb:
    """A pickle that would write a file as soon as it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "boom")


def test_torch_files_are_read_as_tensors_alone(folder: Path, plain: Gligen, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    old = shutil.copytree(folder, tmp_path / "old")
    weights = old / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    torch.save(tensors, weights.with_suffix(".bin"))
    weights.unlink()
    same = gligen(old).render(SCENES[:1]), plain.render(SCENES[:1])
    np.testing.assert_array_equal(pixels(same[0][0]), pixels(same[1][0]))
    torch.save({**tensors, "bomb": Bomb(tmp_path / "fired")}, weights.with_suffix(".bin"))
    with pytest.raises(AcpError, match="cannot load"):
        gligen(old).load()
    assert not (tmp_path / "fired").exists()


def refined(folder: Path, refiner: Path, **options: Any) -> Gligen:
    return gligen(folder, refiner=RefinerOptions(model=str(refiner), steps=5, **options))


def test_the_refiner_changes_pictures_alone_or_together(
    folder: Path, refiner_folder: Path, plain: Gligen
) -> None:
    base = draw(plain, SCENES)
    assert apart(base, draw(refined(folder, refiner_folder, strength=0.0), SCENES)) == 0
    backend = refined(folder, refiner_folder)
    mixed = [*SCENES[:3], _captioned(LONG)]
    together = backend.render(mixed)
    for one, scene in zip(together, mixed, strict=True):
        (alone,) = backend.render([scene])
        assert np.abs(pixels(one) - pixels(alone)).max() <= 1
    assert apart(draw(backend, SCENES), base) > 0.01
    assert apart(draw(backend, SCENES), [draw(backend, [each])[0] for each in SCENES]) < CLOSE
    larger = refined(folder, refiner_folder, least_side=96)
    assert pixels(larger.render(SCENES[:1])[0]).shape == (64, 64, 3)


def test_the_refiner_draws_what_the_stock_pipeline_draws(
    folder: Path, refiner_folder: Path, plain: Gligen
) -> None:
    import torch
    from diffusers import StableDiffusionXLImg2ImgPipeline

    stock = StableDiffusionXLImg2ImgPipeline.from_pretrained(refiner_folder)
    (image,) = draw(plain, SCENES[:1])
    expected = stock(
        SCENES[0].graph.caption,
        image=image[None],
        strength=0.3,
        num_inference_steps=5,
        negative_prompt="",
        generator=torch.Generator("cpu").manual_seed(derive_seed(SCENES[0].seed, "refiner")),
        output_type="np",
    ).images
    assert apart(draw(refined(folder, refiner_folder), SCENES[:1]), expected) < CLOSE


def test_both_models_are_recorded_and_forgotten(folder: Path, refiner_folder: Path) -> None:
    backend = refined(folder, refiner_folder)
    info = backend.info()
    assert info.id == "gligen + refiner"
    assert info.revision.count("sha256-") == 2
    assert info.licence == "creativeml-openrail-m"
    assert len(backend.model_keys()) == 2
    backend.load()
    assert {"pipeline", "_refiner"} <= {*vars(backend)}
    backend.unload()
    assert not {"pipeline", "_refiner"} & {*vars(backend)}


def test_a_recipe_goes_from_scene_graph_to_picks(folder: Path, tmp_path: Path) -> None:
    renderer = f"backend: gligen, model: {folder}, device: cpu, steps: 4, batch_size: 4"
    segmenter = f"backend: sam2, model: {save_sam2(tmp_path / 'sam2')}, device: cpu"
    recipe = load_recipe(
        "tiny",
        [
            f"renderer={{{renderer}}}",
            f"segmenter={{{segmenter}}}",
            "scorer={backend: random}",
            "size_wh=[64, 64]",
            "lay_out.llm_proposals=0",
        ],
    )
    pipeline = Pipeline(recipe)
    assert str(pipeline.info()["renderer"]).startswith("gligen@sha256-")
    scenes = [make_scene(scene_id=i) for i in range(3)]
    for stage in pipeline.stages[2:]:  # combine and describe need a model that can write
        scenes = stage(scenes)
    candidates = [candidate for scene in scenes for candidate in scene.candidates]
    assert len(candidates) == 6
    for candidate in candidates:
        assert candidate.jpeg.startswith(b"\xff\xd8"), candidate.reject
        assert candidate.instances is not None
        assert candidate.instances.masks.shape == (2, 64, 64)
    again = pipeline.stages[3]([replace(scenes[1], candidates=())])
    for one, other in zip(again[0].candidates, scenes[1].candidates, strict=True):
        difference = decoded_rgb(one.jpeg).astype(int) - decoded_rgb(other.jpeg)
        assert np.abs(difference).max() <= 8  # of a JPEG, in another batch


def test_prompts_are_cut_between_words(plain: Gligen) -> None:
    tokenizer = plain.pipeline.tokenizer
    assert windows("", tokenizer) == ("",)
    assert windows(f"{'a ' * 75}b", tokenizer) == (" ".join("a" * 75), "b")
