"""Cut-outs from a data set in COCO's format with masks."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from acp.backends.cutpaste.color_names import color_phrase
from acp.backends.cutpaste.cutouts import COLUMNS, TABLE, usual_support
from acp.backends.cutpaste.imaging import blurred
from acp.backends.cutpaste.tables import inside_folder
from acp.core.errors import AcpError
from acp.core.images import BrokenImageError, decoded
from acp.core.types import MaskArray
from acp.core.vocabulary import resolve

Annotation = Mapping[str, Any]

# COCO's names for what LVIS names otherwise, where its spelling does not lead there.
_ALIASES = {
    "hair drier": "hair_dryer",
    "microwave": "microwave_oven",
    "remote": "remote_control",
    "skis": "ski",
}


@dataclass(frozen=True, slots=True)
class CocoReport:
    """How many cut-outs each LVIS category got, instances left out by reason, and the data set's
    categories that are not LVIS categories, each with the reason."""

    written: Mapping[str, int]
    skipped: Mapping[str, int]
    unmapped: Mapping[str, str]


def from_coco(
    instances_json: Path,
    images_dir: Path,
    out_dir: Path,
    *,
    min_side_px: int = 96,
    max_per_category: int = 40,
    border_px: int = 2,
    min_largest_part: float = 0.93,
) -> CocoReport:
    """Write a bank to `out_dir`: `<category>/<image>_<annotation>.png` and its table.

    Left out are crowds, instances that touch the border of their image, whose longer side is below
    `min_side_px`, or whose largest connected part holds less than `min_largest_part` of the mask.
    Of each category the `max_per_category` largest are kept.

    Raises:
        AcpError: a file that is not there or not in COCO's format, or nothing to write.
    """
    data = _read(instances_json)
    names, unmapped = _lvis_names(data["categories"])
    images = {image["id"]: image for image in data["images"]}
    skipped: Counter[str] = Counter()
    wanted: dict[str, list[Annotation]] = defaultdict(list)
    for annotation in data["annotations"]:
        reason = _unfit(annotation, names, images, min_side_px, border_px)
        if reason:
            skipped[reason] += 1
        else:
            wanted[names[annotation["category_id"]]].append(annotation)
    rows: list[tuple[str, ...]] = []
    written: Counter[str] = Counter()
    for category in sorted(wanted):
        largest = sorted(wanted[category], key=lambda a: (-a["bbox"][2] * a["bbox"][3], a["id"]))
        for annotation in largest:
            if written[category] == max_per_category:
                skipped["more than enough of its category"] += 1
                continue
            cut = _cut(annotation, images[annotation["image_id"]], images_dir, min_largest_part)
            if isinstance(cut, str):
                skipped[cut] += 1
                continue
            rows.append(_save(cut, category, annotation, out_dir))
            written[category] += 1
    if not rows:
        raise AcpError(f"{instances_json}: no instance fit to be a cut-out ({dict(skipped)})")
    lines = ["\t".join(row) for row in [COLUMNS, *rows]]
    (out_dir / TABLE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return CocoReport(dict(written), dict(skipped), unmapped)


_FIELDS = {
    "images": ("id", "width", "height", "file_name"),
    "annotations": ("id", "image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
}


def _read(path: Path) -> dict[str, Any]:
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise AcpError(f"{path}: no such file") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise AcpError(f"{path}: not JSON ({error})") from error
    except OSError as error:
        raise AcpError(f"{path}: cannot be read: {error.strerror}") from error
    for key, fields in _FIELDS.items():
        if not isinstance(data, dict) or not isinstance(data.get(key), list):
            raise AcpError(f"{path}: not in COCO's format, it lacks the list {key!r}")
        for index, item in enumerate(data[key]):
            lacking = [field for field in fields if not isinstance(item, dict) or field not in item]
            if lacking:
                raise AcpError(
                    f"{path}: {key}[{index}] lacks {lacking[0]!r}; give COCO's file of instances"
                )
    return data


def _lvis_names(listed: Sequence[Mapping[str, Any]]) -> tuple[dict[int, str], dict[str, str]]:
    names: dict[int, str] = {}
    unmapped: dict[str, str] = {}
    for category in listed:
        try:
            names[category["id"]] = resolve(_ALIASES.get(category["name"], category["name"])).name
        except AcpError as error:
            unmapped[category["name"]] = str(error)
    return names, unmapped


def _unfit(
    annotation: Annotation,
    names: Mapping[int, str],
    images: Mapping[int, Mapping[str, Any]],
    min_side_px: int,
    border_px: int,
) -> str:
    """Why an instance is no cut-out, by its annotation alone; empty if it may be one."""
    image = images.get(annotation["image_id"])
    if annotation["category_id"] not in names:
        return "not an LVIS category"
    if annotation.get("iscrowd"):
        return "crowd"
    if image is None or not annotation.get("segmentation"):
        return "no image or no mask"
    x, y, width, height = annotation["bbox"]
    if max(width, height) < min_side_px or min(width, height) < min_side_px / 4:
        return "too small"
    right, bottom = x + width, y + height
    if min(x, y) < border_px or right > image["width"] - border_px:
        return "touches the border"
    return "touches the border" if bottom > image["height"] - border_px else ""


def _cut(
    annotation: Annotation, image: Mapping[str, Any], images_dir: Path, min_largest_part: float
) -> Image.Image | str:
    """The RGBA cut-out, or why there is none."""
    path = inside_folder(images_dir, image["file_name"], "file_name")
    if not path.is_file():
        return "image file missing"
    mask = decode_segmentation(annotation["segmentation"], image["height"], image["width"])
    if not mask.any() or largest_part(mask) < min_largest_part:
        return "in pieces"
    try:
        rgb = decoded(path)
    except BrokenImageError:
        return "image file unreadable"
    if rgb.size != (image["width"], image["height"]):
        return "image of another size than annotated"
    # Masks of annotators run a little outside and are jagged.
    soft = np.clip((blurred(mask.astype(np.float32), 1.5) - 0.35) / 0.5, 0, 1)
    rgb.putalpha(Image.fromarray((soft * 255).astype(np.uint8)))
    box = rgb.getchannel("A").getbbox()
    return rgb.crop(box) if box else "in pieces"


def decode_segmentation(segmentation: Any, height: int, width: int) -> MaskArray:
    """The mask (H, W) of COCO polygons, uncompressed or compressed RLE."""
    from pycocotools import mask as coco

    if isinstance(segmentation, list):
        rle = coco.merge(coco.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        rle = coco.frPyObjects(segmentation, height, width)
    else:
        rle = segmentation
    return np.asarray(coco.decode(rle), dtype=bool)


def largest_part(mask: MaskArray) -> float:
    """The share of the mask (H, W) in its largest connected part, measured on a small copy.

    >>> round(largest_part(np.array([[1, 1, 0, 1]], dtype=bool)), 2)
    0.67
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    cut = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    image = Image.fromarray(cut.astype(np.uint8) * 255)
    image.thumbnail((64, 64), Image.Resampling.BOX)
    image = image.point(lambda value: 255 if value > 96 else 0)
    areas = list(_part_areas(image))
    return max(areas) / sum(areas) if areas else 0.0


def _part_areas(image: Image.Image) -> Iterator[int]:
    while (pixels := np.asarray(image)).any():
        row, column = (int(index[0]) for index in np.nonzero(pixels))
        before = np.count_nonzero(pixels)
        ImageDraw.floodfill(image, (column, row), 0)
        yield int(before - np.count_nonzero(np.asarray(image)))


def _save(
    cut: Image.Image, category: str, annotation: Annotation, out_dir: Path
) -> tuple[str, ...]:
    name = f"{category}/{int(annotation['image_id'])}_{int(annotation['id'])}.png"
    path = inside_folder(out_dir, name, "annotation")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        cut.save(path, "PNG")
    except OSError as error:
        raise AcpError(f"cannot write {path}: {error.strerror or error}") from error
    quality = "3" if max(cut.size) >= 200 else "2"
    return (
        name,
        category,
        color_phrase(cut),
        "",
        usual_support(category),
        "level",
        "left",
        quality,
    )
