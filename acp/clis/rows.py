"""From rows of a data set to flat arrays, and on to what CLIS-L scores.

A row is a dict as `acp build` publishes it (`acp.executor.rows`); what scoring needs of it:

    {"width": 640, "height": 480, "caption": "...",
     "objects": {"category": [str], "attributes": [str], "bbox": [[x, y, w, h]]},
     "relations": {"subject": [int], "predicate": [str], "object": [int]},
     "image": ...}

Boxes are in the unit of `width` and `height`: pixels, or shares of the image where both are 1;
`RowColumns.in_format` reads others. `image`, `caption`, `attributes` and `relations` may be
missing; `width` and `height` may where the boxes are normalised or an image tells them.

A row that is none is an error, or, where asked for, a row without objects and a reason
(`RowColumns.wrong`). A row whose layout says nothing has a reason too (`RowColumns.faults`).
"""

from __future__ import annotations

import io
import math
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from acp.clis.layout import LayoutBatch
from acp.core.boxes import box_fits, reach_px, to_xywh_px, tolerance_px
from acp.core.errors import RowError
from acp.core.images import BrokenImageError, decoded, decoded_rgb, open_image, size_as_shown
from acp.core.types import Failure, Float64Array, ImageArray, IntArray

LONGEST_PATH = 200
"""Longer ones are cut off in messages."""

EXPECTED = 'a PIL image, an array (H, W, 3) of uint8, a path, {"bytes", "path"} or None'


def is_image(value: Any) -> bool:
    """Whether a value is an image in one of the ways above (its pixels are not looked at)."""
    if isinstance(value, np.ndarray):
        return value.dtype == np.uint8 and (value.ndim == 2 or value.shape[2:] in ((3,), (4,)))
    if isinstance(value, Mapping):
        content, path = value.get("bytes"), value.get("path")
        return isinstance(content, bytes) or (content is None and isinstance(path, str | Path))
    return isinstance(value, str | Path | Image.Image | Failure)


def image_rgb(value: Any) -> ImageArray | Failure:
    """The pixels of a row's image, (H, W, 3) uint8, as it is shown, or why it cannot be read."""
    if isinstance(value, Failure):
        return value
    try:
        return decoded_rgb(value)
    except BrokenImageError as error:
        return Failure(f"the image {error}")


def stored_image(value: Any) -> dict[str, Any] | None:
    """The image as `datasets.Image` stores it, pixel for pixel.

    A PIL image that was changed or made in memory, and an array, become a PNG; a file on disk is
    read, since another process may score it.
    """
    if value is None:
        return None
    if isinstance(value, Mapping):
        if value.get("bytes") is not None:
            return {"bytes": value["bytes"], "path": value.get("path")}
        value = value["path"]
    if isinstance(value, str | Path):
        return {"bytes": _content(Path(value)), "path": str(value)}
    buffer = io.BytesIO()
    opened = open_image(value)
    mode = "RGBA" if "A" in opened.getbands() else "RGB"
    decoded(opened, mode).save(buffer, format="PNG", compress_level=1)
    return {"bytes": buffer.getvalue(), "path": None}


def _content(path: Path) -> bytes | None:
    """None where nothing can be read: scoring tells why."""
    try:
        return path.read_bytes()
    except (OSError, ValueError):
        return None


LARGEST_NORMALISED = 10.0
"""Boxes that reach further, in a row without width and height, are taken for pixels."""

MOST_RELATIONS = 250_000
"""Of a row, those that lists of objects stand for among them."""

_BOXES = "expected 4 numbers [x, y, w, h]"


def normal_row(row: Any, where: str) -> dict[str, Any]:
    """The row with every key that scoring reads, in the shapes of `acp.clis.rows`.

    Takes besides: objects and relations as lists of dicts; a relation whose subject or object is
    a list of indices, which stands for all their pairs.

    Raises:
        RowError: anything else.
    """
    _check(isinstance(row, Mapping), where, "a dict", row)
    objects = _objects(row.get("objects"), f"{where}.objects")
    relations = _relations(row.get("relations"), len(objects["category"]), f"{where}.relations")
    image = row.get("image")
    _check(image is None or is_image(image), f"{where}.image", EXPECTED, image)
    caption = row.get("caption")
    _check(caption is None or isinstance(caption, str), f"{where}.caption", "a string", caption)
    width, height = _size(row, objects["bbox"], image, where)
    return {
        "width": width,
        "height": height,
        "caption": str(caption or ""),
        "objects": objects,
        "relations": relations,
        "image": image,
        **{key: row[key] for key in ("clis_i", "scorer") if key in row},
        "provenance": row["provenance"] if isinstance(row.get("provenance"), Mapping) else None,
    }


def _objects(value: Any, where: str) -> dict[str, list[Any]]:
    found = _as_lists(value, ("category", "bbox"), ("attributes",), where)
    for i, name in enumerate(found["category"]):
        _check(isinstance(name, str), f"{where}.category[{i}]", "a name or a known class", name)
    names = list(map(str, found["category"]))
    boxes = [_box(box, f"{where}.bbox[{i}]") for i, box in enumerate(found["bbox"])]
    phrases = found["attributes"]
    if phrases is None:
        phrases = [None] * len(names)
    phrases = [
        "" if phrase is None else _string(phrase, f"{where}.attributes[{i}]")
        for i, phrase in enumerate(phrases)
    ]
    for key, values in (("bbox", boxes), ("attributes", phrases)):
        if len(values) != len(names):
            expected = f"as many as in category ({len(names)})"
            raise RowError(f"{where}.{key}: expected {expected}, got {len(values)}")
    return {"category": names, "bbox": boxes, "attributes": phrases}


def _relations(value: Any, objects: int, where: str) -> dict[str, list[Any]]:
    keys = ("subject", "predicate", "object")
    if value is None:
        return {key: [] for key in keys}
    found = _as_lists(value, keys, (), where)
    lengths = [len(found[key]) for key in keys]
    if len(set(lengths)) > 1:
        raise RowError(
            f"{where}: expected subject, predicate and object of one length, got {lengths}"
        )
    triples, pairs = list[tuple[int, str, int]](), 0
    for i, (subjects, predicate, others) in enumerate(zip(*found.values(), strict=True)):
        name = _string(predicate, f"{where}.predicate[{i}]")
        one = _indices(subjects, objects, f"{where}.subject[{i}]")
        two = _indices(others, objects, f"{where}.object[{i}]")
        pairs += len(one) * len(two)
        if pairs > MOST_RELATIONS:
            raise RowError(f"{where}: expected at most {MOST_RELATIONS:,} pairs, got {pairs:,}")
        several = len(one) * len(two) > 1  # of a group, nothing is related to itself
        triples += [(a, name, b) for a in one for b in two if not (several and a == b)]
    return {key: [triple[place] for triple in triples] for place, key in enumerate(keys)}


def _as_lists(
    value: Any, needed: Sequence[str], optional: Sequence[str], where: str
) -> dict[str, Any]:
    """A dict of lists, from one or from a list of dicts; None for an optional key that is not
    there."""
    if _is_list(value):
        for i, item in enumerate(value):
            _check(isinstance(item, Mapping), f"{where}[{i}]", "a dict", item)
            for key in needed:
                _check(key in item, f"{where}[{i}].{key}", "a value", None)
        return {key: [item.get(key) for item in value] for key in (*needed, *optional)}
    expected = f"a dict of lists with {', '.join(needed)}"
    _check(isinstance(value, Mapping), where, expected, value)
    for key in needed:
        _check(_is_list(value.get(key)), f"{where}.{key}", "a list", value.get(key))
    for key in optional:
        given = value.get(key)
        _check(given is None or _is_list(given), f"{where}.{key}", "a list", given)
    return {key: value.get(key) for key in (*needed, *optional)}


def _box(value: Any, where: str) -> list[float]:
    if not _is_list(value):
        raise RowError(f"{where}: {_BOXES}, got {_told(value)}")
    if len(value) != 4:
        raise RowError(f"{where}: {_BOXES}, got {len(value)}")
    for place, number in enumerate(value):
        _check(isinstance(number, Real), f"{where}[{place}]", "a number", number)
    return [_float(number) for number in value]


def _float(number: Any) -> float:
    """Infinite where an integer is too large for it."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _indices(value: Any, objects: int, where: str) -> list[int]:
    for each in value if _is_list(value) else [value]:
        index = isinstance(each, Integral) and not isinstance(each, bool)
        if not index or not 0 <= int(each) < objects:
            count = f"0 to {objects - 1}" if objects else "there are none"
            raise RowError(f"{where}: expected an index of objects ({count}), got {_told(each)}")
    return [int(each) for each in value] if _is_list(value) else [int(value)]


def _size(
    row: Mapping[str, Any], boxes: Sequence[Sequence[float]], image: Any, where: str
) -> tuple[float, float]:
    given = {key: row.get(key) for key in ("width", "height")}
    if all(value is None for value in given.values()):
        return _size_otherwise(boxes, image, where)
    for key, value in given.items():
        fits = isinstance(value, Real) and 0 < _float(value) < math.inf
        _check(fits, f"{where}.{key}", "a number above 0", value)
    return float(given["width"] or 0), float(given["height"] or 0)


def _size_otherwise(
    boxes: Sequence[Sequence[float]], image: Any, where: str
) -> tuple[float, float]:
    """Of the image where there is one, else 1: the boxes are normalised."""
    if image is not None:
        missing = f"{where}: width and height are missing, and"
        if isinstance(image, Failure):
            raise RowError(f"{missing} {image.reason}")
        try:
            width, height = size_as_shown(open_image(image))
        except BrokenImageError as error:
            raise RowError(f"{missing} the image {error}") from None
        return float(width), float(height)
    reach = max((abs(side) for box in boxes for side in box if math.isfinite(side)), default=0)
    if reach > LARGEST_NORMALISED:
        raise RowError(
            f"{where}: expected width and height beside boxes in pixels, or normalised boxes; got "
            f"neither (a box reaches {reach:g})"
        )
    return 1.0, 1.0


def _string(value: Any, where: str) -> str:
    _check(isinstance(value, str), where, "a string", value)
    return str(value)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _check(holds: bool, where: str, expected: str, value: Any) -> None:
    if not holds:
        raise RowError(f"{where}: expected {expected}, got {_told(value)}")


def _told(value: Any) -> str:
    """A value in an error message: type and, where short, the value."""
    if value is None:
        return "nothing"
    if isinstance(value, np.ndarray):
        return f"an array {value.shape} of {value.dtype}"
    text = repr(value)
    return f"{type(value).__name__} {text}" if len(text) <= 40 else type(value).__name__


Row = Mapping[str, Any]
_EMPTY = {"width": 1, "height": 1, "objects": {"category": [], "bbox": []}}


@dataclass(frozen=True, slots=True)
class Coded:
    """Strings by number: `names[codes]`."""

    names: tuple[str, ...]
    codes: IntArray

    @classmethod
    def of(cls, strings: Iterable[str]) -> Coded:
        """Numbered in the order of their first appearance.

        >>> Coded.of(["dog", "cat", "dog"]).names
        ('dog', 'cat')
        """
        numbers: dict[str, int] = {}
        codes = _ints([numbers.setdefault(string, len(numbers)) for string in strings])
        return cls(tuple(numbers), codes)


@dataclass(frozen=True, slots=True)
class RowColumns:
    """N rows with B objects and R relations in all.

    `width`, `height` (N,); `box_starts` and `relation_starts` (N + 1,); `category` and `predicate`
    code B and R names; `boxes_xywh` (B, 4) in the unit of width and height; `subject` and `object`
    (R,) count the objects of their own row. `attributes` (B strings), `captions` and `scorers`
    (N strings, "" for none; who gave the row the CLIS-I that it carries) and `images` (N, each as
    it was given, or None) serve CLIS-I. `wrong`: by its place, why a row is none.
    """

    width: Float64Array
    height: Float64Array
    box_starts: IntArray
    category: Coded
    boxes_xywh: Float64Array
    relation_starts: IntArray
    subject: IntArray
    predicate: Coded
    object: IntArray
    attributes: Sequence[str]
    captions: Sequence[str]
    scorers: Sequence[str]
    images: Sequence[Any]
    wrong: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.width)

    def sizes_wh(self) -> Float64Array:
        """Width and height of the image of each box, (B, 2)."""
        sizes = np.stack([self.width, self.height], axis=1)
        return np.asarray(sizes.repeat(np.diff(self.box_starts), axis=0))

    def boxes_xywhn(self) -> Float64Array:
        """The boxes in shares of their image, (B, 4)."""
        return np.asarray(self.boxes_xywh / np.tile(self.sizes_wh(), 2))

    def fits(self) -> Counter[str]:
        """How many boxes lie in their images by format; see `acp.core.boxes.box_fits`."""
        return box_fits(self.boxes_xywh, self.sizes_wh())

    def in_format(self, box_format: str) -> RowColumns:
        """The same, its boxes read as one of `acp.core.boxes.BOX_FORMATS`."""
        return replace(self, boxes_xywh=to_xywh_px(self.boxes_xywh, box_format, self.sizes_wh()))

    def faults(self) -> dict[int, str]:
        """By the place of a row, why its layout says nothing: a relation of an object with itself,
        or without a predicate, or a box of a relation that leaves its image."""
        first = self.box_starts[:-1].repeat(np.diff(self.relation_starts))
        row = np.arange(len(self)).repeat(np.diff(self.relation_starts))
        leaves = reach_px(self.boxes_xywh, sizes := self.sizes_wh()) > tolerance_px(sizes)
        leaves &= np.isfinite(self.boxes_xywh).all(axis=1)  # others are refused by the metric
        leaves &= (self.boxes_xywh[:, 2:] > 0).all(axis=1)
        wordless = np.array([not name.strip() for name in self.predicate.names], bool)
        found: dict[int, str] = {}
        for end in (self.object, self.subject):
            for place in np.flatnonzero(leaves[first + end])[::-1]:
                box = first[place] + end[place]
                name = self.category.names[self.category.codes[box]]
                what = f"the box of object {end[place]} ({name}) leaves its image"
                found[int(row[place])] = what
        for which, what in (
            (wordless[self.predicate.codes], "has no predicate"),
            (self.subject == self.object, "is of an object with itself"),
        ):
            for place in np.flatnonzero(which)[::-1]:
                relation = place - self.relation_starts[row[place]]
                found[int(row[place])] = f"relation {relation} {what}"
        return found

    def layouts(self) -> LayoutBatch:
        """What `acp.clis.layout.score_batch` takes."""
        relations = np.diff(self.relation_starts)
        first_box = self.box_starts[:-1].repeat(relations)
        return LayoutBatch(
            names=self.category.names,
            predicates=self.predicate.names,
            boxes_xywhn=self.boxes_xywhn(),
            category=self.category.codes,
            box_starts=self.box_starts,
            subject=first_box + self.subject,
            object=first_box + self.object,
            predicate=self.predicate.codes,
            relation_image=np.arange(len(self)).repeat(relations),
        )


def row_list(rows: Any, name: str = "rows") -> list[Row]:
    """Rows of a list, an iterable or a `datasets.Dataset`, whose classes get their names and whose
    images are left undecoded.

    Raises:
        RowError: something that holds no rows.
    """
    if isinstance(rows, Mapping | str | bytes) or not isinstance(rows, Iterable):
        raise RowError(f"{name}: expected a list of rows, got {type(rows).__name__}")
    features = getattr(rows, "features", None) or {}
    if "image" in features and hasattr(rows, "cast_column"):
        from datasets import Image

        rows = rows.cast_column("image", Image(decode=False))
    return with_class_names(list(rows), features)


def with_class_names(rows: list[Row], features: Mapping[str, Any]) -> list[Row]:
    """Rows with the names of their categories in place of the numbers of a `datasets.ClassLabel`;
    a number that has no name stays."""
    objects = features.get("objects")
    inner = getattr(objects, "feature", objects)
    label = inner.get("category") if isinstance(inner, Mapping) else None
    names = getattr(getattr(label, "feature", label), "names", None)
    if names is None:
        return rows

    def named(code: Any) -> Any:
        return names[code] if isinstance(code, int) and 0 <= code < len(names) else code

    def renamed(value: Any) -> Any:
        if isinstance(value, Mapping) and _is_list(value.get("category")):
            return {**value, "category": [named(code) for code in value["category"]]}
        if _is_list(value):
            return [{**each, "category": named(each.get("category"))} for each in value]
        return value

    return [{**row, "objects": renamed(row.get("objects"))} for row in rows]


def columns_of(rows: Sequence[Row], name: str = "rows", *, keep_wrong: bool = False) -> RowColumns:
    """Flat arrays of rows.

    Args:
        rows: as above; other keys are ignored.
        name: what error messages call the rows.
        keep_wrong: a row that is none is kept without objects, and `wrong` says why.

    Raises:
        RowError: what was expected, what was given and where.

    >>> row = {"width": 1, "height": 1, "objects": {"category": ["dog"], "bbox": [[0, 0, 1, 1]]}}
    >>> columns_of([row]).boxes_xywh.tolist()
    [[0.0, 0.0, 1.0, 1.0]]
    >>> columns_of([{**row, "objects": {"category": ["dog"], "bbox": [[0, 0, 1]]}}])
    Traceback (most recent call last):
    ...
    acp.core.errors.RowError: rows[0].objects.bbox[0]: expected 4 numbers [x, y, w, h], got 3
    """
    try:
        return _read(rows)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        pass  # something is wrong, or written in another way: row by row, with care
    normal, wrong = [], dict[int, str]()
    for place, row in enumerate(rows):
        where = f"{name}[{place}]"
        try:
            normal.append(normal_row(row, where))
        except RowError as error:
            if not keep_wrong:
                raise
            wrong[place] = str(error).removeprefix(where).lstrip(".: ")
            normal.append(normal_row(_EMPTY, where))
    return replace(_read(normal), wrong=wrong)


def _read(rows: Sequence[Row]) -> RowColumns:
    width, height = (_floats([row[key] for row in rows]) for key in ("width", "height"))
    _demand((width > 0) & (width < np.inf) & (height > 0) & (height < np.inf))
    objects = [row["objects"] for row in rows]
    relations = [row["relations"] for row in rows]
    categories, boxes = ([each[key] for each in objects] for key in ("category", "bbox"))
    subjects, predicates, others = (
        [each[key] for each in relations] for key in ("subject", "predicate", "object")
    )
    box_starts, flat_boxes = _starts(categories, boxes), list(chain.from_iterable(boxes))
    relation_starts = _starts(predicates, subjects, others)
    _demand(set(map(len, flat_boxes)) <= {4})
    _demand(np.diff(relation_starts) <= MOST_RELATIONS)
    ends = [list(chain.from_iterable(each)) for each in (subjects, others)]
    _demand(not {bool, np.bool_} & {type(each) for end in ends for each in end})
    subject, object_ = map(_ints, ends)
    count = np.diff(box_starts).repeat(np.diff(relation_starts))
    _demand((subject >= 0) & (subject < count) & (object_ >= 0) & (object_ < count))
    captions = [row.get("caption") or "" for row in rows]
    attributes = [each.get("attributes") for each in objects]
    return RowColumns(
        width=width,
        height=height,
        box_starts=box_starts,
        category=Coded.of(_strings(chain.from_iterable(categories))),
        boxes_xywh=_floats(list(chain.from_iterable(flat_boxes))).reshape(-1, 4),
        relation_starts=relation_starts,
        subject=subject,
        predicate=Coded.of(_strings(chain.from_iterable(predicates))),
        object=object_,
        attributes=_attributes(attributes, categories),
        captions=_strings(captions),
        scorers=[scorer_of(row) for row in rows],
        images=_images(rows),
    )


def _starts(first: Sequence[Sequence[Any]], *others: Sequence[Sequence[Any]]) -> IntArray:
    counts = list(map(len, first))
    _demand(all(list(map(len, other)) == counts for other in others))
    return np.concatenate([[0], np.cumsum(_ints(counts))]).astype(np.int64)


def _attributes(
    attributes: Sequence[Sequence[str | None] | None], categories: Sequence[Sequence[str]]
) -> list[str]:
    if None in attributes:
        attributes = [
            [""] * len(names) if phrases is None else phrases
            for phrases, names in zip(attributes, categories, strict=True)
        ]
    filled: list[Sequence[str | None]] = [each for each in attributes if each is not None]
    _demand(list(map(len, filled)) == list(map(len, categories)))
    return _strings(phrase or "" for phrase in chain.from_iterable(filled))


def scorer_of(row: Row) -> str:
    """Who gave the row the CLIS-I that it carries, "" if it carries none."""
    if row.get("clis_i") is None:
        return ""
    provenance = row.get("provenance")
    named = row.get("scorer") or (provenance or {}).get("scorer")
    return str(named or "an unnamed scorer")


def _images(rows: Sequence[Row]) -> list[Any]:
    images = [row.get("image") for row in rows]
    _demand(all(is_image(image) for image in images if image is not None))
    return images


def _floats(values: Sequence[Any]) -> Float64Array:
    """`array` refuses text and None, which numpy would turn into numbers."""
    return np.frombuffer(array("d", values), np.float64) if len(values) else np.zeros(0)


def _ints(values: Sequence[Any]) -> IntArray:
    return np.frombuffer(array("q", values), np.int64) if len(values) else np.zeros(0, np.int64)


def _strings(values: Iterable[Any]) -> list[str]:
    strings = list(values)
    _demand(set(map(type, strings)) <= {str})
    return strings


def _demand(holds: bool | npt.NDArray[np.bool_]) -> None:
    if not np.all(holds):
        raise ValueError


def row_features() -> dict[str, Any]:
    """What `evaluate` keeps of a row, as features of `datasets`; float64, so that no score changes
    by being kept."""
    from datasets import Image, List, Value

    text, number, index = Value("string"), Value("float64"), Value("int64")
    return {
        "width": number,
        "height": number,
        "caption": text,
        "objects": {
            "category": List(text),
            "attributes": List(text),
            "bbox": List(List(number, length=4)),
        },
        "relations": {"subject": List(index), "predicate": List(text), "object": List(index)},
        "image": Image(decode=False),
        "clis_i": number,
        "scorer": text,
    }


def stored(rows: Any, name: str = "predictions") -> list[dict[str, Any]]:
    """Rows as `row_features` has them.

    Raises:
        RowError: what was expected of a row, what was given and where.
    """
    found = []
    for place, row in enumerate(row_list(rows, name)):
        kept = normal_row(row, f"{name}[{place}]")
        kept |= {"image": stored_image(kept["image"]), "scorer": scorer_of(row)}
        found.append({key: kept.get(key) for key in row_features()})
    return found
