"""`acp plan`: exact arithmetic on given rates, and on the markers of a real short build."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from acp.core.errors import AcpError
from acp.executor.forecast.memory import models_of, needed_gb, weights_gb
from acp.executor.forecast.plan import Plan, plan_recipe
from acp.executor.forecast.rates import (
    Rates,
    published_rates,
    rates_for,
    rates_of_build,
    read_rates,
)
from acp.executor.forecast.table import as_json, lines
from acp.executor.forecast.work import mean_objects, work_of
from acp.pipeline.recipe import load_recipe
from support.in_process import run_acp
from support.tiny_models import save_llm


def seconds_of(plan: Plan) -> dict[str, float | None]:
    return {each.stage: each.seconds for each in plan.stages}


def rates(**values: Any) -> Rates:
    return Rates(hardware="a GPU", **values)


ALL = {
    "answers_per_s": 10.0,
    "layouts_per_s": 20.0,
    "images_per_s": 2.0,
    "masks_per_s": 50.0,
    "captions_per_s": 25.0,
    "judgements_per_s": 100.0,
}
LONG = [
    *("scenes=1000", "scenes_per_shard=50", "lay_out.llm_proposals=4", "render.candidates=4"),
    *("combine.objects_per_scene={2: 1.0, 4: 1.0}", "residency=all", "shards_per_block=2"),
]


def long_tail(*more: str) -> Any:
    return load_recipe("lvis-longtail", [*LONG, *more])


def test_the_work_of_a_recipe() -> None:
    recipe = long_tail()
    work = work_of(recipe)
    assert mean_objects(recipe) == 3
    assert (work.scenes, work.shards, work.candidates) == (1000, 20, 4000)
    assert work.items == {
        "combine": {"scenes": 1000},
        "describe": {"answers": 1000},
        "lay out": {"layouts": 4000},
        "render": {"images": 4000},
        "mask": {"masks": 4000},
        "score": {"captions": 28000, "judgements": 28000},
        "pick": {"candidates": 4000},
    }
    drawn = work_of(load_recipe("tiny", ["scenes=5"]))
    assert drawn.items["lay out"] == {"drawn layouts": 5}
    assert drawn.items["score"] == {"scores": 10}
    assert drawn.steps == 1


def test_hours_are_items_by_rates() -> None:
    plan = plan_recipe(long_tail(), 1, [rates(**ALL, load_s=30.0)])
    assert seconds_of(plan) == {
        "combine": 0,
        "describe": pytest.approx(100),
        "lay out": pytest.approx(200),
        "render": pytest.approx(2000),
        "mask": pytest.approx(80),
        "score": pytest.approx(28000 / 25 + 280),
        "pick": 0,
    }
    total = 100 + 200 + 2000 + 80 + 1400
    assert plan.wall_hours == pytest.approx((total + 30) / 3600)
    assert plan.gpu_hours == plan.wall_hours
    assert plan.unknown == ()


def test_gpus_share_whole_shards() -> None:
    one, eight, many = (plan_recipe(long_tail(), n, [rates(**ALL)]) for n in (1, 8, 100))
    load = (one.load_s or 0) / 3600
    work = one.wall_hours - load
    assert eight.wall_hours == pytest.approx(work * 3 / 20 + load)  # the slowest has 3 of 20
    assert eight.gpu_hours == pytest.approx(eight.wall_hours * 8)
    assert many.wall_hours == pytest.approx(work / 20 + load)
    assert many.gpu_hours == pytest.approx(many.wall_hours * 20)


def test_models_come_and_go_with_residency_one() -> None:
    assert plan_recipe(long_tail(), 1, [rates()]).loads == 1
    assert plan_recipe(long_tail("residency=one"), 1, [rates()]).loads == 10
    assert plan_recipe(long_tail("residency=one"), 8, [rates()]).loads == 2


def test_an_image_costs_its_pixels_and_steps() -> None:
    at = rates(images_per_s=2.0, size_wh=(512, 512), steps=50)
    small = plan_recipe(long_tail(), 1, [at])
    large = plan_recipe(long_tail("size_wh=[1024, 512]", "renderer.steps=25"), 1, [at])
    fewer = plan_recipe(long_tail("renderer.steps=25"), 1, [at])
    assert seconds_of(small)["render"] == pytest.approx(2000)
    assert seconds_of(large)["render"] == pytest.approx(2000)
    assert seconds_of(fewer)["render"] == pytest.approx(1000)


def test_stage_seconds_are_of_a_scene_or_a_candidate() -> None:
    known = rates(stage_seconds={"describe": 0.5, "score": 0.25, "pick": 0.001})
    found = seconds_of(plan_recipe(long_tail(), 1, [known, rates(**ALL)]))
    assert found["describe"] == pytest.approx(500)
    assert found["score"] == pytest.approx(1000)
    assert found["pick"] == pytest.approx(4)
    assert found["render"] == pytest.approx(2000)  # of the next that knows it


def test_a_server_is_not_faster_with_more_gpus() -> None:
    recipe = long_tail("llm={backend: openai}", "lay_out.llm_proposals=0")
    one, ten = (plan_recipe(recipe, n, [rates(answers_per_s=1.0, load_s=0.0)]) for n in (1, 10))
    assert one.wall_hours == ten.wall_hours == pytest.approx(1000 / 3600)
    assert any("as fast as the server" in line for line in lines(ten))


def test_what_is_unknown_says_so() -> None:
    plan = plan_recipe(long_tail(), 2, [rates(images_per_s=1.0)])
    assert plan.unknown == ("describe", "lay out", "mask", "score")
    text = "\n".join(lines(plan))
    assert "wall        at least " in text
    assert "unknown     describe, lay out, mask, score: not counted" in text
    assert "--from FOLDER" in text


def test_published_figures_are_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    recipe = load_recipe("lvis-longtail")
    plan = plan_recipe(recipe, 8, [*published_rates(recipe)])
    assert plan.unknown == ()
    text = [*lines(plan)]
    sources = [line for line in text if line.startswith("[")]
    assert sources
    assert all("published, not measured here" in line for line in sources)
    assert any(line.startswith("slower      describe, lay out, score") for line in text)
    assert plan.weights_gb["all"] == pytest.approx(19.3 + 2.55 + 0.9, abs=0.1)
    assert plan.weights_gb["one"] == pytest.approx(19.3, abs=0.1)
    mine = plan_recipe(recipe, 8, [rates(**ALL), *published_rates(recipe)])
    assert not any(each.published for each in mine.stages)
    mixed = plan_recipe(recipe, 8, [rates(captions_per_s=25.0), *published_rates(recipe)])
    captions, judgements = next(e for e in mixed.stages if e.stage == "score").sources
    assert captions == "measured: a GPU"
    assert judgements.startswith("published, not measured here: NVIDIA H100")


def test_a_short_build_predicts_a_long_one(built: Path) -> None:
    """By proportion: the same recipe with 100 times the scenes."""
    found, recipe = rates_of_build(built)
    markers = [
        json.loads(path.read_text(encoding="utf-8"))["statistics"]["seconds"]
        for path in built.with_name("tiny.work").glob("shards/*/done.json")
    ]
    plan = plan_recipe(recipe.model_copy(update={"scenes": 400}), 1, [found])
    for stage, seconds in seconds_of(plan).items():
        assert seconds == pytest.approx(100 * sum(each.get(stage, 0) for each in markers))
    assert plan.load_s == max(each["load"] for each in markers)
    raw = sum(path.stat().st_size for path in built.rglob("*.parquet"))
    assert plan.data_set_gb == pytest.approx(100 * raw / 1e9)
    assert plan.unknown == ()
    assert all(not line.startswith("measure it") for line in lines(plan))
    work = built.with_name("tiny.work")
    assert rates_of_build(work)[0].seconds == found.seconds
    twice = plan_recipe(recipe.model_copy(update={"scenes": 4, "size_wh": (640, 240)}), 1, [found])
    once = plan_recipe(recipe, 1, [found])
    assert seconds_of(twice)["render"] == pytest.approx(2 * (seconds_of(once)["render"] or 0))


def test_a_build_tells_nothing_of_other_models(built: Path) -> None:
    same = rates_for(load_recipe("tiny", ["render.candidates=3", "size_wh=[640, 240]"]), built)
    assert same == rates_of_build(built)[0]
    other = load_recipe("tiny", ["scorer.backend=random"])
    found = rates_for(other, built)
    assert plan_recipe(other, 1, [found]).unknown == ("score",)
    assert found.load_s is None


def test_disk_grows_with_candidates_and_pixels(built: Path) -> None:
    found, recipe = rates_of_build(built)
    more = load_recipe("tiny", ["scenes=4", "render.candidates=6", "size_wh=[640, 240]"])
    once, larger = plan_recipe(recipe, 1, [found]), plan_recipe(more, 1, [found])
    assert larger.data_set_gb == pytest.approx(6 * once.data_set_gb)
    assert larger.work_gb == pytest.approx(6 * once.work_gb)


def test_peaks_of_a_build_are_told(built: Path, tmp_path: Path) -> None:
    work = tmp_path / "copy.work"
    shutil.copytree(built.with_name("tiny.work"), work)
    for number, path in enumerate(sorted(work.glob("shards/*/done.json"))):
        marker = json.loads(path.read_text(encoding="utf-8"))
        marker["statistics"]["peak_bytes"] = {"render": (10 + number) * 10**9, "mask": 10**9}
        path.write_text(json.dumps(marker), encoding="utf-8")
    (work / "shards" / "00000" / "done.json").write_text("{half", encoding="utf-8")
    found, recipe = rates_of_build(tmp_path / "copy")
    assert found.peak_gb == {"render": 13, "mask": 1}
    assert plan_recipe(recipe, 1, [found]).peak_gb == {"all": 13}
    assert "3 scenes" in found.source


def test_weights_are_counted_without_loading(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    folder = save_llm(tmp_path / "llm")
    count = sum(p.numel() for p in AutoModelForCausalLM.from_pretrained(folder).parameters())
    recipe = load_recipe("tiny", [f"llm={{backend: transformers, model: '{folder}'}}"])
    (model,) = models_of(recipe)
    assert model.stages == ("describe", "lay out")
    assert model.weights_gb == pytest.approx(4 * count / 1e9)
    half = load_recipe(
        "tiny", [f"llm={{backend: transformers, model: '{folder}', dtype: float16}}"]
    )
    assert needed_gb(models_of(half), "all") == pytest.approx(2 * count / 1e9)
    twins = tmp_path / "pipeline" / "unet"
    twins.mkdir(parents=True)
    save_file({"a": torch.zeros(1000)}, twins / "model.safetensors")
    save_file({"a": torch.zeros(1000, dtype=torch.float16)}, twins / "model.fp16.safetensors")
    both = long_tail(
        f"renderer.model={tmp_path / 'pipeline'}", "renderer.dtype=auto", "renderer.variant=null"
    )
    assert weights_gb(both.backend("renderer").resolved_options()) == pytest.approx(4000 / 1e9)
    packed = long_tail(
        f"renderer.model={tmp_path / 'pipeline'}", "renderer.dtype=auto", "renderer.variant=fp16"
    )
    assert weights_gb(packed.backend("renderer").resolved_options()) == pytest.approx(2000 / 1e9)


def test_weights_in_a_gguf_file(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    from support.tiny_gguf import save_gguf

    model = save_gguf(tmp_path / "tiny.gguf")
    count = sum(weights.numel() for weights in model.state_dict().values())
    spec = f"{{backend: transformers, model: '{tmp_path}', gguf_file: tiny.gguf, dtype: bfloat16}}"
    (found,) = models_of(load_recipe("tiny", [f"llm={spec}"]))
    assert found.weights_gb == pytest.approx(2 * count / 1e9)


def test_a_refiner_counts() -> None:
    recipe = long_tail("renderer.refiner={}")
    models = {each.model: each for each in models_of(recipe)}
    refiner = models["stabilityai/stable-diffusion-xl-refiner-1.0"]
    assert refiner.stages == ("render",)
    assert refiner.weights_gb == pytest.approx(6.08, abs=0.02)
    plan = plan_recipe(recipe, 1, [rates(**ALL)])
    assert [each.stage for each in plan.stages if each.least] == ["render"]


def test_an_unknown_model_has_unknown_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    plan = plan_recipe(long_tail("segmenter.model=some/other-sam"), 1, [])
    assert plan.weights_gb == {"all": None, "one": None}
    assert any("  unknown  of weights" in line for line in lines(plan))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"hardware": "x", "image_per_s": 1}', "did you mean 'images_per_s'"),
        ('{"hardware": "x", "images_per_s": -1}', "images_per_s: input should be greater than 0"),
        ('{"hardware": "x", "stage_seconds": {"draw": 1}}', "there is no stage 'draw'"),
        ('{"hardware": "x", "stage_seconds": {"render": -1}}', "stage_seconds.render: input"),
        ('{"hardware": "x", "stage_seconds": {"render": NaN}}', "stage_seconds.render: input"),
        ('{"hardware": "x", "seconds": {"images": -1}}', "seconds.images: input"),
        ('{"hardware": "x", "images_per_s": Infinity}', "images_per_s: input"),
        ('{"hardware": "x", "size_wh": [0, 512]}', "size_wh.0: input"),
        ('{"hardware": "x", "peak_gb": {"draw": 1}}', "there is no stage 'draw'"),
        ("[]", "rates.json: input should be an object"),
        ('{"images_per_s": 1}', "hardware: field required"),
        ("{", "not valid JSON"),
        (None, "no such file"),
    ],
)
def test_wrong_rates_are_one_line(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "rates.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(AcpError, match=r"^--rates ") as caught:
        read_rates(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    return run_acp(["plan", *arguments], capsys)


def test_the_command(built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rates.json"
    path.write_text(json.dumps({"hardware": "NVIDIA X", **ALL}), encoding="utf-8")
    settings = [f"--set={each}" for each in LONG]
    code, out, _ = command(
        ["lvis-longtail", "--gpus", "8", "--rates", str(path), *settings], capsys
    )
    assert code == 0
    assert out.startswith("lvis-longtail on 8 GPUs\n")
    assert "measured: NVIDIA X" in out
    code, out, _ = command(["tiny", "--from", str(built), "--json"], capsys)
    assert (code, json.loads(out)["unknown"]) == (0, [])
    assert json.loads(out)["wall_hours"] > 0
    code, out, err = command(["tiny", "--from", str(tmp_path)], capsys)
    assert (code, out) == (1, "")
    assert err.startswith("error: --from ")
    assert len(err.splitlines()) == 1
    assert command(["tinny"], capsys)[0] == 1


def test_json_holds_what_the_table_tells() -> None:
    plan = plan_recipe(long_tail(), 8, [rates(**ALL)])
    values = json.loads(json.dumps(as_json(plan)))
    assert values["wall_hours"] == plan.wall_hours
    assert {each["stage"] for each in values["stages"]} == set(seconds_of(plan))
