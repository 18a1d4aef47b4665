"""COCO's format and LVIS's: the one reader of such files, whatever they are read for.

What it gives is checked: numbers are finite, boxes have an area and lie in their image, names are
text. What cannot be used is left out, counted by reason with the first place.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from acp.annotations.json_lists import Notify, records, unheard
from acp.annotations.reading import Rejects, box_problem, is_number
from acp.core.boxes import box_fits, in_words, other_format
from acp.core.errors import AcpError
from acp.core.masks import BrokenMaskError, measured

Id = int | str
Box = tuple[float, float, float, float]
_LISTS = ("images", "categories", "annotations")
_NEEDED = {"images": ("id",), "categories": ("id", "name")}
_IDS = ("id", "image_id", "category_id")
LEAST_SAMPLES, MOST_SAMPLES = 8, 1000
"""Boxes of a file by which one sees whether they are in COCO's format."""
_FALSE = {"", "0", "0.0", "false", "none"}


@dataclass(frozen=True, slots=True)
class Picture:
    """An image that is spoken of.

    `id` is as the file has it, `folder` the name of that file's folder; `file_name` has "/" between
    its parts and is "" where the file names none; `size_wh` is in pixels, None where there is none.
    """

    id: str
    folder: str
    file_name: str
    size_wh: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Instance:
    """An object: `picture` indexes `CocoFiles.pictures`, `category` is the name as written,
    `segmentation` is as it was found and is decoded by `acp.core.masks` alone."""

    picture: int
    id: Id | None
    category: str
    box_xywh_px: Box
    segmentation: Any
    where: str


@dataclass(frozen=True, slots=True)
class Caption:
    """A sentence on a picture."""

    picture: int
    text: str
    where: str


class CocoFiles:
    """Files of instances and of captions as one data set.

    An image is known by its name and the folder of its annotation file: files of several splits may
    count their images from 0 each, and files of one folder may speak of the same images.
    """

    def __init__(self, files: Sequence[Path], rejects: Rejects, notify: Notify = unheard) -> None:
        """Read the images and categories.

        Raises:
            AcpError: a file is not there, no JSON, without images, or with boxes in another format.
        """
        self.pictures: list[Picture] = []
        self.rejects, self._notify = rejects, notify
        self._tables = {path: _Tables() for path in files}
        self._labels = {
            path: path.name if [each.name for each in files].count(path.name) == 1 else str(path)
            for path in files
        }
        known: dict[tuple[str, str], int] = {}
        for path, table in self._tables.items():
            samples: list[Mapping[str, Any]] = []
            for where, key, record in self._records(path, _LISTS):
                if key == "categories":
                    self._add_category(record, table, where)
                elif key == "images":
                    self._add_picture(record, path, table, known, where)
                elif len(samples) < MOST_SAMPLES:
                    samples.append(record)
            self._check_format(samples, table, path)
        everywhere = [item for table in self._tables.values() for item in table.images.items()]
        used = Counter(key for key, _ in everywhere)
        for path, table in self._tables.items():
            if not table.images:  # captions alone speak of the images of other files
                table.images.update(item for item in everywhere if used[item[0]] == 1)
            if not table.images:
                what = f"not in COCO's format, it has no usable 'images'{self._why()}"
                raise AcpError(f"{path}: {what}")
        self._ids = Counter(picture.id for picture in self.pictures)

    def label(self, picture: int) -> str:
        """The id of a picture; where files share it, its folder and its name."""
        found = self.pictures[picture]
        shared = self._ids[found.id] > 1
        return f"{found.folder}/{found.file_name or found.id}" if shared else found.id

    def annotations(self) -> Iterator[Instance | Caption]:
        """The objects and captions of every file, in their order. Crowds are left out.

        Raises:
            AcpError: a file without a usable annotation.
        """
        for path, table in self._tables.items():
            usable, count = 0, 0
            for where, _, record in self._records(path, ("annotations",)):
                count += 1
                found = self._annotation(record, table, where)
                if isinstance(found, str):
                    self.rejects.add(found, where)
                else:
                    usable += 1
                    yield found
            if not count:
                what = "its list 'annotations' is missing or empty"
                raise AcpError(f"{path}: not in COCO's format, {what}")
            if not usable:
                raise AcpError(f"{path}: no usable annotation in it{self._why()}")

    def _records(
        self, path: Path, wanted: Sequence[str]
    ) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """The records that have what they need, each with its place and its list."""
        for key, index, record in records(path, wanted, self._notify):
            where = f"{self._labels[path]}: {key}[{index}]"
            record = {**record, **{key: id_of(record[key]) for key in _IDS if key in record}}
            lacking = [each for each in _NEEDED.get(key, ()) if each not in record]
            if lacking:
                self.rejects.add(f"{key} record without {lacking[0]!r}", where)
            elif key != "annotations" and record["id"] is None:
                self.rejects.add(f"{key} record with an id that is neither number nor text", where)
            else:
                yield where, key, record

    def _add_category(self, record: Mapping[str, Any], table: _Tables, where: str) -> None:
        name = text_of(record["name"])
        if not name:
            self.rejects.add("category without a name", where)
        elif table.categories.setdefault(record["id"], name) != name:
            self.rejects.add("category id given twice", where)

    def _add_picture(
        self,
        record: Mapping[str, Any],
        path: Path,
        table: _Tables,
        known: dict[tuple[str, str], int],
        where: str,
    ) -> None:
        name, sides = _name_of(record), (record.get("width"), record.get("height"))
        sized = all(is_number(side) and side >= 1 for side in sides)  # type: ignore[operator]
        size = (float(sides[0]), float(sides[1])) if sized else None  # type: ignore[arg-type]
        key = (str(path.parent), name) if name else (str(path), f"id {record['id']!r}")
        index = known.setdefault(key, len(self.pictures))
        if index == len(self.pictures):
            folder = path.absolute().parent.name
            self.pictures.append(Picture(str(record["id"]), folder, name, size))
        elif self.pictures[index].size_wh != size:
            return self.rejects.add("image given twice with different sizes", where)
        if table.images.setdefault(record["id"], index) != index:
            self.rejects.add("image id given twice", where)
        return None

    def _check_format(
        self, samples: Sequence[Mapping[str, Any]], table: _Tables, path: Path
    ) -> None:
        found = []
        for record in samples:
            picture, box = table.images.get(record.get("image_id")), record.get("bbox")  # type: ignore[arg-type]
            size = None if picture is None else self.pictures[picture].size_wh
            if size and not box_problem(box, size, anywhere=True):
                found.append([*box, *size])  # type: ignore[misc]
        if len(found) < LEAST_SAMPLES:
            return
        columns = np.array(found, np.float64)
        looks = other_format(box_fits(columns[:, :4], columns[:, 4:]), "xywh")
        if looks:
            mend = "COCO's are [x, y, w, h] in pixels: convert them"
            raise AcpError(f"{path}: its boxes look like {in_words(looks)}; {mend}")

    def _annotation(
        self, record: Mapping[str, Any], table: _Tables, where: str
    ) -> Instance | Caption | str:
        """An annotation, or why it cannot be used."""
        is_caption = "caption" in record and "bbox" not in record
        needed = ("image_id",) if is_caption else ("image_id", "category_id")
        lacking = [key for key in needed if key not in record]
        if lacking:
            return f"annotations record without {lacking[0]!r}"
        if any(record[key] is None for key in needed):
            return "annotations record with an id that is neither number nor text"
        what = "caption" if is_caption else "box"
        picture = table.images.get(record["image_id"])
        if picture is None:
            return f"{what} of an unknown image{_other_kind(record['image_id'], table.images)}"
        if is_caption:
            text = text_of(record["caption"])
            return Caption(picture, text, where) if text else "caption without words"
        category = table.categories.get(record["category_id"])
        if category is None:
            other = _other_kind(record["category_id"], table.categories)
            return f"box of an unknown category{other}"
        if str(record.get("iscrowd", "")).strip().lower() not in _FALSE:
            return "crowd"
        size, mask = self.pictures[picture].size_wh, record.get("segmentation")
        box: Any = record.get("bbox")
        if "bbox" not in record:
            if not mask:
                return "annotations record without 'bbox'"
            try:
                box = measured(mask, size).box_xywh_px
            except BrokenMaskError:
                return "mask that cannot be read"
        if problem := box_problem(box, size):
            return problem
        x, y, w, h = map(float, box)
        return Instance(picture, record.get("id"), category, (x, y, w, h), mask, where)

    def _why(self) -> str:
        return f": {text}" if (text := self.rejects.text()) else ""


class _Tables:
    """Ids of one file: of its images, and of its categories."""

    def __init__(self) -> None:
        self.images: dict[Id, int] = {}
        self.categories: dict[Id, str] = {}


def id_of(value: Any) -> Id | None:
    """An id as one compares it: 1.0 is 1; None for what is none."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return text_of(value) if isinstance(value, str) else value if type(value) is int else None


def text_of(value: Any) -> str:
    """A name or sentence with single spaces; that of a number is its digits; "" for none."""
    text = str(value) if type(value) in (int, float, str) else ""
    return " ".join(text.encode("utf-8", "replace").decode().split())


def _name_of(record: Mapping[str, Any]) -> str:
    """The name of an image's file; of an address, LVIS's `coco_url` among them, its end.

    >>> _name_of({"file_name": "train\\\\a.jpg"}), _name_of({"coco_url": "http://a.b/c/d.jpg"})
    ('train/a.jpg', 'd.jpg')
    """
    for key in ("file_name", "coco_url", "flickr_url"):
        name = record.get(key)
        if isinstance(name, str) and name.strip() and "\0" not in name:
            if re.match(r"[a-z][a-z0-9+.-]+://", name, re.IGNORECASE):
                return urlsplit(name).path.rpartition("/")[2]
            return name.replace("\\", "/")
    return ""


def _other_kind(value: Id, known: Mapping[Id, Any]) -> str:
    """What to say of an id that is known as text where it is a number, or the other way round."""
    other = next((each for each in known if str(each) == str(value)), None)
    if other is None:
        return ""
    kinds = {int: "a number", str: "text"}
    return f": its id is {kinds[type(value)]} and {kinds[type(other)]} where it is defined"
