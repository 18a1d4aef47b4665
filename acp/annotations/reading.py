"""Annotation files of any size, read record by record into compact arrays of boxes and relations.

What cannot be used is left out and counted.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from acp.core.types import Float64Array

Int32Array = npt.NDArray[np.int32]
MarkArray = npt.NDArray[np.uint64]

MOST_BOXES = 1000
"""Boxes of an image; pairs are their square. More are left out."""
MOST_OUTSIDE_PX, MOST_OUTSIDE = 1.0, 0.01
"""A box may stick out of its image by a pixel or by this share of the image's side."""
LEAST_SIDE = 1e-6
"""Of the longer side of the image: a smaller box has no size in the numbers of a priors file."""


class Rejects:
    """What was left out, by reason, with the place of the first of each."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def add(self, reason: str, where: str) -> None:
        """Count a record that cannot be used; `where` is "FILE: list[index]" of it."""
        self.counts[reason] += 1
        self.first.setdefault(reason, where)

    def lines(self) -> Iterator[str]:
        """One line a reason, the most frequent first."""
        for reason, count in self.counts.most_common():
            yield f"left out {count:>8}  {reason} (first: {self.first[reason]})"

    def text(self) -> str:
        """All reasons in one line, the most frequent first; "" if there are none."""
        return "; ".join(
            f"left out {count} for {reason} (first: {self.first[reason]})"
            for reason, count in self.counts.most_common()
        )


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
    category: Int32Array
    image: Int32Array
    marks: MarkArray

    def __len__(self) -> int:
        return len(self.category)


@dataclass(frozen=True)
class Relations:
    """K relations of boxes: indices of boxes, (K,) each, and `predicate` (K,) into `predicates`."""

    subject: Int32Array
    object: Int32Array
    predicate: Int32Array
    predicates: tuple[str, ...]

    @classmethod
    def of(cls, rows: npt.ArrayLike, predicates: Iterable[str]) -> Relations:
        """Of rows (K, 3): subject, object and predicate."""
        subject, object_, predicate = np.asarray(rows, np.int32).reshape(-1, 3).T
        return cls(subject, object_, predicate, tuple(predicates))

    def __len__(self) -> int:
        return len(self.subject)


@dataclass(frozen=True)
class Annotations:
    """What a reader gives: boxes, the relations that the files state, captions by image.

    `pairs_stated_only`: only the pairs of `stated` get geometric predicates; otherwise all pairs of
    an image.
    """

    table: BoxTable
    stated: Relations
    rejects: Rejects
    pairs_stated_only: bool = False
    captions: Sequence[tuple[int, str]] = ()


class Names(dict[str, int]):
    """Names to indices, in the order they are first asked for."""

    def __missing__(self, name: str) -> int:
        return self.setdefault(name, len(self))


@dataclass
class BoxBuilder:
    """Gathers boxes; what cannot be used is counted in `rejects`.

    `images` has the indices of images. `anywhere`: boxes may lie beyond their image.
    """

    rejects: Rejects = field(default_factory=Rejects)
    anywhere: bool = False
    names: Names = field(default_factory=Names)
    images: dict[Any, int] = field(default_factory=dict)
    _labels: list[str] = field(default_factory=list)
    _sizes_wh: list[tuple[float, float]] = field(default_factory=list)
    _boxes: array[float] = field(default_factory=lambda: array("d"))
    _category: array[int] = field(default_factory=lambda: array("i"))
    _image: array[int] = field(default_factory=lambda: array("i"))
    _marks: array[int] = field(default_factory=lambda: array("Q"))
    _counts: Counter[int] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self._category)

    def add_image(
        self, key: Hashable, label: str, width: Any, height: Any, where: str
    ) -> int | None:
        """The index of the image `key`, which is new or of the same size as before; or None.
        `label` is the id that the priors file has."""
        if not all(is_number(side) and side >= 1 for side in (width, height)):
            problem = "image without a size"
        else:
            index = self.images.setdefault(key, len(self._sizes_wh))
            if index == len(self._sizes_wh):
                self._sizes_wh.append((float(width), float(height)))
                self._labels.append(label)
            if self._sizes_wh[index] == (width, height):
                return index
            problem = "image given twice with different sizes"
        self.rejects.add(problem, where)
        return None

    def add_box(
        self, image: int, name: str, box_xywh_px: Any, where: str, mark: int | str | None = None
    ) -> int | None:
        """The index of a box in pixels, or None. `mark` tells it from the others of its image;
        without one its name and its place do."""
        if problem := box_problem(box_xywh_px, self._sizes_wh[image], self.anywhere):
            self.rejects.add(problem, where)
            return None
        return self.append(image, name, box_xywh_px, where, mark)

    def append(
        self, image: int, name: str, box_xywh_px: Any, where: str, mark: int | str | None = None
    ) -> int | None:
        """`add_box` of a box that `box_problem` found none in."""
        if self._counts[image] >= MOST_BOXES:
            self.rejects.add(f"box beyond the first {MOST_BOXES:,} of its image", where)
            return None
        self._counts[image] += 1
        self._boxes.extend(box_xywh_px)
        self._category.append(self.names[name])
        self._image.append(image)
        if mark is None:
            mark = f"{self.names[name]} {[float(value) for value in box_xywh_px]}"
        self._marks.append(mark_of(mark))
        return len(self) - 1

    def table(self) -> BoxTable:
        """The boxes so far; the names and ids of images and their indices stay as they were."""
        image = np.frombuffer(self._image, np.int32)
        sizes = np.array(self._sizes_wh, dtype=np.float64).reshape(-1, 2)[image]
        return BoxTable(
            tuple(self.names),
            tuple(self._labels),
            np.frombuffer(self._boxes).reshape(-1, 4) / np.tile(sizes, 2),
            np.frombuffer(self._category, np.int32),
            image,
            np.frombuffer(self._marks, np.uint64),
        )


def box_problem(
    box_xywh_px: Any, size_wh: tuple[float, float] | None, anywhere: bool = False
) -> str:
    """Why a box in pixels cannot be used, or "".

    Args:
        box_xywh_px: of anybody.
        size_wh: of its image, if it is known.
        anywhere: it may lie beyond its image.

    >>> box_problem([10, 10, 5, 5], (20, 20)), box_problem([10, 10, 15, 5], (20, 20))
    ('', 'box outside its image')
    """
    box = box_xywh_px
    if not (isinstance(box, list | tuple) and len(box) == 4 and all(map(is_number, box))):
        return "box that is not four numbers"
    x, y, w, h = box
    least = LEAST_SIDE * max(size_wh or (1.0,))
    if not (w > least and h > least):
        return "box without an area"
    for start, side, full in zip((x, y), (w, h), size_wh or (), strict=False):
        spare = np.inf if anywhere else max(MOST_OUTSIDE_PX, MOST_OUTSIDE * full)
        if start < -spare or start + side > full + spare:
            return "box outside its image"
    return ""


def mark_of(value: int | str) -> int:
    """64 bits that stand for an id: the same on every machine and in every order.

    >>> mark_of(17), mark_of("17") == mark_of(17)
    (17, False)
    """
    if isinstance(value, int) and 0 <= value < 1 << 63:
        return value
    digest = hashlib.blake2b(str(value).encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") | 1 << 63


def is_number(value: Any) -> bool:
    """Whether a value is a number that pixels may have."""
    return type(value) in (int, float) and abs(value) < 1e12
