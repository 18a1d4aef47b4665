"""Tab-separated tables: the packaged ones and those that users put into their folders."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from acp.core.errors import AcpError

Row = dict[str, str]


def read_rows(text: str, columns: Sequence[str], where: str) -> Iterator[tuple[str, Row]]:
    """Each row with the place it stands at ("cutouts.tsv line 3"). `#` begins a comment line.

    Raises:
        AcpError: a column or a value is missing.
    """
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    lacking = [column for column in columns if column not in (rows.fieldnames or ())]
    if lacking:
        raise AcpError(f"{where}: the first line lacks the column {', '.join(lacking)}")
    for number, row in enumerate(rows, start=2):
        place = f"{where} line {number}"
        if None in row or None in row.values():
            raise AcpError(f"{place}: expected {len(rows.fieldnames or ())} tab-separated values")
        yield place, row


def table_text(path: Path) -> str:
    """A table of a user, in UTF-8 with or without a byte order mark.

    Raises:
        AcpError: it is in another encoding.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise AcpError(f"{path} line {line}: not UTF-8; save the table as UTF-8") from None


def pictures_in(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Files of a folder with one of `suffixes`, in any case; none that are hidden."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    )


def number(row: Row, column: str, place: str, low: float, high: float) -> float:
    """A number of a row.

    Raises:
        AcpError: not a number, or outside `low` to `high`.
    """
    try:
        value = float(row[column])
    except ValueError:
        raise AcpError(f"{place}: {column} must be a number, got {row[column]!r}") from None
    if not low <= value <= high:
        raise AcpError(f"{place}: {column} must lie in {low:g} to {high:g}, got {value:g}")
    return value


def one_of(row: Row, column: str, place: str, known: Sequence[str]) -> str:
    """A value of a fixed set.

    Raises:
        AcpError: not in the set.
    """
    if row[column] not in known:
        raise AcpError(f"{place}: {column} must be one of {', '.join(known)}, got {row[column]!r}")
    return row[column]


def inside_folder(folder: Path, name: str, place: str) -> Path:
    """The file `name` names under `folder`.

    Raises:
        AcpError: it would lie outside the folder.
    """
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise AcpError(f"{place}: {name!r} lies outside {folder}")
    return path


def content_digest(path: Path) -> str:
    """A checksum of a file: another picture under the same name makes another bank."""
    return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
