"""The checks of rows: a row in, its problems out. Nothing here knows how files are found."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from acp.core.boxes import box_fits, to_xywh_px, tolerance_px
from acp.core.errors import reason_of
from acp.core.files import leads_out
from acp.core.images import BrokenImageError, decoded, is_turned, open_image
from acp.core.masks import BrokenMaskError, measured
from acp.dataset.check.problems import Problem
from acp.dataset.check.schema import ENDS, Columns, value_at

Row = Mapping[str, Any]
Numbers = npt.NDArray[np.float64]
Size = tuple[int, int]
NEVER_NULL = ("id", "category", "category_id", "bbox", "segmentation")
SCORES: Mapping[tuple[str, ...], float] = {
    ("clis",): 100,
    ("clis_l",): 100,
    ("clis_i",): 100,
    ("objects", "clis_i"): 100,
    ("objects", "visible"): 1,
    ("layouts", "clis_l"): 100,
}
"""The largest value of each score of ours; the smallest is 0."""
REMOVE = "correct it, or remove the object"


@dataclass(frozen=True, slots=True)
class Plan:
    """How the rows of a configuration are checked.

    Attributes:
        columns: what is where.
        root: the folder of the data set, which paths of images must not leave.
        box_format: one of `acp.core.boxes.BOX_FORMATS`.
        ours: boxes, areas and masks are computed, so they agree to the pixel, and nothing is null.
    """

    columns: Columns
    root: Path
    box_format: str = "xywh"
    ours: bool = False


@dataclass(slots=True)
class Outcome:
    """What some rows gave: problems in their order, and what was counted.

    `fits`: how many of their boxes lie in their images, by the format they are read in; `seen`:
    those boxes, (N, 4), with the sizes of their images, (N, 2).
    """

    problems: list[Problem] = field(default_factory=list)
    checked: Counter[str] = field(default_factory=Counter)
    fits: Counter[str] = field(default_factory=Counter)
    seen: list[tuple[Numbers, Numbers]] = field(default_factory=list)


def check_rows(plan: Plan, where: str, first: int, rows: Sequence[Row]) -> Outcome:
    """Check rows; `first` is the number of the first one in the file `where`."""
    outcome = Outcome(checked=Counter(rows=len(rows)))
    for number, row in enumerate(rows, first):
        checks = _Row(plan, row, f"{where}: row {number}", outcome)
        try:
            checks.run()
        except Exception as error:  # values of others may be anything; the next row is checked
            checks.tell("rows", f"cannot be checked: {reason_of(error)}", "correct the row")
    if outcome.seen:
        boxes, sizes = (np.concatenate(each) for each in zip(*outcome.seen, strict=True))
        outcome.fits = box_fits(boxes, sizes)
    return outcome


@dataclass(slots=True)
class _Row:
    """One row of which problems are told."""

    plan: Plan
    row: Row
    place: str
    outcome: Outcome

    def tell(self, kind: str, what: str, fix: str) -> None:
        self.outcome.problems.append(Problem(kind, self.place, what, fix))

    def tell_object(self, kind: str, place: int, what: str, fix: str) -> None:
        self.outcome.problems.append(Problem(kind, f"{self.place}, objects[{place}]", what, fix))

    def lists(self, paths: Mapping[str, tuple[str, ...]]) -> dict[str, list[Any]]:
        return {name: value_at(self.row, path) or [] for name, path in paths.items()}

    def run(self) -> None:
        columns, checked = self.plan.columns, self.outcome.checked
        size_wh = self.images()
        objects = self.lists(columns.alike)
        relations = self.lists(columns.relation_lists)
        even = self.lengths("objects", objects)
        self.lengths("relations", relations)
        count = len(next(iter(objects.values()), ()))
        checked["objects"] += count
        checked["relations"] += len(relations.get("subject", ()))
        self.classes(objects.get("category", ()))
        boxes = self.boxes(objects.get("bbox", []) if "bbox" in columns.at else [], size_wh)
        if "segmentation" in columns.at:
            self.masks(objects, boxes if even else [], size_wh)
        if objects:
            self.relations(relations, () if self.plan.ours else objects.get("id", ()), count)
        if self.plan.ours:
            self.ours(objects)

    # Images.

    def images(self) -> Size | None:
        """Decode every image; returns the size of the one that the objects belong to."""
        at = self.plan.columns.at
        for name in self.plan.columns.images:
            self.image(name, self.row.get(name))
        width, height = (
            value_at(self.row, at[side]) if side in at else None for side in ("width", "height")
        )
        said = None if width is None or height is None else (int(width), int(height))
        if "image" not in at:
            return said
        name, value = ".".join(at["image"]), value_at(self.row, at["image"])
        if value is None and self.plan.ours and any(value_at(self.row, ("objects", "id")) or ()):
            self.tell("image", f"{name} is null, but it has objects", "remove the row")
        sizes = self.image(name, value)
        if not sizes or said in sizes:
            return said
        if said is not None:
            own = f"{sizes[0][0]}x{sizes[0][1]}"
            what = f"width and height say {said[0]}x{said[1]}, the image is {own}"
            self.tell("size", what, "correct the columns")
        return sizes[-1]

    def image(self, name: str, value: Any) -> list[Size]:
        """The sizes of an image, as it is stored and as it is shown; none if it has no pixels."""
        try:
            content = content_of(value, self.plan.root)
            if content is None:
                return []
            self.outcome.checked["images"] += 1
            image = open_image(content)
            decoded(image)
            turned = image.size[::-1] if is_turned(image) else image.size
            return [image.size, turned]
        except BrokenImageError as error:
            path = value.get("path") if isinstance(value, dict) else None
            label = f" ({Path(path).name})" if path else ""
            fix = "put in a whole file, or remove the row"
            self.tell("image", f"{name}{label} {error}", fix)
            return []

    # Objects.

    def lengths(self, label: str, lists: Mapping[str, Sequence[Any]]) -> bool:
        """Lists side by side are of one length; returns whether they are."""
        lengths = {name: len(each) for name, each in lists.items()}
        if len(set(lengths.values())) < 2:
            return True
        usual = Counter(lengths.values()).most_common(1)[0][0]
        odd = ", ".join(f"{name} has {n}" for name, n in lengths.items() if n != usual)
        fix = f"each list needs a value for each of the {label}"
        self.tell("lengths", f"{label}: {odd}, the others have {usual}", fix)
        return False

    def classes(self, codes: Sequence[Any]) -> None:
        """A class is one of the names of the feature, or -1 for none."""
        names = self.plan.columns.classes
        for place, code in enumerate(codes if names else ()):
            if code is not None and not -1 <= code < names:
                what = f"category {code} is none of {names} classes"
                self.tell_object("class", place, what, "correct it, or the names of the feature")

    def boxes(self, boxes: Sequence[Any], size_wh: Size | None) -> list[Numbers | None]:
        """Four finite numbers, an area, inside the image; returns the good ones in pixels."""
        box_format, ours = self.plan.box_format, self.plan.ours
        size = size_wh or ((1, 1) if box_format.endswith(("n", "1000")) else None)
        tolerance = 0.01 if ours else float(tolerance_px(size or (100, 100)))
        whole = [box if box is not None and len(box) == 4 else [math.nan] * 4 for box in boxes]
        stored = np.array(whole, np.float64).reshape(-1, 4)
        pixels = to_xywh_px(stored, box_format, [size or (1, 1)] * len(boxes))
        self.outcome.checked["boxes"] += len(boxes)
        if size_wh and len(boxes) and not ours:
            self.outcome.seen.append((stored, np.tile(size_wh, (len(boxes), 1))))
        good: list[Numbers | None] = [None] * len(boxes)
        for place, box in enumerate(boxes):
            if box is None:
                continue
            what, fix = f"has {len(box)} numbers, expected 4", REMOVE
            if len(box) == 4:
                what, fix = _wrong(pixels[place], size, tolerance, size_wh)
                if not what:
                    good[place] = pixels[place]
                    continue
                what = f"{_shown(stored[place])} {what}"
            self.tell_object("bbox", place, f"bbox {what}", fix)
        return good

    def masks(
        self,
        objects: Mapping[str, Sequence[Any]],
        boxes: Sequence[Numbers | None],
        size_wh: Size | None,
    ) -> None:
        """Masks decode, and agree with box and area; `boxes` are none if the lists are not even."""
        scale = size_wh if size_wh and self.plan.box_format.endswith("n") else (1, 1)
        tolerance = float(tolerance_px(size_wh or (100, 100)))
        for place, value in enumerate(objects["segmentation"]):
            if not value or (isinstance(value, dict) and value.get("counts") is None):
                continue
            try:
                mask = measured(value, size_wh, tolerance, scale)
            except BrokenMaskError as error:
                self.tell_object("segmentation", place, str(error), error.fix)
                continue
            self.outcome.checked["masks"] += 1
            if boxes:
                area = objects["area"][place] if "area" in self.plan.columns.at else None
                self.agree(place, np.array(mask.box_xywh_px), mask.area, boxes[place], area)

    def agree(
        self, place: int, own: Numbers, pixels: float | None, box: Numbers | None, area: Any
    ) -> None:
        """Ours are those of the mask; people's may be larger or smaller, but not elsewhere."""
        what = []
        if self.plan.ours:
            if box is not None and np.abs(own - box).max() > 0.5:
                what.append(f"bbox {_shown(box)} is not that of its mask, {_shown(own)}")
            if area is not None and pixels is not None and not abs(area - pixels) <= 0.5:
                what.append(f"area {area:g} is not that of its mask, {pixels:g}")
        else:
            if area is not None and area < 0:
                what.append(f"area {area:g} is negative")
            if box is not None and _gap(own, box) > 1:
                what.append(f"bbox {_shown(box)} does not touch its mask in {_shown(own)}")
        for each in what:
            self.tell_object(
                "segmentation", place, each, "compute box and area from the mask again"
            )

    def relations(
        self, relations: Mapping[str, Sequence[Any]], ids: Sequence[Any], count: int
    ) -> None:
        """Subjects and objects are places among the objects of their row (of others: or ids)."""
        for end in ENDS:
            for place, value in enumerate(relations.get(end, ())):
                if value is not None and not 0 <= value < count and value not in ids:
                    what = f"{end} {value} is no place among {count} objects"
                    fix = "correct it, or remove the relation"
                    where = f"{self.place}, relations[{place}]"
                    self.outcome.problems.append(Problem("relation", where, what, fix))

    def ours(self, objects: Mapping[str, Sequence[Any]]) -> None:
        """Ids, sizes, categories, boxes and masks are there; scores are in their range."""
        for name in ("image_id", "width", "height"):
            if name in self.row and self.row[name] is None:
                self.tell("null", f"{name} is null", "remove the row")
        for name in NEVER_NULL:
            for place, value in enumerate(objects.get(name, ())):
                if value is None or (isinstance(value, dict) and value.get("counts") is None):
                    self.tell_object("null", place, f"{name} is null", "remove the object")
        for path, most in SCORES.items():
            found = value_at(self.row, path)
            for value in found if isinstance(found, list) else [found]:
                if value is not None and not 0 <= value <= most:
                    what = f"{'.'.join(path)} {value:g} is not between 0 and {most:g}"
                    self.tell("score", what, "score the rows again")


def _wrong(
    box_xywh_px: Numbers, size: Size | None, tolerance: float, size_wh: Size | None
) -> tuple[str, str]:
    """What is wrong with a box and how to fix it, or two empty strings; `size` is that of shares if
    the one of the image, `size_wh`, is not known."""
    start, end = box_xywh_px[:2], box_xywh_px[:2] + box_xywh_px[2:]
    image = f"the image of {size_wh[0]}x{size_wh[1]}" if size_wh else "the image"
    if not np.isfinite(box_xywh_px).all():
        return "is not finite", REMOVE
    if (box_xywh_px[2:] <= 0).any():
        return "has no area", REMOVE
    if (end <= 0).any() or (size and (start >= size).any()):
        return f"lies outside {image}", REMOVE
    if (start < -tolerance).any() or (size and (end - size > tolerance).any()):
        what = f"reaches outside {image}" if size else "is negative"
        return what, "clip it to the image, or remove the object"
    return "", ""


def _gap(one: Numbers, other: Numbers) -> float:
    """How far apart two boxes `[x, y, w, h]` are; 0 or less if they touch."""
    ends, other_ends = one[:2] + one[2:], other[:2] + other[2:]
    return float(np.maximum(one[:2] - other_ends, other[:2] - ends).max())


def _shown(box: Numbers) -> str:
    return f"[{', '.join(f'{value:.6g}' for value in box)}]"


# Files of images.


def content_of(value: Any, root: Path) -> bytes | None:
    """The bytes of an image as stored: `{"bytes", "path"}` or bytes; None for no image.

    Raises:
        BrokenImageError: it is a path to a file that is not there, or not of the data set.
    """
    path = None
    if isinstance(value, dict):
        value, path = value.get("bytes"), value.get("path")
    if value is None and path:
        return _read(str(path), root)
    return value if value is None else bytes(value)


def _read(path: str, root: Path) -> bytes:
    archive = path.rpartition("::")[2] if "::" in path else path
    full = Path(os.path.normpath(root / archive))
    if "://" in archive or not full.is_relative_to(root) or leads_out(full, root):
        raise BrokenImageError("is a path out of the data set")
    try:
        if archive == path:
            return full.read_bytes()
        from datasets.utils.file_utils import xopen

        with xopen(path, "rb") as file:  # as `datasets` names what is in an archive
            content: bytes = file.read()
            return content
    except (OSError, ValueError, KeyError):
        raise BrokenImageError("is a path to no file") from None
