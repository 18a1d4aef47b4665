"""Whole builds of the recipe `tiny` with the real renderer and scorer."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset
from pycocotools import mask as coco_mask

from acp.builder.lvis_synth import LvisSynth
from acp.builder.release import work_folder
from acp.cli.build import build_recipe
from acp.core.errors import AcpError
from acp.executor.build import ROWS_VERSION
from acp.executor.rows import CONFIGS, features
from acp.pipeline.recipe import Recipe, load_recipe
from support.digests import digests
from support.loading import rows_of

ACP = [sys.executable, "-m", "acp"]


def recipe(*overrides: str) -> Recipe:
    return load_recipe("tiny", overrides)


def test_it_loads_from_inside_the_build_folder(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(built.parent.parent)
    curated = load_dataset("acp/tiny", split="train")
    raw = load_dataset("acp/tiny", "raw", split="train")
    scene_graphs = load_dataset("acp/tiny", "scene_graphs", split="train")
    assert (len(raw), len(scene_graphs)) == (8, 4)
    assert len(curated) == sum(raw["kept"]) > 0
    assert [not reject for reject in raw["reject"]] == list(raw["kept"])
    streamed = next(iter(load_dataset("acp/tiny", split="train", streaming=True)))
    assert streamed["image_id"] == curated[0]["image_id"]


def test_rows_are_coco_annotations_as_they_are(built: Path) -> None:
    for row in load_dataset(str(built), "raw", split="train"):
        objects = row["objects"]
        union = np.zeros((row["height"], row["width"]), dtype=int)
        for box, code in zip(objects["bbox"], objects["segmentation"], strict=True):
            mask = coco_mask.decode(code)
            assert mask.shape == (row["height"], row["width"]) == row["image"].size[::-1]
            assert coco_mask.toBbox(code).tolist() == box
            union += mask
        assert union.max() == 1  # visible masks never overlap
        assert len(set(objects["id"])) == len(objects["id"])


def test_curated_rows_pass_every_threshold(built: Path) -> None:
    limits = recipe().pick
    for row in load_dataset(str(built), split="train"):
        objects = row["objects"]
        assert objects["category"]
        assert min(objects["visible"]) >= limits.min_visible
        assert min(min(box[2:]) for box in objects["bbox"]) >= limits.min_side_px
        scores = [score for score in objects["clis_i"] if score is not None]
        assert all(score >= limits.min_clis_i_instance for score in scores)


def test_the_card_is_complete(built: Path) -> None:
    text = (built / "README.md").read_text(encoding="utf-8")
    assert "proxy" in text
    assert "{{" not in text
    assert "{%" not in text
    assert (built / "contact_sheet.jpg").stat().st_size > 10_000


def start_and_wait_for_a_shard(command: list[str], out: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not finished(out) and process.poll() is None:
        time.sleep(0.02)
    return process


def finished(out: Path) -> dict[Path, int]:
    """The markers of finished shards, and when they were written."""
    markers = (work_folder(out) / "shards").glob("*/done.json")
    return {path: path.stat().st_mtime_ns for path in markers}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_build_goes_on_and_ends_with_the_same_bytes(
    built: Path, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "acp" / "tiny"
    command = [*ACP, "build", "tiny", "--set", "scenes=4", "--out", str(out)]
    process = start_and_wait_for_a_shard(command, out)
    process.send_signal(number)
    process.communicate()
    assert not out.exists()
    before = finished(out)
    assert 0 < len(before) < 4
    subprocess.run(command, check=True, capture_output=True)
    assert digests(out) == digests(built)
    assert before.items() <= finished(out).items()


def test_a_build_that_is_done_does_nothing(built: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in built.rglob("*")}
    list(build_recipe(recipe("scenes=4"), built, 1))
    assert {path: path.stat().st_mtime_ns for path in built.rglob("*")} == before


def copy_of(built: Path, tmp_path: Path) -> Path:
    out = tmp_path / "tiny"
    shutil.copytree(built, out)
    shutil.copytree(work_folder(built), work_folder(out))
    return out


def test_a_changed_recipe_is_refused_and_the_field_named(built: Path, tmp_path: Path) -> None:
    out = copy_of(built, tmp_path)
    with pytest.raises(AcpError, match=r"render\.candidates was 2 and is now 3"):
        list(build_recipe(recipe("scenes=4", "render.candidates=3"), out, 1))
    assert digests(out) == digests(built)


def test_a_damaged_shard_is_made_again(built: Path, tmp_path: Path) -> None:
    out = copy_of(built, tmp_path)
    damaged = work_folder(out) / "shards" / "00001" / "measured.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    shutil.rmtree(out)
    list(build_recipe(recipe("scenes=4"), out, 1))
    assert digests(out) == digests(built)


def test_more_scenes_extend_a_build(built: Path, tmp_path: Path) -> None:
    out = tmp_path / "tiny"
    list(build_recipe(recipe("scenes=1"), out, 1))
    first = digests(work_folder(out) / "shards" / "00000")
    list(build_recipe(recipe("scenes=4"), out, 1))
    assert digests(work_folder(out) / "shards" / "00000") == first
    assert digests(out / "raw") == digests(built / "raw")


def test_fewer_scenes_take_nothing_away(tmp_path: Path) -> None:
    out = tmp_path / "tiny"
    one_shard = ("scenes_per_shard=4", "render.candidates=1")
    list(build_recipe(recipe("scenes=3", *one_shard), out, 1))
    before, markers = digests(out), finished(out)
    for fewer in ("scenes=2", "scenes=1"):
        summary = list(build_recipe(recipe(fewer, *one_shard), out, 1))
        assert summary[0].startswith("scenes      3")
    shutil.rmtree(out)  # the shard alone still says how far it goes
    list(build_recipe(recipe("scenes=1", *one_shard), out, 1))
    assert digests(out) == before
    assert finished(out) == markers


@pytest.mark.parametrize("damage", ["gone", "changed", "added"])
def test_a_damaged_data_set_is_written_again(built: Path, tmp_path: Path, damage: str) -> None:
    out = copy_of(built, tmp_path)
    (file,) = (out / "curated").glob("*.parquet")
    if damage == "gone":
        file.unlink()
    elif damage == "changed":
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    else:
        (out / "curated" / "train-more.parquet").write_bytes(b"")
    list(build_recipe(recipe("scenes=4"), out, 1))
    assert digests(out) == digests(built)


def test_files_of_the_user_stay(built: Path, tmp_path: Path) -> None:
    out = copy_of(built, tmp_path)
    theirs = {"LICENSE": "mine", ".git/HEAD": "ref", "notes/a.ipynb": "{}"}
    for name, text in theirs.items():
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text(text)
    before = (out / ".acp.json").stat().st_mtime_ns
    list(build_recipe(recipe("scenes=4"), out, 1))
    assert (out / ".acp.json").stat().st_mtime_ns == before  # they are no damage
    list(build_recipe(recipe("scenes=4", "pick.min_clis_i_instance=99"), out, 1))
    assert (out / ".acp.json").stat().st_mtime_ns != before
    assert {name: (out / name).read_text() for name in theirs} == theirs


@pytest.mark.parametrize(("out", "words"), [(".", "name the folder"), ("/proc", "mount")])
def test_an_out_that_cannot_be_replaced_is_told_first(out: str, words: str) -> None:
    with pytest.raises(AcpError, match=words):
        list(build_recipe(recipe("scenes=1"), Path(out), 1))


def test_a_link_stays_a_link(built: Path, tmp_path: Path) -> None:
    out = copy_of(built, tmp_path)
    link = tmp_path / "link"
    link.symlink_to(out)
    list(build_recipe(recipe("scenes=4", "pick.min_clis_i_instance=99"), link, 1))
    assert link.is_symlink()
    assert digests(out) != digests(built)


def test_a_recipe_that_made_nothing_may_be_mended(tmp_path: Path) -> None:
    out = tmp_path / "tiny"
    with pytest.raises(AcpError, match="no wok"):
        list(build_recipe(recipe("combine.concepts=[wok]"), out, 1))
    assert not work_folder(out).exists()
    work_folder(out).mkdir()
    (work_folder(out) / "state.json").write_text("{}")  # begun, but no shard was finished
    list(build_recipe(recipe("scenes=1", "combine.concepts=[zebra]"), out, 1))
    assert load_dataset(str(out), "scene_graphs", split="train")[0]["concepts"][0] == "zebra"


def test_a_build_whose_scenes_are_all_rejected_still_says_why(tmp_path: Path) -> None:
    out = tmp_path / "tiny"
    summary = list(build_recipe(recipe("scenes=2", "lay_out.min_side=0.99"), out, 1))
    assert summary[0] == "scenes      2 (2 rejected)"
    rejects = load_dataset(str(out), "scene_graphs", split="train")["reject"]
    assert all(reject.startswith("lay out: ") for reject in rejects)
    assert not (out / "contact_sheet.jpg").exists()


def test_a_build_without_a_single_pick_says_so_and_keeps_everything(tmp_path: Path) -> None:
    out = tmp_path / "tiny"
    limits = ("pick.min_clis_i=100", "pick.min_clis_l=100")
    summary = list(build_recipe(recipe("scenes=1", *limits), out, 1))
    assert any("nothing was picked" in line for line in summary)
    assert any("'raw', split='train'" in line for line in summary)
    # `datasets` cannot cut a split without rows, but opens it as a stream.
    assert list(load_dataset(str(out), split="train", streaming=True)) == []
    assert len(load_dataset(str(out), "raw", split="train")) == 2


def test_the_receipt_names_the_build(built: Path) -> None:
    receipt = json.loads((built / ".acp.json").read_text(encoding="utf-8"))
    assert receipt["scenes"] == 4
    provenance = [row["provenance"] for row in rows_of(built, "raw", "provenance")]
    assert {row["fingerprint"] for row in provenance} == {receipt["fingerprint"]}


@pytest.mark.parametrize("config", CONFIGS)
def test_the_builder_class_alone_gives_the_same_rows(
    built: Path, tmp_path: Path, config: str
) -> None:
    work = tmp_path / "work"
    shutil.copytree(work_folder(built), work)
    shutil.rmtree(work / "shards" / "00002")  # it makes what is missing
    settings = {"overrides": ("scenes=4",), "work_dir": str(work)}
    builder = LvisSynth(config, recipe="tiny", cache_dir=str(tmp_path / "cache"), **settings)
    builder.download_and_prepare()
    made = builder.as_dataset(split="train")
    assert made.features == features(config)
    assert made.with_format("arrow")[:].to_pylist() == rows_of(built, config)


READ = """
import sys
from acp.builder.lvis_synth import LvisSynth
builder = LvisSynth("raw", recipe="tiny", overrides=("scenes=4",), work_dir=sys.argv[1])
builder.download_and_prepare(sys.argv[2] + "/raw", file_format="parquet", num_proc=2)
"""


@pytest.mark.slow
def test_several_processes_may_read_the_shards(built: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", READ, str(work_folder(built)), str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    assert len([*tmp_path.glob("raw/*.parquet")]) == 2
    assert rows_of(tmp_path, "raw") == rows_of(built, "raw")


def test_the_first_argument_of_the_builder_is_its_configuration() -> None:
    builder = LvisSynth("raw")
    assert builder.config.name == "raw"
    assert builder.info.version == f"{ROWS_VERSION}.0.0"
    assert LvisSynth().config.name == "curated"
