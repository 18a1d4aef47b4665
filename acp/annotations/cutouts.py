"""Cut-outs from a data set in COCO's format with masks."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageDraw

from acp.annotations.coco import CocoFiles, Instance, Picture
from acp.annotations.reading import Rejects, box_problem
from acp.backends.cutpaste.color_names import color_phrase
from acp.backends.cutpaste.cutouts import COLUMNS, TABLE, folder_bank, table_row, usual_support
from acp.backends.cutpaste.imaging import blurred
from acp.core.errors import AcpError, one_line
from acp.core.files import write_text
from acp.core.images import BrokenImageError, decoded
from acp.core.masks import BrokenMaskError, decode_segmentation
from acp.core.types import MaskArray
from acp.core.vocabulary import resolve

# COCO's names for what LVIS names otherwise, where its spelling does not lead there.
_ALIASES = {
    "hair drier": "hair_dryer",
    "microwave": "microwave_oven",
    "remote": "remote_control",
    "skis": "ski",
}


@dataclass(frozen=True, slots=True)
class CocoReport:
    """How many cut-outs each LVIS category got, what was left out, and the data set's categories
    that are not LVIS categories, each with the reason."""

    written: Mapping[str, int]
    rejects: Rejects
    unmapped: Mapping[str, str]


class _LeftOutError(Exception):
    """Why an instance is no cut-out, and more of that."""

    def __init__(self, reason: str, more: object = "") -> None:
        super().__init__(reason)
        self.more = f": {one_line(more, 200)}" if more else ""


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
    """Write a bank to `out_dir`, or add to the one that is there: `<category>/<picture>.png`, named
    by what it shows, and its table.

    Left out are crowds, instances that touch the border of their image, whose longer side is below
    `min_side_px`, or whose largest connected part holds less than `min_largest_part` of the mask.
    Of each category the `max_per_category` largest are kept.

    Raises:
        AcpError: a file that is not there or not in COCO's format, or nothing to write.
    """
    if not images_dir.is_dir():
        raise AcpError(f"{images_dir}: no such folder")
    rejects, unmapped, before = Rejects(), dict[str, str](), _rows_of_bank(out_dir)
    coco = CocoFiles([instances_json], rejects)
    wanted: dict[str, list[Instance]] = defaultdict(list)
    names: dict[str, str] = {}
    for found in coco.annotations():
        if isinstance(found, Instance):
            name = _lvis_name(found.category, names, unmapped)
            reason = _unfit(found, coco.pictures[found.picture], name, min_side_px, border_px)
            if reason:
                rejects.add(reason, found.where)
            else:
                wanted[name].append(found)
    rows: dict[str, tuple[str, ...]] = {}
    written: Counter[str] = Counter()
    for category in sorted(wanted):
        for instance in sorted(wanted[category], key=lambda each: -_area(each)):
            if written[category] == max_per_category:
                rejects.add("more than enough of its category", instance.where)
                continue
            picture = coco.pictures[instance.picture]
            try:
                cut = _cut(instance, picture, images_dir, min_largest_part, border_px)
            except _LeftOutError as error:
                rejects.add(str(error), instance.where + error.more)
                continue
            row = _save(cut, category, picture, out_dir)
            if row[0] in rows:
                rejects.add("the same cut-out twice", instance.where)
            else:
                rows[row[0]] = row
                written[category] += 1
    if not written:
        raise AcpError(f"{instances_json}: no instance fit to be a cut-out: {rejects.text()}")
    lines = ["\t".join(row) for row in [COLUMNS, *(before | rows).values()]]
    write_text(out_dir / TABLE, "\n".join(lines) + "\n")
    return CocoReport(dict(written), rejects, unmapped)


def _rows_of_bank(folder: Path) -> dict[str, tuple[str, ...]]:
    """The rows of the bank that is there, by file."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return {}
    rows = (table_row(cutout, folder) for cutout in folder_bank(folder).cutouts)
    return {row[0]: row for row in rows}


def _lvis_name(category: str, names: dict[str, str], unmapped: dict[str, str]) -> str:
    """The LVIS name of a category, or ""; both are remembered."""
    if category not in names:
        try:
            names[category] = resolve(_ALIASES.get(category, category)).name
        except AcpError as error:
            names[category], unmapped[category] = "", str(error)
    return names[category]


def _unfit(
    instance: Instance, picture: Picture, name: str, min_side_px: int, border_px: int
) -> str:
    """Why an instance is no cut-out, by its annotation alone; "" if it may be one."""
    _, _, width, height = instance.box_xywh_px
    if not name:
        return "not an LVIS category"
    if not instance.segmentation:
        return "no mask"
    if max(width, height) < min_side_px or min(width, height) < min_side_px / 4:
        return "too small"
    return _at_border(instance, picture.size_wh, border_px) if picture.size_wh else ""


def _at_border(instance: Instance, size_wh: tuple[float, float], border_px: int) -> str:
    x, y, width, height = instance.box_xywh_px
    right, bottom = size_wh[0] - border_px, size_wh[1] - border_px
    whole = min(x, y) >= border_px and x + width <= right and y + height <= bottom
    return "" if whole else "touches the border"


def _area(instance: Instance) -> float:
    return instance.box_xywh_px[2] * instance.box_xywh_px[3]


def _cut(
    instance: Instance, picture: Picture, images_dir: Path, min_largest_part: float, border_px: int
) -> Image.Image:
    """The RGBA cut-out. Raises _LeftOutError if there is none."""
    path = image_path(picture.file_name, images_dir)
    try:
        rgb = decoded(path)
        mask = decode_segmentation(instance.segmentation, rgb.size)
    except BrokenImageError as error:
        raise _LeftOutError("image file unreadable", f"{path} {error}") from None
    except BrokenMaskError as error:
        raise _LeftOutError("mask that cannot be read", error) from None
    if picture.size_wh not in (None, rgb.size):
        raise _LeftOutError("image of another size than annotated")
    if reason := box_problem(instance.box_xywh_px, rgb.size) or _at_border(
        instance, rgb.size, border_px
    ):
        raise _LeftOutError(reason)
    if not mask.any() or largest_part(mask) < min_largest_part:
        raise _LeftOutError("in pieces")
    # Masks of annotators run a little outside and are jagged.
    soft = np.clip((blurred(mask.astype(np.float32), 1.5) - 0.35) / 0.5, 0, 1)
    rgb.putalpha(Image.fromarray((soft * 255).astype(np.uint8)))
    box = rgb.getchannel("A").getbbox()
    if box is None:
        raise _LeftOutError("in pieces")
    return rgb.crop(box)


def image_path(file_name: str, images_dir: Path) -> Path:
    """Where the file of an image is: in the folder of images, never outside of it.

    Raises:
        _LeftOutError: the data names none, or one outside.
    """
    name = PurePosixPath(file_name)
    if name.is_absolute():
        folder = images_dir.absolute()
        name = name.relative_to(folder) if name.is_relative_to(folder) else PurePosixPath("..")
    if not name.name:
        raise _LeftOutError("image without a file name")
    if ".." in name.parts or re.match("[A-Za-z]:", file_name):
        raise _LeftOutError("image file outside of the folder of images", file_name)
    return images_dir / name


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


def _save(cut: Image.Image, category: str, picture: Picture, out_dir: Path) -> tuple[str, ...]:
    """Write the picture under a name of its content, and give its row."""
    digest = hashlib.blake2b(cut.tobytes() + repr(cut.size).encode(), digest_size=6).hexdigest()
    stem = re.sub("[^A-Za-z0-9]+", "-", PurePosixPath(picture.file_name).stem)[:40].strip("-")
    name = f"{category}/{stem}-{digest}.png"
    path = out_dir / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        cut.save(path, "PNG")
    except OSError as error:
        raise AcpError(f"cannot write {path}: {error.strerror or error}") from error
    quality = "3" if max(cut.size) >= 200 else "2"
    support = usual_support(category)
    return (name, category, color_phrase(cut), "", support, "level", "left", quality)
