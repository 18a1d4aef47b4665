"""Rows in all the ways that they may be written, and what is said of those that are none."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, Features
from PIL import Image

import acp
from acp.clis.rows import (
    RowColumns,
    columns_of,
    image_rgb,
    row_features,
    row_list,
    stored,
    stored_image,
)
from acp.core.errors import AcpError, RowError
from acp.core.types import Failure

ROW = {
    "width": 1,
    "height": 1,
    "caption": "a dog catches a frisbee",
    "objects": {
        "category": ["dog", "frisbee"],
        "attributes": ["", "red"],
        "bbox": [[0.1, 0.2, 0.3, 0.4], [0.5, 0.2, 0.1, 0.1]],
    },
    "relations": {"subject": [0], "predicate": ["catches"], "object": [1]},
    "image": None,
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """`ROW` with another value at `path`; `...` takes the key away."""
    row = {key: dict(each) if isinstance(each, dict) else each for key, each in ROW.items()}
    *outer, last = path.split(".")
    place: Any = row
    for key in outer:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return row


def same(a: RowColumns, b: RowColumns) -> bool:
    arrays = ("width", "height", "box_starts", "boxes_xywh", "relation_starts", "subject", "object")
    lists = ("attributes", "captions", "scorers")
    coded = all(
        [x.names[i] for i in x.codes] == [y.names[i] for i in y.codes]
        for x, y in ((a.category, b.category), (a.predicate, b.predicate))
    )
    return (
        coded
        and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays)
        and all(list(getattr(a, name)) == list(getattr(b, name)) for name in lists)
    )


BOX = "expected 4 numbers [x, y, w, h]"
INDEX = "expected an index of objects (0 to 1)"
MANY = "expected as many as in category (2)"
IMAGE = 'expected a PIL image, an array (H, W, 3) of uint8, a path, {"bytes", "path"} or None'
WHOLE = [0, 0, 1, 1]
WRONG = [
    ("objects", ..., ": expected a dict of lists with category, bbox, got nothing"),
    ("objects.bbox", ..., ": expected a list, got nothing"),
    ("objects.bbox", [WHOLE], f": {MANY}, got 1"),
    ("objects.bbox", [WHOLE, [0, 0, 1]], f"[1]: {BOX}, got 3"),
    ("objects.bbox", [WHOLE, None], f"[1]: {BOX}, got nothing"),
    ("objects.bbox", [[0, 0, 1, "1"], WHOLE], "[0][3]: expected a number, got str '1'"),
    ("objects.category", ["dog", 3], "[1]: expected a name or a known class, got int 3"),
    ("objects.category", "dog", ": expected a list, got str 'dog'"),
    ("objects.attributes", ["red"], f": {MANY}, got 1"),
    ("relations.subject", [2], f"[0]: {INDEX}, got int 2"),
    ("relations.object", [-1], f"[0]: {INDEX}, got int -1"),
    ("relations.object", [0.5], f"[0]: {INDEX}, got float 0.5"),
    ("relations.object", [True], f"[0]: {INDEX}, got bool True"),
    ("relations.object", [np.bool_(True)], f"[0]: {INDEX}, got bool np.True_"),
    ("relations.object", [[[1]]], f"[0]: {INDEX}, got list [1]"),
    ("relations.predicate", [None], "[0]: expected a string, got nothing"),
    ("width", 0, ": expected a number above 0, got int 0"),
    ("width", ..., ": expected a number above 0, got nothing"),
    ("height", float("nan"), ": expected a number above 0, got float nan"),
    ("caption", 7, ": expected a string, got int 7"),
    ("image", 3.5, f": {IMAGE}, got float 3.5"),
    ("image", np.zeros((4, 4, 3)), f": {IMAGE}, got an array (4, 4, 3) of float64"),
]


@pytest.mark.parametrize(("path", "value", "message"), WRONG)
def test_what_is_wrong_is_told_with_its_place(path: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=r"^predictions\[1\]\.") as caught:
        columns_of([ROW, changed(path, value)], "predictions")
    assert str(caught.value) == f"predictions[1].{path}{message}"
    assert isinstance(caught.value, AcpError)


SQUARES = [[0.1, 0.1, 0.2, 0.2], [0.6, 0.1, 0.2, 0.2]]
LEAVES = "the box of object 1 (frisbee) leaves its image"
FAULTS = [
    ("relations.object", [0], "relation 0 is of an object with itself"),
    ("relations.predicate", [" "], "relation 0 has no predicate"),
    ("objects.bbox", [SQUARES[0], [0.9, 0.1, 0.2, 0.2]], LEAVES),
    ("objects.bbox", [SQUARES[0], [0.1, -0.3, 0.2, 0.9]], LEAVES),
    ("objects.bbox", [SQUARES[0], [0.1, 0.1, 999.0, 0.9]], LEAVES),
    ("objects.bbox", [SQUARES[0], [0.805, 0.1, 0.2, 0.2]], None),  # rounded
    ("objects.bbox", [SQUARES[0], SQUARES[1]], None),
]


@pytest.mark.parametrize(("path", "value", "reason"), FAULTS)
@pytest.mark.parametrize("variant", ["paper", "reference", "acp"])
def test_a_layout_that_says_nothing_has_no_score_but_a_reason(
    path: str, value: Any, reason: str | None, variant: str
) -> None:
    result = acp.score([ROW, changed(path, value), ROW], variant=variant)
    assert result["clis_l_reason"][1] == reason or variant == "reference"
    assert (result["clis_l"][1] is None) == (reason is not None)
    assert result["clis_l"][0] is not None
    assert result["unscored_clis_l"] == (reason is not None)


def test_a_box_that_leaves_its_image_does_no_harm_where_no_relation_names_it() -> None:
    three = {"category": ["dog", "frisbee", "cat"], "bbox": [*SQUARES, [5.0, 5.0, 1.0, 1.0]]}
    assert acp.score([{**ROW, "objects": three}])["clis_l_reason"] == [None]


def test_rows_that_are_none_are_kept_with_their_reason_where_asked() -> None:
    columns = columns_of([ROW, changed("relations.subject", [7]), 5], keep_wrong=True)  # type: ignore[list-item]
    assert columns.wrong == {
        1: f"relations.subject[0]: {INDEX}, got int 7",
        2: "expected a dict, got int 5",
    }
    assert np.diff(columns.box_starts).tolist() == [2, 0, 0]


def test_pairs_of_a_row_are_bounded() -> None:
    many = {"category": ["dog"] * 10_000, "bbox": [[0.1, 0.1, 0.2, 0.2]] * 10_000}
    everything = [list(range(10_000))]
    said = {"subject": everything, "predicate": ["near"], "object": everything}
    with pytest.raises(AcpError, match="expected at most 250,000 pairs, got 100,000,000"):
        columns_of([{**ROW, "objects": many, "relations": said}])


def test_relations_of_different_lengths_are_refused() -> None:
    with pytest.raises(AcpError, match=r"relations: expected .* of one length, got \[1, 1, 2\]"):
        columns_of([changed("relations.object", [0, 1])])


@pytest.mark.parametrize("rows", ["text", {"width": 1}, 5, None])
def test_what_holds_no_rows_is_refused(rows: Any) -> None:
    with pytest.raises(AcpError, match="predictions: expected a list of rows, got"):
        row_list(rows, "predictions")


def test_a_row_that_is_no_dict_is_refused() -> None:
    with pytest.raises(AcpError, match=r"rows\[0\]: expected a dict, got int 3"):
        columns_of([3])  # type: ignore[list-item]


def test_pixels_without_a_size_are_refused() -> None:
    row = {"objects": {"category": ["dog"], "bbox": [[10, 20, 300, 200]]}}
    with pytest.raises(AcpError, match="expected width and height beside boxes in pixels"):
        columns_of([row])


def test_the_size_of_the_image_stands_in() -> None:
    row = {"objects": {"category": ["dog"], "bbox": [[10, 20, 300, 200]]}}
    columns = columns_of([{**row, "image": Image.new("RGB", (640, 400))}])
    assert columns.boxes_xywhn().tolist() == [[10 / 640, 20 / 400, 300 / 640, 200 / 400]]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_many_rows_are_as_one(count: int) -> None:
    columns = columns_of([ROW] * count)
    assert len(columns) == count
    assert columns.box_starts.tolist() == [2 * i for i in range(count + 1)]
    assert columns.boxes_xywh.shape == (2 * count, 4)


ALIKE: list[dict[str, Any]] = [
    changed("image", ...),
    changed("objects.bbox", np.array(ROW["objects"]["bbox"])),  # type: ignore[index]
    changed("objects.bbox", tuple(map(tuple, ROW["objects"]["bbox"]))),  # type: ignore[index]
    changed("objects.attributes", [None, "red"]),
    changed("relations.subject", np.array([0])),
    changed("relations.subject", [[0]]),
    changed("relations", [{"subject": 0, "predicate": "catches", "object": 1}]),
    changed(
        "objects",
        [
            {"category": "dog", "bbox": [0.1, 0.2, 0.3, 0.4]},
            {"category": "frisbee", "attributes": "red", "bbox": [0.5, 0.2, 0.1, 0.1]},
        ],
    ),
    {**ROW, "clis_l": 3.0, "provenance": {"scorer": "x"}, "extra": object()},
    {key: value for key, value in ROW.items() if key not in ("width", "height")},
]


@pytest.mark.parametrize("row", ALIKE)
def test_other_ways_to_write_a_row(row: dict[str, Any]) -> None:
    assert same(columns_of([ROW, row]), columns_of([ROW, ROW]))


def test_a_row_without_relations_has_none() -> None:
    columns = columns_of([changed("relations", ...), changed("relations", None), ROW])
    assert columns.relation_starts.tolist() == [0, 0, 0, 1]


def test_lists_of_subjects_and_objects_stand_for_all_their_pairs_of_two() -> None:
    row = changed("relations", {"subject": [[0, 1]], "predicate": ["near"], "object": [[1, 0]]})
    columns = columns_of([row])
    pairs = list(zip(columns.subject.tolist(), columns.object.tolist(), strict=True))
    assert pairs == [(0, 1), (1, 0)]


def test_stored_rows_keep_every_bit() -> None:
    rng = np.random.default_rng(0)
    rows = [changed("objects.bbox", rng.normal(size=(2, 4)).tolist()) for _ in range(5)]
    rows.insert(0, changed("relations", None))
    kept = Dataset.from_list(stored(rows), features=Features(row_features()))
    assert same(columns_of(list(kept)), columns_of(rows))


def test_images_are_kept_pixel_for_pixel(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    path = tmp_path / "image.png"
    Image.fromarray(pixels).save(path)
    given = [pixels, Image.fromarray(pixels), str(path), path, {"bytes": path.read_bytes()}]
    given.append({"bytes": None, "path": str(path)})
    kept = [stored_image(each) for each in given]
    path.unlink()
    for image in kept:
        found = image_rgb(image)
        assert not isinstance(found, Failure)
        assert np.array_equal(found, pixels)


def huge_png() -> bytes:
    """A PNG of few bytes whose header tells of 3.6 thousand million pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b"")


UNREADABLE = [
    "nowhere.png",
    "A" * 5000,
    "a\0b",
    {"bytes": b"no image", "path": None},
    {"bytes": huge_png(), "path": None},
]


@pytest.mark.parametrize("image", UNREADABLE)
def test_an_image_that_cannot_be_read_is_a_failure(image: Any) -> None:
    found = image_rgb(stored_image(image))
    assert isinstance(found, Failure)
    assert "\n" not in found.reason
    assert len(found.reason) < 200
    row = {key: value for key, value in ROW.items() if key not in ("width", "height")}
    with pytest.raises(RowError, match=r"^rows\[0\]: width and height are missing, and "):
        columns_of([{**row, "image": image}])


def test_an_integer_too_large_for_a_float_is_a_box_that_is_not_finite() -> None:
    row = changed("objects.bbox", [[-(10**400), 0, 1, 1], WHOLE])
    assert columns_of([row]).boxes_xywh[0].tolist() == [-np.inf, 0, 1, 1]
    with pytest.raises(RowError, match="width: expected a number above 0, got int"):
        columns_of([{**ROW, "width": 10**400}])
