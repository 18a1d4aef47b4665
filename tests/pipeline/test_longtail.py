"""The recipe `lvis-longtail` itself, from describe to release, on tiny models of its kinds."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

pytest.importorskip("diffusers")

from acp.pipeline.pipeline import Pipeline
from acp.pipeline.placement import Placement
from acp.pipeline.recipe import load_recipe
from support.digests import digests
from support.tiny_diffusion import save_gligen
from support.tiny_models import save_vlm
from support.tiny_vision import save_sam2

WORD = "zebra"


def teach(folder: Path) -> None:
    """Make a saved model say WORD wherever it may, and nothing else that makes sense.

    What a random model writes obeys its schema, but never names the objects of a scene, and such
    captions are rejected. Each token of this one follows from the one before, nothing from images.
    """
    import torch
    from transformers import AutoTokenizer, LlavaForConditionalGeneration

    model = LlavaForConditionalGeneration.from_pretrained(folder)
    ids = AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids
    text: Any = model.model.language_model
    for layer in text.layers:
        layer.self_attn.o_proj.weight.data.zero_()
        layer.mlp.down_proj.weight.data.zero_()
    states = text.norm(text.embed_tokens.weight).detach()
    size = states.shape[1]
    space, quote, stop = "\u0120", '"', "<|im_end|>"
    after = [(quote, WORD[0], 20), (space, WORD[0], 20), *((a, b, 20) for a, b in _pairs(WORD))]
    after += [(WORD[-1], stop, 24), (WORD[-1], quote, 20), (WORD[-1], space, 16)]
    with torch.no_grad():
        for before, then, strength in after:
            model.lm_head.weight[ids(then)] += strength * states[ids(before)] / size
    model.save_pretrained(folder)


def _pairs(word: str) -> list[tuple[str, str]]:
    return [(word[at], word[at + 1]) for at in range(len(word) - 1)]


@pytest.fixture(scope="module")
def overrides(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What makes the recipe small: folders of models, sizes, steps, and thresholds that pictures
    of random models can pass."""
    folder = tmp_path_factory.mktemp("models")
    vlm, gligen, sam2 = folder / "vlm", folder / "gligen", folder / "sam2"
    save_vlm(vlm)
    teach(vlm)
    save_gligen(gligen)
    save_sam2(sam2)
    language_models = ("llm", "scorer.captioner", "scorer.judge")
    return [
        *(f"{where}.model={vlm}" for where in language_models),
        *(f"{where}.dtype=float32" for where in (*language_models, "renderer")),
        *(
            f"renderer.model={gligen}",
            "renderer.variant=null",
            "renderer.steps=4",
            f"segmenter.model={sam2}",
        ),
        *("size_wh=[64, 64]", "scenes=3", "scenes_per_shard=1", "shards_per_block=2"),
        *(f"combine.concepts=[{WORD}]", "combine.objects_per_scene={1: 1, 2: 1}"),
        *("combine.repeat_chance=1", "render.candidates=2"),
        *("pick.min_clis_i_instance=0", "pick.min_side_px=1", "pick.min_visible=0"),
    ]


def test_each_model_gives_its_memory_to_the_next(overrides: list[str]) -> None:
    recipe = load_recipe("lvis-longtail", overrides)
    pipeline = Pipeline(recipe)
    placement = Placement(pipeline.backends, recipe.residency)
    alive: dict[str, weakref.WeakSet[Any]] = {}
    for kind in ("llm", "renderer", "segmenter", "scorer"):
        before = weakref.WeakSet(modules())  # not their ids: those of freed ones come again
        placement.bring(kind)
        alive[kind] = weakref.WeakSet(each for each in modules() if each not in before)
        assert len(alive[kind]) > 0
        assert not any(alive[other] for other in alive if other != kind)
    placement.bring("llm")  # the scorer's captioner and judge are the same model
    assert len(alive["scorer"]) > 0
    shared: Any = pipeline.backends["llm"]
    assert shared._loaded.model in alive["scorer"]


def modules() -> list[Any]:
    """Every part of a model that is in memory."""
    from torch import nn

    gc.collect()
    # Not isinstance: it looks at properties of what it is asked about, and some of those warn.
    return [each for each in gc.get_objects() if issubclass(type(each), nn.Module)]


def build(out: Path, overrides: list[str], *more: str) -> None:
    """Run the command line in a home of its own: answers kept there would be used again."""
    sets = [part for value in overrides for part in ("--set", value)]
    done = subprocess.run(
        [sys.executable, "-m", "acp", "build", "lvis-longtail", *sets, "--out", str(out), *more],
        env={**os.environ, "ACP_HOME": str(out.parent / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_recipe_runs_to_its_release_and_two_ranks_make_the_same_bytes(
    overrides: list[str], tmp_path: Path
) -> None:
    out, other = tmp_path / "one" / "longtail", tmp_path / "two" / "longtail"
    build(out, overrides)
    raw = load_dataset(str(out), "raw", split="train")
    scenes = load_dataset(str(out), "scene_graphs", split="train")
    described = [row for row in scenes if not row["reject"]]
    assert len(scenes) == 3
    assert len(raw) == 2 * len(described) > 0
    assert all(WORD in row["caption"] for row in described)
    assert all(score is not None for score in raw["clis_i"])
    assert len(load_dataset(str(out), split="train")) > 0
    marker = json.loads((tmp_path / "one" / "longtail.work/shards/00000/done.json").read_text())
    assert {"load", "describe", "render", "mask", "score"} <= marker["statistics"]["seconds"].keys()
    build(other, [*overrides, "residency=all"], "--nproc", "2")
    assert digests(other) == digests(out)
