"""Priors files from annotation files: readers, geometric rows, bounds, and the pictures."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from acp.annotations import json_lists, reading
from acp.annotations.build import BuildOptions, BuildReport, build_priors
from acp.annotations.geometric import PREDICATES, Keeper, all_pairs, true_predicates
from acp.clis.priors import Priors
from acp.core.errors import AcpError

ACP = [sys.executable, "-m", "acp", "priors"]
Row = dict[str, Any]
Save = Callable[[str, Any], Path]
NO_CAPTIONS = BuildOptions(captions_by="none")

IMAGES = [{"id": 7, "width": 200, "height": 100}, {"id": 8, "width": 100, "height": 100}]
CATEGORIES = [{"id": 3, "name": "Person"}, {"id": 5, "name": "bus_(vehicle)"}]
BOXES: list[Row] = [
    {"id": 1, "image_id": 8, "category_id": 3, "bbox": [10, 10, 20, 40], "iscrowd": 0},
    {"id": 2, "image_id": 7, "category_id": 3, "bbox": [0, 0, 50, 50], "iscrowd": 0},
    {"id": 3, "image_id": 7, "category_id": 5, "bbox": [100, 0, 100, 100], "iscrowd": 0},
    {"id": 4, "image_id": 7, "category_id": 5, "bbox": [110, 10, 20, 20], "iscrowd": 0},
]
COCO = {"images": IMAGES, "annotations": BOXES, "categories": CATEGORIES}
RELATION = {
    "image_id": "a", "width": 200, "height": 100, "subject": "Dog", "predicate": "Sitting  on",
    "object": "bench", "subject_box": [20, 10, 40, 30], "object_box": [10, 30, 100, 50],
}  # fmt: skip


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def write(name: str, value: Any) -> Path:
        path = tmp_path / name
        path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
        return path

    return write


def rows_of(path: Path) -> list[Row]:
    found: list[Row] = pq.read_table(path).to_pylist()
    return found


def built(
    file_format: str, *files: Path, options: BuildOptions = NO_CAPTIONS
) -> tuple[BuildReport, list[Row]]:
    out = files[0].with_name("out.parquet")
    return build_priors(file_format, files, out, options), rows_of(out)


def test_coco_every_pair_of_an_image_gets_what_holds_of_it(save: Save) -> None:
    report, rows = built("coco", save("instances.json", COCO))
    assert {row["image_id"] for row in rows} == {"7"}  # the other has a single box
    assert {row["source"] for row in rows} == {"geometric"}
    pairs = Counter((row["subject"], row["predicate"], row["object"]) for row in rows)
    assert pairs["person", "left of", "bus (vehicle)"] == 2
    assert pairs["bus (vehicle)", "inside", "bus (vehicle)"] == 1
    assert pairs["bus (vehicle)", "overlapping", "bus (vehicle)"] == 2
    first = next(row for row in rows if row["predicate"] == "left of")
    sides = [first[key] for key in ("subject_w", "subject_h", "object_w", "object_h", "dx", "dy")]
    assert sides == [0.25, 0.5, 0.5, 1.0, 0.625, 0.25]
    assert report.info["counts"]["geometric_seen"]["left of"] == 2
    assert report.info["sources"] == ["coco: instances.json"]
    Priors.load(save("x", "").with_name("out.parquet"))


def test_lvis_is_read_likewise_and_several_files_are_one(save: Save) -> None:
    one = save("one.json", {**COCO, "annotations": BOXES[:3]})
    other = {
        "images": [{"id": 9, "width": 10, "height": 10}],
        "annotations": [
            {"id": 1, "image_id": 9, "category_id": 1, "bbox": [0, 0, 5, 5]},
            {"id": 2, "image_id": 9, "category_id": 1, "bbox": [5, 5, 5, 5]},
        ],
        "categories": [{"id": 1, "name": "person"}],
    }
    report, rows = built("lvis", one, save("two.json", other))
    assert report.info["counts"]["images"] == 3
    assert {row["image_id"] for row in rows} == {"7", "9"}
    assert ("person", "left of", "person") in {
        (row["subject"], row["predicate"], row["object"]) for row in rows
    }


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bbox": [0, 0, 0, 10]}, "box without an area"),
        ({"bbox": [0, 0, 10, -3]}, "box without an area"),
        ({"bbox": [0, 0, 10]}, "box that is not four numbers"),
        ({"bbox": [0, 0, 10, "10"]}, "box that is not four numbers"),
        ({"bbox": None}, "box that is not four numbers"),
        ({"bbox": [190, 0, 20, 20]}, "box outside its image"),
        ({"bbox": [-5, 0, 20, 20]}, "box outside its image"),
        ({"image_id": 70}, "box of an unknown image"),
        ({"category_id": 70}, "box of an unknown category"),
        ({"category_id": [1]}, "an id that is neither number nor text"),
        ({"iscrowd": 1}, "crowd"),
        ({"id": 2}, "box given twice"),
    ],
)
def test_what_cannot_be_used_is_counted(change: Row, reason: str, save: Save) -> None:
    wrong = {**BOXES[2], "id": 99, **change}
    clean, rows = built("coco", save("clean.json", COCO))
    report, same = built("coco", save("i.json", {**COCO, "annotations": [*BOXES, wrong]}))
    assert same == rows
    assert clean.left_out == ()
    (line,) = report.left_out
    assert reason in line
    assert "1  " in line
    assert "annotations[4]" in line


def test_a_box_may_stick_out_by_a_pixel(save: Save) -> None:
    over = {**BOXES[2], "id": 99, "bbox": [100, 50, 100.9, 50.5]}
    report, _ = built("coco", save("i.json", {**COCO, "annotations": [*BOXES, over]}))
    assert report.left_out == ()
    assert report.info["counts"]["boxes"] == 5


@pytest.mark.parametrize(
    ("file_format", "content", "message"),
    [
        ("coco", '{"images": [', "not JSON"),
        ("coco", "7", "expected a list or an object"),
        ("coco", [], "got a list"),
        ("coco", {}, "no usable 'images'"),
        ("coco", {**COCO, "annotations": [{"id": 1}]}, "record without 'image_id'"),
        ("coco", {**COCO, "images": []}, "no usable 'images'"),
        ("coco", {**COCO, "categories": []}, "4 for box of an unknown category (first"),
        ("coco", {**COCO, "annotations": [{**BOXES[0], "bbox": [0, 0, 0, 0]}]}, "without an area"),
        (
            "coco",
            {**COCO, "annotations": [{"image_id": 7, "caption": "A"}]},
            "give a file of instan",
        ),
        ("coco", {**COCO, "annotations": BOXES[:1]}, "there is no pair"),
        ("lvis", {**COCO, "annotations": None}, "'annotations' is missing or empty"),
        ("visual-genome", {}, "got an object"),
        ("visual-genome", [], "relationships.json"),
        (
            "visual-genome",
            [{"image_id": 1, "width": 3, "height": 4}],
            "no record of it",
        ),
        ("relations", {}, "expected a JSON list, got an object"),
        ("relations", [], "it is empty"),
        (
            "relations",
            [{"image_id": 1}],
            "1 for relation without 'width' (fir",
        ),
        ("relations", [RELATION, {**RELATION, "image_id": None}, "x"], None),
        (
            "relations",
            [{**RELATION, "subject_box": [0, 0, 0, 4]}],
            "box without an area (first",
        ),
        (
            "relations",
            [{**RELATION, "width": 0}],
            "image without a size (first: f",
        ),
    ],
)
def test_a_wrong_file_is_one_line(
    file_format: str, content: Any, message: str | None, save: Save
) -> None:
    path = save("file.json", content)
    if message is None:
        report, _ = built(file_format, path)
        assert "relation without" in " ".join(report.left_out)
        return
    with pytest.raises(AcpError) as caught:
        built(file_format, path)
    text = str(caught.value)
    assert message in text
    assert "file.json" in text
    assert "\n" not in text


def test_relations_are_kept_as_stated_and_their_pairs_get_geometry(save: Save) -> None:
    again = {**RELATION, "predicate": "near", "image_id": "a"}
    other = {**RELATION, "image_id": "b", "subject": "cat"}
    _, rows = built("relations", save("r.json", [RELATION, again, other]))
    stated = [row for row in rows if row["source"] == "stated"]
    assert [(row["subject"], row["predicate"], row["object"]) for row in stated] == [
        ("dog", "sitting on", "bench"),
        ("dog", "near", "bench"),
        ("cat", "sitting on", "bench"),
    ]
    assert rows[:3] == stated
    geometric = Counter((row["subject"], row["predicate"], row["object"]) for row in rows[3:])
    assert geometric["dog", "overlapping", "bench"] == 1  # one pair, stated twice
    assert geometric["bench", "overlapping", "dog"] == 1
    assert not any(row["subject"] == row["object"] for row in rows)


def test_relations_are_taken_at_their_word(save: Save) -> None:
    beyond = {**RELATION, "object_box": [150, 30, 400, 50]}
    same = {**RELATION, "subject": "dog", "object": "dog", "object_box": RELATION["subject_box"]}
    report, rows = built("relations", save("r.json", [beyond, same, same]))
    assert not report.left_out
    stated = [row for row in rows if row["source"] == "stated"]
    assert [(row["object"], row["dx"] == 0) for row in stated] == [
        ("bench", False),
        ("dog", True),
        ("dog", True),
    ]


def test_visual_genome(save: Save) -> None:
    man = {"names": ["man"], "x": 10, "y": 0, "w": 20, "h": 60}
    hat = {"name": "Hat", "x": 12, "y": 0, "w": 10, "h": 8}
    tree = {"name": "tree", "x": 60, "y": 0, "w": 40, "h": 90}
    relationships = [
        {"predicate": "WEARS", "subject": man, "object": hat},
        {"predicate": "near", "subject": man, "object": tree},
        {"predicate": "near", "subject": man, "object": {"name": "tree"}},
        {"predicate": "", "subject": man, "object": tree},
    ]
    images = [
        {"image_id": 1, "relationships": relationships},
        {"image_id": 2, "relationships": relationships},
    ]
    sizes = save("image_data.json", [{"image_id": 1, "width": 100, "height": 100}])
    report, rows = built("visual-genome", save("relationships.json", images), sizes)
    stated = [(r["subject"], r["predicate"], r["object"]) for r in rows if r["source"] == "stated"]
    assert stated == [("man", "wears", "hat"), ("man", "near", "tree")]
    geometric = {(r["subject"], r["object"]) for r in rows if r["source"] == "geometric"}
    assert geometric == set(itertools.permutations(("man", "hat", "tree"), 2))
    told = "\n".join(report.left_out)
    assert "image of unknown size: give image_data.json" in told
    assert "relation without a boxed 'object'" in told
    assert "relation without a predicate" in told
    with pytest.raises(AcpError, match=r"relationships\.json.*give image_data\.json"):
        built("visual-genome", save("relationships.json", images))


BOX = st.tuples(*[st.floats(0, 0.8)] * 2, *[st.floats(1e-4, 0.9)] * 2)


@given(st.lists(st.tuples(BOX, BOX), min_size=1, max_size=30))
@settings(max_examples=200, deadline=None)
def test_at_least_one_geometric_predicate_holds_and_sides_mirror(
    pairs: list[tuple[tuple[float, ...], tuple[float, ...]]],
) -> None:
    a, b = (np.array(boxes, dtype=np.float64) for boxes in zip(*pairs, strict=True))
    true, swapped = true_predicates(a, b), true_predicates(b, a)
    assert true.any(axis=1).all()
    place = {name: index for index, name in enumerate(PREDICATES)}
    for one, other in (("left of", "right of"), ("above", "below"), ("near", "near")):
        np.testing.assert_array_equal(true[:, place[one]], swapped[:, place[other]])
    assert not (true[:, place["left of"]] & true[:, place["right of"]]).any()
    assert true[true[:, place["inside"]], place["overlapping"]].all()


@given(st.lists(st.integers(0, 5), max_size=40))
@settings(max_examples=100, deadline=None)
def test_all_pairs_are_those_of_each_image(images: list[int]) -> None:
    found = [
        (int(s), int(o))
        for subject, object_, _ in all_pairs(np.array(images, dtype=np.int32))
        for s, o in zip(subject, object_, strict=True)
    ]
    expected = {
        (i, j) for i, j in itertools.permutations(range(len(images)), 2) if images[i] == images[j]
    }
    assert len(found) == len(set(found))
    assert set(found) == expected


def crowd(images: int, boxes: int) -> Row:
    """Images of so many random boxes of two categories."""
    rng = np.random.default_rng(3)
    annotations = [
        {
            "id": image * boxes + place,
            "image_id": image,
            "category_id": int(rng.integers(2)),
            "bbox": [*rng.integers(0, 60, 2).tolist(), *rng.integers(1, 40, 2).tolist()],
        }
        for image in range(images)
        for place in range(boxes)
    ]
    return {
        "images": [{"id": image, "width": 100, "height": 100} for image in range(images)],
        "annotations": annotations,
        "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
    }


def without_order(rows: list[Row]) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(row.values()) for row in rows)


def test_few_rows_of_a_triple_are_kept_by_a_rule_that_knows_no_order(
    save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = crowd(30, 8)
    options = BuildOptions("none", max_geometric=5)
    report, rows = built("coco", save("i.json", data), options=options)
    triples = Counter((row["subject"], row["predicate"], row["object"]) for row in rows)
    assert max(triples.values()) == 5
    assert report.info["counts"]["geometric_seen"]["left of"] > 100
    assert sum(report.info["counts"]["geometric_kept"].values()) == len(rows)
    everything = built("coco", save("i.json", data), options=BuildOptions("none", None, 10**6))[1]
    assert not without_order(rows) - without_order(everything)
    turned = {
        **data,
        "annotations": data["annotations"][::-1],
        "images": data["images"][::-1],
    }
    for blocks in (1 << 18, 7):
        monkeypatch.setattr("acp.annotations.geometric.PAIRS_AT_ONCE", blocks)
        monkeypatch.setattr("acp.annotations.geometric._GATHER", 20 * blocks)
        again = built("coco", save("i.json", data), options=options)[1]
        assert again == rows
        backwards = built("coco", save("i.json", turned), options=options)[1]
        assert without_order(backwards) == without_order(rows)


def test_the_number_of_rows_is_bounded_whatever_the_number_of_triples(
    save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = crowd(30, 6)
    data["categories"] = [{"id": i, "name": f"thing {i}"} for i in range(180)]
    for index, box in enumerate(data["annotations"]):
        box["category_id"] = index
    monkeypatch.setattr("acp.annotations.build.Keeper", lambda t, most: Keeper(t, most, 100))
    rows = built("coco", save("i.json", data))[1]
    assert len(rows) == 100
    monkeypatch.setattr("acp.annotations.geometric.PAIRS_AT_ONCE", 3)
    monkeypatch.setattr("acp.annotations.geometric._GATHER", 20)
    assert built("coco", save("i.json", data))[1] == rows


def test_the_same_input_gives_the_same_bytes(shared_data: Path, tmp_path: Path) -> None:
    files = [shared_data / "coco_tiny" / name for name in ("captions.json", "instances.json")]
    outs = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for out in outs:
        report = build_priors("coco", files, out)
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert report.info["counts"]["boxes"] == 465
    assert report.left_out[0].split()[2:4] == ["5", "crowd"]
    assert report.info["counts"]["stated"] > 40
    priors = Priors.load(outs[0])
    assert len(priors) == report.rows
    assert priors.reference_sets([("person", "riding", "bicycle")]).level == ("triple",)


def acp(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [*ACP, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--from", "cocoo", "--out", "x.parquet"), "did you mean 'coco'"),
        (
            ("--from", "coco", "--out", "/proc/x.parquet"),
            "--out /proc/x.parquet: cannot be written",
        ),
        (("--from", "coco", "--out", "."), "a folder"),
        (
            ("--from", "coco", "--out", "x", "--captions-by", "me"),
            "--captions-by: there is no 'me'",
        ),
        (
            ("--from", "coco", "--out", "x", "--captions-by", "llm", "--llm", "x"),
            "there is no llm 'x'",
        ),
        (
            ("--from", "coco", "--out", "x", "--captions-by", "llm", "--set", "threads=2"),
            "expected llm.KEY=VALUE",
        ),
        (
            ("--from", "coco", "--out", "x", "--captions-by", "llm", "--set", "llm.thread=2"),
            "did you mean 'threads'",
        ),
    ],
)
def test_wrong_calls_are_one_line_before_any_work(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [*ACP, "build", "missing.json", *arguments],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert message in line
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_no_file(tmp_path: Path, save: Save) -> None:
    source = save("i.json", crowd(4000, 12))
    out = tmp_path / "out" / "priors.parquet"
    running = subprocess.Popen(
        [*ACP, "build", str(source), "--from", "coco", "--out", str(out)],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    while not out.parent.exists() and running.poll() is None:
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert errors.splitlines()[-1] == "stopped"  # and not that something is kept
    assert "Traceback" not in errors
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [{"id": 1},\n ]}', "line 2, column 2: a comma before ]"),
        ('{"images": [],}', "line 1, column 15: a comma before }"),
        ('{"images": [{"id": 1,}]}', "line 1, column 2"),
        ('{"images": [{"id": 1', "line 1, column 21"),
        ('{"images": [{"id": 1}', "column 22: the file ends in the middle"),
        ('{"images": []}\n{"images": []}', "line 2, column 1: there is more after the end"),
        ('{"images": ' + "[" * 100_000, "column 13: nested too deeply"),
        ('{"a": ' + '{"a": ' * 100_000, "column 7: nested too deeply"),
        ("", "it is empty"),
        ('{"images": []}'.encode("utf-16"), "it is UTF-16; save the file as UTF-8"),
        ('{"a": "caf\u00e9"}'.encode("latin-1"), "byte 0xe9 is not UTF-8"),
        (gzip.compress(b'{"images": []}')[:-9], "cannot be read: compressed file ended"),
    ],
)
@pytest.mark.parametrize("chunk", [1 << 20, 3])
def test_what_is_no_json_is_told_with_its_place(
    text: str | bytes, message: str, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_lists, "CHUNK", chunk)
    path = tmp_path / "i.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(AcpError) as caught:
        built("coco", path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def as_text(data: Row) -> str:
    return json.dumps(data)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + as_text(COCO).encode(),
        gzip.compress(as_text(COCO).encode()),
        as_text({"info": {"area": float("nan")}, **COCO}).encode(),
        as_text({**COCO, "annotations": [{**box, "area": float("nan")} for box in BOXES]}).encode(),
        as_text({**COCO, "n": 2**200}).replace(str(2**200), "9" * 9000).encode(),
        as_text({**COCO, "annotations": [{**box, "id": 2**64 - 5} for box in BOXES]}).encode(),
        as_text({**COCO, "annotations": [{**box, "id": None} for box in BOXES]}).encode(),
        as_text({**COCO, "annotations": [{**box, "iscrowd": "0"} for box in BOXES]}).encode(),
        as_text(COCO).replace('"image_id": 7', '"image_id": 7.0').encode(),
        as_text(COCO).replace('"category_id": 5', '"category_id": 5.0').encode(),
    ],
    ids=[
        "bom",
        "gzip",
        "nan-beside",
        "nan-in-area",
        "digits",
        "64-bits",
        "null",
        "text-0",
        "float-id",
        "float-category",
    ],
)
def test_files_as_others_write_them(content: bytes, save: Save) -> None:
    _, expected = built("coco", save("clean.json", COCO))
    path = save("i.json", "")
    path.write_bytes(content)
    assert built("coco", path)[1] == expected


def split(folder: Path, name: str, boxes: list[list[int]]) -> Path:
    """A file that counts from 0, as each split of a download does."""
    folder.mkdir()
    annotations = [
        {"id": place, "image_id": 0, "category_id": 0, "bbox": box}
        for place, box in enumerate(boxes)
    ]
    images = [{"id": 0, "width": 200, "height": 100, "file_name": name}]
    data = {"images": images, "annotations": annotations, "categories": [{"id": 0, "name": "cat"}]}
    path = folder / "_annotations.coco.json"
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize("names", [("a.jpg", "b.jpg"), ("a.jpg", "a.jpg")])
def test_splits_that_count_from_0_do_not_mix(names: tuple[str, str], tmp_path: Path) -> None:
    train = split(tmp_path / "train", names[0], [[0, 0, 20, 20], [150, 0, 20, 20]])
    valid = split(tmp_path / "valid", names[1], [[0, 70, 20, 20], [170, 70, 20, 20]])
    alone = [built("coco", path)[1] for path in (train, valid)]
    report, rows = built("coco", train, valid)
    assert report.info["counts"]["images"] == 2
    assert len(rows) == sum(map(len, alone)) == 4
    assert {row["image_id"] for row in rows} == {f"train/{names[0]}", f"valid/{names[1]}"}


def test_files_of_one_folder_speak_of_the_same_images(save: Save) -> None:
    images = [{**image, "file_name": f"{image['id']}.jpg"} for image in IMAGES]
    whole = {**COCO, "images": images}
    parts = [{**whole, "annotations": BOXES[start::2]} for start in (0, 1)]
    _, expected = built("coco", save("whole.json", whole))
    _, rows = built("coco", save("a.json", parts[0]), save("b.json", parts[1]))
    assert without_order(rows) == without_order(expected)


def test_an_id_of_another_kind_is_told(save: Save) -> None:
    boxes = [{**box, "category_id": str(box["category_id"])} for box in BOXES]
    with pytest.raises(AcpError, match="its id is text and a number where it is defined"):
        built("coco", save("i.json", {**COCO, "annotations": boxes}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x, y, w, h: [x, y, x + w, y + h], "corners [x_min, y_min, x_max, y_max] in pixels"),
        (lambda x, y, w, h: [x / 100, y / 100, w / 100, h / 100], "in shares of the image"),
        (
            lambda x, y, w, h: [10 * x, 10 * y, 10 * (x + w), 10 * (y + h)],
            "in thousandths of the image",
        ),
    ],
)
def test_boxes_in_another_format_are_told(
    change: Callable[..., list[float]], words: str, save: Save
) -> None:
    data = crowd(10, 8)
    built("coco", save("clean.json", data))
    for annotation in data["annotations"]:
        annotation["bbox"] = change(*annotation["bbox"])
    with pytest.raises(AcpError, match="COCO's are") as caught:
        built("coco", save("i.json", data))
    assert words in str(caught.value)


def test_a_box_comes_from_the_mask_where_there_is_none(save: Save) -> None:
    _, expected = built("coco", save("clean.json", COCO))
    boxes = [
        {**box, "segmentation": [[x, y, x + w, y, x + w, y + h]]}
        for box in BOXES
        for x, y, w, h in [box["bbox"]]
    ]
    for box in boxes:
        del box["bbox"]
    assert built("coco", save("i.json", {**COCO, "annotations": boxes}))[1] == expected


def test_more_boxes_than_an_image_may_have_are_left_out(
    save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MOST_BOXES", 2)
    report, _ = built("coco", save("i.json", COCO))
    assert report.info["counts"]["boxes"] == 3
    assert "box beyond the first 2 of its image" in report.left_out[0]


def test_boxes_too_small_for_the_numbers_of_a_priors_file_are_left_out(save: Save) -> None:
    tiny = {**BOXES[2], "id": 9, "bbox": [0, 0, 1e-50, 1e-50]}
    report, _ = built("coco", save("i.json", {**COCO, "annotations": [*BOXES, tiny]}))
    assert "box without an area" in report.left_out[0]
    Priors.load(save("x", "").with_name("out.parquet"))


def test_scene_graphs_of_visual_genome(save: Save) -> None:
    things = [
        {"object_id": 1, "x": 10, "y": 0, "w": 20, "h": 60, "names": ["man"]},
        {"object_id": 2, "x": 12, "y": 0, "w": 10, "h": 8, "names": ["hat", "cap"]},
    ]
    relations = [{"predicate": "WEARS", "subject_id": 1, "object_id": 2}]
    graph = {"image_id": 1, "objects": things, "relationships": relations}
    sizes = save("image_data.json", [{"image_id": 1, "width": 100, "height": 100}])
    _, rows = built("visual-genome", save("scene_graphs.json", [graph]), sizes)
    stated = [(r["subject"], r["predicate"], r["object"]) for r in rows if r["source"] == "stated"]
    assert stated == [("man", "wears", "hat")]


def test_show_counts_and_draws(tmp_path: Path, save: Save) -> None:
    built("relations", save("r.json", [RELATION]))
    picture = tmp_path / "p.png"
    done = acp("show", tmp_path / "out.parquet", "dog", "sitting on", "bench", "--out", picture)
    assert done.returncode == 0, done.stderr
    assert "exact       1 (1 stated, 0 geometric)" in done.stdout
    assert "answered by the exact triple" in done.stdout
    with Image.open(picture) as image:
        colours = {colour for _, colour in image.getcolors(1 << 20) or ()}
    assert {(67, 99, 216), (230, 25, 75)} <= colours
    lost = acp("show", tmp_path / "out.parquet", "dgo", "on", "bench", "--out", picture)
    assert lost.returncode == 1
    (line,) = lost.stderr.strip().splitlines()
    assert "'dgo'" in line
    assert "dog" in line
    other = acp("show", tmp_path / "out.parquet", "dog", "on", "bench", "--out", tmp_path / "p.txt")
    assert "a .jpg or a .png" in other.stderr


def test_show_of_the_packaged_priors_answers_for_what_was_never_seen(tmp_path: Path) -> None:
    done = acp("show", "default", "zebra", "juggling", "wok", "--out", tmp_path / "p.jpg")
    assert done.returncode == 0, done.stderr
    assert "answered by the geometry of the predicate" in done.stdout
