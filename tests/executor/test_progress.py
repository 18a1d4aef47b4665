"""What a build says of itself where there is no terminal."""

from __future__ import annotations

import pytest

from acp.executor import progress


def test_without_a_terminal_a_line_a_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 30.0, 61.0, 100.0, 130.0])
    monkeypatch.setattr(progress, "terminal", lambda: "")
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    with progress.bars(8, "render", "score") as advance_of:
        advance_of("render")(2)
        advance_of("render")(2)
        advance_of("score")(2)
        advance_of("score")(2)
        advance_of("pick")(8)
    assert capsys.readouterr().err.splitlines() == [
        "of 8 scenes: render 4, score 0; 3 min left",
        "of 8 scenes: render 4, score 4; 2 min left",
    ]
