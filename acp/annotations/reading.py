"""JSON files of any size, record by record, and a tally of what had to be left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from acp.core.errors import AcpError, MissingRequirementError

Notify = Callable[[str, int, int], object]
"""Called with what is being done, how much of it is done, and how much there is."""

CHUNK = 1 << 20
GZIP = b"\x1f\x8b"


def unheard(what: str, done: int, total: int) -> None:
    """A `Notify` that shows nothing."""


class Rejects:
    """What was left out, by reason, with the place of the first of each."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def add(self, reason: str, where: str, count: int = 1) -> None:
        """Count a record that cannot be used; `where` is "FILE: list[index]" of it."""
        if count:
            self.counts[reason] += count
            self.first.setdefault(reason, where)

    def lines(self) -> Iterator[str]:
        """One line a reason, the most frequent first."""
        for reason, count in self.counts.most_common():
            yield f"left out {count:>8}  {reason} (first: {self.first[reason]})"


def records(path: Path, prefix: str, notify: Notify = unheard) -> Iterator[Any]:
    """The records of one list of a JSON file; `prefix` is "item" or "annotations.item".

    Memory holds one record. A list that is not there gives none.

    Raises:
        AcpError: the file is missing, cannot be read or is not JSON.
        MissingRequirementError: ijson is not installed.
    """
    ijson = _ijson()
    stage = f"{path.name}: {prefix.partition('.')[0] if '.' in prefix else 'records'}"
    with _opened(path) as file:
        watched = _Watched(file, stage, path.stat().st_size, notify)
        yield from _told(path, ijson.items(watched, prefix, use_float=True, buf_size=CHUNK))


def first_record(path: Path, *prefixes: str) -> tuple[str, Any]:
    """The first of `prefixes` that the file has a record under, and that record; else ("", None).

    Raises:
        AcpError: as `records`.
    """
    for prefix in prefixes:
        for record in records(path, prefix):
            return prefix, record
    return "", None


def is_list(path: Path) -> bool:
    """Whether the file holds a JSON list, as against an object.

    Raises:
        AcpError: as `records`, or it holds neither.
    """
    ijson = _ijson()
    with _opened(path) as file:
        for event, _ in _told(path, ijson.basic_parse(file, buf_size=CHUNK)):
            if event in ("start_array", "start_map"):
                return bool(event == "start_array")
            break
    raise AcpError(f"{path}: expected a JSON list or object, got a single value")


class _Watched:
    """A file that tells how far it has been read."""

    def __init__(self, file: BinaryIO, stage: str, size: int, notify: Notify) -> None:
        self._file, self._stage, self._size, self._notify = file, stage, size, notify

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._notify(self._stage, self._file.tell(), self._size)
        return data


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise AcpError(f"{path}: no such file") from None
    except OSError as error:
        raise AcpError(f"{path}: cannot be read: {error.strerror}") from None


def _told(path: Path, values: Iterator[Any]) -> Iterator[Any]:
    from ijson import JSONError

    count = 0
    try:
        for count, value in enumerate(values, 1):  # noqa: B007 - told in the error
            yield value
    except (JSONError, UnicodeDecodeError) as error:
        raise AcpError(f"{path}: not JSON after {count} records: {_reason(path, error)}") from None


def _reason(path: Path, error: Exception) -> str:
    """One line; the parser's own is bytes where what it shows of the file is no text."""
    if _first_bytes(path).startswith(GZIP):
        return "it is compressed; unpack it with gunzip first"
    told = error.args[0] if error.args else ""
    text = told.decode("utf-8", "replace") if isinstance(told, bytes) else str(error)
    return " ".join(text.partition("\n")[0].split())


def _first_bytes(path: Path) -> bytes:
    with _opened(path) as file:
        return file.read(len(GZIP))


def _ijson() -> Any:
    try:
        import ijson
    except ImportError:
        raise MissingRequirementError(
            "reading annotations needs ijson: pip install 'auto-cherry-picker[priors]'"
        ) from None
    return ijson
