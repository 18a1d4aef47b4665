"""Annotated boxes as compact arrays, in the order of the files."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from acp.annotations.reading import Rejects
from acp.clis.similarity import fold_name

Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int32]
MarkArray = npt.NDArray[np.uint64]

MOST_OUTSIDE_PX, MOST_OUTSIDE = 1.0, 0.01
"""A box may stick out of its image by a pixel or by this share of the image's side."""


@dataclass(frozen=True)
class BoxTable:
    """B boxes of real images.

    `boxes_xywhn` (B, 4) float64, normalised to the image; `category` (B,) indexes `names`, which
    are folded; `image` (B,) indexes `image_ids`, in any order; `marks` (B,) tell the boxes of an
    image apart and do not depend on their order.
    """

    names: tuple[str, ...]
    image_ids: tuple[str, ...]
    boxes_xywhn: Float64Array
    category: IntArray
    image: IntArray
    marks: MarkArray

    def __len__(self) -> int:
        return len(self.category)


@dataclass(frozen=True)
class StatedRelations:
    """S relations that people or a parser stated: indices of boxes, (S,) each, and `predicate`
    (S,) into `predicates`."""

    subject: IntArray
    object: IntArray
    predicate: IntArray
    predicates: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.subject)


@dataclass(frozen=True)
class Annotations:
    """What a reader gives: boxes, stated relations, and which pairs get geometric predicates.

    `pairs_stated_only`: only the pairs of `stated`; otherwise all pairs of an image.
    """

    table: BoxTable
    stated: StatedRelations
    rejects: Rejects
    pairs_stated_only: bool = False
    captions: Sequence[tuple[int, str]] = ()


class Names:
    """Names to indices, in the order they are first seen."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}

    def __call__(self, name: str) -> int:
        return self._index.setdefault(name, len(self._index))

    def tuple(self) -> tuple[str, ...]:
        return tuple(self._index)


def stated_relations(
    subject: npt.ArrayLike, object_: npt.ArrayLike, predicate: npt.ArrayLike, predicates: Names
) -> StatedRelations:
    """Columns of any kind, (S,) each, as `StatedRelations`."""
    columns = [np.asarray(column, dtype=np.int32) for column in (subject, object_, predicate)]
    return StatedRelations(columns[0], columns[1], columns[2], predicates.tuple())


@dataclass
class BoxBuilder:
    """Gathers boxes; what cannot be used is counted in `rejects`.

    `anywhere`: boxes may lie beyond their image.
    """

    rejects: Rejects
    anywhere: bool = False
    names: Names = field(default_factory=Names)
    _image_index: dict[Hashable, int] = field(default_factory=dict)
    _sizes_wh: list[tuple[float, float]] = field(default_factory=list)
    _boxes: array[float] = field(default_factory=lambda: array("d"))
    _category: array[int] = field(default_factory=lambda: array("i"))
    _image: array[int] = field(default_factory=lambda: array("i"))
    _marks: array[int] = field(default_factory=lambda: array("Q"))

    def __len__(self) -> int:
        return len(self._category)

    @property
    def images(self) -> dict[Hashable, int]:
        """Image ids as the file has them, to their indices."""
        return self._image_index

    def add_image(self, image_id: Any, width: Any, height: Any, where: str) -> int | None:
        """The index of an image, which is new or of the same size as before; or None."""
        if not isinstance(image_id, (int, str)) or isinstance(image_id, bool):
            return self._reject("image without an id", where)
        if not (_is_size(width) and _is_size(height)):
            return self._reject("image without a size", where)
        index = self._image_index.setdefault(image_id, len(self._sizes_wh))
        if index == len(self._sizes_wh):
            self._sizes_wh.append((float(width), float(height)))
        elif self._sizes_wh[index] != (width, height):
            return self._reject("image given twice with different sizes", where)
        return index

    def add_box(
        self, image: int, name_index: int, box_xywh_px: Any, mark: int | str | None, where: str
    ) -> int | None:
        """The index of a box in pixels, or None. `mark` names it (None: its place does)."""
        problem = self._problem(image, box_xywh_px)
        if problem:
            return self._reject(problem, where)
        self._boxes.extend(box_xywh_px)
        self._category.append(name_index)
        self._image.append(image)
        text = mark if mark is not None else f"{name_index} {[float(v) for v in box_xywh_px]}"
        self._marks.append(mark_of(text))
        return len(self._category) - 1

    def table(self) -> BoxTable:
        """The boxes so far; the names and ids of images and their indices stay as they were."""
        image = np.frombuffer(self._image, np.int32)
        sizes = np.array(self._sizes_wh, dtype=np.float64).reshape(-1, 2)[image]
        boxes = np.frombuffer(self._boxes).reshape(-1, 4) / np.tile(sizes, 2)
        return BoxTable(
            self.names.tuple(),
            tuple(map(str, self._image_index)),
            boxes,
            np.frombuffer(self._category, np.int32),
            image,
            np.frombuffer(self._marks, np.uint64),
        )

    def _problem(self, image: int, box: Any) -> str:
        if not (isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))):
            return "box that is not four numbers"
        x, y, w, h = box
        if not (w > 0 and h > 0):
            return "box without an area"
        for start, side, full in zip((x, y), (w, h), self._sizes_wh[image], strict=True):
            spare = np.inf if self.anywhere else max(MOST_OUTSIDE_PX, MOST_OUTSIDE * full)
            if start < -spare or start + side > full + spare:
                return "box outside its image"
        return ""

    def _reject(self, reason: str, where: str) -> int | None:
        self.rejects.add(reason, where)
        return None


def mark_of(value: int | str) -> int:
    """64 bits that stand for an id: the same on every machine and in every order.

    >>> mark_of(17), mark_of("17") == mark_of(17)
    (17, False)
    """
    if isinstance(value, int) and 0 <= value < 1 << 63:
        return value
    digest = hashlib.blake2b(str(value).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") | 1 << 63


def folded(name: Any) -> str:
    """A category name as priors files have it, or "" if it is none."""
    return fold_name(name) if isinstance(name, str) else ""


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e12


def _is_size(value: Any) -> bool:
    return _is_number(value) and value > 0
