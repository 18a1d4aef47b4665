"""One row, checked field by field: what was expected, what was given, and where."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

from acp.clis.row_images import EXPECTED, is_image, open_image
from acp.core.errors import AcpError

LARGEST_NORMALISED = 10.0
"""Boxes that reach further, in a row without width and height, are taken for pixels."""

_BOXES = "expected 4 numbers [x, y, w, h]"


class RowError(AcpError, ValueError):
    """A row that cannot be scored because it is not a row: a missing key, a wrong shape or type."""


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
    names = [_string(name, f"{where}.category[{i}]") for i, name in enumerate(found["category"])]
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
    triples = [
        (subject, _string(predicate, f"{where}.predicate[{i}]"), other)
        for i, (subjects, predicate, others) in enumerate(zip(*found.values(), strict=True))
        for subject in _indices(subjects, objects, f"{where}.subject[{i}]")
        for other in _indices(others, objects, f"{where}.object[{i}]")
    ]
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
    if _is_list(value):
        return [
            index
            for place, each in enumerate(value)
            for index in _indices(each, objects, f"{where}[{place}]")
        ]
    if not isinstance(value, Integral) or not 0 <= int(value) < objects:
        count = f"0 to {objects - 1}" if objects else "there are none"
        raise RowError(f"{where}: expected an index of objects ({count}), got {_told(value)}")
    return [int(value)]


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
        try:
            width, height = open_image(image).size
        except OSError as error:
            raise RowError(f"{where}: width and height are missing, and {error}") from None
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
