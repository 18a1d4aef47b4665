"""The pieces of `acp check`: conventions of boxes, run lengths, images, columns, cards."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Features, List, Value
from datasets import Image as ImageFeature
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco_mask

from acp.dataset.check import Problem, Report, check_data_set
from acp.dataset.check.batch import Plan, check_batch
from acp.dataset.check.card_yaml import check_card
from acp.dataset.check.columns import find_columns
from acp.dataset.check.conventions import COCO, Convention, choose, fitting
from acp.dataset.check.images import BrokenImageError, content_of, decode
from acp.dataset.check.masks import BrokenMaskError, check_polygons, check_runs, runs_of

ORDERS = ("xywh", "xyxy", "cxcywh", "yxyx")
UNITS = ("pixels", "normalised", "thousandths")


def stored(boxes_xywh_px: Any, sizes_wh: Any, convention: Convention) -> Any:
    """The inverse of `Convention.to_xywh_px`, written apart from it."""
    rows = []
    for (x, y, w, h), (width, height) in zip(boxes_xywh_px, sizes_wh, strict=True):
        row = {
            "xywh": [x, y, w, h],
            "xyxy": [x, y, x + w, y + h],
            "cxcywh": [x + w / 2, y + h / 2, w, h],
            "yxyx": [y, x, y + h, x + w],
        }[convention.order]
        sides = [height, width] * 2 if convention.order == "yxyx" else [width, height] * 2
        factor = {"pixels": 0.0, "normalised": 1.0, "thousandths": 1000.0}[convention.unit]
        rows.append([v * factor / s if factor else v for v, s in zip(row, sides, strict=True)])
    return np.array(rows, np.float64)


def real_boxes(number: int, seed: int = 0) -> tuple[Any, Any]:
    """Boxes of all sizes anywhere in images of several sizes."""
    random = np.random.default_rng(seed)
    sizes = random.integers(200, 1200, (number, 2)).astype(float)
    low = random.uniform(0, 0.9, (number, 2))
    share = random.uniform(0.02, 1.0, (number, 2)) * (1 - low)
    return np.concatenate([low, share], 1) * np.tile(sizes, 2), sizes


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("unit", UNITS)
def test_the_convention_is_found_though_some_boxes_are_wrong(order: str, unit: str) -> None:
    boxes, sizes = real_boxes(400)
    convention = Convention(order, unit)
    written = stored(boxes, sizes, convention)
    assert np.allclose(convention.to_xywh_px(written, sizes), boxes)
    assert fitting(written, sizes, convention).all()
    found = Convention("xyxy" if order == "yxyx" and unit != "pixels" else order, unit)
    assert choose(written, sizes)[0] == found  # corners of a square may be swapped
    written[:40] *= 3
    written[40:44] = np.nan
    assert choose(written, sizes)[0] == found


def test_no_boxes_are_as_coco_has_them() -> None:
    assert choose(np.zeros((0, 4)), np.zeros((0, 2))) == (COCO, 1.0)


@settings(deadline=None, max_examples=60)
@given(
    arrays(np.float64, (5, 4), elements=st.floats(-50, 250, allow_nan=False)),
    st.integers(20, 200),
    st.integers(20, 200),
)
def test_a_box_is_told_of_if_a_pixel_of_it_is_outside(boxes: Any, width: int, height: int) -> None:
    """Against a slow derivation."""
    rows = {"width": [width], "height": [height], "objects": [{"bbox": boxes.tolist()}]}
    features = Features(
        {
            "width": Value("int32"),
            "height": Value("int32"),
            "objects": {"bbox": List(List(Value("float64"), length=4))},
        }
    )
    batch = pa.RecordBatch.from_pydict(rows, schema=features.arrow_schema)
    plan = Plan(find_columns(features, batch.schema), Path(), strict=True)
    found = check_batch(plan, "f", 7, batch).problems
    expected = [
        place
        for place, (x, y, w, h) in enumerate(boxes.tolist())
        if w <= 0 or h <= 0 or min(x, y) < -0.01 or x + w > width + 0.01 or y + h > height + 0.01
    ]
    assert [each.where for each in found] == [f"f: row 7, objects[{place}]" for place in expected]


@settings(deadline=None, max_examples=60)
@given(arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_run_lengths_are_those_of_pycocotools(mask: Any) -> None:
    height, width = mask.shape
    code = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    runs = runs_of(code["counts"])
    flat = np.repeat(np.arange(len(runs)) % 2, runs)
    assert (mask == flat.reshape((width, height)).T).all()
    if not mask.any():
        with pytest.raises(BrokenMaskError, match="is empty"):
            check_runs(code, (width, height))
        return
    for counts in (code["counts"], code["counts"].decode(), runs.tolist()):
        found = check_runs({"size": [height, width], "counts": counts}, (width, height))
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = (columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1)
        assert found.box_xywh_px == box
        assert found.area == mask.sum()


WRAPPING = 3 * "PPPPPPPPPPP8" + 61 * "0"
"""64 runs of 2**58 pixels, compressed."""
SIDES = st.integers(1, 9) | st.integers(-(2**40), 2**40) | st.sampled_from([0, 2**16, 2**32, None])
COUNTS = (
    st.binary(max_size=30)
    | st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=90)
    | st.lists(st.integers(0, 9) | st.integers(-(2**63), 2**63) | st.none(), max_size=9)
)


@settings(deadline=None, max_examples=400)
@given(COUNTS, SIDES, SIDES)
@example([2**62] * 4, 0, 5)  # their sum wraps around to 0
@example(WRAPPING, 0, 5)  # which ended the process: pycocotools divides by the height
@example([2**32, 2**32], 2**17, 2**16)
@example([0, 2**32 - 1], 1, 2**32 - 1)
def test_no_counts_break_the_check(counts: Any, height: Any, width: Any) -> None:
    with contextlib.suppress(BrokenMaskError):
        assert check_runs({"size": [height, width], "counts": counts}, None).area


@pytest.mark.parametrize(
    ("rle", "told"),
    [
        ({"size": [2, 3], "counts": [6]}, "is empty"),
        ({"size": [2, 3], "counts": [1, 9]}, "its runs make 10 pixels of 2x3"),
        ({"size": [2, 3], "counts": [8, -2]}, "its runs make 6 pixels of 2x3"),
        ({"size": [3, 2], "counts": [1, 5]}, r"size \[3, 2\] \(width first\), the image 3x2"),
        ({"size": [2], "counts": [1, 5]}, "no RLE with size and counts"),
        ({"size": ["2", "3"], "counts": [1, 5]}, "no RLE with size and counts"),
        ({"size": [2, 3], "counts": [2**62] * 4}, f"its runs make {2**64} pixels of 2x3"),
        ({"size": [2, 3], "counts": ""}, "counts are cut off"),
        ({"size": [2, 3], "counts": "é"}, "counts are cut off"),
        ({"size": [2, 3], "counts": [1, None]}, "counts are cut off"),
    ],
)
def test_broken_run_lengths(rle: dict[str, Any], told: str) -> None:
    with pytest.raises(BrokenMaskError, match=told):
        check_runs(rle, (3, 2))


def test_polygons() -> None:
    square = [1.0, 1.0, 4.0, 1.0, 4.0, 3.0, 1.0, 3.0]
    points = [[1.0, 1.0], [4.0, 1.0], [4.0, 3.0], [1.0, 3.0]]
    for shape in ([square], square, points, [points], [points, square]):
        found = check_polygons(shape, (5, 5), 1, False)
        assert found is not None
        assert found.box_xywh_px == (1, 1, 3, 2)
    assert check_polygons([[]], (5, 5), 1, False) is None
    scaled = check_polygons([[value / 10 for value in square]], (10, 10), 1, True)
    assert scaled is not None
    assert scaled.box_xywh_px == pytest.approx((1, 1, 3, 2))
    broken: list[tuple[list[Any], str]] = [
        ([1.0, 2.0, 3.0], "3 numbers"),
        ([[1.0, 2.0], [3.0, 4.0]], "4 numbers"),
        (["a"] * 6, "something else than numbers"),
        ([float("nan")] * 6, "not finite"),
        ([9.0, 9, 0, 0, 0, 9], "outside the image of 5x5"),
    ]
    for shape, told in broken:
        with pytest.raises(BrokenMaskError, match=told):
            check_polygons([shape], (5, 5), 1, False)


def picture(suffix: str, mode: str = "RGB", **options: Any) -> bytes:
    content = io.BytesIO()
    Image.effect_noise((60, 40), 90).convert(mode).save(content, suffix, **options)
    return content.getvalue()


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [
        ("JPEG", "RGB"),
        ("JPEG", "CMYK"),
        ("PNG", "RGBA"),
        ("PNG", "P"),
        ("WEBP", "RGB"),
    ],
)
def test_whole_images_decode_and_cut_ones_do_not(suffix: str, mode: str) -> None:
    content = picture(suffix, mode)
    size = decode(content)
    assert (size.width, size.height) == (60, 40)
    with pytest.raises(BrokenImageError):
        decode(content[: len(content) * 2 // 3])


def test_turned_images_may_have_either_size() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    size = decode(picture("JPEG", exif=exif))
    assert size.is_as(60, 40)
    assert size.is_as(40, 60)
    assert not decode(picture("JPEG")).is_as(40, 60)


def test_paths_stay_in_the_data_set(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(b"1")
    (tmp_path / "b.jpg").write_bytes(b"2")
    root = tmp_path / "in"
    assert content_of({"bytes": None, "path": "a.jpg"}, root) == b"1"
    assert content_of({"bytes": None, "path": str(root / "a.jpg")}, root) == b"1"
    assert content_of({"bytes": None, "path": None}, root) is None
    for path in ("../b.jpg", str(tmp_path / "b.jpg"), "http://127.0.0.1/a.jpg"):
        with pytest.raises(BrokenImageError, match="out of the data set"):
            content_of({"bytes": None, "path": path}, root)


@pytest.mark.parametrize("size_wh", [(40, 60), (60, 40)])
def test_boxes_of_a_turned_image_are_of_the_size_that_the_row_says(
    tmp_path: Path, size_wh: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    width, height = size_wh
    row = {
        "image": {"bytes": picture("JPEG", exif=exif), "path": None},
        "width": width,
        "height": height,
        "bboxes": [[0.0, 0.0, float(width), float(height)]],
    }
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    assert check_data_set(str(tmp_path)).ok


@pytest.mark.parametrize(
    ("column", "group"),
    [
        ({"objects": {"bbox": List(List(Value("float32")))}}, ("objects",)),
        ({"faces": List({"bbox": List(Value("int32"), length=4)})}, ("faces",)),
        ({"gt_boxes": List(List(Value("int64"), length=4))}, ()),
        ({"json": {"objects": {"boxes": List(List(Value("int64")))}}}, ("json", "objects")),
        ({"bbox": List(Value("float32"))}, None),
        ({"objects": Value("string")}, None),
        ({"text": List(Value("string"))}, None),
    ],
)
def test_where_the_boxes_are(column: dict[str, Any], group: tuple[str, ...] | None) -> None:
    features = Features(column)
    found = find_columns(features, features.arrow_schema).objects
    assert (None if found is None else found.path) == group
    assert found is None or "bbox" in found.fields


def test_columns_of_several_images() -> None:
    features = Features(
        {
            "mask": ImageFeature(),
            "image": ImageFeature(),
            "views": List(ImageFeature()),
            "label": ClassLabel(names=["a"]),
        }
    )
    found = find_columns(features, features.arrow_schema)
    assert found.images == ("image", "mask", "views")
    content = {"bytes": picture("PNG"), "path": None}
    rows = {"mask": [content], "image": [content], "views": [[content, None]], "label": [0]}
    batch = pa.RecordBatch.from_pydict(rows, schema=features.arrow_schema)
    outcome = check_batch(Plan(found, Path()), "f", 0, batch)
    assert not outcome.problems
    assert outcome.checked["images"] == 3


@pytest.mark.parametrize(
    ("card", "problems"),
    [
        ({}, 0),
        ({"license": ["mit", "cc-by-4.0"], "language": ["en", "zh-Hans", "multilingual"]}, 0),
        ({"license": "other"}, 2),
        ({"license": "other", "license_name": "x", "license_link": "LICENSE"}, 0),
        ({"language": ["xx", "en_US", "deu"]}, 2),
        ({"tags": "one", "task_categories": "summarization"}, 0),
        ({"tags": {"a": 1}}, 2),
        ({"task_ids": ["image-captioning"], "size_categories": ["n>1T"]}, 0),
    ],
)
def test_cards(card: dict[str, Any], problems: int) -> None:
    assert len(list(check_card(card, "README.md"))) == problems


def test_a_report_keeps_some_and_counts_all() -> None:
    report = Report("x", keep=1)
    report.add(Problem("a", "f", "bad"), Problem("b", "f", "worse"), Problem("a", "g", "bad"))
    assert list(report.lines()) == [
        "f: bad",
        "a: 1 more of this kind; --all shows them",
        "f: worse",
    ]
    assert report.summary() == "x: checked nothing; 3 problems"


def test_no_rows_at_all(built: Path, tmp_path: Path) -> None:
    """A recipe may pick nothing."""
    table = pq.read_table(built / "curated" / "train-00000-of-00001.parquet").slice(0, 0)
    pq.write_table(table, tmp_path / "train.parquet")
    report = check_data_set(str(tmp_path))
    assert report.ok
    assert [str(each) for each in report.warnings] == [
        "default, train: has no rows; load_dataset reads it only with streaming=True"
    ]
    assert report.summary().endswith(
        "checked 1 file (there are no images, boxes, masks or relations); no problem"
    )
