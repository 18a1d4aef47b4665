"""What spatial predicates mean: their wordings, their inverses, and a plain geometric test.

Vertical means down the image: a lower bottom edge is nearer to the camera on a common ground.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType

import numpy as np

from acp.core.boxes import sides_shared
from acp.core.types import BoolArray, FloatArray

PREDICATES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "left of": ("to the left of", "on the left side of"),
        "right of": ("to the right of", "on the right side of"),
        "next to": ("next to", "beside", "close to", "near"),
        "in front of": ("in front of",),
        "behind": ("behind",),
        "above": ("above", "over"),
        "below": ("below", "under", "beneath"),
        "on": ("on", "on top of"),
        "inside": ("inside", "in"),
    }
)
"""Canonical predicate to wordings that read between two noun phrases; the first is the default."""

INVERSES: Mapping[str, str] = MappingProxyType(
    {
        "left of": "right of",
        "right of": "left of",
        "next to": "next to",
        "in front of": "behind",
        "behind": "in front of",
        "above": "below",
        "below": "above",
    }
)
"""`a predicate b` says the same as `b inverse a`; the others have no one-word inverse."""

_MOST_OVERLAP = 0.6
_LEAST_OVERLAP, _MOST_GAP = 0.1, 0.5


def canonical(predicate: str) -> str:
    """The predicate meant by a wording; a wording of none is returned as it is.

    >>> canonical("Beside"), canonical("to the left of"), canonical("eating")
    ('next to', 'left of', 'eating')
    """
    wording = " ".join(predicate.lower().split())
    return _wordings().get(wording, wording)


@cache
def _wordings() -> Mapping[str, str]:
    table = {wording: name for name, wordings in PREDICATES.items() for wording in wordings}
    return {**table, **{name: name for name in PREDICATES}}


def sided(predicate: str) -> bool:
    """Whether the predicate tells left from right, so that a mirrored layout breaks it.

    >>> sided("left of"), sided("above")
    (True, False)
    """
    return "left" in predicate or "right" in predicate


_GEOMETRIES = {
    "on": "on onto upon atop riding rides mounting climbing climbs",
    "above": "above over",
    "below": "below under beneath underneath",
    "inside": "in inside within into",
    "left of": "left",
    "right of": "right",
    "behind": "behind",
    "in front of": "front",
    "next to": "next beside near by alongside at around facing faces watching watches with",
    "overlapping": (
        "holding holds carrying carries wearing wears eating eats biting bites drinking drinks"
        " catching catches kicking kicks throwing throws hitting hits swinging swings using uses"
        " playing plays touching touches hugging hugs pulling pulls pushing pushes has having of"
        " against covering covers overlapping"
    ),
}
"""Geometric predicates and the words that tell of them."""


@cache
def geometry_of(predicate: str) -> str:
    """The geometric predicate that says where things are of which `predicate` is true.

    The last word that tells of a place decides, then one that tells of touching; things of any
    other predicate are next to each other.

    >>> [geometry_of(p) for p in ("sitting on", "rides", "wearing", "in front of", "admiring")]
    ['on', 'on', 'overlapping', 'in front of', 'next to']
    """
    words = {word: name for name, text in _GEOMETRIES.items() for word in text.split()}
    found = [words[word] for word in reversed(predicate.lower().split()) if word in words]
    places = [name for name in found if name != "overlapping"]
    return (places or found or ["next to"])[0]


def holds(predicate: str, subject_xywhn: FloatArray, object_xywhn: FloatArray) -> BoolArray:
    """Whether each pair of boxes, both (N, 4), fits the predicate's plain meaning, shape (N,).

    A predicate without a geometric meaning ("eating") holds of every pair.

    >>> box = np.array([[0.1, 0.5, 0.2, 0.2]], dtype=np.float32)
    >>> other = np.array([[0.6, 0.5, 0.2, 0.2]], dtype=np.float32)
    >>> [holds(p, box, other).item() for p in ("left of", "right of", "next to", "above")]
    [True, False, False, False]
    """
    test = _TESTS.get(canonical(predicate))
    if test is None:
        return np.ones(len(subject_xywhn), dtype=bool)
    return test(subject_xywhn, object_xywhn)


def overlaps(a_xywh: FloatArray, b_xywh: FloatArray) -> FloatArray:
    """Signed overlap along x and y as a share of the smaller side, shape (N, 2).

    1: one side lies within the other; 0: they touch; negative: a gap.
    """
    length = sides_shared(a_xywh, b_xywh)
    smaller = np.minimum(a_xywh[:, 2:], b_xywh[:, 2:])
    return np.asarray(length / np.maximum(smaller, 1e-6), dtype=np.float32)


def _all(*conditions: BoolArray) -> BoolArray:
    return np.asarray(np.logical_and.reduce(np.stack(conditions)), dtype=np.bool_)


def _offset(a: FloatArray, b: FloatArray) -> FloatArray:
    """Centre of `b` minus centre of `a`, shape (N, 2)."""
    return np.asarray((b[:, :2] + b[:, 2:] / 2) - (a[:, :2] + a[:, 2:] / 2))


def _bottom(boxes: FloatArray) -> FloatArray:
    return np.asarray(boxes[:, 1] + boxes[:, 3])


def _left_of(a: FloatArray, b: FloatArray) -> BoolArray:
    return _all(_offset(a, b)[:, 0] > 0, overlaps(a, b)[:, 0] <= _MOST_OVERLAP)


def _above(a: FloatArray, b: FloatArray) -> BoolArray:
    dx, dy = _offset(a, b).T
    reach = np.maximum(np.abs(dy), (a[:, 2] + b[:, 2]) / 2)
    return _all(dy > 0, overlaps(a, b)[:, 1] <= _MOST_OVERLAP, np.abs(dx) <= reach)


def _next_to(a: FloatArray, b: FloatArray) -> BoolArray:
    gap = np.maximum(a[:, 0], b[:, 0]) - np.minimum(a[:, 0] + a[:, 2], b[:, 0] + b[:, 2])
    along_x, along_y = overlaps(a, b).T
    near = gap <= (a[:, 2] + b[:, 2]) / 4
    return _all(near, along_x <= _MOST_OVERLAP, along_y >= 0.2)


def _in_front_of(a: FloatArray, b: FloatArray) -> BoolArray:
    along_x, along_y = overlaps(a, b).T
    # What lies flat may end a little below what it is in front of.
    return _all(_bottom(a) > _bottom(b), along_x >= _LEAST_OVERLAP, along_y >= -_MOST_GAP)


def _on(a: FloatArray, b: FloatArray) -> BoolArray:
    rests = _all(_bottom(a) >= b[:, 1], _bottom(a) <= b[:, 1] + 0.8 * b[:, 3])
    over = _all(_offset(a, b)[:, 1] > 0, overlaps(a, b)[:, 0] >= _MOST_OVERLAP)
    return _all(rests, over, a[:, 2] <= b[:, 2] * 1.5)


def _inside(a: FloatArray, b: FloatArray) -> BoolArray:
    along_x, along_y = overlaps(a, b).T
    smaller = a[:, 2:].prod(axis=1) < b[:, 2:].prod(axis=1)
    return _all(along_x >= 0.9, along_y >= 0.9, smaller)


_TESTS: Mapping[str, Callable[[FloatArray, FloatArray], BoolArray]] = {
    "left of": _left_of,
    "right of": lambda a, b: _left_of(b, a),
    "next to": _next_to,
    "in front of": _in_front_of,
    "behind": lambda a, b: _in_front_of(b, a),
    "above": _above,
    "below": lambda a, b: _above(b, a),
    "on": _on,
    "inside": _inside,
    "overlapping": lambda a, b: np.asarray((overlaps(a, b) > 0).all(axis=1)),
}
