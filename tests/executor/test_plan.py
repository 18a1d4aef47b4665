from __future__ import annotations

from pathlib import Path

import pytest

from acp.executor.plan import Measured, carried_forward, measured_in
from support.in_process import run_acp


def test_a_short_build_tells_what_the_whole_recipe_takes(
    built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["plan", "tiny", "--set", "scenes=400", "--from", str(built), "--processes", "2"]
    code, told, _ = run_acp(command, capsys)
    assert code == 0
    assert told.startswith("measured    4 of 400 scenes: ")
    assert "on 2 processes" in told


def test_seconds_grow_with_the_scenes_and_shrink_with_the_processes(built: Path) -> None:
    measured = measured_in(built.with_name("tiny.work"))
    assert measured.scenes == 4
    assert measured.seconds["render"] > 0
    assert measured.stored_bytes > 10_000


def test_no_scene_tells_nothing() -> None:
    (line,) = carried_forward(Measured(0, {}, {}, 0), 10)
    assert "--limit" in line


def test_a_shard_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    broken = tmp_path / "shards" / "00000"
    broken.mkdir(parents=True)
    (broken / "done.json").write_text("{", encoding="utf-8")
    assert measured_in(tmp_path) == Measured(0, {}, {}, 0)
