"""`acp check` of data sets that are not ours: fifty images of COCO in the layouts that people use
give no false problem, each thing that is broken is told once, and nothing breaks the check."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, load_dataset
from PIL import Image
from typer.testing import CliRunner

from acp.cli.main import app
from acp.core.errors import AcpError
from acp.dataset.check import Problem, Report, check_data_set
from support.check_layouts import LAYOUTS
from support.doc_blocks import blocks, run

SHARD = "data/train-00000-of-00002.parquet"
Row = dict[str, Any]


@pytest.fixture(scope="module")
def layouts(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set for each layout."""
    folder = tmp_path_factory.mktemp("layouts")
    for name, (write, _, _) in LAYOUTS.items():
        write(shared_data, folder / name)
    return folder


def checked(folder: Path, layout: str = "struct_of_lists", **options: Any) -> Report:
    _, box_format, columns = LAYOUTS[layout]
    return check_data_set(str(folder), box_format=box_format, columns=columns, **options)


def lines(folder: Path) -> list[str]:
    return [*check_data_set(str(folder), max_problems=None).lines()]


@pytest.mark.parametrize("name", LAYOUTS)
def test_real_data_have_no_problem(layouts: Path, name: str) -> None:
    report = checked(layouts / name, name, processes=2)
    assert [*report.lines(), *report.warnings] == []
    assert report.checked["rows"] == 50
    assert report.checked["images"] == (0 if name == "json_lines" else 50)
    assert report.checked["boxes"] > 300
    assert bool(report.checked["masks"]) == ("mask" in name or name == "list_of_structs")


@pytest.mark.parametrize("name", ["list_of_structs", "normalised_centres"])
def test_boxes_in_another_format_are_told_in_one_line(layouts: Path, name: str) -> None:
    _, box_format, columns = LAYOUTS[name]
    only_boxes = {"bbox": columns["bbox"]}
    [line] = check_data_set(str(layouts / name), columns=only_boxes).lines()
    assert line.startswith("default: only ")
    assert line.endswith(f"; use --bbox-format {box_format}")


def test_what_is_not_understood_is_a_problem(layouts: Path, tmp_path: Path) -> None:
    report = check_data_set(str(layouts / "web_dataset"))
    assert report.notes == ["default: not checked: json, __key__, __url__"]
    assert report.summary().endswith("no problem in that, see above for what was not checked")
    (tmp_path / "a.csv").write_text("id,caption\n1,a cat\n")
    assert lines(tmp_path) == [
        "default: no column of images or objects that is understood, so none was checked (id, "
        "caption); name them, as with --column image=NAME --column bbox=NAME.NAME"
    ]


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


def cut_image(rows: list[Row]) -> None:
    stored = rows[4]["image"]
    stored["bytes"] = stored["bytes"][:3000]


def moved_mask(rows: list[Row]) -> None:
    each = next(e for row in rows for e in row["objects"] if e["bbox"][0] > 200)
    each["bbox"] = [0.0, each["bbox"][1], 20.0, 20.0]


def card(text: str) -> Callable[[Path], None]:
    def broken(folder: Path) -> None:
        (folder / "README.md").write_text(f"---\n{text}\n---\n")

    return broken


def broken_line(folder: Path) -> None:
    path = folder / "train.jsonl"
    rows = path.read_text().splitlines()
    path.write_text("\n".join([*rows[:5], '{"image_id": 4, "width"', *rows[6:]]))


def cut_file_of_folder(folder: Path) -> None:
    path = sorted((folder / "train").glob("*.jpg"))[3]
    path.write_bytes(path.read_bytes()[:5000])


def pointer(folder: Path) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
    (folder / SHARD).write_text(text)


def other_columns(folder: Path) -> None:
    table = pq.read_table(folder / SHARD)
    pq.write_table(table.rename_columns(["picture", *table.column_names[1:]]), folder / SHARD)


FIRST = f"{SHARD}: row 1, objects[0]: "
BROKEN: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "pointer": ("struct_of_lists", pointer, f"{SHARD}: cannot be opened: Parquet magic bytes not"),
    "line": ("json_lines", broken_line, "train: cannot be opened: JSON parse error: "),
    "features": (
        "struct_of_lists",
        other_columns,
        "data/train-00001-of-00002.parquet: lacks the column 'picture', which is in "
        f"{SHARD}; write all files",
    ),
    "cut image": ("struct_of_lists", edit(cut_image), f"{SHARD}: row 4: image (0000"),
    "lost image": (
        "struct_of_lists",
        edit(top(4, "image", {"bytes": None, "path": "nowhere/4.jpg"})),
        f"{SHARD}: row 4: image (4.jpg) is a path to no file",
    ),
    "image elsewhere": (
        "struct_of_lists",
        edit(top(4, "image", {"bytes": None, "path": "/etc/hostname"})),
        f"{SHARD}: row 4: image (hostname) is a path out of the data set; put in a whole file",
    ),
    "image on the network": (
        "struct_of_lists",
        edit(top(4, "image", {"bytes": None, "path": "http://127.0.0.1/a.jpg"})),
        f"{SHARD}: row 4: image (a.jpg) is a path out of the data set; put in a whole file",
    ),
    "height": (
        "struct_of_lists",
        edit(top(2, "height", 3)),
        f"{SHARD}: row 2: width and height say ",
    ),
    "outside": (
        "struct_of_lists",
        edit(value(2, 0, "bbox", [600.0, 10.0, 90.0, 20.0])),
        f"{SHARD}: row 2, objects[0]: bbox [600, 10, 90, 20] lies outside the image of ",
    ),
    "corners": (
        "list_of_structs",
        edit(member(1, 0, bbox=[60.0, 10.0, 20.0, 50.0])),
        f"{FIRST}bbox [60, 10, 20, 50] has no area; correct it, or remove the object",
    ),
    "three numbers": (
        "list_of_structs",
        edit(member(1, 0, bbox=[60.0, 10.0, 20.0])),
        f"{FIRST}bbox has 3 numbers, expected 4; correct it, or remove the object",
    ),
    "normalised": (
        "normalised_centres",
        edit(lambda rows: rows[1]["bboxes"].__setitem__(0, [0.9, 0.5, 0.4, 0.1])),
        f"{FIRST}bbox [0.9, 0.5, 0.4, 0.1] reaches outside the image of ",
    ),
    "lists of objects": (
        "struct_of_lists",
        edit(lambda rows: rows[0]["objects"]["category"].pop()),
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
        f"{FIRST}a polygon has 4 numbers; a polygon is [x, y, x, y, ...] of 3 points or more",
    ),
    "mask": (
        "compressed_masks",
        edit(member(1, 0, segmentation={"size": [5, 5], "counts": "52203"})),
        f"{FIRST}segmentation has size [5, 5], the image ",
    ),
    "runs": (
        "uncompressed_masks",
        edit(lambda rows: rows[1]["objects"][0]["segmentation"]["counts"].append(7)),
        f"{FIRST}segmentation does not decode: its runs make ",
    ),
    "elsewhere": ("compressed_masks", edit(moved_mask), " does not touch its mask in ["),
    "file of a folder": ("image_folder", cut_file_of_folder, ".jpg) does not decode ("),
    "no files": (
        "struct_of_lists",
        card(
            "configs:\n- config_name: default\n  data_files:\n  - {split: train, path: data/t*}"
            "\n  - {split: test, path: data/test*}"
        ),
        "load_dataset cannot read it: Couldn't infer the same data file format for all splits",
    ),
    "wrong number": (
        "struct_of_lists",
        card("dataset_info:\n  splits:\n  - {name: train, num_examples: 51, num_bytes: 1}"),
        "README.md: default: split 'train' has 51 examples, its files 50; write the card anew",
    ),
    "wrong features": (
        "struct_of_lists",
        card("dataset_info:\n  features:\n  - {name: image, dtype: image}"),
        "README.md: default: features: lacks the column 'image_id', which is in its rows; write",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_told_in_one_line(layouts: Path, tmp_path: Path, name: str) -> None:
    layout, broken, expected = BROKEN[name]
    folder = Path(shutil.copytree(layouts / layout, tmp_path / layout))
    broken(folder)
    found = list(checked(folder, layout).lines())
    assert len(found) == 1, found
    assert expected in found[0]
    assert "\n" not in found[0]


def test_the_answer_does_not_depend_on_the_number_of_workers(layouts: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(layouts / "struct_of_lists", tmp_path / "data"))

    def change(rows: list[Row]) -> None:
        for row in rows:
            row["height"] += 1
            row["objects"]["category"][:1] = [99]

    edit(change)(folder)
    one, three = (checked(folder, processes=n, max_problems=None) for n in (1, 3))
    assert len(one.problems) > 40
    assert one == three


def test_problems_of_a_kind_are_counted_and_the_first_are_told(
    layouts: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(layouts / "struct_of_lists", tmp_path / "data"))
    edit(lambda rows: [row.update(width=1) for row in rows])(folder)
    result = CliRunner().invoke(app, ["check", str(folder), "--max-problems", "3"])
    found = result.output.splitlines()
    assert result.exit_code == 1
    assert [line.split(": ")[1] for line in found[:3]] == ["row 0", "row 1", "row 2"]
    assert found[3] == "size: 22 more of this kind; --all shows them"
    assert found[-1].endswith("; 25 problems")
    everything = CliRunner().invoke(app, ["check", str(folder), "--all"])
    assert sum("width and height say" in line for line in everything.output.splitlines()) == 25


def test_a_report_keeps_some_and_counts_all() -> None:
    report = Report("x", keep=1)
    report.add([Problem("a", "f", "bad"), Problem("b", "f", "worse"), Problem("a", "g", "bad")])
    assert list(report.lines()) == [
        "f: bad",
        "a: 1 more of this kind; --all shows them",
        "f: worse",
    ]
    assert report.summary() == "x: checked nothing (no images and no boxes); 3 problems"


def test_a_file_a_split_and_a_configuration_alone(layouts: Path) -> None:
    folder = layouts / "struct_of_lists"
    report = check_data_set(str(folder / SHARD))
    assert report.ok
    assert report.checked["rows"] == 25
    with pytest.raises(AcpError, match="no split 'val'; it has train"):
        check_data_set(str(folder), split="val")
    with pytest.raises(AcpError, match="no config 'x'; it has default"):
        check_data_set(str(folder), config="x")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["./nowhere"], "./nowhere: no such folder or file"),
        (["x" * 300], "no name of a data set on the Hub"),
        ([os.devnull], "neither a folder nor a file"),
        ([".", "--column", "box=a"], "--column box=a: no part 'box'; did you mean 'bbox'?"),
        ([".", "--column", "bbox"], "--column bbox: expected PART=WHERE"),
        (
            [".", "--bbox-format", "xyx"],
            "--bbox-format xyx: no such format; known: xywh, xyxy, cxcywh, ",
        ),
        ([".", "--column", "image=width"], "--column image=width: there is no such column, or its"),
    ],
)
def test_what_cannot_be_asked_is_one_line(layouts: Path, arguments: list[str], reason: str) -> None:
    name = str(layouts / "struct_of_lists") if arguments[0] == "." else arguments[0]
    result = CliRunner().invoke(app, ["check", name, *arguments[1:]])
    assert isinstance(result.exception, AcpError)
    assert reason in str(result.exception)


def test_what_a_build_keeps_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "tiny.work" / "shards").mkdir(parents=True)
    with pytest.raises(AcpError, match=r"tiny.work: what acp build keeps, no data set"):
        check_data_set(str(tmp_path / "tiny.work"))


# What is made to break it.

ALIASES = "\n".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in pairwise("abcdefghij")
)


def picture() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(content, "PNG")
    return content.getvalue()


def write(path: Path, rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("date: 2024-99-99", "its YAML cannot be read: month must be in 1..12"),
        ("a: " + "[" * 5000, "its YAML cannot be read: maximum recursion"),
        (f"a: &a [x]\n{ALIASES}\nlicense: [*j]", "stands for more than 100,000 values"),
        ("license: &a [*a]", "its YAML cannot be read: maximum recursion"),
        ("a: !!python/object/apply:os.system [id]", "its YAML cannot be read: could not determine"),
        ("configs: {config_name: a, data_files: data/*}", "cannot read it: Expected configs to be"),
        ("configs:\n- {config_name: a, data_files: ../../x}", "../../x is not in the data set"),
        ("configs:\n- {config_name: a, data_files: 'http://x/y'}", "http://x/y is not in the data"),
        ("configs:\n- {config_name: a, data_dir: ../..}", "../.. is not in the data set"),
    ],
)
def test_cards(tmp_path: Path, text: str, reason: str) -> None:
    write(tmp_path / "data" / "train.parquet", [{"image": picture()}])
    (tmp_path / "README.md").write_text(f"---\n{text}\n---\n")
    found = lines(tmp_path)
    assert len(found) == 1, found
    assert reason in found[0]
    assert found[0].isprintable()
    assert len(found[0]) < 700


def test_the_other_card_that_load_dataset_reads_stays_inside_too(tmp_path: Path) -> None:
    write(tmp_path / "data" / "train.parquet", [{"image": picture()}])
    (tmp_path / ".huggingface.yaml").write_text("configs:\n- {config_name: a, data_files: ../x}")
    assert lines(tmp_path) == [
        "README.md: configs: ../x is not in the data set; put the files there"
    ]


def test_links_out_of_a_data_set_are_not_followed(tmp_path: Path) -> None:
    """Neither those of tables nor those of pictures."""
    whole, linked = {"bytes": picture(), "path": "b.png"}, {"bytes": None, "path": "a.png"}
    write(tmp_path / "secret.parquet", [{"image": whole}])
    (tmp_path / "secret.png").write_bytes(picture())
    write(tmp_path / "set" / "t.parquet", [{"image": whole}, {"image": linked}])
    (tmp_path / "set" / "a.png").symlink_to(tmp_path / "secret.png")
    [line] = lines(tmp_path / "set")
    assert line.startswith("t.parquet: row 1: image (a.png) is a path out of the data set; ")
    (tmp_path / "set" / "u.parquet").symlink_to(tmp_path / "secret.parquet")
    [line] = lines(tmp_path / "set")
    assert line == (
        "u.parquet: is a link that leads out of the data set; put the file itself there"
    )


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"width": pa.array(np.zeros(50_000_000, np.int32))}),
        pa.table({"objects": [[{"area": 1.0}]], "image": [bytes(100_000_000)]}),
        pa.table(
            {"a": pa.ListArray.from_arrays([0, 50_000_000], pa.array(np.zeros(50_000_000, bool)))}
        ),
    ],
    ids=["rows", "bytes", "values"],
)
def test_a_small_file_that_stands_for_too_much_is_not_read(tmp_path: Path, table: pa.Table) -> None:
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd")
    assert (tmp_path / "a.parquet").stat().st_size < 400_000
    [line] = lines(tmp_path)
    assert re.match(r"a.parquet: cannot be opened: [\d,]+ bytes that stand for [\d,]+ values", line)


# What tools for annotations write.

COCO = json.dumps({"images": [{"id": 0, "file_name": "0.png"}], "annotations": []})
EXPORTS: dict[str, tuple[dict[str, str], str]] = {
    "roboflow": (
        {f"{split}/_annotations.coco.json": COCO for split in ("train", "valid", "test")},
        "test/_annotations.coco.json: annotations in COCO's JSON, and 2 more: train/_annotations.",
    ),
    "coco": ({"annotations/instances_val.json": COCO}, "instances_val.json: annotations in COCO's"),
    "bom": ({"a.json": f"\ufeff{COCO}"}, "a.json: annotations in COCO's JSON; "),
    "yolo": (
        {
            "labels/train/0.txt": "0 0.5 0.5 0.2 0.2\n1 0.5 0.5 0.2 1e-3\n",
            "data.yaml": "names: [a]",
        },
        "labels/train/0.txt: annotations in YOLO's text; load_dataset makes no boxes of it; write",
    ),
    "voc": ({"Annotations/0.xml": "<annotation><object/></annotation>"}, " in Pascal VOC's XML; "),
    "cvat": (
        {"annotations.xml": "<?xml version='1.0'?>\n<annotations><image/></annotations>"},
        "annotations.xml: annotations in CVAT's XML; load_dataset makes no boxes of it; write them",
    ),
    "labelme": (
        {"train/0.json": '{"version": "5", "shapes": []}'},
        "annotations in LabelMe's JSON",
    ),
    "csv": ({"b.csv": "filename,class,xmin,ymin,xmax,ymax\n"}, "b.csv: annotations in CSV; "),
}


@pytest.mark.parametrize("name", EXPORTS)
@pytest.mark.parametrize("pictures", [0, 4])
def test_exports_are_known_and_never_no_problem(tmp_path: Path, name: str, pictures: int) -> None:
    files, expected = EXPORTS[name]
    for k in range(pictures):
        for split in ("train", "valid", "test"):
            (tmp_path / split).mkdir(exist_ok=True)
            (tmp_path / split / f"{k}.png").write_bytes(picture())
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    report = check_data_set(str(tmp_path))
    assert any(expected in line for line in report.lines()), list(report.lines())
    assert "no problem" not in report.summary()


def test_an_export_becomes_what_load_dataset_reads_as_the_docs_say(tmp_path: Path) -> None:
    coco = {
        "images": [{"id": k, "file_name": f"{k}.png"} for k in range(2)],
        "categories": [{"id": 3, "name": "dog"}],
        "annotations": [{"image_id": 1, "category_id": 3, "bbox": [1, 2, 3.5, 4]}],
    }
    for split in ("train", "valid"):
        (tmp_path / split).mkdir()
        for k in range(2):
            (tmp_path / split / f"{k}.png").write_bytes(picture())
        (tmp_path / split / "_annotations.coco.json").write_text(json.dumps(coco))
    (code,) = [each for each in blocks("docs/checking.md", "python") if "coco.json" in each]
    run(code.replace("export", str(tmp_path)))
    report = check_data_set(str(tmp_path))
    assert [*report.lines(), *report.warnings, *report.notes] == []
    assert (report.checked["images"], report.checked["boxes"]) == (4, 2)


def test_a_folder_that_load_dataset_refuses(tmp_path: Path) -> None:
    """More pictures than annotations in one split, as many in the other."""
    for split, count in (("train", 2), ("test", 1)):
        (tmp_path / split).mkdir()
        (tmp_path / split / "_annotations.coco.json").write_text(COCO)
        for k in range(count):
            (tmp_path / split / f"{k}.jpg").write_bytes(picture())
    with pytest.raises(ValueError, match="Couldn't infer the same data file format"):
        load_dataset(str(tmp_path), cache_dir=str(tmp_path / "cache"))
    refused, exported = lines(tmp_path)
    assert refused.startswith(
        "load_dataset cannot read it: Couldn't infer the same data file format for all splits. Got "
        "{train: imagefolder, test: json}; "
    )
    assert exported.startswith(
        "test/_annotations.coco.json: annotations in COCO's JSON, and 1 more"
    )


def test_what_load_dataset_makes_of_it_is_told(tmp_path: Path) -> None:
    for name in ("a photo of a train", "a dog", "a test tube", "a cat"):
        (tmp_path / f"{name}.png").write_bytes(picture())
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a dog.png", "text": "a dog"}\n')
    report = check_data_set(str(tmp_path))
    assert report.reads == ["default: load_dataset reads it as ImageFolder, files: train 1, test 1"]
    assert str(report.warnings[0]).startswith(
        "a cat.png: load_dataset leaves it out, and 2 more: a dog.png, metadata.jsonl; name it as"
    )
    assert report.summary().endswith("no problem in that, see above for what was not checked")


def test_what_save_to_disk_wrote(tmp_path: Path) -> None:
    Dataset.from_dict({"width": [1]}).save_to_disk(tmp_path / "saved")
    assert lines(tmp_path / "saved")[0] == (
        "state.json: load_dataset refuses what save_to_disk wrote; use load_from_disk, then "
        "push_to_hub or to_parquet"
    )


def test_files_that_no_reader_gets(tmp_path: Path) -> None:
    for name in ("train-00000-of-00001", "train-1"):
        write(tmp_path / "data" / f"{name}.parquet", [{"image": picture()}])
    (tmp_path / "sample.png").write_bytes(picture())
    report = check_data_set(str(tmp_path))
    assert report.ok
    assert [str(each) for each in report.warnings] == [
        "data/train-1.parquet: load_dataset leaves it out; name it as the others are "
        "named, or in configs of the card",
    ]


def test_files_of_no_known_format(tmp_path: Path) -> None:
    (tmp_path / "train.bin").write_bytes(b"x")
    assert "load_dataset cannot read it: No (supported) data files found" in lines(tmp_path)[0]
    with pytest.raises(AcpError, match="not of a format of data sets"):
        check_data_set(str(tmp_path / "train.bin"))


def test_nothing_of_the_data_reaches_the_terminal_as_a_command(tmp_path: Path) -> None:
    path = tmp_path / "train-\x1b[31m\u202e.parquet"
    write(path, [{"image": {"bytes": b"x", "path": "\x07"}, "image\x1b]0;": 1}])
    found = CliRunner().invoke(app, ["check", str(tmp_path)])
    assert found.exit_code == 1
    assert found.output.replace("\n", "").isprintable()
    assert r"train-\x1b[31m\u202e.parquet: row 0: image (\x07) is of no known" in found.output


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


@pytest.mark.parametrize(
    "row",
    [
        {"relations": {"predicate": ["on"]}, "objects": [{"bbox": [0, 0, 2, 2]}]},
        {"relations": [{"subject": 0}]},
        {"image": {"bytes": [1, 2], "path": None}},
        {"image": {"bytes": b"x", "path": ["a"]}},
        {"image_id": [1], "width": "3", "height": {"a": 1}},
        {"objects": {"bbox": [None], "segmentation": [None], "id": [None], "category": None}},
        {"objects": [[1]], "image": "a.png"},
    ],
)
def test_columns_that_only_have_the_names_are_not_checked(tmp_path: Path, row: Row) -> None:
    write(tmp_path / "a.parquet", [{**row, "objects_of_others": json.dumps(1)}])
    report = check_data_set(str(tmp_path))
    assert {problem.kind for problem in report.problems} <= {"columns"}
    assert report.notes
    assert "no problem" not in report.summary() or "not checked" in report.summary()


@pytest.mark.parametrize(
    ("box", "size_wh", "box_format", "told"),
    [
        ([-5, -5, -1, -1], None, "xywh", "has no area; correct it, or remove the object"),
        (
            [-5, -5, -1, -1],
            None,
            "xyxy",
            "lies outside the image; correct it, or remove the object",
        ),
        ([-5, -5, -1, -1], (4000, 3000), "xyxy", "lies outside the image of 4000x3000; correct it"),
        ([3000, 9, 9, 9], (3000, 40), "xywh", "lies outside the image of 3000x40; correct it, or"),
        ([-3, 5, 20, 30], None, "xywh", "is negative; clip it to the image, or remove the object"),
        ([5, 5, 99999, 30], None, "xywh", ""),
        ([0.2, 0.2, 0.9, 0.1], None, "xywhn", "reaches outside the image; clip it to the image"),
        ([5, 5, 20, 30.5], (60, 35), "xywh", ""),
        ([5, 5, 20, 32], (60, 35), "xywh", "reaches outside the image of 60x35; clip it to the"),
    ],
)
def test_boxes(
    tmp_path: Path, box: list[float], size_wh: tuple[int, int] | None, box_format: str, told: str
) -> None:
    good = [0.1, 0.1, 0.2, 0.2] if box_format.endswith("n") else [2.0, 2.0, 9.0, 9.0]
    row: Row = {"objects": {"bbox": [*[good] * 19, list(map(float, box))]}}
    row |= dict(zip(("width", "height"), size_wh or (), strict=False))
    write(tmp_path / "a.parquet", [row])
    shown = ", ".join(f"{value:g}" for value in box)
    found = list(check_data_set(str(tmp_path), box_format=box_format).lines())
    assert len(found) == bool(told)
    assert not told or f"a.parquet: row 0, objects[19]: bbox [{shown}] {told}" in found[0]


@pytest.mark.parametrize("size_wh", [(40, 60), (60, 40)])
def test_boxes_of_a_turned_image_are_of_the_size_that_the_row_says(
    tmp_path: Path, size_wh: tuple[int, int]
) -> None:
    exif, content = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.new("RGB", (60, 40)).save(content, "JPEG", exif=exif)
    width, height = size_wh
    objects = {"bbox": [[0.0, 0.0, float(width), float(height)]]}
    row = {"image": content.getvalue(), "width": width, "height": height, "objects": objects}
    write(tmp_path / "a.parquet", [row])
    assert check_data_set(str(tmp_path)).ok
