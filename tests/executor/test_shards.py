from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from acp.executor.rows import scene_row
from acp.executor.shards import MARKER, Shard, plan_shards, read_marker, read_rows, write_shard
from support.raw_rows import PROVENANCE, raw_row


@pytest.fixture
def shard(tmp_path: Path) -> Shard:
    from support.scenes import make_scene

    shard = plan_shards(3, 2, tmp_path)[0]
    tables: dict[str, list[dict[str, Any]]] = {
        "raw": [raw_row()],
        "scene_graphs": [scene_row(make_scene(), PROVENANCE)],
    }
    write_shard(shard, tables, "f1", {"counts": {"scenes": 2}})
    return shard


def test_a_finished_shard_has_a_marker_and_its_rows(shard: Shard) -> None:
    marker = read_marker(shard, "f1")
    assert marker is not None
    assert marker["rows"] == {"raw": 1, "scene_graphs": 1}
    (row,) = read_rows(shard.table_path("raw"))
    assert row["objects"] == raw_row()["objects"] | {"visible": pytest.approx([1.0, 0.9])}


def test_another_fingerprint_or_other_scenes_count_as_missing(shard: Shard) -> None:
    assert read_marker(shard, "f2") is None
    assert read_marker(Shard(0, 0, 1, shard.folder), "f1") is None


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "marker"])
def test_a_damaged_shard_counts_as_missing(shard: Shard, damage: str) -> None:
    path = shard.table_path("raw")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "flip":
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[:100])
    elif damage == "gone":
        path.unlink()
    else:
        (shard.folder / MARKER).write_text("{")
    assert read_marker(shard, "f1") is None


def test_no_scenes_no_shards(tmp_path: Path) -> None:
    assert plan_shards(0, 4, tmp_path) == []
