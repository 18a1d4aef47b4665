"""Shards: the unit of work that is done once its marker, written last, exists.

A shard is a folder with `measured.parquet`, `scene_graphs.parquet` and the marker `done.json`,
which holds the fingerprint, the scenes, the rows and the checksum of each file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acp.core.files import beside, replace_durably, sha256, write_json
from acp.executor.rows import features

TABLES = ("measured", "scene_graphs")
MARKER = "done.json"


@dataclass(frozen=True, slots=True)
class Shard:
    """Scenes `start` to `stop` (exclusive), kept in `folder`."""

    index: int
    start: int
    stop: int
    folder: Path

    @property
    def scene_ids(self) -> range:
        return range(self.start, self.stop)

    def table_path(self, table: str) -> Path:
        return self.folder / f"{table}.parquet"


def plan_shards(scenes: int, scenes_per_shard: int, root: Path) -> list[Shard]:
    """All shards of a build, in order.

    >>> [(s.start, s.stop) for s in plan_shards(5, 2, Path("shards"))]
    [(0, 2), (2, 4), (4, 5)]
    """
    starts = range(0, scenes, scenes_per_shard)
    return [
        Shard(index, start, min(start + scenes_per_shard, scenes), root / f"{index:05d}")
        for index, start in enumerate(starts)
    ]


def write_shard(
    shard: Shard,
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
    fingerprint: str,
    statistics: Mapping[str, Any],
) -> None:
    """Write the tables and then the marker; until then the shard counts as missing.

    Two processes that write the same shard at the same time leave one whole copy: both write the
    same bytes, and each file takes its place in one step.
    """
    shard.folder.mkdir(parents=True, exist_ok=True)
    marker = {
        "fingerprint": fingerprint,
        "scenes": [shard.start, shard.stop],
        "rows": {table: len(tables[table]) for table in TABLES},
        "sha256": {table: _write_table(shard, table, tables[table]) for table in TABLES},
        "statistics": statistics,
    }
    write_json(shard.folder / MARKER, marker)


def read_marker(folder: Path) -> dict[str, Any]:
    """The marker of a shard's folder; empty if there is none, or one that cannot be read."""
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return {}
    whole = isinstance(marker, dict) and isinstance(marker.get("statistics"), dict)
    return marker if whole else {}


def is_intact(shard: Shard, marker: Mapping[str, Any]) -> bool:
    """Whether the files of a shard are those of its marker. Reads all of them."""
    try:
        return all(sha256(shard.table_path(table)) == marker["sha256"][table] for table in TABLES)
    except (FileNotFoundError, NotADirectoryError, KeyError, TypeError):
        return False


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a parquet file, or of all in a folder in the order of their names, one by one."""
    import pyarrow.parquet as pq

    for each in sorted(path.glob("*.parquet")) if path.is_dir() else [path]:
        with pq.ParquetFile(each) as file:
            for batch in file.iter_batches(batch_size=64):
                yield from batch.to_pylist()


def _write_table(shard: Shard, table: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Write a table; returns its checksum."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = pa.Table.from_pylist(list(rows), schema=features(table).arrow_schema)
    path = shard.table_path(table)
    temporary = beside(path)
    pq.write_table(content, temporary)
    checksum = sha256(temporary)
    replace_durably(temporary, path)
    return checksum
