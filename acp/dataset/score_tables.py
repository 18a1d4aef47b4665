"""The data sets that `acp score` reads: on the Hub, as a folder of files, or saved to disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acp.clis.rows import Row, with_class_names
from acp.core.errors import AcpError, one_line

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features

ROWS_AT_ONCE = 256
_READ = ("width", "height", "caption", "objects", "relations", "image", "clis_i", "provenance")


def open_tables(name: str, config: str | None, split: str) -> Iterator[tuple[pa.Table, Features]]:
    """Tables of `ROWS_AT_ONCE` rows with their features, images as bytes.

    Raises:
        AcpError: it cannot be opened, or has no objects.
    """
    from datasets import Features
    from datasets.table import embed_table_storage
    from pyarrow import ArrowException

    rows = _open(name, config, split)
    features = rows.features
    try:
        for table in rows.with_format("arrow").iter(batch_size=ROWS_AT_ONCE):
            features = features or Features.from_arrow_schema(table.schema)
            _check(name, features)
            yield embed_table_storage(table.cast(features.arrow_schema)), features
    except (ValueError, TypeError, KeyError, ArrowException) as error:
        reason = one_line(error)
        raise AcpError(f"{name}: cannot be read: {reason}") from None


def _check(name: str, features: Features) -> None:
    objects = features.get("objects")
    inner = getattr(objects, "feature", objects)
    if not isinstance(inner, dict) or not {"category", "bbox"} <= set(inner):
        got = ", ".join(inner) if isinstance(inner, dict) else ", ".join(features)
        raise AcpError(f"{name}: expected objects with category and bbox, got {got}")


def _open(name: str, config: str | None, split: str) -> Any:
    """An iterable data set of a Hub id, a folder of files or one that was saved to disk."""
    import logging

    from datasets import load_dataset, load_from_disk

    path = Path(name).expanduser()
    if name.startswith((".", "/", "~")) and not path.exists():
        raise AcpError(f"{name}: no such folder")
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries are not news here
    logging.getLogger("datasets").setLevel(logging.CRITICAL)  # errors are told below, in one line
    try:
        if (path / "dataset_dict.json").is_file():
            return load_from_disk(str(path))[split].to_iterable_dataset()
        if (path / "state.json").is_file():
            return load_from_disk(str(path)).to_iterable_dataset()
        if path.suffix in {".parquet", ".json", ".jsonl"} and path.is_file():
            kind = "parquet" if path.suffix == ".parquet" else "json"
            return load_dataset(kind, data_files=str(path), split="train", streaming=True)
        where = str(path) if path.is_dir() else name
        return load_dataset(where, config, split=split, streaming=True)
    except (OSError, ValueError, KeyError, StopIteration) as error:
        reason = one_line(error) or "there are no rows in it"
        raise AcpError(f"{name}: cannot be opened as a data set: {reason}") from None


def rows_of(table: pa.Table, features: Features) -> list[Row]:
    """What scoring reads, with the names of classes in place of their numbers."""
    rows: list[Any] = table.select([k for k in _READ if k in table.column_names]).to_pylist()
    return with_class_names(rows, features)
