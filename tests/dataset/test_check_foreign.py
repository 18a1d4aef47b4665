"""`acp check` of data sets that are not ours: fifty images of COCO in the layouts that people use
give no false problem, and each thing that is broken is told once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Image, load_from_disk
from typer.testing import CliRunner

from acp.cli.main import app
from acp.core.errors import AcpError
from acp.dataset.check import check_data_set
from support.check_layouts import LAYOUTS

SHARD = "data/train-00000-of-00002.parquet"
Row = dict[str, Any]


@pytest.fixture(scope="module")
def layouts(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set for each layout."""
    folder = tmp_path_factory.mktemp("layouts")
    for name, (write, _) in LAYOUTS.items():
        write(shared_data, folder / name)
    return folder


@pytest.mark.parametrize("name", LAYOUTS)
def test_real_data_have_no_problem(layouts: Path, name: str) -> None:
    report = check_data_set(str(layouts / name), processes=2)
    assert [*report.lines(), *report.warnings] == []
    convention = LAYOUTS[name][1]
    assert any(f"taken as {convention}" in note for note in report.notes) or not convention
    assert report.checked["rows"] == (250 if name == "captions" else 50)
    assert report.checked["images"] == (0 if name in ("captions", "json_lines") else 50)
    assert bool(report.checked["masks"]) == ("mask" in name or name == "list_of_structs")


def edit(change: Callable[[list[Row]], object]) -> Callable[[Path], None]:
    def broken(folder: Path) -> None:
        table = pq.read_table(folder / SHARD)
        rows = table.to_pylist()
        change(rows)
        pq.write_table(pa.Table.from_pylist(rows, table.schema), folder / SHARD)

    return broken


def member(row: int, place: int, **values: Any) -> Callable[[list[Row]], None]:
    """Change an object of a list of structs."""

    def change(rows: list[Row]) -> None:
        each = rows[row].get("objects") or rows[row].get("annotations")
        assert each is not None
        each[place].update(values)

    return change


def value(row: int, place: int, key: str, new: Any) -> Callable[[list[Row]], None]:
    """Change an object of a struct of lists."""

    def change(rows: list[Row]) -> None:
        rows[row]["objects"][key][place] = new

    return change


def top(row: int, key: str, new: Any) -> Callable[[list[Row]], None]:
    def change(rows: list[Row]) -> None:
        rows[row][key] = new

    return change


def drop_last(key: str) -> Callable[[list[Row]], None]:
    def change(rows: list[Row]) -> None:
        (rows[0].get("objects") or rows[0])[key].pop()

    return change


def cut_image(rows: list[Row]) -> None:
    stored = rows[4]["image"]
    stored["bytes"] = stored["bytes"][:3000]


def lost_image(rows: list[Row]) -> None:
    rows[4]["image"] = {"bytes": None, "path": "nowhere/4.jpg"}


def same_id(rows: list[Row]) -> None:
    rows[7]["image_id"] = rows[6]["image_id"]


def moved_mask(rows: list[Row]) -> None:
    each = next(e for row in rows for e in row["objects"] if e["bbox"][0] > 200)
    each["bbox"] = [0.0, each["bbox"][1], 20.0, 20.0]


def card(text: str) -> Callable[[Path], None]:
    def broken(folder: Path) -> None:
        (folder / "README.md").write_text(f"---\n{text}\n---\n")

    return broken


def broken_line(folder: Path) -> None:
    path = folder / "train.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:5], '{"image_id": 4, "width"', *lines[6:]]))


def metadata(change: Callable[[list[Row]], object]) -> Callable[[Path], None]:
    """Change the rows of metadata.jsonl."""

    def broken(folder: Path) -> None:
        path = folder / "train" / "metadata.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        change(rows)
        path.write_text("\n".join(map(json.dumps, rows)))

    return broken


def cut_file_of_folder(folder: Path) -> None:
    path = sorted((folder / "train").glob("*.jpg"))[3]
    path.write_bytes(path.read_bytes()[:5000])


def saved_box(folder: Path) -> None:
    data = load_from_disk(str(folder))
    rows = data["train"].cast_column("image", Image(decode=False)).to_list()
    rows[3]["objects"]["bbox"][0] = [1.0, 1.0, 5000.0, 5.0]
    split = Dataset.from_list(rows).cast_column("image", Image())
    shutil.rmtree(folder / "train")
    split.save_to_disk(str(folder / "train"))


def cut_arrow(folder: Path) -> None:
    path = next((folder / "test").glob("*.arrow"))
    path.write_bytes(path.read_bytes()[:50_000])


def no_state(folder: Path) -> None:
    (folder / "test" / "state.json").write_text("{}")


def garbage(folder: Path) -> None:
    (folder / SHARD).write_bytes(bytes(500))


def pointer(folder: Path) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
    (folder / SHARD).write_text(text)


def empty(folder: Path) -> None:
    (folder / SHARD).write_bytes(b"")


def other_columns(folder: Path) -> None:
    table = pq.read_table(folder / SHARD)
    pq.write_table(table.rename_columns(["picture", *table.column_names[1:]]), folder / SHARD)


POLYGONS = "data/train-00000-of-00002.parquet: row 1, annotations[0]: "
BROKEN: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "garbage": ("struct_of_lists", garbage, f"{SHARD}: cannot be opened: no parquet file, or cut"),
    "pointer": ("struct_of_lists", pointer, f"{SHARD}: is a pointer of git LFS, not the file; run"),
    "empty": ("struct_of_lists", empty, f"{SHARD}: is empty (0 bytes); write or fetch it again"),
    "line": ("json_lines", broken_line, "train: cannot be opened: JSON parse error: "),
    "features": (
        "struct_of_lists",
        other_columns,
        "data/train-00001-of-00002.parquet: lacks the column 'picture', which is in "
        f"{SHARD}; write all shards",
    ),
    "cut image": ("struct_of_lists", edit(cut_image), f"{SHARD}: row 4: image (0000"),
    "lost image": (
        "struct_of_lists",
        edit(lost_image),
        f"{SHARD}: row 4: image (4.jpg) is a path to no file",
    ),
    "image elsewhere": (
        "struct_of_lists",
        edit(top(4, "image", {"bytes": None, "path": "/etc/hostname"})),
        f"{SHARD}: row 4: image (hostname) is a path out of the data set; put in a whole file",
    ),
    "height": (
        "struct_of_lists",
        edit(top(2, "height", 3)),
        f"{SHARD}: row 2: width and height say ",
    ),
    "outside": (
        "struct_of_lists",
        edit(value(2, 0, "bbox", [600.0, 10.0, 90.0, 20.0])),
        f"{SHARD}: row 2, objects[0]: bbox [600, 10, 90, 20] reaches outside the image of ",
    ),
    "flat": (
        "struct_of_lists",
        edit(value(2, 0, "bbox", [60.0, 10.0, 0.0, 20.0])),
        f"{SHARD}: row 2, objects[0]: bbox [60, 10, 0, 20] has no area; remove the object",
    ),
    "corners": (
        "list_of_structs",
        edit(member(1, 0, bbox=[60.0, 10.0, 20.0, 50.0])),
        f"{POLYGONS}bbox [60, 10, 20, 50] has no area; remove the object",
    ),
    "three numbers": (
        "list_of_structs",
        edit(member(1, 0, bbox=[60.0, 10.0, 20.0])),
        f"{POLYGONS}bbox has 3 numbers, expected 4; correct it, or remove the object",
    ),
    "normalised": (
        "normalised_centres",
        edit(lambda rows: rows[1]["bboxes"].__setitem__(0, [0.9, 0.5, 0.4, 0.1])),
        f"{SHARD}: row 1, bboxes[0]: bboxes [0.9, 0.5, 0.4, 0.1] reaches outside the image of ",
    ),
    "lists": (
        "normalised_centres",
        edit(drop_last("labels")),
        f"{SHARD}: row 0: the lists: ",
    ),
    "lists of objects": (
        "struct_of_lists",
        edit(drop_last("category")),
        f"{SHARD}: row 0: objects: category has ",
    ),
    "class": (
        "struct_of_lists",
        edit(value(3, 1, "category", 80)),
        f"{SHARD}: row 3, objects[1]: category 80 is none of 80 classes; correct it, or the names",
    ),
    "two points": (
        "list_of_structs",
        edit(member(1, 0, segmentation=[[1.0, 2.0, 3.0, 4.0]])),
        f"{POLYGONS}a polygon has 4 numbers; a polygon is [x, y, x, y, ...] of 3 points or more",
    ),
    "polygon": (
        "list_of_structs",
        edit(member(1, 0, segmentation=[[1.0, 2.0, 900.0, 4.0, 40.0, 90.0]])),
        f"{POLYGONS}a polygon reaches outside the image of ",
    ),
    "mask": (
        "compressed_masks",
        edit(member(1, 0, segmentation={"size": [5, 5], "counts": "52203"})),
        f"{SHARD}: row 1, objects[0]: segmentation has size [5, 5], the image ",
    ),
    "runs": (
        "uncompressed_masks",
        edit(lambda rows: rows[1]["objects"][0]["segmentation"]["counts"].append(7)),
        f"{SHARD}: row 1, objects[0]: segmentation does not decode: its runs make ",
    ),
    "elsewhere": (
        "compressed_masks",
        edit(moved_mask),
        " does not touch its mask in [",
    ),
    "id": (
        "struct_of_lists",
        edit(same_id),
        f"{SHARD}: row 7: image_id is also that of {SHARD}: row 6; give each its own id",
    ),
    "file of a folder": (
        "image_folder",
        cut_file_of_folder,
        ".jpg) does not decode (",
    ),
    "name in a folder": (
        "image_folder",
        metadata(lambda rows: rows[0].update(file_name="nowhere.jpg")),
        "train: row 0: image (nowhere.jpg) is a path to no file; put in a whole file, or remove",
    ),
    "saved": (
        "saved_to_disk",
        saved_box,
        "train/data-00000-of-00001.arrow: row 3, objects[0]: bbox [1, 1, 5000, 5] reaches",
    ),
    "cut arrow": ("saved_to_disk", cut_arrow, "test/data-00000-of-00001.arrow: "),
    "state": ("saved_to_disk", no_state, "test/state.json: cannot be read; save the data set"),
    "licence": (
        "struct_of_lists",
        card("license: cc-by-4"),
        "README.md: license: the Hub knows no 'cc-by-4'; did you mean 'cc-by-4.0'?",
    ),
    "no files": (
        "struct_of_lists",
        card(
            "configs:\n- config_name: default\n  data_files:\n  - {split: train, path: data/t*}"
            "\n  - {split: test, path: data/test*}"
        ),
        "README.md: configs, default: data_files of 'test' 'data/test*' match no file; correct",
    ),
    "wrong number": (
        "struct_of_lists",
        card("dataset_info:\n  splits:\n  - {name: train, num_examples: 51, num_bytes: 1}"),
        "README.md: dataset_info, default: split 'train' has 51 examples, its files 50; write",
    ),
    "wrong features": (
        "struct_of_lists",
        card("dataset_info:\n  features:\n  - {name: image, dtype: image}"),
        "README.md: dataset_info, default: features: ",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_told_in_one_line(layouts: Path, tmp_path: Path, name: str) -> None:
    layout, broken, expected = BROKEN[name]
    folder = Path(shutil.copytree(layouts / layout, tmp_path / layout))
    broken(folder)
    found = list(check_data_set(str(folder)).lines())
    assert len(found) == 1, found
    assert expected in found[0]
    assert "\n" not in found[0]


def test_the_answer_does_not_depend_on_the_number_of_workers(
    layouts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("acp.dataset.check.rows.SMALL_BYTES", 0)  # so that five are processes
    folder = Path(shutil.copytree(layouts / "struct_of_lists", tmp_path / "data"))

    def change(rows: list[Row]) -> None:
        for row in rows:
            row["height"] += 1
            row["objects"]["bbox"][:1] = [[0.0, 0.0, 9000.0, 1.0]]

    edit(change)(folder)
    one, threads, processes = (check_data_set(str(folder), processes=n) for n in (1, 3, 5))
    assert len(one.problems) > 40
    assert one == threads == processes


def test_problems_of_a_kind_are_counted_and_the_first_are_told(
    layouts: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(layouts / "struct_of_lists", tmp_path / "data"))
    edit(lambda rows: [row.update(width=1) for row in rows])(folder)
    result = CliRunner().invoke(app, ["check", str(folder), "--max-problems", "3"])
    lines = result.output.splitlines()
    assert result.exit_code == 1
    assert [line.split(": ")[1] for line in lines[:3]] == ["row 0", "row 1", "row 2"]
    assert lines[3] == "size: 22 more of this kind; --all shows them"
    assert lines[-1].endswith("; 25 problems")
    everything = CliRunner().invoke(app, ["check", str(folder), "--all"])
    assert sum("width and height say" in line for line in everything.output.splitlines()) == 25


def test_lists_of_something_else_need_not_be_as_long(tmp_path: Path) -> None:
    """Key points of all objects in one list."""
    objects = [{"bbox": [[1.0, 1, 5, 5]] * n, "points": [1.0] * (6 * n)} for n in (1, 2, 3)]
    rows = [{"width": 9, "height": 9, "objects": each} for each in objects]
    Dataset.from_list(rows).to_parquet(str(tmp_path / "a.parquet"))
    report = check_data_set(str(tmp_path))
    assert (report.ok, report.checked["objects"]) == (True, 6)


def test_a_file_a_split_and_a_configuration_alone(layouts: Path) -> None:
    report = check_data_set(str(layouts / "struct_of_lists" / SHARD))
    assert report.ok
    assert report.checked["rows"] == 25
    report = check_data_set(str(layouts / "saved_to_disk"), split="test")
    assert report.checked["rows"] == 10
    with pytest.raises(AcpError, match="no split 'val'; it has test, train"):
        check_data_set(str(layouts / "saved_to_disk"), split="val")
    with pytest.raises(AcpError, match="no config 'x'; it has default"):
        check_data_set(str(layouts / "saved_to_disk"), config="x")


@pytest.mark.parametrize(
    ("name", "told"),
    [("./nowhere", "no such folder or file"), ("a/b/c", "no such folder or file")],
)
def test_what_is_not_there_is_one_line(name: str, told: str) -> None:
    with pytest.raises(AcpError, match=told):
        check_data_set(name)


def test_a_folder_without_data(tmp_path: Path) -> None:
    with pytest.raises(AcpError, match="no data files in it"):
        check_data_set(str(tmp_path))
    (tmp_path / "notes.md").write_text("nothing")
    with pytest.raises(AcpError, match=r"notes.md: not a format of data sets"):
        check_data_set(str(tmp_path / "notes.md"))
    with pytest.raises(AcpError, match="no data files in it"):
        check_data_set(str(tmp_path))
