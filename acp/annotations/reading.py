"""Annotation files of any size, read record by record into compact arrays of boxes and relations.

What cannot be used is left out and counted.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from acp.core.errors import AcpError, MissingRequirementError, one_line
from acp.core.types import Float64Array

Notify = Callable[[str, int, int], object]
"""Called with what is being done, how much of it is done, and how much there is."""
Int32Array = npt.NDArray[np.int32]
MarkArray = npt.NDArray[np.uint64]

CHUNK = 1 << 20
GZIP = b"\x1f\x8b"
MOST_OUTSIDE_PX, MOST_OUTSIDE = 1.0, 0.01
"""A box may stick out of its image by a pixel or by this share of the image's side."""


def unheard(what: str, done: int, total: int) -> None:
    """A `Notify` that shows nothing."""


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

    `images` has the ids of images as the file has them. `anywhere`: boxes may lie beyond their
    image.
    """

    rejects: Rejects = field(default_factory=Rejects)
    anywhere: bool = False
    names: Names = field(default_factory=Names)
    images: dict[int | str, int] = field(default_factory=dict)
    _sizes_wh: list[tuple[float, float]] = field(default_factory=list)
    _boxes: array[float] = field(default_factory=lambda: array("d"))
    _category: array[int] = field(default_factory=lambda: array("i"))
    _image: array[int] = field(default_factory=lambda: array("i"))
    _marks: array[int] = field(default_factory=lambda: array("Q"))

    def __len__(self) -> int:
        return len(self._category)

    def add_image(self, image_id: Any, width: Any, height: Any, where: str) -> int | None:
        """The index of an image, which is new or of the same size as before; or None."""
        problem = ""
        if type(image_id) not in (int, str):
            problem = "image without an id"
        elif not all(_is_number(side) and side > 0 for side in (width, height)):
            problem = "image without a size"
        else:
            index = self.images.setdefault(image_id, len(self._sizes_wh))
            if index == len(self._sizes_wh):
                self._sizes_wh.append((float(width), float(height)))
            if self._sizes_wh[index] == (width, height):
                return index
            problem = "image given twice with different sizes"
        self.rejects.add(problem, where)
        return None

    def add_box(
        self, image: int, name_index: int, box_xywh_px: Any, mark: int | str | None, where: str
    ) -> int | None:
        """The index of a box in pixels, or None. `mark` names it (None: its place does)."""
        if problem := self._problem(image, box_xywh_px):
            self.rejects.add(problem, where)
            return None
        self._boxes.extend(box_xywh_px)
        self._category.append(name_index)
        self._image.append(image)
        text = mark if mark is not None else f"{name_index} {[float(v) for v in box_xywh_px]}"
        self._marks.append(mark_of(text))
        return len(self) - 1

    def table(self) -> BoxTable:
        """The boxes so far; the names and ids of images and their indices stay as they were."""
        image = np.frombuffer(self._image, np.int32)
        sizes = np.array(self._sizes_wh, dtype=np.float64).reshape(-1, 2)[image]
        return BoxTable(
            tuple(self.names),
            tuple(map(str, self.images)),
            np.frombuffer(self._boxes).reshape(-1, 4) / np.tile(sizes, 2),
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


def mark_of(value: int | str) -> int:
    """64 bits that stand for an id: the same on every machine and in every order.

    >>> mark_of(17), mark_of("17") == mark_of(17)
    (17, False)
    """
    if isinstance(value, int) and 0 <= value < 1 << 63:
        return value
    digest = hashlib.blake2b(str(value).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") | 1 << 63


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e12


def records(path: Path, prefix: str, notify: Notify = unheard) -> Iterator[dict[str, Any]]:
    """The records of one list of a JSON file; `prefix` is "item" or "annotations.item".

    Memory holds one record. A list that is not there gives none; a record that is no object comes
    as an empty one.

    Raises:
        AcpError: the file is missing, cannot be read or is not JSON.
        MissingRequirementError: ijson is not installed.
    """
    ijson = _ijson()
    stage = f"{path.name}: {prefix.partition('.')[0] if '.' in prefix else 'records'}"
    with _opened(path) as file:
        watched = _Watched(file, stage, path.stat().st_size, notify)
        found = ijson.items(watched, prefix, use_float=True, buf_size=CHUNK)
        for record in _parsed(path, found):
            yield record if isinstance(record, dict) else {}


def is_list(path: Path) -> bool:
    """Whether the file holds a JSON list, as against an object.

    Raises:
        AcpError: the file is missing, cannot be read, is not JSON, or holds neither.
        MissingRequirementError: ijson is not installed.
    """
    ijson = _ijson()
    with _opened(path) as file:
        event, _ = next(_parsed(path, ijson.basic_parse(file, buf_size=CHUNK)), ("", None))
    if event not in ("start_array", "start_map"):
        raise AcpError(f"{path}: expected a JSON list or object, got a single value")
    return bool(event == "start_array")


@dataclass(frozen=True, slots=True)
class _Watched:
    """A file that tells how far it has been read."""

    file: BinaryIO
    stage: str
    size: int
    notify: Notify

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.notify(self.stage, self.file.tell(), self.size)
        return data


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise AcpError(f"{path}: no such file") from None
    except OSError as error:
        raise AcpError(f"{path}: cannot be read: {error.strerror}") from None


def _parsed(path: Path, values: Iterator[Any]) -> Iterator[Any]:
    from ijson import JSONError

    count = 0
    try:
        for count, value in enumerate(values, 1):  # noqa: B007 - told in the error
            yield value
    except (JSONError, UnicodeDecodeError) as error:
        raise AcpError(f"{path}: not JSON after {count} records: {_reason(path, error)}") from None


def _reason(path: Path, error: Exception) -> str:
    """The parser's own first line, which is bytes where what it shows of the file is no text."""
    with _opened(path) as file:
        if file.read(len(GZIP)) == GZIP:
            return "it is compressed; unpack it with gunzip first"
    reason = error.args[0] if error.args else ""
    text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(error)
    return one_line(text.partition("\n")[0])


def _ijson() -> Any:
    try:
        import ijson
    except ImportError:
        raise MissingRequirementError(
            "reading annotations needs ijson: pip install 'auto-cherry-picker[priors]'"
        ) from None
    return ijson
