"""The checks of rows: a batch in, its problems out. Nothing here knows of files of tables."""

from __future__ import annotations

import io
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from acp.core.boxes import BOX_FORMATS, to_xywh_px
from acp.core.masks import BoolArray, BrokenMaskError, Measured, check_polygons, check_rle
from acp.dataset.check.problems import Problem
from acp.dataset.check.schema import (
    ENDS,
    Columns,
    IntArray,
    Lists,
    Numbers,
    boxes_of,
    column_at,
    element,
    keys,
    lists_at,
    numbers,
)

if TYPE_CHECKING:
    import pyarrow as pa

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
    """What a batch gave: problems in the order of its rows, and what was counted.

    `fits`: how many of its boxes lie in their images, by the format they are read in.
    """

    problems: list[Problem] = field(default_factory=list)
    checked: Counter[str] = field(default_factory=Counter)
    fits: Counter[str] = field(default_factory=Counter)


def check_batch(plan: Plan, where: str, first: int, batch: pa.RecordBatch) -> Outcome:
    """Check the rows of a batch; `first` is the number of its first row in the file `where`."""
    checks = _Checks(plan, batch)
    checks.check_images()
    checks.check_lists()
    checks.check_classes()
    checks.check_boxes()
    checks.check_masks()
    checks.check_relations()
    if plan.ours:
        checks.check_nulls()
        checks.check_scores()
    outcome = checks.outcome
    outcome.problems = [
        replace(problem, where=f"{where}: row {first + row}{problem.where}")
        for row, problem in sorted(checks.found, key=lambda each: each[0])
    ]
    return outcome


class _Checks:
    """All checks of a batch. The `where` of a problem that is found is the place in its row."""

    def __init__(self, plan: Plan, batch: pa.RecordBatch) -> None:
        self.plan, self.batch, self.at = plan, batch, plan.columns.at
        self.outcome = Outcome(checked=Counter(rows=len(batch)))
        self.found: list[tuple[int, Problem]] = []
        self.sizes_wh: Numbers = np.full((len(batch), 2), np.nan)
        self.box_lists: Lists | None = None
        self.boxes_px: Numbers = np.zeros((0, 4))
        self.good: BoolArray = np.zeros(0, dtype=np.bool_)
        objects = plan.columns.alike
        self.lists = {name: lists_at(batch, path) for name, path in objects.items()}
        lengths = [each.lengths for each in self.lists.values()]
        self.count = lengths[0] if lengths else np.zeros(len(batch), np.int64)
        self.uneven = np.zeros(len(batch), dtype=np.bool_)

    def add(self, kind: str, row: int, what: str, fix: str, place: str = "") -> None:
        self.found.append((row, Problem(kind, place, what, fix)))

    def add_object(self, kind: str, lists: Lists, number: int, what: str, fix: str) -> None:
        """A problem of the object that has value `number` of the lists."""
        row = int(lists.rows[number])
        self.add(kind, row, what, fix, f", objects[{number - int(lists.starts[row])}]")

    # Images.

    def check_images(self) -> None:
        """Decode every image; learn the size of those that the objects belong to."""
        said = self._said()
        self.sizes_wh = said.copy()
        for name in self.plan.columns.images:
            for row, scalar in enumerate(self.batch.column(name)):
                self._decode(name, row, scalar.as_py())
        if "image" not in self.at:
            return
        name = ".".join(self.at["image"])
        for row, scalar in enumerate(column_at(self.batch, self.at["image"])):
            value = scalar.as_py()
            size = self._decode(name, row, value)
            if size is not None:
                self._compare_size(row, size, said[row])
            elif value is None and self.plan.ours and self.count[row]:
                self.add("image", row, f"{name} is null, but it has objects", "remove the row")

    def _said(self) -> Numbers:
        if not {"width", "height"} <= set(self.at):
            return np.full((len(self.batch), 2), np.nan)
        sides = [numbers(column_at(self.batch, self.at[name])) for name in ("width", "height")]
        return np.stack(sides, axis=1)

    def _decode(self, name: str, row: int, value: Any) -> tuple[int, int, bool] | None:
        try:
            content = content_of(value, self.plan.root)
            if content is None:
                return None
            self.outcome.checked["images"] += 1
            return decode(content)
        except BrokenImageError as error:
            path = value.get("path") if isinstance(value, dict) else None
            label = f" ({Path(path).name})" if path else ""
            self.add(
                "image", row, f"{name}{label} {error}", "put in a whole file, or remove the row"
            )
            return None

    def _compare_size(self, row: int, size: tuple[int, int, bool], said: Numbers) -> None:
        width, height, turned = size
        shown = (height, width) if turned else (width, height)
        if not np.isfinite(said).all():
            self.sizes_wh[row] = shown
        elif tuple(said) not in (shown, (width, height)):
            self.sizes_wh[row] = shown
            what = f"width and height say {said[0]:g}x{said[1]:g}, the image is {width}x{height}"
            self.add("size", row, what, "correct the columns")

    def _size_wh(self, row: int) -> tuple[int, int] | None:
        width, height = self.sizes_wh[row]
        return (int(width), int(height)) if np.isfinite(width + height) else None

    # Objects.

    def check_lists(self) -> None:
        """Lists side by side have a value for each object, or for each relation."""
        self.uneven = self._check_lengths("objects", self.lists)
        paths = self.plan.columns.relation_lists
        relations = {name: lists_at(self.batch, path) for name, path in paths.items()}
        self._check_lengths("relations", relations)
        self.outcome.checked["objects"] += int(self.count.sum())

    def _check_lengths(self, label: str, lists: Mapping[str, Lists]) -> Any:
        lengths = np.array([each.lengths for each in lists.values()]).reshape(-1, len(self.batch))
        uneven = (lengths != lengths[:1]).any(axis=0)
        for row in np.flatnonzero(uneven).tolist():
            counts = dict(zip(lists, lengths[:, row].tolist(), strict=True))
            usual = Counter(counts.values()).most_common(1)[0][0]
            odd = ", ".join(f"{name} has {n}" for name, n in counts.items() if n != usual)
            what = f"{label}: {odd}, the others have {usual}"
            self.add("lengths", row, what, f"each list needs a value for each of the {label}")
        return uneven

    def check_classes(self) -> None:
        """A class is one of the names of the feature."""
        known = self.plan.columns.classes
        if not known:
            return
        lists = lists_at(self.batch, self.at["category"])
        codes = numbers(lists.values)
        for number in np.flatnonzero((codes >= known) | (codes < -1)).tolist():
            what = f"category {codes[number]:g} is none of {known} classes"
            fix = "correct it, or the names of the feature"
            self.add_object("class", lists, number, what, fix)

    def check_boxes(self) -> None:
        """Four finite numbers, an area, inside the image."""
        if "bbox" not in self.at:
            return
        self.box_lists = lists = lists_at(self.batch, self.at["bbox"])
        stored, counts = boxes_of(lists.values)
        self.outcome.checked["boxes"] += len(stored)
        sizes = self.sizes_wh[lists.rows]
        unknown = np.asarray(~np.isfinite(sizes).all(axis=1))
        if self.plan.box_format.endswith("n"):
            sizes = np.where(unknown[:, None], 1.0, sizes)
        self.boxes_px = to_xywh_px(stored, self.plan.box_format, sizes)
        finite = np.asarray(np.isfinite(stored).all(axis=1))
        flat = np.asarray(finite & ~(self.boxes_px[:, 2:] > 0).all(axis=1))
        reach = reach_px(self.boxes_px, sizes)
        outside = finite & ~flat & (reach > tolerance_px(sizes, ours=self.plan.ours))
        self.good = finite & ~flat & ~outside
        if not self.plan.ours:
            self._try_formats(stored[finite & ~unknown], sizes[finite & ~unknown])
        for number in np.flatnonzero(~self.good & (counts != -1)).tolist():
            shown = f"bbox {_shown(stored[number])}"
            fix = "correct it, or remove the object"
            if counts[number] != 4:
                what = f"bbox has {counts[number]} numbers, expected 4"
            elif not finite[number]:
                what = f"{shown} is not finite"
            elif flat[number]:
                what = f"{shown} has no area"
            elif unknown[number]:
                what = f"{shown} reaches outside the image"
            else:
                width, height = sizes[number]
                what = f"{shown} reaches outside the image of {width:g}x{height:g}"
                fix = "clip it to the image, or remove the object"
            self.add_object("bbox", lists, number, what, fix)

    def _try_formats(self, stored: Numbers, sizes: Numbers) -> None:
        """How many boxes fit in each format: `check_data_set` says if another fits more of them."""
        self.outcome.fits["all"] += len(stored)
        for box_format in BOX_FORMATS:
            boxes = to_xywh_px(stored, box_format, sizes)
            fits = (boxes[:, 2:] > 0).all(axis=1)
            fits &= reach_px(boxes, sizes) <= tolerance_px(sizes, ours=False)
            if not box_format.endswith("n"):  # pixels in a corner pixel are normalised numbers
                fits &= (stored > 1.5).any(axis=1)
            self.outcome.fits[box_format] += int(fits.sum())

    def check_masks(self) -> None:
        """Masks decode, and agree with box and area."""
        if "segmentation" not in self.at:
            return
        lists = lists_at(self.batch, self.at["segmentation"])
        areas = lists_at(self.batch, self.at["area"]) if "area" in self.at else None
        area_of = None if areas is None else numbers(areas.values)
        rows = lists.rows
        for number, scalar in enumerate(lists.values):
            row = int(rows[number])
            try:
                mask = self._measured(scalar.as_py(), row)
            except BrokenMaskError as error:
                self.add_object("segmentation", lists, number, str(error), error.fix)
                continue
            if mask is None:
                continue
            self.outcome.checked["masks"] += 1
            if self.uneven[row]:
                continue
            # the row is even, but its values need not begin at one place in all lists
            inside = number - int(lists.starts[row])
            box = self._box(row, inside)
            area = None
            if areas is not None and area_of is not None:
                area = float(area_of[int(areas.starts[row]) + inside])
            for what in _disagreements(mask, box, area, ours=self.plan.ours):
                fix = "compute box and area from the mask again"
                self.add_object("segmentation", lists, number, what, fix)

    def _box(self, row: int, inside: int) -> Numbers | None:
        if self.box_lists is None:
            return None
        number = int(self.box_lists.starts[row]) + inside
        return self.boxes_px[number] if self.good[number] else None

    def _measured(self, value: Any, row: int) -> Measured | None:
        size_wh = self._size_wh(row)
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
            [value] = value
        if isinstance(value, dict):
            return None if value.get("counts") is None else check_rle(value, size_wh)
        if not isinstance(value, list) or not value:
            return None
        normalised = self.plan.box_format.endswith("n") and size_wh is not None
        scale = size_wh if normalised and size_wh else (1.0, 1.0)
        sizes = np.array([size_wh or (0, 0)], np.float64)
        return check_polygons(value, size_wh, float(tolerance_px(sizes, ours=False)[0]), scale)

    def check_relations(self) -> None:
        """Subjects and objects are places among the objects of their row (of others: or ids)."""
        if "relations" not in self.at:
            return
        known: set[tuple[int, int]] = set()
        if "id" in self.at and not self.plan.ours:
            ids = lists_at(self.batch, self.at["id"])
            values, places = keys(ids.values)
            known = set(zip(ids.rows[places].tolist(), values.tolist(), strict=True))
        for end in ENDS:
            found = lists_at(self.batch, (*self.at["relations"], end))
            if end == ENDS[0]:
                self.outcome.checked["relations"] += len(found.values)
            values, places = keys(found.values)
            rows = found.rows[places]
            wrong = (values < 0) | (values >= self.count[rows])
            for each in np.flatnonzero(wrong).tolist():
                row, value = int(rows[each]), int(values[each])
                if (row, value) in known or not self.lists:
                    continue
                place = int(places[each] - found.starts[row])
                what = f"{end} {value} is no place among {self.count[row]} objects"
                fix = "correct it, or remove the relation"
                self.add("relation", row, what, fix, f", relations[{place}]")

    # Ours.

    def check_nulls(self) -> None:
        """Ids and sizes are there, and for each object its id, category, box and mask."""
        import pyarrow as pa
        import pyarrow.compute as pc

        for part in ("image_id", "width", "height"):
            if part in self.at:
                nulls = column_at(self.batch, self.at[part]).is_null()
                for row in np.flatnonzero(nulls.to_numpy(zero_copy_only=False)).tolist():
                    self.add("null", row, f"{part} is null", "remove the row")
        for name in NEVER_NULL:
            if name not in self.lists:
                continue
            lists = self.lists[name]
            nulls = lists.values.is_null()
            if pa.types.is_struct(lists.values.type):
                nulls = pc.or_(nulls, pc.struct_field(lists.values, "counts").is_null())
            for number in np.flatnonzero(nulls.to_numpy(zero_copy_only=False)).tolist():
                self.add_object("null", lists, number, f"{name} is null", "remove the object")

    def check_scores(self) -> None:
        """Scores are 0-100, shares 0-1; a null is none."""
        for path, most in SCORES.items():
            if path[0] not in self.batch.schema.names:
                continue
            rows = np.arange(len(self.batch))
            if len(path) == 1:
                flat = self.batch.column(path[0])
            elif element(self.batch.schema, path) is not None:
                lists = lists_at(self.batch, path)
                flat, rows = lists.values, lists.rows
            else:
                continue
            values, nulls = numbers(flat), flat.is_null().to_numpy(zero_copy_only=False)
            for number in np.flatnonzero(~nulls & ~((values >= 0) & (values <= most))).tolist():
                what = f"{'.'.join(path)} {values[number]:g} is not between 0 and {most:g}"
                self.add("score", int(rows[number]), what, "score the rows again")


def check_ids(files: Mapping[str, Sequence[Path]]) -> Iterator[Problem]:
    """Of ours, the parquet files by configuration: every id is there once, and `curated` holds the
    images and the objects that `raw` has as kept, no others."""
    both = {config: _ids_of(files[config]) for config in ("curated", "raw") if config in files}
    for config, columns in both.items():
        for name, (values, _) in columns.items():
            found, counts = np.unique(values, return_counts=True)
            for value in found[counts > 1].tolist():
                what = f"{name} {value} is there more than once"
                yield Problem("id", config, what, "give each its own id")
    if len(both) < 2:
        return
    for name, (values, _) in both["curated"].items():
        ids, kept = both["raw"][name]
        for value in np.setdiff1d(values, ids[kept]).tolist():
            what = f"{name} {value} is not among those that raw has as kept"
            yield Problem("subset", "curated", what, "run acp build again")
        for value in np.setdiff1d(ids[kept], values).tolist():
            what = f"{name} {value} is kept, but not in curated"
            yield Problem("subset", "raw", what, "run acp build again")


def _ids_of(files: Sequence[Path]) -> dict[str, tuple[IntArray, BoolArray]]:
    """The ids of images and of objects, each with whether it is kept."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    ids: dict[str, list[tuple[IntArray, BoolArray]]] = {"image_id": [], "objects.id": []}
    for path in files:
        with pq.ParquetFile(path) as file:
            raw = "kept" in file.schema_arrow.names
            names = ["image_id", "objects.id", *(["kept", "objects.reject"] if raw else [])]
            for batch in file.iter_batches(columns=names):
                images, objects = batch.column("image_id"), lists_at(batch, ("objects", "id"))
                kept, used = np.ones(len(images), np.bool_), np.ones(len(objects.values), np.bool_)
                if raw:
                    kept = np.asarray(batch.column("kept"), np.bool_)
                    reasons = lists_at(batch, ("objects", "reject")).values
                    used = kept[objects.rows] & np.asarray(pc.equal(reasons, ""), np.bool_)
                ids["image_id"].append((np.asarray(images, np.int64), kept))
                ids["objects.id"].append((np.asarray(objects.values, np.int64), used))
    empty = (np.zeros(0, np.int64), np.zeros(0, np.bool_))
    return {
        name: (
            np.concatenate([each[0] for each in (empty, *parts)]),
            np.concatenate([each[1] for each in (empty, *parts)]),
        )
        for name, parts in ids.items()
    }


def reach_px(boxes_xywh_px: Numbers, sizes_wh: Numbers) -> Numbers:
    """How many pixels each box reaches outside of its image at most, (N,); 0 for one inside.

    >>> reach_px(np.array([[-3.0, 0, 10, 10]]), np.array([[20.0, 8.0]])).tolist()
    [3.0]
    """
    ends = boxes_xywh_px[:, :2] + boxes_xywh_px[:, 2:]
    outside = np.concatenate([-boxes_xywh_px[:, :2], ends - sizes_wh], axis=1)
    reach = np.maximum(np.nan_to_num(outside, nan=0.0), 0).max(axis=1, initial=0)
    return np.asarray(reach, np.float64)


def tolerance_px(sizes_wh: Numbers, *, ours: bool) -> Numbers:
    """How far a box may reach outside, (N,): a pixel or 0.2 % of the longer side, as people draw
    them; next to nothing for ours, which are computed."""
    if ours:
        return np.full(len(sizes_wh), 0.01)
    longest = np.nan_to_num(sizes_wh).max(axis=1, initial=0)
    return np.asarray(np.maximum(1.0, 0.002 * longest), np.float64)


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


# Images.


class BrokenImageError(ValueError):
    """Why an image cannot be shown, in a few words."""


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
    if "://" in archive or not full.is_relative_to(root):  # links of the cache lead elsewhere
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


def decode(content: bytes) -> tuple[int, int, bool]:
    """Width and height of an image, all of which was decoded, and whether EXIF says to turn it by
    90 degrees.

    Raises:
        BrokenImageError: it is empty, of no known format, cut off or damaged.
    """
    from PIL import Image, UnidentifiedImageError

    if not content:
        raise BrokenImageError("has no bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as image:
                image.load()
                return image.width, image.height, image.getexif().get(0x0112) in TURNED
    except UnidentifiedImageError:
        raise BrokenImageError("is of no known image format") from None
    except Image.DecompressionBombError:
        raise BrokenImageError("has more pixels than PIL opens") from None
    except Exception as error:  # each of PIL's formats has its own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BrokenImageError(f"does not decode ({reason})") from None
