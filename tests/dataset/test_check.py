"""`acp check` of a data set of ours: whole it has no problem; each thing that is broken is told in
one line with its place and its mend."""

from __future__ import annotations

import io
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Features, Value
from PIL import Image
from typer.testing import CliRunner

from acp.cli.main import app
from acp.core.errors import AcpError
from acp.dataset.check import check_data_set
from acp.dataset.pictures import show_data_set
from acp.dataset.receipt import RECEIPT, read_receipt, sums_of, write_receipt

CURATED = "curated/train-00000-of-00001.parquet"
RAW = "raw/train-00000-of-00001.parquet"
SCENES = "scene_graphs/train-00000-of-00001.parquet"
Row = dict[str, Any]


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    """A data set of ours that may be broken."""
    return Path(shutil.copytree(built, tmp_path / "acp" / "tiny"))


def lines(folder: Path, **options: Any) -> list[str]:
    return list(check_data_set(str(folder), **options).lines())


def sign(folder: Path) -> None:
    """A receipt that fits the files as they are."""
    receipt = read_receipt(folder)
    assert receipt is not None
    write_receipt(folder, replace(receipt, sha256=sums_of(folder)))


def write(path: Path, table: pa.Table, **options: Any) -> None:
    """As our builds write it."""
    plain = {"image.bytes": "NONE"}
    options = {"compression": "snappy", "write_page_index": True, **options}
    if "image" in table.schema.names and options["compression"] == "snappy":
        names = pq.ParquetFile(path).metadata.schema
        leaves = [names.column(k).path for k in range(len(names))]
        options["compression"] = {leaf: plain.get(leaf, "snappy") for leaf in leaves}
    pq.write_table(table, path, **options)


def edit(name: str, change: Callable[[list[Row]], object]) -> Callable[[Path], None]:
    """Change the rows of a shard, and write the receipt anew."""

    def broken(folder: Path) -> None:
        table = pq.read_table(folder / name)
        rows = table.to_pylist()
        change(rows)
        write(folder / name, pa.Table.from_pylist(rows, table.schema))
        sign(folder)

    return broken


def objects(row: int, **values: Any) -> Callable[[list[Row]], None]:
    """Set values of the first object of a row."""

    def change(rows: list[Row]) -> None:
        for key, value in values.items():
            rows[row]["objects"][key][0] = value

    return change


def card(old: str, new: str) -> Callable[[Path], None]:
    """Replace the first place of a pattern in the card."""

    def broken(folder: Path) -> None:
        path = folder / "README.md"
        text, times = re.subn(old, new, path.read_text(), count=1, flags=re.MULTILINE)
        assert times
        path.write_text(text)
        sign(folder)

    return broken


def top(row: int, key: str) -> Callable[[list[Row]], None]:
    """Without a value of a row."""

    def change(rows: list[Row]) -> None:
        rows[row][key] = None

    return change


def jpeg(width: int, height: int) -> bytes:
    content = io.BytesIO()
    Image.effect_noise((width, height), 90).convert("RGB").save(content, "JPEG")
    return content.getvalue()


def image(content: bytes | None) -> Callable[[list[Row]], None]:
    def change(rows: list[Row]) -> None:
        rows[1]["image"] = None if content is None else {"bytes": content, "path": "1.jpg"}

    return change


def cut_image(rows: list[Row]) -> None:
    stored = rows[2]["image"]
    stored["bytes"] = stored["bytes"][: len(stored["bytes"]) // 2]


def longer_list(rows: list[Row]) -> None:
    rows[0]["objects"]["attributes"].append("blue")


def mask(**values: Any) -> Callable[[list[Row]], None]:
    def change(rows: list[Row]) -> None:
        rows[0]["objects"]["segmentation"][0].update(values)

    return change


def cut_mask(rows: list[Row]) -> None:
    stored = rows[0]["objects"]["segmentation"][0]
    stored["counts"] = stored["counts"][:-3]


def relation(rows: list[Row]) -> None:
    row = next(row for row in rows if row["relations"]["subject"])
    row["relations"]["subject"][0] = 40


def shorter_relation(rows: list[Row]) -> None:
    row = next(row for row in rows if row["relations"]["subject"])
    row["relations"]["predicate"].pop()


def same_image(rows: list[Row]) -> None:
    rows[3]["image_id"] = rows[1]["image_id"]


def same_object(rows: list[Row]) -> None:
    rows[2]["objects"]["id"][0] = rows[0]["objects"]["id"][1]


def cut_file(folder: Path) -> None:
    path = folder / RAW
    path.write_bytes(path.read_bytes()[:-100])
    sign(folder)


def empty_file(folder: Path) -> None:
    (folder / SCENES).write_bytes(b"")
    sign(folder)


def text_file(folder: Path) -> None:
    (folder / CURATED).write_text("not a table, but long enough to have a footer")
    sign(folder)


def damaged_pages(folder: Path) -> None:
    path = folder / SCENES
    content = bytearray(path.read_bytes())
    content[4:600] = bytes(596)
    path.write_bytes(content)
    sign(folder)


def other_features(folder: Path) -> None:
    table = pq.read_table(folder / CURATED)
    features = Features.from_arrow_schema(table.schema)
    features["width"] = Value("int64")
    pq.write_table(table.cast(features.arrow_schema), folder / CURATED)
    sign(folder)


def fewer_picked(rows: list[Row]) -> None:
    next(row for row in rows if row["kept"])["kept"] = False


def stray_file(folder: Path) -> None:
    shutil.copy(folder / SCENES, folder / "curated" / "extra.parquet")
    sign(folder)


def changed_file(folder: Path) -> None:
    (folder / "contact_sheet.jpg").write_bytes(b"other")


def missing_file(folder: Path) -> None:
    (folder / "recipe.yaml").unlink()


def no_receipt(folder: Path) -> None:
    (folder / RECEIPT).write_text("{")


def fewer_scenes(folder: Path) -> None:
    receipt = read_receipt(folder)
    assert receipt is not None
    write_receipt(folder, replace(receipt, scenes=5))


def no_card(folder: Path) -> None:
    (folder / "README.md").unlink()
    sign(folder)


def moved(folder: Path) -> None:
    shutil.rmtree(folder / "raw")
    sign(folder)


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    # Files.
    "cut off": (cut_file, f"{RAW}: cannot be opened: Parquet magic bytes not found in footer."),
    "empty": (
        empty_file,
        f"{SCENES}: cannot be opened: Parquet file size is 0 bytes; write or fetch",
    ),
    "text": (text_file, f"{CURATED}: cannot be opened: Parquet magic bytes not found in footer."),
    "pages": (damaged_pages, f"{SCENES}: rows from 0 on cannot be read: "),
    "changed": (changed_file, "contact_sheet.jpg: is not the file that was built: its checksum"),
    "missing": (missing_file, "recipe.yaml: is in .acp.json, but not there; run acp build again"),
    "receipt": (no_receipt, ".acp.json: cannot be read, or is of an older acp; run acp"),
    "features": (
        other_features,
        f"{CURATED}: column 'width' is Value('int64'), and Value('int32') in what this acp writes",
    ),
    "unclaimed": (
        stray_file,
        "curated/extra.parquet: load_dataset leaves it out; name it as the others are named, or",
    ),
    # The card.
    "no card": (no_card, "README.md: is not there; acp card "),
    "yaml": (card("^license:.*$", "license: [a"), "README.md: its YAML cannot be read: "),
    "other licence": (
        card("^license:.*$", "license: other\nlicense_link: LICENSE"),
        "README.md: license is other without license_name; add license_name",
    ),
    "no licence": (card("^license:.*$\n", ""), "README.md: license is missing; acp card "),
    "norway": (card("^- en$", "- no"), "language: False is not a string; put it in quotes"),
    "examples": (
        card(r"num_examples: \d+", "num_examples: 77"),
        "README.md: curated: split 'train' has 77 examples, its files ",
    ),
    "card's features": (
        card("^  - name: width$", "  - name: breadth"),
        "README.md: curated: features: lacks the column 'width', which is in its rows; acp card ",
    ),
    "split": (
        card("^  - name: train$", "  - name: test"),
        "README.md: curated: its splits are test, those of its files train; acp card ",
    ),
    "glob": (moved, "README.md: raw: no file matches data_files of 'train'; "),
    # Nulls, which others may have.
    "null mask": (edit(CURATED, objects(2, segmentation=None)), "objects[0]: segmentation is null"),
    "null counts": (edit(CURATED, mask(counts=None)), "objects[0]: segmentation is null; remove"),
    "null class": (edit(CURATED, objects(2, category_id=None)), "objects[0]: category_id is null"),
    "null width": (edit(CURATED, top(2, "width")), f"{CURATED}: row 2: width is null; remove the"),
    # Images.
    "cut image": (
        edit(CURATED, cut_image),
        f"{CURATED}: row 2: image (000000002000.jpg) does not decode (image file is truncated",
    ),
    "no image": (
        edit(CURATED, image(b"<html>")),
        f"{CURATED}: row 1: image (1.jpg) is a page of HTML, not a picture; put",
    ),
    "no bytes": (edit(CURATED, image(b"")), f"{CURATED}: row 1: image (1.jpg) has no bytes; put"),
    "null image": (
        edit(CURATED, image(None)),
        f"{CURATED}: row 1: image is null, but it has objects; remove the row",
    ),
    "width": (
        edit(CURATED, lambda rows: rows[1].update(width=rows[1]["width"] + 1)),
        f"{CURATED}: row 1: width and height say ",
    ),
    # Objects.
    "outside": (
        edit(RAW, objects(1, bbox=[500.0, 1.0, 9.0, 5.0])),
        f"{RAW}: row 1, objects[0]: bbox [500, 1, 9, 5] lies outside the image of ",
    ),
    "flat": (
        edit(CURATED, objects(0, bbox=[5.0, 5.0, 0.0, 9.0])),
        f"{CURATED}: row 0, objects[0]: bbox [5, 5, 0, 9] has no area; correct it, or remove",
    ),
    "infinite": (
        edit(CURATED, objects(0, bbox=[5.0, float("nan"), 4.0, 9.0])),
        f"{CURATED}: row 0, objects[0]: bbox [5, nan, 4, 9] is not finite; correct it",
    ),
    "lengths": (edit(CURATED, longer_list), f"{CURATED}: row 0: objects: attributes has "),
    "cut mask": (
        edit(CURATED, cut_mask),
        f"{CURATED}: row 0, objects[0]: segmentation does not decode: ",
    ),
    "size of a mask": (
        edit(CURATED, mask(size=[3, 4])),
        f"{CURATED}: row 0, objects[0]: segmentation has size [3, 4], the image ",
    ),
    "area": (
        edit(CURATED, objects(0, area=3.0)),
        f"{CURATED}: row 0, objects[0]: area 3 is not that of its mask, ",
    ),
    "box of a mask": (
        edit(CURATED, objects(0, bbox=[1.0, 1.0, 5.0, 5.0])),
        f"{CURATED}: row 0, objects[0]: bbox [1, 1, 5, 5] is not that of its mask, [",
    ),
    "score": (
        edit(RAW, objects(1, clis_i=100.5)),
        f"{RAW}: row 1: objects.clis_i 100.5 is not between 0 and 100; score the rows again",
    ),
    "relation": (edit(CURATED, relation), ", relations[0]: subject 40 is no place among "),
    "relation's lists": (edit(CURATED, shorter_relation), "relations: predicate has "),
    "scene's relation": (
        edit(SCENES, relation),
        f"{SCENES}: row 0, relations[0]: subject 40 is no place among ",
    ),
    # Builds.
    "raw of another build": (
        edit(RAW, lambda rows: rows[1]["provenance"].update(fingerprint="0")),
        "raw: holds rows of another build than .acp.json says; run acp build again",
    ),
    "scenes": (
        fewer_scenes,
        "scene_graphs: holds 4 scenes, .acp.json says 5; run acp build again",
    ),
    # Ids.
    "picked": (edit(RAW, fewer_picked), "curated: image_id "),
    "image's id": (
        edit(CURATED, same_image),
        "curated: image_id 1001 is there more than once; give each its own id",
    ),
    "object's id": (
        edit(CURATED, same_object),
        "curated: objects.id 102 is there more than once; give each its own id",
    ),
}
SEVERAL = {"picked", "image's id", "object's id"}
"""What also makes `curated` another selection than `raw` tells."""


def test_a_whole_data_set_has_no_problem(built: Path) -> None:
    report = check_data_set(str(built))
    assert [*report.lines(), *report.warnings, *report.notes] == []
    assert re.fullmatch(
        rf"{re.escape(str(built))}: checked 3 files, \d+ rows, \d+ images, \d+ objects, \d+ boxes, "
        r"\d+ masks, \d+ relations; no problem",
        report.summary(),
    )


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_told_in_one_line(folder: Path, name: str) -> None:
    broken, expected = BROKEN[name]
    broken(folder)
    found = lines(folder)
    assert len(found) == 1 or name in SEVERAL, found
    assert expected in found[0], found
    assert all("\n" not in line for line in found)


@pytest.mark.parametrize("name", ["edited", "no card", "no licence", "examples"])
def test_the_mend_of_a_card_mends_it(folder: Path, name: str) -> None:
    folder = folder.rename(folder.with_name("a 'name'"))
    whole = (folder / "README.md").read_bytes()
    if name == "edited":
        (folder / "README.md").write_bytes(whole + b"A word of mine.\n")
    else:
        BROKEN[name][0](folder)
    if name == "examples":  # as one that an older version wrote
        sign(folder)
    [line] = lines(folder)
    command = line.partition("; ")[2].partition(" writes it anew")[0]
    ran = CliRunner().invoke(app, shlex.split(command)[1:])
    assert ran.exit_code == 0, ran.output
    assert lines(folder) == []
    assert (folder / "README.md").read_bytes() == whole


def test_files_that_the_receipt_does_not_name_are_warnings(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    report = check_data_set(str(folder))
    assert report.ok
    assert [str(each) for each in report.warnings] == [
        "notes.txt: is not in .acp.json; a push leaves it out"
    ]


def test_without_a_receipt_less_is_asked(folder: Path) -> None:
    """A data set of others, as anybody may have made it of ours."""
    (folder / RECEIPT).unlink()
    shutil.copy(folder / SCENES, folder / "curated" / "extra.parquet")
    report = check_data_set(str(folder))
    assert report.ok, list(report.lines())
    assert [warning.kind for warning in report.warnings] == ["unclaimed"]
    assert "caption, objects.category_id, " in report.notes[0]
    assert report.summary().endswith("no problem in that, see above for what was not checked")


@pytest.mark.parametrize("size", [[0, 0], [100_000, 100_000], [3, 4]])
def test_a_mask_that_is_broken_is_not_drawn(folder: Path, size: list[int]) -> None:
    edit(RAW, mask(size=size))(folder)
    with pytest.raises(AcpError, match=r"a mask cannot be drawn: segmentation "):
        show_data_set(str(folder), folder / "sheet.jpg", 1)
