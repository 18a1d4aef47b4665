"""`acp score`: folders in, rows with scores and a picture out."""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, List, Value, load_dataset
from PIL import Image as PillowImage
from typer.testing import CliRunner

import acp
from acp.backends.scoring import score_options
from acp.clis.score import ScoreOptions
from acp.core.errors import AcpError
from acp.dataset.scored import score_data_set

LAYOUT = ScoreOptions()


def test_a_built_data_set_is_scored(built: Path, tmp_path: Path) -> None:
    out = tmp_path / "scored"
    summary = score_data_set(str(built), out, LAYOUT, config="raw")
    scored = load_dataset(str(out), split="train")
    rows = load_dataset(str(built), "raw", split="train")
    assert len(scored) == len(rows) == summary["rows"]
    assert scored["clis_l"] == acp.score(list(rows))["clis_l"]
    assert scored["clis_l_before"] == rows["clis_l"]
    assert scored["objects"] == rows["objects"]
    assert scored["image"][0].tobytes() == rows["image"][0].tobytes()
    assert scored.features["objects"] == rows.features["objects"]
    assert summary["mean_clis_l"] == pytest.approx(acp.score(list(rows))["mean_clis_l"])
    assert json.loads((out / "scores.json").read_text()) == summary
    with PillowImage.open(out / "scores.png") as picture:
        assert min(picture.size) > 200
    assert "scores.png" in (out / "README.md").read_text()


ROWS: list[dict[str, Any]] = [
    {
        "image_id": place,
        "objects": {
            "bbox": [[10.0, 20.0, 100.0, 150.0], [200.0 + place, 60.0, 90.0, 120.0]],
            "category": [0, 1],
        },
    }
    for place in range(3)
]
FEATURES = Features(
    {
        "image_id": Value("int64"),
        "objects": {
            "bbox": List(List(Value("float32"), length=4)),
            "category": List(ClassLabel(names=["dog", "cat"])),
        },
    }
)
RELATED = [{"relations": {"subject": [0], "predicate": ["left of"], "object": [1]}}] * 3


def image_folder(folder: Path, extra: list[dict[str, Any]]) -> Path:
    folder.mkdir()
    lines = []
    for place, (row, more) in enumerate(zip(ROWS, extra, strict=True)):
        PillowImage.new("RGB", (320, 240), (place, 90, 90)).save(folder / f"{place}.png")
        names = ["dog", "cat"]
        objects = {**row["objects"], "category": [names[c] for c in row["objects"]["category"]]}
        lines.append(json.dumps({"file_name": f"{place}.png", **row, **more, "objects": objects}))
    (folder / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def test_an_image_folder_has_the_size_of_its_images(tmp_path: Path) -> None:
    folder, out = image_folder(tmp_path / "images", RELATED), tmp_path / "out"
    score_data_set(str(folder), out, LAYOUT, plot=False)
    scored = load_dataset(str(out), split="train")
    rows = [{**a, **b, "width": 320, "height": 240} for a, b in zip(ROWS, RELATED, strict=True)]
    for row in rows:
        row["objects"] = {**row["objects"], "category": ["dog", "cat"]}
    assert scored["clis_l"] == pytest.approx(acp.score(rows)["clis_l"])
    assert scored["image"][2].size == (320, 240)
    assert isinstance(scored.features["image"], Image)
    assert not (out / "scores.png").exists()


@pytest.mark.parametrize("how", ["saved", "saved splits", "parquet", "file"])
def test_rows_without_relations_have_no_score(how: str, tmp_path: Path) -> None:
    rows = [{**row, "width": 640, "height": 480} for row in ROWS]
    features = Features({**FEATURES, "width": Value("int32"), "height": Value("int32")})
    data, folder = Dataset.from_list(rows, features=features), tmp_path / "data"
    if how == "saved":
        data.save_to_disk(folder)
    elif how == "saved splits":
        DatasetDict({"train": data}).save_to_disk(folder)
    else:
        folder.mkdir()
        data.to_parquet(folder / "train.parquet")
    source = folder / "train.parquet" if how == "file" else folder
    summary = score_data_set(str(source), tmp_path / "out", LAYOUT)
    assert summary["unscored_clis_l"] == 3
    assert summary["clis_l_reason"] == {"no relations": 3}
    assert summary["mean_clis_l"] is None
    scored = load_dataset(str(tmp_path / "out"), split="train")
    assert scored.features["objects"]["category"] == FEATURES["objects"]["category"]


def test_a_row_that_is_none_is_unscored_with_the_reason(tmp_path: Path) -> None:
    rows = [{**a, **b, "width": 640, "height": 480} for a, b in zip(ROWS, RELATED, strict=True)]
    rows[1]["objects"] = {"bbox": [[1.0, 2.0, 3.0]], "category": [0]}
    rows[2]["objects"] = {"bbox": ROWS[2]["objects"]["bbox"], "category": [0, -1]}
    path = tmp_path / "rows.jsonl"
    for row in rows:
        names = ["dog", "cat"]
        codes = row["objects"]["category"]
        row["objects"] = {
            **row["objects"],
            "category": [names[c] if c >= 0 else None for c in codes],
        }
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    summary = score_data_set(str(path), tmp_path / "out", LAYOUT, plot=False)
    assert summary["unscored_clis_l"] == 2
    assert set(summary["clis_l_reason"]) == {
        "objects.bbox[0]: expected 4 numbers [x, y, w, h], got 3",
        "objects.category[1]: expected a name or a known class, got nothing",
    }


def saved(path: Path, rows: list[dict[str, Any]], names: list[str], **more: Any) -> Path:
    """A parquet file of rows with classes and a size."""
    features = Features(
        {
            **FEATURES,
            **{key: Value("int32") for key in ("width", "height")},
            **more,
            "relations": {
                "subject": List(Value("int64")),
                "predicate": List(Value("string")),
                "object": List(Value("int64")),
            },
        }
    )
    features["objects"]["category"] = List(ClassLabel(names=names))
    table = pa.Table.from_pylist(rows, features.arrow_schema)
    pq.write_table(table, path, row_group_size=50)
    return path


def sized(place: int = 0) -> dict[str, Any]:
    return {**ROWS[place], **RELATED[place], "width": 640, "height": 480}


def test_boxes_that_are_corners_are_told_before_anything_is_scored(tmp_path: Path) -> None:
    row = sized()
    corners = [[300.0, 200.0, 500.0, 450.0], [350.0, 60.0, 600.0, 300.0]]
    row["objects"] = {"bbox": corners, "category": [0, 1]}
    path = saved(tmp_path / "rows.parquet", [row] * 6, ["dog", "cat"])
    with pytest.raises(AcpError, match=r"the boxes look like corners .* give the bbox format xyxy"):
        score_data_set(str(path), tmp_path / "out", LAYOUT)
    assert [each.name for each in tmp_path.iterdir()] == ["rows.parquet"]
    options = ScoreOptions.of(bbox_format="xyxy")
    summary = score_data_set(str(path), tmp_path / "out", options, plot=False)
    assert summary["unscored_clis_l"] == 0


def test_what_has_no_score_is_counted_by_its_kind(tmp_path: Path) -> None:
    rows = [sized() for _ in range(20)]
    rows[3]["objects"] = {"bbox": [[-9.0, 20.0, 60.0, 60.0], [1, 1, 9, 9]], "category": [0, 1]}
    rows[7]["objects"] = {"bbox": [[1, 1, 9, 9], [9.0, 20.0, 9999.0, 60.0]], "category": [0, 1]}
    rows[9]["relations"] = {"subject": [0], "predicate": [""], "object": [1]}
    path = saved(tmp_path / "rows.parquet", rows, ["dog", "cat"])
    code = pq.read_table(path).to_pylist()
    code[11]["objects"]["category"] = [0, 250]  # no class of that number
    pq.write_table(pa.Table.from_pylist(code, pq.read_schema(path)), path)
    summary = score_data_set(str(path), tmp_path / "out", LAYOUT, plot=False)
    assert summary["clis_l_reason"] == {
        "the box of some object leaves its image": 2,
        "some relation has no predicate": 1,
        "objects.category[1]: expected a name or a known class, got int 250": 1,
    }
    assert summary["unscored_clis_l"] == 4


def test_paths_in_the_data_stay_in_the_data_set(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    PillowImage.new("RGB", (640, 480), "red").save(secret)
    folder = tmp_path / "data"
    folder.mkdir()
    PillowImage.new("RGB", (640, 480), "blue").save(folder / "own.png")
    (folder / "link.png").symlink_to(secret)
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        server.timeout = 0.1
        url = f"http://127.0.0.1:{server.server_port}/a.png"
        paths = ["own.png", str(secret), "../secret.png", "link.png", url, "nowhere.png"]
        rows = [{**sized(), "image": {"bytes": None, "path": path}} for path in paths]
        saved(folder / "train.parquet", rows, ["dog", "cat"], image=Image())
        out = tmp_path / "out"
        summary = score_data_set(str(folder), out, LAYOUT, plot=False)
        asked = selectors.DefaultSelector()
        asked.register(server, selectors.EVENT_READ)
        assert not asked.select(timeout=0)
    assert summary["unscored_clis_l"] == 0
    stored = pq.read_table(next(out.glob("data/*.parquet")))["image"].to_pylist()
    own = (folder / "own.png").read_bytes()
    assert stored == [{"bytes": own, "path": "own.png"}, *[None] * 5]


@pytest.mark.parametrize("value", ["/etc/passwd", "../secret.png"])
def test_a_path_as_text_is_not_followed_either(value: str, tmp_path: Path) -> None:
    PillowImage.new("RGB", (640, 480), "red").save(tmp_path / "secret.png")
    folder = tmp_path / "data"
    folder.mkdir()
    row = {**ROWS[0], **RELATED[0], "image": value}
    row["objects"] = {**row["objects"], "category": ["dog", "cat"]}
    (folder / "train.jsonl").write_text(json.dumps(row))
    summary = score_data_set(str(folder), tmp_path / "out", LAYOUT, plot=False)
    reason = "width and height are missing, and the image is a path out of the data set"
    assert summary["clis_l_reason"] == {reason: 1}


@pytest.mark.slow
def test_pictures_are_not_all_held_in_memory(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    pictures = [{"bytes": chance.bytes(1 << 19), "path": None} for _ in range(400)]
    path = tmp_path / "rows.parquet"
    saved(path, [{**sized(), "image": each} for each in pictures], ["dog", "cat"], image=Image())
    code = (
        "import sys, resource; from pathlib import Path; from acp.clis.score import ScoreOptions\n"
        "from acp.dataset.scored import score_data_set\n"
        "import datasets; before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "score_data_set(sys.argv[1], Path(sys.argv[2]), ScoreOptions(), plot=False)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, path, tmp_path / "out"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(told.stdout) < 150  # MB, of 200


def test_files_of_the_user_stay(tmp_path: Path) -> None:
    path, out = saved(tmp_path / "rows.parquet", [sized()], ["dog", "cat"]), tmp_path / "out"
    score_data_set(str(path), out, LAYOUT, plot=False)
    first = next(out.glob("data/*.parquet")).stat().st_mtime_ns
    score_data_set(str(path), out, LAYOUT, plot=False)  # its own are replaced
    assert next(out.glob("data/*.parquet")).stat().st_mtime_ns > first
    (out / "notes.ipynb").write_text("mine")
    with pytest.raises(AcpError, match=r"holds notes\.ipynb, which acp score did not make"):
        score_data_set(str(path), out, LAYOUT, plot=False)
    assert (out / "notes.ipynb").read_text() == "mine"


def test_nothing_half_written_stays(built: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = score_data_set(str(built), out, LAYOUT, config="raw", plot=False)
    with pytest.raises(AcpError, match="no such priors file"):
        score_data_set(str(built), out, ScoreOptions(priors="nowhere.parquet"), config="raw")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert json.loads((out / "scores.json").read_text()) == first
    other = tmp_path / "mine"
    other.mkdir()
    (other / "thesis.txt").write_text("a year of work")
    with pytest.raises(AcpError, match=r"holds thesis\.txt, which acp score did not make"):
        score_data_set(str(built), other, LAYOUT)
    assert [path.name for path in other.iterdir()] == ["thesis.txt"]


WRONG = [
    (["./nowhere"], "./nowhere: no such folder"),
    (["DATA", "--variant", "papr"], "there is no variant 'papr'; did you mean 'paper'?"),
    (["DATA", "--split", "../x"], "split: expected a name such as train, got '../x'"),
    (["DATA", "--components", "image"], "captioner: the component 'image' needs one"),
    (["DATA", "--captioner", "{bad"], "--captioner: expected a name or JSON"),
    (["DATA", "--split", "test"], "no split 'test'; it has train"),
    (["DATA", "--config", "nope"], "no config 'nope'; it has curated, raw, scene_graphs"),
    (["DATA", "--config", "scene_graphs"], "expected objects with category and bbox"),
]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "there are no rows in it"),
        ('{"objects": {"category": ["a"]', "JSON parse error"),
    ],
)
def test_a_broken_file_is_one_line(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    with pytest.raises(AcpError, match=message) as caught:
        score_data_set(str(path), tmp_path / "out", LAYOUT)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_mistakes_are_one_line(
    arguments: list[str], message: str, built: Path, tmp_path: Path
) -> None:
    from acp.cli.main import app

    given = [str(built) if each == "DATA" else each for each in arguments]
    result = CliRunner().invoke(app, ["score", *given, "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, AcpError)
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)
    assert not list(tmp_path.iterdir())


def test_a_scored_data_set_is_not_replaced_by_its_own_scores(tmp_path: Path) -> None:
    row = {"objects": {"category": ["cat"], "bbox": [[0.1, 0.1, 0.5, 0.5]]}}
    rows, out = tmp_path / "rows.jsonl", tmp_path / "out"
    rows.write_text(json.dumps(row))
    score_data_set(str(rows), out, ScoreOptions.of(), plot=False)
    before = sorted(path.stat().st_mtime_ns for path in out.rglob("*"))
    with pytest.raises(AcpError, match="is what is scored"):
        score_data_set(str(out), out, ScoreOptions.of(), plot=False)
    assert sorted(path.stat().st_mtime_ns for path in out.rglob("*")) == before


def test_the_command_tells_means_and_reasons(built: Path, tmp_path: Path) -> None:
    from acp.cli.main import app

    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["score", str(built), "--config", "raw", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "rows        8" in result.output
    assert "variant     paper" in result.output
    assert "clis_l_direction" in result.output
    assert f'load_dataset("{out}", split="train")' in result.output


def test_images_are_scored_too(built: Path, tmp_path: Path) -> None:
    from acp.backends.scoring import backends

    try:
        backends("embedded", "embedded")
    except AcpError as error:
        pytest.skip(str(error))
    options = score_options(components=["layout", "image"], captioner="embedded")
    with pytest.warns(UserWarning, match="8 rows carry CLIS-I of"):
        summary = score_data_set(str(built), tmp_path / "out", options, config="raw")
    scored = load_dataset(str(tmp_path / "out"), split="train")
    assert summary["mean_clis_i"] is not None
    assert summary["judge"]
    for score, reason in zip(scored["clis_i"], scored["clis_i_reason"], strict=True):
        assert (score is not None and 0 <= score <= 100) or reason
    assert [len(each) for each in scored["clis_i_instances"]] == [
        len(each["category"]) for each in scored["objects"]
    ]
