"""Reads the parquet files of a data set's folder: footers, and columns in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from acp.core.errors import AcpError, one_line

ROWS_AT_ONCE = 8192


def files(folder: Path, config: str) -> list[Path]:
    """The parquet files of a configuration, in the order of their names."""
    return sorted((folder / config).glob("*.parquet"))


@contextmanager
def opened(file: Path) -> Iterator[Any]:
    """A parquet file.

    Raises:
        AcpError: it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            yield table
    except (pa.ArrowException, KeyError, OSError) as error:
        reason = one_line(error, 200)
        raise AcpError(f"{file}: cannot be read ({reason}); run acp build again") from None


def rows(folder: Path, config: str) -> int:
    """How many rows the footers tell of."""
    total = 0
    for file in files(folder, config):
        with opened(file) as table:
            total += table.metadata.num_rows
    return total


def batches(folder: Path, config: str, columns: Sequence[str]) -> Iterator[Any]:
    """The rows in order, as record batches of these columns alone (dots lead into structs)."""
    for file in files(folder, config):
        with opened(file) as table:
            yield from table.iter_batches(batch_size=ROWS_AT_ONCE, columns=list(columns))


def row(folder: Path, config: str, index: int) -> dict[str, Any]:
    """One row with all its columns, images as stored; reads the row group that holds it alone."""
    for file in files(folder, config):
        with opened(file) as table:
            for group in range(table.num_row_groups):
                count = table.metadata.row_group(group).num_rows
                if index < count:
                    return _row_of_group(table, group, index)
                index -= count
    raise IndexError(index)


def _row_of_group(table: Any, group: int, index: int) -> dict[str, Any]:
    for batch in table.iter_batches(batch_size=64, row_groups=[group]):
        if index < batch.num_rows:
            found: dict[str, Any] = batch.slice(index, 1).to_pylist()[0]
            return found
        index -= batch.num_rows
    raise IndexError(index)
