"""Shards: opened by their footers, read in small batches, never as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acp.dataset.check.found import UNKNOWN, Found, Part
from acp.dataset.check.problems import Problem

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features

BATCH_BYTES = 8_000_000
MOST_ROWS = 256
STREAMED_ROWS = 32
_BUFFER_BYTES = 1 << 20
"""Pages are read through a buffer, not row group by row group."""
_POINTER = b"version https://git-lfs"


class BrokenShardError(ValueError):
    """Told in a few words: why a file cannot be read."""


@dataclass(frozen=True, slots=True)
class RowGroup:
    """`bytes` before compression; `image_codecs`: of the columns of bytes; `indexed`: all its
    columns have a page index."""

    bytes: int
    image_codecs: tuple[str, ...]
    indexed: bool


@dataclass(frozen=True, slots=True)
class Shard:
    """A file, or all files of a part that `datasets` has to read (`path` is None).

    `rows` is None where nothing but reading tells.
    """

    part: Part
    place: str
    path: Path | None
    schema: pa.Schema
    features: Features
    rows: int | None = None
    row_groups: tuple[RowGroup, ...] = ()
    stream: Any = None

    @property
    def batch_rows(self) -> int:
        """How many rows are read at once."""
        size = sum(group.bytes for group in self.row_groups)
        each = size / self.rows if self.rows else BATCH_BYTES / 64
        return int(min(max(BATCH_BYTES / max(each, 1), 1), MOST_ROWS))


def open_shards(found: Found, part: Part) -> Iterator[Shard | Problem]:
    """Each file of a part, or the problem of one that cannot be read."""
    if part.module not in ("parquet", "arrow"):
        yield _open_stream(found, part)
        return
    for path in part.files:
        place = found.place(path)
        try:
            yield (_open_parquet if part.module == "parquet" else _open_arrow)(part, path, place)
        except BrokenShardError as error:
            yield Problem("file", place, str(error), "write or fetch it again")


def batches(
    shard: Shard, columns: Sequence[str] | None = None
) -> Iterator[tuple[int, pa.RecordBatch] | Problem]:
    """The rows, with the number of the first; a problem ends them."""
    first = 0
    try:
        for batch in _read(shard, columns):
            yield first, batch
            first += len(batch)
    except ImportError as error:  # no mistake of the data
        what = f"rows from {first} on cannot be read here: {reason_of(error)}"
        yield Problem("file", shard.place, what, "then check again")
    except Exception as error:  # pyarrow and the formats of `datasets` have their own
        what = f"rows from {first} on cannot be read: {reason_of(error)}"
        yield Problem("file", shard.place, what, "write or fetch it again")


def _read(shard: Shard, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    if shard.path is None:
        yield from _read_stream(shard)
    elif shard.part.module == "parquet":
        yield from _read_parquet(shard, columns)
    else:
        yield from _read_arrow(shard)


def _open_parquet(part: Part, path: Path, place: str) -> Shard:
    import pyarrow.parquet as pq

    _check_file(path)
    try:
        with pq.ParquetFile(path) as file:
            schema, footer = file.schema_arrow, file.metadata
            groups = tuple(_row_group(footer, place) for place in range(footer.num_row_groups))
    except Exception as error:
        reason = reason_of(error)
        if "magic bytes" in reason:
            reason = "no parquet file, or cut off"
        raise BrokenShardError(f"cannot be opened: {reason}") from None
    return Shard(part, place, path, schema, _features(schema), footer.num_rows, groups)


def _row_group(footer: Any, place: int) -> RowGroup:
    group = footer.row_group(place)
    columns = [group.column(k) for k in range(group.num_columns)]
    codecs = {c.compression for c in columns if c.path_in_schema.endswith(".bytes")}
    indexed = all(column.has_offset_index for column in columns)
    return RowGroup(group.total_byte_size, tuple(sorted(codecs)), indexed)


def _read_parquet(shard: Shard, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(shard.path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
        yield from file.iter_batches(batch_size=shard.batch_rows, columns=columns)


def _open_arrow(part: Part, path: Path, place: str) -> Shard:
    _check_file(path)
    try:
        with _arrow_reader(path) as reader:
            schema = reader.schema
    except Exception as error:
        raise BrokenShardError(f"cannot be opened: {reason_of(error)}") from None
    return Shard(part, place, path, schema, _features(schema))


def _arrow_reader(path: Path) -> Any:
    import pyarrow as pa

    try:
        return pa.ipc.open_stream(pa.memory_map(str(path)))
    except pa.ArrowInvalid:
        return pa.ipc.open_file(pa.memory_map(str(path)))


def _read_arrow(shard: Shard) -> Iterator[pa.RecordBatch]:
    with _arrow_reader(shard.path) as reader:  # type: ignore[arg-type]
        whole = (
            (reader.get_batch(k) for k in range(reader.num_record_batches))
            if hasattr(reader, "num_record_batches")
            else reader
        )
        for batch in whole:
            each = batch.nbytes / max(len(batch), 1)
            step = int(min(max(BATCH_BYTES / max(each, 1), 1), MOST_ROWS))
            for start in range(0, len(batch), step):
                yield batch.slice(start, step)


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise BrokenShardError("is not there")
    if not path.stat().st_size:
        raise BrokenShardError("is empty (0 bytes)")
    try:
        with path.open("rb") as file:
            start = file.read(len(_POINTER))
    except OSError as error:
        raise BrokenShardError(f"cannot be opened: {error.strerror}") from None
    if start == _POINTER:
        raise BrokenShardError("is a pointer of git LFS, not the file; run git lfs pull")


def _features(schema: pa.Schema) -> Features:
    from datasets import Features

    try:
        return Features.from_arrow_schema(schema)
    except Exception as error:  # whatever stands in the metadata of the file
        raise BrokenShardError(f"its features cannot be read: {reason_of(error)}") from None


def _open_stream(found: Found, part: Part) -> Shard | Problem:
    """What `load_dataset` reads, images as they are stored."""
    import logging

    from datasets import load_dataset

    place = part.split if part.config == "default" else f"{part.config}/{part.split}"
    logging.getLogger("datasets").setLevel(logging.CRITICAL)  # told below, in one line
    if part.module == UNKNOWN:  # load_dataset would look for it on the Hub
        what = f"{found.place(part.files[0])} is of no format that load_dataset reads"
        return Problem("file", place, what, "write e.g. parquet")
    try:
        files = {part.split: [str(path) for path in part.files]}
        where: dict[str, Any] = {"path": part.module, "data_files": files}
        if found.card and not any(problem.kind == "card" for problem in found.problems):
            where = {
                "path": str(found.root),
                "name": None if part.config == "default" else part.config,
            }
        stream = load_dataset(**where, split=part.split, streaming=True)
        if stream.features is None:
            stream = stream._resolve_features()
        stream = stream.decode(False)  # as it is stored
    except Exception as error:  # each format of `datasets` has its own
        return Problem("file", place, f"cannot be opened: {reason_of(error)}", "correct the files")
    features = stream.features
    return Shard(part, place, None, features.arrow_schema, features, stream=stream)


def _read_stream(shard: Shard) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    rows = iter(shard.stream)  # of these, not of tables: those of rows without objects differ
    while waiting := list(islice(rows, STREAMED_ROWS)):
        yield pa.RecordBatch.from_pylist(waiting, schema=shard.schema)


def reason_of(error: BaseException) -> str:
    """An error of a library in one line, not too long."""
    cause = error.__cause__ if type(error).__name__ == "DatasetGenerationError" else None
    text = " ".join(str(cause or error).split()) or type(error).__name__
    return text if len(text) < 300 else f"{text[:300]}..."
