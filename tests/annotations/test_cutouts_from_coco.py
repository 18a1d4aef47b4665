"""Banks of cut-outs made of annotation files of anybody."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from acp.annotations.cutouts import from_coco, largest_part
from acp.backends.cutpaste.cutouts import TABLE, folder_bank
from acp.core.errors import AcpError
from acp.core.masks import decode_segmentation


def test_largest_part() -> None:
    mask = np.zeros((90, 120), dtype=bool)
    mask[10:40, 10:40] = True
    assert largest_part(mask) == 1.0
    mask[60:90, 80:110] = True
    assert largest_part(mask) == pytest.approx(0.5, abs=0.05)


def coco_file(tmp_path: Path) -> tuple[Path, Path]:
    """A red square cow, one at the border, one small, a crowd, and no such category."""
    images = tmp_path / "images"
    images.mkdir()
    picture = Image.new("RGB", (300, 200), (20, 160, 40))
    ImageDraw.Draw(picture).rectangle((50, 40, 189, 159), fill=(200, 30, 30))
    picture.save(images / "p.png")
    square = [[50, 40, 190, 40, 190, 160, 50, 160]]
    counts = [50 * 200 + 40, *([120, 80] * 139), 120, 300 * 200 - 189 * 200 - 160]

    def entry(key: int, box: list[int], segmentation: object, **more: int) -> dict[str, object]:
        shape = {"bbox": box, "segmentation": segmentation, "iscrowd": 0, "category_id": 1}
        return {"id": key, "image_id": 7, **shape, **more}

    box = [50, 40, 140, 120]
    data = {
        "images": [{"id": 7, "file_name": "p.png", "width": 300, "height": 200}],
        "categories": [{"id": 1, "name": "cow"}, {"id": 2, "name": "unheard of"}],
        "annotations": [
            entry(1, box, square),
            entry(2, [0, 40, 140, 120], square),
            entry(3, [50, 40, 30, 20], square),
            entry(4, box, {"counts": counts, "size": [200, 300]}, iscrowd=1),
            entry(5, box, square, category_id=2),
            entry(6, box, {"counts": counts, "size": [200, 300]}),
            entry(7, box, [[50, 40, 90, 40, 90, 160, 50, 160], [150, 40, 190, 40, 190, 160]]),
        ],
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(data))
    return path, images


def test_from_coco_keeps_whole_things_and_counts_the_rest(tmp_path: Path) -> None:
    instances, images = coco_file(tmp_path)
    report = from_coco(instances, images, tmp_path / "bank")
    assert report.written == {"cow": 1}
    assert report.rejects.counts == {
        "touches the border": 1, "too small": 1, "crowd": 1, "not an LVIS category": 1,
        "in pieces": 1, "the same cut-out twice": 1,
    }  # fmt: skip
    assert list(report.unmapped) == ["unheard of"]
    cutouts = folder_bank(tmp_path / "bank").by_category["cow"]
    assert [cutout.colors for cutout in cutouts] == ["red"]
    assert cutouts[0].size_wh == pytest.approx((140, 120), abs=3)


def test_polygons_and_run_lengths_decode_to_the_same_mask(tmp_path: Path) -> None:
    data = json.loads(coco_file(tmp_path)[0].read_text())["annotations"]
    polygon = decode_segmentation(data[0]["segmentation"], (300, 200))
    runs = decode_segmentation(data[5]["segmentation"], (300, 200))
    assert polygon.shape == (200, 300)
    assert np.array_equal(polygon, runs)


def test_from_coco_says_what_is_wrong_with_its_input(tmp_path: Path) -> None:
    instances, images = coco_file(tmp_path)
    with pytest.raises(AcpError, match="no such file"):
        from_coco(tmp_path / "none.json", images, tmp_path / "bank")
    with pytest.raises(AcpError, match="no instance fit"):
        from_coco(instances, images, tmp_path / "bank", min_side_px=5000)
    data = json.loads(instances.read_text())
    data["images"][0]["file_name"] = "../p.png"
    instances.write_text(json.dumps(data))
    with pytest.raises(AcpError, match="outside of the folder of images"):
        from_coco(instances, images, tmp_path / "bank")
    instances.write_text("{}")
    with pytest.raises(AcpError, match="no usable 'images'"):
        from_coco(instances, images, tmp_path / "bank")
    instances.write_text("{")
    with pytest.raises(AcpError, match="not JSON"):
        from_coco(instances, images, tmp_path / "bank")


def test_from_coco_on_real_photographs(shared_data: Path, tmp_path: Path) -> None:
    coco = shared_data / "coco_tiny"
    report = from_coco(
        coco / "instances.json", coco / "images", tmp_path, min_side_px=120, max_per_category=3
    )
    assert max(report.written.values()) == 3
    assert report.rejects.counts["crowd"] == 5
    assert "potted plant" in report.unmapped
    bank = folder_bank(tmp_path)
    assert len(bank.cutouts) == sum(report.written.values()) > 20
    assert all(0.1 < (c.sprite().alpha > 0.5).mean() < 1 for c in bank.cutouts)


Record = dict[str, Any]


def edit(instances: Path, change: Callable[[Record], object]) -> None:
    data = json.loads(instances.read_text())
    data["annotations"] = data["annotations"][:1]
    change(data)
    instances.write_text(json.dumps(data))


MASKS: dict[str, tuple[object, str]] = {
    "two points": ([[50, 40, 190, 160]], "a polygon has 4 numbers"),
    "odd": ([[50, 40, 190, 40, 190]], "a polygon has 5 numbers"),
    "null": ([[50, 40, 190, None, 190, 160]], "not finite"),
    "text": ([["a", "b", "c", "d", "e", "f"]], "something else than numbers"),
    "huge": ([[50, 40, 2e8, 40, 190, 160]], "outside the image"),
    "infinite": ([[50, 40, float("inf"), 40, 190, 160]], "not finite"),
    "digits": ([[50, 40, 10**400, 40, 190, 160]], "something else than numbers"),
    "a number": (7, "neither polygons nor run lengths"),
    "numbers and lists": ([1, [50, 40, 190, 40, 190, 160]], "a polygon has 1 numbers"),
    "words": ("polygon", "neither polygons nor run lengths"),
    "other keys": ({"exterior": [[1, 2]], "interior": []}, "no RLE with size and counts"),
    "no size": ({"counts": "52203"}, "no RLE with size and counts"),
    "turned": ({"size": [300, 200], "counts": [60000]}, "width first"),
    "smaller": ({"size": [100, 150], "counts": [15000]}, "has size"),
    "nothing": ({"size": [0, 0], "counts": []}, "has size [0, 0]"),
    "enormous": ({"size": [100000, 100000], "counts": [10**10]}, "has size"),
    "cut off": ({"size": [200, 300], "counts": "52p"}, "cut off"),
    "too long": ({"size": [200, 300], "counts": [60000, 9]}, "runs make"),
}


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_that_cannot_be_read_is_left_out(tmp_path: Path, name: str) -> None:
    instances, images = coco_file(tmp_path)
    mask, reason = MASKS[name]
    edit(instances, lambda data: data["annotations"][0].update(segmentation=mask))
    with pytest.raises(AcpError) as caught:
        from_coco(instances, images, tmp_path / "bank")
    assert "left out 1 for mask that cannot be read" in str(caught.value)
    assert reason in str(caught.value)


SQUARE = [50.0, 40.0, 190.0, 40.0, 190.0, 160.0, 50.0, 160.0]
COUNTS = [50 * 200 + 40, *([120, 80] * 139), 120, 300 * 200 - 189 * 200 - 160]


@pytest.mark.parametrize(
    "mask",
    [
        SQUARE,
        [[[x, y] for x, y in zip(SQUARE[::2], SQUARE[1::2], strict=True)]],
        [{"size": [200, 300], "counts": COUNTS}],
        json.dumps([SQUARE]),
    ],
    ids=["flat", "points", "list of codes", "JSON text"],
)
def test_masks_in_other_shapes_are_read(tmp_path: Path, mask: object) -> None:
    instances, images = coco_file(tmp_path)
    edit(instances, lambda data: data["annotations"][0].update(segmentation=mask))
    assert from_coco(instances, images, tmp_path / "bank").written == {"cow": 1}


def with_name(name: object) -> Callable[[Record], object]:
    return lambda data: data["images"][0].update(file_name=name)


def lvis(data: Record) -> None:
    del data["images"][0]["file_name"]
    data["images"][0]["coco_url"] = "http://images.cocodataset.org/train2017/p.png"


@pytest.mark.parametrize(
    "change",
    [
        with_name("./p.png"),
        with_name("{images}/p.png"),
        with_name("https://host/folder/p.png?token=1"),
        lvis,
        lambda data: data["images"][0].update(width=None, height=None),
        lambda data: (
            data["images"][0].update(id="7") or data["annotations"][0].update(image_id="7")
        ),
        lambda data: data["annotations"][0].update(id=None, iscrowd="0"),
        lambda data: data["annotations"].append({"id": 2, "bbox": None, "image_id": [7]}),
    ],
    ids=["dot", "absolute", "address", "lvis", "no size", "text ids", "null id", "bad beside"],
)
def test_what_others_write_is_read(tmp_path: Path, change: Callable[[Record], object]) -> None:
    instances, images = coco_file(tmp_path)
    edit(instances, change)
    instances.write_text(instances.read_text().replace("{images}", str(images)))
    assert from_coco(instances, images, tmp_path / "bank").written == {"cow": 1}


def test_names_of_windows_lead_into_folders(tmp_path: Path) -> None:
    instances, images = coco_file(tmp_path)
    (images / "train").mkdir()
    (images / "p.png").rename(images / "train" / "p.png")
    edit(instances, with_name("train\\p.png"))
    assert from_coco(instances, images, tmp_path / "bank").written == {"cow": 1}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../p.png", "image file outside of the folder of images"),
        ("/etc/passwd", "image file outside of the folder of images"),
        ("C:\\a\\p.png", "image file outside of the folder of images"),
        ("q.png", "{images}/q.png cannot be opened: no such file"),
        ("", "image without a file name"),
        (None, "image without a file name"),
        ("empty.png", "empty.png has no bytes"),
        ("page.png", "page.png is a page of HTML"),
        ("pointer.png", "is a pointer of Git LFS"),
    ],
)
def test_an_image_that_cannot_be_had_is_left_out_alone(
    tmp_path: Path, name: object, reason: str
) -> None:
    instances, images = coco_file(tmp_path)
    (images / "empty.png").touch()
    (images / "page.png").write_text("<!doctype html>")
    (images / "pointer.png").write_text("version https://git-lfs.github.com/spec/v1")

    def change(data: Record) -> None:
        data["images"].append({**data["images"][0], "id": 8, "file_name": name})
        data["annotations"].append({**data["annotations"][0], "id": 2, "image_id": 8})

    edit(instances, change)
    report = from_coco(instances, images, tmp_path / "bank")
    assert report.written == {"cow": 1}
    assert reason.format(images=images) in report.rejects.text()


def test_a_picture_is_cut_as_it_is_shown(tmp_path: Path) -> None:
    instances, images = coco_file(tmp_path)
    with Image.open(images / "p.png") as picture:
        exif = Image.Exif()
        exif[0x0112] = 6
        turned = picture.transpose(Image.Transpose.ROTATE_90)
        turned.save(images / "p.jpg", quality=95, exif=exif)
    edit(instances, with_name("p.jpg"))
    from_coco(instances, images, tmp_path / "bank")
    (cutout,) = folder_bank(tmp_path / "bank").cutouts
    assert cutout.colors == "red"
    assert cutout.size_wh == pytest.approx((140, 120), abs=3)


def test_a_second_run_adds_to_the_bank(tmp_path: Path) -> None:
    bank = tmp_path / "bank"
    for color in ((200, 30, 30), (30, 30, 200), (200, 30, 30)):
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        instances, images = coco_file(folder)
        picture = Image.open(images / "p.png")
        ImageDraw.Draw(picture).rectangle((50, 40, 189, 159), fill=color)
        picture.save(images / "p.png")
        edit(instances, lambda data: None)
        assert from_coco(instances, images, bank).written == {"cow": 1}
    assert sorted(cutout.colors for cutout in folder_bank(bank).cutouts) == ["blue", "red"]
    assert len((bank / TABLE).read_text().splitlines()) == 3


def test_names_of_others_do_not_steer_the_terminal(tmp_path: Path) -> None:
    instances, images = coco_file(tmp_path)
    data = json.loads(instances.read_text())
    data["categories"][1]["name"] = "\x1b[2Jred\x07"
    instances.write_text(json.dumps(data))
    command = [sys.executable, "-m", "acp", "cutouts", "from-coco", str(instances), str(images)]
    done = subprocess.run([*command, str(tmp_path / "bank")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "\\x1b[2Jred\\x07" in done.stdout
    assert "\x1b" not in done.stdout


def test_a_folder_of_images_that_is_not_there(tmp_path: Path) -> None:
    instances, _ = coco_file(tmp_path)
    with pytest.raises(AcpError, match="none: no such folder"):
        from_coco(instances, tmp_path / "none", tmp_path / "bank")
