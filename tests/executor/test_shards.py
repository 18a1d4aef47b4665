from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from acp.executor.rows import image_row, scene_row
from acp.executor.shards import (
    MARKER,
    Shard,
    is_intact,
    plan_shards,
    read_marker,
    read_rows,
    write_shard,
)
from support.digests import digests
from support.raw_rows import PROVENANCE
from support.scenes import SIZE_WH, make_candidate, make_scene


@pytest.fixture
def shard(tmp_path: Path) -> Shard:
    shard = plan_shards(3, 2, tmp_path)[0]
    write_shard(shard, tables(), "f1", {"counts": {"scenes": 2}})
    return shard


def tables() -> dict[str, list[dict[str, Any]]]:
    scene = make_scene(make_candidate(2))
    return {
        "measured": [image_row(scene, scene.candidates[0], SIZE_WH, PROVENANCE)],
        "scene_graphs": [scene_row(scene, PROVENANCE)],
    }


def test_a_finished_shard_has_a_marker_and_its_rows(shard: Shard) -> None:
    marker = read_marker(shard.folder)
    assert (marker["fingerprint"], marker["scenes"]) == ("f1", [0, 2])
    assert marker["rows"] == {"measured": 1, "scene_graphs": 1}
    assert is_intact(shard, marker)
    (row,) = read_rows(shard.table_path("measured"))
    expected = tables()["measured"][0]["objects"]
    assert row["objects"] == expected | {"visible": pytest.approx([1.0, 0.9])}


def test_written_again_a_shard_is_the_same(shard: Shard) -> None:
    before = digests(shard.folder)
    write_shard(shard, tables(), "f1", {"counts": {"scenes": 2}})
    assert digests(shard.folder) == before


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_shard_is_noticed(shard: Shard, damage: str) -> None:
    path = shard.table_path("measured")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "flip":
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[:100])
    else:
        path.unlink()
    assert not is_intact(shard, read_marker(shard.folder))


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_marker_that_cannot_be_read_is_none(shard: Shard, text: str) -> None:
    (shard.folder / MARKER).write_text(text)
    assert read_marker(shard.folder) == {}


def test_no_scenes_no_shards(tmp_path: Path) -> None:
    assert plan_shards(0, 4, tmp_path) == []
