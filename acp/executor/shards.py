"""Shards: the unit of work that is done once its marker, written last, exists.

A shard is a folder with `raw.parquet`, `scene_graphs.parquet` and the marker `done.json`, which
holds the fingerprint, the scenes, the rows and the checksum of each file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acp.core.files import beside, replace_durably, sha256, write_json
from acp.executor.rows import features

TABLES = ("raw", "scene_graphs")
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
    """Write the tables and then the marker; until then the shard counts as missing."""
    shard.folder.mkdir(parents=True, exist_ok=True)
    for stale in (shard.folder / MARKER, *shard.folder.glob("*.tmp")):
        stale.unlink(missing_ok=True)
    for table in TABLES:
        _write_table(shard.table_path(table), table, tables[table])
    marker = {
        "fingerprint": fingerprint,
        "scenes": [shard.start, shard.stop],
        "rows": {table: len(tables[table]) for table in TABLES},
        "sha256": {table: sha256(shard.table_path(table)) for table in TABLES},
        "statistics": statistics,
    }
    write_json(shard.folder / MARKER, marker)


def read_marker(shard: Shard, fingerprint: str) -> dict[str, Any] | None:
    """The marker of a finished shard; None if it is missing, of other scenes, or of files that
    fail their checksum."""
    try:
        marker: dict[str, Any] = json.loads((shard.folder / MARKER).read_text(encoding="utf-8"))
        same = (marker["fingerprint"], marker["scenes"]) == (
            fingerprint,
            [shard.start, shard.stop],
        )
        intact = same and all(
            sha256(shard.table_path(table)) == marker["sha256"][table] for table in TABLES
        )
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None
    return marker if intact else None


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a parquet file, or of all in a folder in the order of their names, one by one."""
    import pyarrow.parquet as pq

    for each in sorted(path.glob("*.parquet")) if path.is_dir() else [path]:
        with pq.ParquetFile(each) as file:
            for batch in file.iter_batches(batch_size=64):
                yield from batch.to_pylist()


def _write_table(path: Path, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = pa.Table.from_pylist(list(rows), schema=features(table).arrow_schema)
    temporary = beside(path)
    pq.write_table(content, temporary)
    replace_durably(temporary, path)
