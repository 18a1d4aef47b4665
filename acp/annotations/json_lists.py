"""JSON files of any size, record by record, as other people write them."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TextIO

from acp.core.errors import AcpError, one_line

Notify = Callable[[str, int, int], object]
"""Called with what is being done, how much of it is done, and how much there is."""
WHOLE = "records"
"""Stands for the list of a file that holds a list and no object."""

CHUNK = 1 << 20
LONGEST_RECORD = 1 << 26
"""Characters of one record; a longer one is refused."""
_GZIP = b"\x1f\x8b"
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()
_OF_LONG_INTEGERS = json.JSONDecoder(parse_int=float)


def unheard(what: str, done: int, total: int) -> None:
    """A `Notify` that shows nothing."""


def records(
    path: Path, wanted: Collection[str], notify: Notify = unheard
) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """The records of lists of a JSON file: the list's name, the place in it, the record.

    Memory holds one record. The file may be gzipped, begin with a byte order mark, and hold NaN
    and integers of any size. A list that is not there gives none; a record that is no object comes
    as an empty one.

    Args:
        wanted: names of lists of the file's object; or `WHOLE`, of a file that is a list.

    Raises:
        AcpError: the file is missing, cannot be read, is not JSON (the message has the place), or
            is a list where an object is wanted, or the other way round.
    """
    stage = f"{path.name}: {' and '.join(wanted)}"
    try:
        with path.open("rb") as raw:
            size = path.stat().st_size
            text = _Text(_decoded(raw), lambda: notify(stage, raw.tell(), size))
            for name, index, record in _lists(text, wanted):
                yield name, index, record if isinstance(record, dict) else {}
    except FileNotFoundError:
        raise AcpError(f"{path}: no such file") from None
    except (OSError, EOFError, zlib.error) as error:  # gzip's own among them
        reason = getattr(error, "strerror", None) or error
        raise AcpError(f"{path}: cannot be read: {one_line(reason).lower()}") from None
    except UnicodeDecodeError as error:
        what = f"byte {error.object[error.start]:#04x} is not UTF-8"
        raise AcpError(f"{path}: not JSON: {what}; save the file as UTF-8") from None
    except _NotJsonError as error:
        raise AcpError(f"{path}: {error}") from None


class _NotJsonError(ValueError):
    """What is wrong with a text, and at which line and column."""


def _decoded(raw: BinaryIO) -> TextIO:
    start = raw.read(4)
    raw.seek(0)
    if start.startswith(_GZIP):
        file: Any = gzip.open(raw)  # noqa: SIM115 - closed with `raw`
    elif start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in start:
        raise _NotJsonError("not JSON: line 1, column 1: it is UTF-16; save the file as UTF-8")
    else:
        file = raw
    return io.TextIOWrapper(file, encoding="utf-8-sig")


def _lists(text: _Text, wanted: Collection[str]) -> Iterator[tuple[str, int, Any]]:
    whole = WHOLE in wanted
    start = text.peek()
    if start not in ("[", "{"):
        text.fail("it is empty" if not start else "expected a list or an object")
    if whole != (start == "["):
        expected = "list" if whole else f"object with {' and '.join(map(repr, wanted))}"
        raise _NotJsonError(f"expected a JSON {expected}, got {'an object' if whole else 'a list'}")
    if whole:
        yield from ((WHOLE, index, record) for index, record in enumerate(text.items()))
    else:
        for name in text.names():
            if text.peek() != "[":
                text.value()
                continue
            for index, record in enumerate(text.items()):
                if name in wanted:
                    yield name, index, record
    if text.peek():
        text.fail("there is more after the end")


class _Text:
    """JSON text of any length, decoded value by value."""

    def __init__(self, file: TextIO, watch: Callable[[], object]) -> None:
        self._file, self._watch = file, watch
        self._text, self._at = "", 0
        self._lines, self._columns = 1, 1  # of the beginning of `_text`

    def peek(self) -> str:
        """The next character that is no space, or "" at the end."""
        letter = self._text[self._at : self._at + 1]
        if letter > " ":
            return letter
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def value(self) -> Any:
        """The next value."""
        self.peek()
        while True:
            try:
                value, end = self._decode()
            except RecursionError:
                self.fail("nested too deeply")
            except json.JSONDecodeError as error:
                at = error.pos
                if len(self._text) - self._at > LONGEST_RECORD:
                    self.fail(f"a record of more than {LONGEST_RECORD:,} characters")
                if not self._more():
                    self.fail(error.msg[:1].lower() + error.msg[1:], at)
                continue
            if end < len(self._text) or not self._more():  # a number may go on
                self._at = end
                return value

    def names(self) -> Iterator[str]:
        """The keys of an object; each value is to be read before the next key."""
        for _ in self._parts("{", "}"):
            name = self.value()
            self._pass(":")
            yield str(name)

    def items(self) -> Iterator[Any]:
        """The values of a list."""
        for _ in self._parts("[", "]"):
            yield self.value()

    def fail(self, what: str, at: int | None = None) -> NoReturn:
        """Raise the error that something is wrong at a place, which is the next character."""
        line, column = self._place(self._at if at is None else at)
        raise _NotJsonError(f"not JSON: line {line}, column {column}: {what}")

    def _decode(self) -> tuple[Any, int]:
        try:
            return _DECODER.raw_decode(self._text, self._at)
        except json.JSONDecodeError:
            raise
        except ValueError:  # an integer of thousands of digits
            return _OF_LONG_INTEGERS.raw_decode(self._text, self._at)

    def _pass(self, letter: str) -> None:
        found = self.peek()
        if found != letter:
            self.fail(f"expected {letter}" if found else "the file ends in the middle")
        self._at += 1

    def _parts(self, opening: str, closing: str) -> Iterator[None]:
        """Halts before each part of a list or an object, which is to be read by then."""
        self._pass(opening)
        if self.peek() == closing:
            return self._pass(closing)
        while True:
            yield
            if self.peek() == closing:
                return self._pass(closing)
            self._pass(",")
            if self.peek() == closing:
                self.fail(f"a comma before {closing}")

    def _more(self) -> bool:
        """Read on, at least as much as is not decoded yet; False at the end of the file."""
        chunk = self._file.read(max(CHUNK, len(self._text) - self._at))
        self._watch()
        if chunk:
            self._lines, self._columns = self._place(self._at)
            self._text, self._at = self._text[self._at :] + chunk, 0
        return bool(chunk)

    def _place(self, at: int) -> tuple[int, int]:
        """Line and column of a place in what is read."""
        lines = self._text.count("\n", 0, at)
        columns = at - self._text.rfind("\n", 0, at) if lines else self._columns + at
        return self._lines + lines, columns
