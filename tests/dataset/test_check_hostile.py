"""`acp check` of cards, names and values that are made to break it: each is told in one line."""

from __future__ import annotations

import io
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from acp.cli.main import app
from acp.core.errors import AcpError, shown
from acp.dataset.check import check_data_set

ALIASES = "\n".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in pairwise("abcdefghij")
)


def picture() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(content, "PNG")
    return content.getvalue()


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split in ("train", "test"):
        write(tmp_path / "set" / "data" / f"{split}-00000-of-00001.parquet", [{"a": 1}, {"a": 2}])
    return tmp_path / "set"


def lines(folder: Path) -> list[str]:
    return [*check_data_set(str(folder)).lines()]


@pytest.mark.parametrize(
    ("card", "told"),
    [
        ("date: 2024-99-99", "its YAML cannot be read: month must be in 1..12"),
        ("a: " + "[" * 5000, "its YAML cannot be read: maximum recursion"),
        (f"a: &a [x]\n{ALIASES}\nlicense: *j", "its YAML repeats itself"),
        ("license: &a [*a]", "its YAML repeats itself"),
        ("a: !!python/object/apply:os.system [id]", "its YAML cannot be read: could not determine"),
        (r'"\e[31mx": 1' + "\n" + r'"\e[31mx": 2', r"'\x1b[31mx' is there twice"),
        ("license: " + "x" * 100_000, "license: the Hub knows no 'xxx"),
        (
            "configs: {config_name: a, data_files: data/*}",
            "refuses configs: Expected configs to be",
        ),
        ("configs:\n- data_files: data/*", "refuses configs: Each config must include"),
        (
            "configs:\n- {config_name: a, default: true, data_files: 'data/*'}\n"
            "- {config_name: b, default: true, data_files: 'data/*'}",
            "refuses configs: Dataset has several default configs: 'a' and 'b'",
        ),
        (
            "configs:\n- {config_name: a, data_files: 'data/*'}\n"
            "- {config_name: a, data_files: 'data/*'}",
            "two configurations 'a', and readers get the last",
        ),
        ("configs:\n- {config_name: 1, data_files: 'data/*'}", "config_name 1 is not a string"),
        ("configs:\n- {config_name: a, data_files: ../../x}", "'../../x' are not in the data set"),
        ("configs:\n- {config_name: a, data_files: 'http://x/y'}", "'http://x/y' are not in the"),
        ("configs:\n- {config_name: a, data_dir: ../..}", "there are no data files in ../.."),
    ],
)
def test_cards(folder: Path, card: str, told: str) -> None:
    (folder / "README.md").write_text(f"---\n{card}\n---\n")
    found = lines(folder)
    assert len(found) == 1
    assert told in found[0]
    assert found[0].isprintable()
    assert len(found[0]) < 700


def test_a_folder_of_a_configuration_needs_no_file_of_each_usual_name(folder: Path) -> None:
    (folder / "README.md").write_text("---\nconfigs:\n- {config_name: a, data_dir: data}\n---\n")
    report = check_data_set(str(folder))
    assert not [*report.lines(), *report.warnings]
    assert report.checked["rows"] == 4


def test_a_card_that_is_a_folder(folder: Path) -> None:
    (folder / "README.md").mkdir()
    assert lines(folder) == ["README.md: cannot be read: is a directory; put a file there"]


def test_files_of_no_known_format_are_not_looked_for_on_the_hub(tmp_path: Path) -> None:
    (tmp_path / "train.bin").write_bytes(b"x")
    assert "train.bin is of no format that load_dataset reads" in lines(tmp_path)[0]


def test_files_of_another_format_beside_the_data(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [{"a": 1}])
    (tmp_path / "sample.png").write_bytes(picture())
    assert check_data_set(str(tmp_path)).summary().endswith("no problem")


@pytest.mark.parametrize("name", ["x" * 300, "x/" + "y" * 5000, os.devnull])
def test_names_of_no_data_set(name: str) -> None:
    with pytest.raises(AcpError):
        check_data_set(name)


def test_nothing_of_the_data_reaches_the_terminal_as_a_command(tmp_path: Path) -> None:
    path = tmp_path / "train-\x1b[31m\u202e.parquet"
    rows = [
        {"image\x1b]0;": {"bytes": b"", "path": None}, "image": {"bytes": b"x", "path": "\x07"}}
    ]
    write(path, rows)
    (tmp_path / os.fsdecode(b"train-\xff.parquet")).write_bytes(b"junk")
    found = CliRunner().invoke(app, ["check", str(tmp_path)])
    assert found.exit_code == 1
    assert found.output.replace("\n", "").isprintable()
    assert r"train-\x1b[31m\u202e.parquet: row 0: image (\x07) is of no known" in found.output
    assert shown("é \x9b\udcff") == r"é \x9b\udcff"


def test_what_is_not_looked_into_is_said(tmp_path: Path) -> None:
    boxes = {"bbox": [[1.0, 1, 9, 1, 9, 9, 1, 9]], "category": [0]}
    row = {"image": "a.png", "audio": {"bytes": b"x", "path": None}, "objects": boxes}
    write(tmp_path / "a.parquet", [row])
    report = check_data_set(str(tmp_path))
    assert report.ok
    assert report.notes == [
        "default: boxes are not of four numbers, so they are not compared with the images",
        "default: image holds strings, no images, so none is opened",
        "default: audio holds files that are taken for no images, so none is opened",
    ]


@pytest.mark.parametrize("column", ["picture", "images"])
def test_images_without_a_feature_that_tells(tmp_path: Path, column: str) -> None:
    content = picture()[:100]
    value: Any = [{"bytes": content, "path": None}] if column == "images" else content
    write(tmp_path / "a.parquet", [{column: value}])
    assert f"a.parquet: row 0: {column} does not decode" in lines(tmp_path)[0]


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": ["a", "b"], "counts": "11"},
        {"size": [0, 5], "counts": [2**62] * 4},
        [["a", "b", "c", "d", "e", "f"]],
    ],
)
def test_one_mask_does_not_hide_the_problem_of_the_next_row(
    tmp_path: Path, segmentation: Any
) -> None:
    rows = [
        {"image": picture(), "objects": [{"bbox": [1, 1, side, 9], "segmentation": segmentation}]}
        for side in (*[9] * 99, 500)
    ]
    write(tmp_path / "a.parquet", rows)
    found = lines(tmp_path)
    assert len(found) == 101
    assert "row 99, objects[0]: bbox [1, 1, 500, 9] reaches outside" in " ".join(found)


def test_files_that_no_reader_gets(folder: Path) -> None:
    data = folder / "data"
    for number in range(3):
        write(data / f"train-{number}.parquet", [{"a": 3}])
    (data / "notes.parquet").mkdir()
    (data / "train-00000-of-00001.parquet").rename(data / "train-00000-of-00003.parquet")
    report = check_data_set(str(folder), max_problems=2)
    assert report.ok
    assert [*report.warning_lines()] == [
        "warning: data/train-0.parquet: load_dataset does not find it by its name; name it as the "
        "others, or write configs into the card",
        "warning: data/train-1.parquet: load_dataset does not find it by its name; name it as the "
        "others, or write configs into the card",
        "warning: data/train-*-of-00003: 2 of 3 files are not there, first number 00001; put them "
        "there, or number the others anew",
        "warning: unclaimed: 1 more of this kind; --all shows them",
    ]


def test_what_a_build_keeps_is_no_data_set(tmp_path: Path) -> None:
    folder = tmp_path / "tiny.work"
    (folder / "shards").mkdir(parents=True)
    (folder / "lock").touch()
    (folder / "state.json").write_text("{}")
    with pytest.raises(AcpError, match=r"tiny.work: what acp build keeps .* without .work"):
        check_data_set(str(folder))


@pytest.mark.parametrize(
    "row",
    [
        {"relations": {"predicate": ["on"]}, "objects": [{"bbox": [0, 0, 1, 1]}]},
        {"relations": [{"subject": 0}]},
        {"image": {"bytes": [1, 2], "path": None}},
        {"image": {"bytes": {"bytes": b"x"}, "path": "a"}},
        {"image": {"bytes": b"x", "path": ["a"]}},
        {"image_id": [1], "width": "3", "height": {"a": 1}},
        {"objects": {"bbox": [None], "segmentation": [None], "id": [None], "category": None}},
    ],
)
def test_columns_that_only_have_the_names(tmp_path: Path, row: dict[str, Any]) -> None:
    write(tmp_path / "a.parquet", [row])
    assert not lines(tmp_path)
