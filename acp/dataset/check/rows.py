"""The checks of rows: a row in, its problems out. Nothing here knows how files are found."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from acp.core.boxes import box_fits, reach_px, to_xywh_px, tolerance_px
from acp.core.errors import reason_of
from acp.core.files import leads_out
from acp.core.images import BrokenImageError, decoded, is_turned, open_image
from acp.core.masks import BrokenMaskError, Measured, check_polygons, check_rle
from acp.dataset.check.problems import Problem
from acp.dataset.check.schema import ENDS, Columns, value_at

Row = Mapping[str, Any]
Numbers = npt.NDArray[np.float64]
Size = tuple[int, int]
TURNED = (5, 6, 7, 8)
"""Values of EXIF's orientation that swap width and height; readers turn such images."""
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
FIX_OBJECT = "correct it, or remove the object"


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

    `fits`: how many of their boxes lie in their images, by the format they are read in.
    """

    problems: list[Problem] = field(default_factory=list)
    checked: Counter[str] = field(default_factory=Counter)
    fits: Counter[str] = field(default_factory=Counter)


def check_rows(plan: Plan, where: str, first: int, rows: Sequence[Row]) -> Outcome:
    """Check rows; `first` is the number of the first one in the file `where`."""
    outcome = Outcome(checked=Counter(rows=len(rows)))
    boxes: list[tuple[Numbers, Size]] = []
    for number, row in enumerate(rows, first):
        place = f"{where}: row {number}"
        try:
            for each in _check_row(plan, row, outcome.checked, boxes):
                outcome.problems.append(replace(each, where=f"{place}{each.where}"))
        except Exception as error:  # values of others may be anything; the next row is checked
            what = f"cannot be checked: {reason_of(error)}"
            outcome.problems.append(Problem("rows", place, what, "correct the row"))
    if boxes and not plan.ours:
        outcome.fits = _try_formats(boxes)
    return outcome


def _check_row(
    plan: Plan, row: Row, checked: Counter[str], boxes: list[tuple[Numbers, Size]]
) -> Iterator[Problem]:
    """The problems of a row, `where` being the place in it; its boxes join `boxes`."""
    columns = plan.columns
    size_wh = yield from _check_images(plan, row, checked)
    objects = {name: value_at(row, path) or [] for name, path in columns.alike.items()}
    relations = {name: value_at(row, path) or [] for name, path in columns.relation_lists.items()}
    even = yield from _check_lengths("objects", objects)
    yield from _check_lengths("relations", relations)
    count = len(next(iter(objects.values()), ()))
    checked["objects"] += count
    checked["relations"] += len(relations.get("subject", ()))
    yield from _check_classes(columns, objects.get("category", ()))
    stored = objects.get("bbox", ()) if "bbox" in columns.at else ()
    checked["boxes"] += len(stored)
    pixels = yield from _check_boxes(plan, stored, size_wh)
    if size_wh and len(stored):
        boxes.append((_as_numbers(stored), size_wh))
    if "segmentation" in columns.at:
        yield from _check_masks(plan, objects, pixels if even else (), size_wh, checked)
    if objects:
        yield from _check_relations(plan, relations, objects, count)
    if plan.ours:
        yield from _check_ours(columns, row, objects)


def _in_object(kind: str, place: int, what: str, fix: str = FIX_OBJECT) -> Problem:
    return Problem(kind, f", objects[{place}]", what, fix)


# Images.


def _check_images(
    plan: Plan, row: Row, checked: Counter[str]
) -> Generator[Problem, None, Size | None]:
    """Decode every image; returns the size of the one that the objects belong to."""
    at = plan.columns.at
    for name in plan.columns.images:
        yield from _check_image(plan, name, row.get(name), checked)
    width, height = (
        value_at(row, at[side]) if side in at else None for side in ("width", "height")
    )
    said = None if width is None or height is None else (int(width), int(height))
    if "image" not in at:
        return said
    name, value = ".".join(at["image"]), value_at(row, at["image"])
    size = yield from _check_image(plan, name, value, checked)
    if value is None and plan.ours and any(value_at(row, ("objects", "category")) or ()):
        what = f"{name} is null, but it has objects"
        yield Problem("image", "", what, "remove the row")
    if size is None:
        return said
    own = (size[0], size[1])
    as_shown = own[::-1] if size[2] else own
    if said in (own, as_shown):
        return said
    if said is not None:
        what = f"width and height say {said[0]}x{said[1]}, the image is {own[0]}x{own[1]}"
        yield Problem("size", "", what, "correct the columns")
    return as_shown


def _check_image(
    plan: Plan, name: str, value: Any, checked: Counter[str]
) -> Generator[Problem, None, tuple[int, int, bool] | None]:
    try:
        content = content_of(value, plan.root)
        if content is None:
            return None
        checked["images"] += 1
        image = open_image(content)
        decoded(image)
        return image.width, image.height, is_turned(image)
    except BrokenImageError as error:
        path = value.get("path") if isinstance(value, dict) else None
        label = f" ({Path(path).name})" if path else ""
        fix = "put in a whole file, or remove the row"
        yield Problem("image", "", f"{name}{label} {error}", fix)
        return None


# Objects.


def _check_lengths(
    label: str, lists: Mapping[str, Sequence[Any]]
) -> Generator[Problem, None, bool]:
    """Lists side by side are of one length; returns whether they are."""
    lengths = {name: len(each) for name, each in lists.items()}
    if len(set(lengths.values())) < 2:
        return True
    usual = Counter(lengths.values()).most_common(1)[0][0]
    odd = ", ".join(f"{name} has {n}" for name, n in lengths.items() if n != usual)
    fix = f"each list needs a value for each of the {label}"
    yield Problem("lengths", "", f"{label}: {odd}, the others have {usual}", fix)
    return False


def _check_classes(columns: Columns, codes: Sequence[Any]) -> Iterator[Problem]:
    """A class is one of the names of the feature, or -1 for none."""
    for place, code in enumerate(codes if columns.classes else ()):
        if code is not None and not -1 <= code < columns.classes:
            what = f"category {code} is none of {columns.classes} classes"
            yield _in_object("class", place, what, "correct it, or the names of the feature")


def _as_numbers(boxes: Sequence[Any]) -> Numbers:
    """Boxes as stored, (N, 4); not a number where there are no four."""
    whole = [box if box is not None and len(box) == 4 else [math.nan] * 4 for box in boxes]
    return np.array(whole, np.float64).reshape(-1, 4)


def _check_boxes(
    plan: Plan, boxes: Sequence[Any], size_wh: Size | None
) -> Generator[Problem, None, list[Numbers | None]]:
    """Four finite numbers, an area, inside the image; returns the good ones in pixels."""
    stored = _as_numbers(boxes)
    normalised = plan.box_format.endswith(("n", "1000"))
    sizes = np.array([size_wh or ((1, 1) if normalised else (np.nan, np.nan))] * len(boxes))
    pixels = to_xywh_px(stored, plan.box_format, sizes)
    tolerance, good = _tolerance(size_wh, ours=plan.ours), list[Numbers | None]()
    for place, (box, xywh, reach) in enumerate(
        zip(boxes, pixels, reach_px(pixels, sizes), strict=True)
    ):
        good.append(None)
        shown, fix = f"bbox {_shown(stored[place])}", FIX_OBJECT
        if box is None:
            continue
        if len(box) != 4:
            what = f"bbox has {len(box)} numbers, expected 4"
        elif not np.isfinite(xywh).all():
            what = f"{shown} is not finite"
        elif (xywh[2:] <= 0).any():
            what = f"{shown} has no area"
        elif reach > tolerance:
            of = f" of {size_wh[0]}x{size_wh[1]}" if size_wh else ""
            what = f"{shown} reaches outside the image{of}"
            fix = "clip it to the image, or remove the object"
        else:
            good[place] = xywh
            continue
        yield _in_object("bbox", place, what, fix)
    return good


def _tolerance(size_wh: Size | None, *, ours: bool) -> float:
    """How far a box may reach outside: next to nothing for ours, which are computed."""
    return 0.01 if ours else float(tolerance_px(size_wh or (100, 100)))


def _try_formats(boxes: list[tuple[Numbers, Size]]) -> Counter[str]:
    stored = np.concatenate([each for each, _ in boxes])
    sizes = np.concatenate([np.tile(size, (len(each), 1)) for each, size in boxes])
    return box_fits(stored, sizes)


def _check_masks(
    plan: Plan,
    objects: Mapping[str, Sequence[Any]],
    boxes: Sequence[Numbers | None],
    size_wh: Size | None,
    checked: Counter[str],
) -> Iterator[Problem]:
    """Masks decode, and agree with box and area; `boxes` are none if the lists are not even."""
    for place, value in enumerate(objects["segmentation"]):
        try:
            mask = _measured(plan, value, size_wh)
        except BrokenMaskError as error:
            yield _in_object("segmentation", place, str(error), error.fix)
            continue
        if mask is None:
            continue
        checked["masks"] += 1
        if boxes:
            area = objects["area"][place] if "area" in plan.columns.at else None
            for what in _disagreements(mask, boxes[place], area, ours=plan.ours):
                fix = "compute box and area from the mask again"
                yield _in_object("segmentation", place, what, fix)


def _measured(plan: Plan, value: Any, size_wh: Size | None) -> Measured | None:
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        [value] = value
    if isinstance(value, dict):
        return None if value.get("counts") is None else check_rle(value, size_wh)
    if not isinstance(value, list) or not value:
        return None
    scale = size_wh if size_wh and plan.box_format.endswith("n") else (1, 1)
    return check_polygons(value, size_wh, _tolerance(size_wh, ours=False), scale)


def _disagreements(
    mask: Measured, box: Numbers | None, area: float | None, *, ours: bool
) -> Iterator[str]:
    """Ours are those of the mask; people's boxes may be larger or smaller, but not elsewhere."""
    own = np.array(mask.box_xywh_px)
    if not ours:
        if area is not None and area < 0:
            yield f"area {area:g} is negative"
        if box is not None and _gap(own, box) > 1:
            yield f"bbox {_shown(box)} does not touch its mask in {_shown(own)}"
        return
    if box is not None and np.abs(own - box).max() > 0.5:
        yield f"bbox {_shown(box)} is not that of its mask, {_shown(own)}"
    if area is not None and mask.area is not None and not abs(area - mask.area) <= 0.5:
        yield f"area {area:g} is not that of its mask, {mask.area:g}"


def _gap(one: Numbers, other: Numbers) -> float:
    """How far apart two boxes `[x, y, w, h]` are; 0 or less if they touch."""
    ends, other_ends = one[:2] + one[2:], other[:2] + other[2:]
    return float(np.maximum(one[:2] - other_ends, other[:2] - ends).max())


def _shown(box: Numbers) -> str:
    return f"[{', '.join(f'{value:.6g}' for value in box)}]"


def _check_relations(
    plan: Plan,
    relations: Mapping[str, Sequence[Any]],
    objects: Mapping[str, Sequence[Any]],
    count: int,
) -> Iterator[Problem]:
    """Subjects and objects are places among the objects of their row (of others: or ids)."""
    ids = () if plan.ours else objects.get("id", ())
    for end in ENDS:
        for place, value in enumerate(relations.get(end, ())):
            if value is not None and not 0 <= value < count and value not in ids:
                what = f"{end} {value} is no place among {count} objects"
                fix = "correct it, or remove the relation"
                yield Problem("relation", f", relations[{place}]", what, fix)


# Ours.


def _check_ours(
    columns: Columns, row: Row, objects: Mapping[str, Sequence[Any]]
) -> Iterator[Problem]:
    """Ids, sizes, categories, boxes and masks are there; scores are in their range."""
    for name in ("image_id", "width", "height"):
        if name in row and row[name] is None:
            yield Problem("null", "", f"{name} is null", "remove the row")
    for name in NEVER_NULL:
        for place, value in enumerate(objects.get(name, ())):
            if value is None or (isinstance(value, dict) and value.get("counts") is None):
                yield _in_object("null", place, f"{name} is null", "remove the object")
    for path, most in SCORES.items():
        found = value_at(row, path)
        for value in found if isinstance(found, list) else [found]:
            if value is not None and not 0 <= value <= most:
                what = f"{'.'.join(path)} {value:g} is not between 0 and {most:g}"
                yield Problem("score", "", what, "score the rows again")


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
