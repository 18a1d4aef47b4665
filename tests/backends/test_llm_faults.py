"""Whole builds with a language model behind a real server on loopback that misbehaves."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from acp.core.files import acp_home
from support.in_process import run_acp
from support.vlm_server import Server, question_of, serving

pytest.importorskip("openai")


def filled(schema: Mapping[str, Any], draw: random.Random) -> Any:
    """A value of the schema; one seed, one value."""
    if "enum" in schema:
        return draw.choice(schema["enum"])
    if schema["type"] == "object":
        slots = schema["properties"].items()
        return {name: filled(slot, draw) for name, slot in slots}
    if schema["type"] == "array":
        return [filled(schema["items"], draw) for _ in range(schema["minItems"])]
    return draw.randint(5, 45) if schema["type"] == "integer" else f"word {draw.randint(1, 99)}"


def answer(body: dict[str, Any]) -> str:
    asked = json.dumps([body["messages"], body["seed"]]) if "seed" in body else ""
    if "response_format" not in body:
        return "OK."
    schema = body["response_format"]["json_schema"]["schema"]
    seed = hashlib.sha256(asked.encode()).hexdigest()
    return json.dumps(filled(schema, random.Random(seed)))


def is_description(body: dict[str, Any]) -> bool:
    return "response_format" in body and "place" in json.dumps(body["response_format"])


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(answer) as found:
        found.slow_s = 3.0
        yield found


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place of its own for answers that are kept, with the assets; a key that nobody may see."""
    own = tmp_path / "home"
    own.mkdir()
    for path in acp_home().glob("*"):
        if path.name != "served":
            (own / path.name).symlink_to(path)
    monkeypatch.setenv("ACP_HOME", str(own))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    return own


def command(url: str, out: Path, *more: str, scenes: int = 3, retries: int = 1) -> list[str]:
    values = {
        "scenes": scenes,
        "lay_out.llm_proposals": 1,
        "llm": f"{{backend: openai, base_url: '{url}', model: m, max_retries: {retries},"
        " timeout_s: 1, concurrency: 2}",
        "scorer": "{backend: random}",
    }
    settings = [f"--set={key}={value}" for key, value in values.items()]
    return ["build", "tiny", "--out", str(out), *settings, *more]


class Told:
    """How a command ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err
        assert "sk-very-secret" not in out + err
        assert "Traceback" not in out + err

    @property
    def error(self) -> str:
        """The one line that says what is wrong."""
        assert self.code == 1, (self.out, self.err)
        (line,) = [line for line in self.err.splitlines() if line.strip()]
        assert line.startswith("error: ")
        return line


def acp(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> Told:
    return Told(*run_acp(arguments, capsys))


def rows(out: Path, config: str) -> list[dict[str, Any]]:
    files = sorted(out.rglob(f"{config}*/*.parquet")) or sorted(out.rglob(f"*{config}*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def parquet(out: Path) -> dict[str, str]:
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*.parquet"))
    }


FAULTS: dict[str, tuple[int | str | None, str, int]] = {
    "no JSON": (None, "the answer is no JSON", 1),
    '{"place": "on a me': (None, "the answer is no JSON", 1),
    "": (None, "the server answered without text", 1),
    '{"place": 3}': (None, "the answer breaks its schema (type)", 1),
    "[1, 2]": (None, "the answer breaks its schema (type)", 1),
    "429": (429, "the server answered 429: fault 429", 2),
    "503": (503, "the server answered 503: fault 503", 2),
    "slow": ("slow", "no answer from the server within 1 s", 2),
    "drop": ("drop", "the server broke the connection off", 2),
    "page": ("page", "the server answered without text", 1),
    "empty": ("empty", "the server answered without text", 1),
}
"""By the text of the answer, or a name: the server's fault, the reason of the reject, and how often
an attempt asks."""


class Cursed:
    """Gives each scene that is to be described a fault of its own, as long as there are any."""

    def __init__(self) -> None:
        self.faults: dict[str, str | None] = {}
        self.asked = Counter[str | None]()

    def fault_of(self, body: dict[str, Any]) -> int | str | None:
        if not is_description(body):
            return None
        left = [name for name in FAULTS if name not in self.faults.values()]
        name = self.faults.setdefault(question_of(body), left[0] if left else None)
        self.asked[name] += 1
        return FAULTS[name][0] if name is not None else None

    def answer(self, body: dict[str, Any]) -> str:
        name = self.faults.get(question_of(body)) if is_description(body) else None
        return answer(body) if name is None else name


def test_faults_are_retried_and_then_rejects_with_a_reason(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cursed, out = Cursed(), tmp_path / "out"
    server.answer, server.fault_of = cursed.answer, cursed.fault_of
    count = len(FAULTS)
    scenes = ("--set=scenes_per_shard=20",)
    told = acp(command(server.url, out, *scenes, scenes=count + 2), capsys)
    assert told.code == 0, told.err
    assert f"scenes      {count + 2} ({count} rejected)" in told.out
    for reason in {reason for _, reason, _ in FAULTS.values()}:
        lines = [line for line in told.out.splitlines() if f"scene: describe: {reason}" in line]
        told_of = sum(int(line.split()[1]) for line in lines)
        assert told_of == sum(reason in each for _, each, _ in FAULTS.values()), told.out
    rejects = [row["reject"] for row in rows(out, "scene_graphs")]
    assert len(rejects) == count + 2
    assert sum(bool(each) for each in rejects) == count
    attempts = 3  # describe.max_attempts
    wanted: dict[str | None, int] = {
        name: attempts * times for name, (_, _, times) in FAULTS.items()
    }
    wanted[None] = 2
    assert cursed.asked == wanted


def test_faults_that_pass_leave_no_trace(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    """429 with Retry-After, bursts of 503, time-outs, broken connections."""
    assert acp(command(server.url, tmp_path / "calm"), capsys).code == 0
    (home / "served" / "answers-1.sqlite").unlink()
    server.faults = [429, 503, "slow", "drop", 503, 500, 408, 503]
    told = acp(command(server.url, tmp_path / "rough", retries=9), capsys)
    assert told.code == 0, told.err
    assert server.faults == []
    assert parquet(tmp_path / "rough") == parquet(tmp_path / "calm")


def test_a_server_that_goes_away_costs_nothing_that_was_answered(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    settings = ("--set=scenes_per_shard=2",)
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert acp(command(server.url, whole, *settings, scenes=6), capsys).code == 0
    total = len(server.chats)
    (home / "served" / "answers-1.sqlite").unlink()
    with serving(answer) as mortal:
        mortal.last = total // 2
        told = acp(command(mortal.url, out, *settings, scenes=6), capsys)
        assert "cannot be reached" in told.error
        first = mortal.answered
    work = next(path.parent for path in tmp_path.rglob("shards") if "whole" not in str(path))
    finished = {path: path.stat().st_mtime_ns for path in work.rglob("done.json")}
    assert 1 <= len(finished) < 3
    with serving(answer) as next_one:
        told = acp(command(next_one.url, out, *settings, scenes=6), capsys)
        assert told.code == 0, told.err
        assert first + len(next_one.chats) == total
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert parquet(out) == parquet(whole)


RUN = [sys.executable, "-c", "from acp.cli.main import main; main()"]


@pytest.mark.slow
def test_a_killed_build_asks_only_for_what_is_missing(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed in the middle of its only shard, which starts anew without asking anew."""
    out, settings = tmp_path / "out", ("--set=scenes_per_shard=9", "--set=llm.concurrency=1")
    arguments = command(server.url, out, *settings, scenes=6)
    enough = threading.Event()

    def fault_of(body: dict[str, Any]) -> None:
        if len(server.chats) > 4:
            enough.set()

    server.fault_of = fault_of
    with subprocess.Popen([*RUN, *arguments], stdout=subprocess.DEVNULL) as build:
        assert enough.wait(120)
        build.kill()
    first = len(server.chats)
    told = acp(arguments, capsys)
    assert told.code == 0, told.err
    asked = Counter(json.dumps(body, sort_keys=True) for body in server.chats)
    assert len(asked) == 2 * 6  # a description and a layout for each scene
    assert sum(asked.values()) <= len(asked) + 1  # the one under way when it was killed
    assert first >= 5


@pytest.mark.slow
def test_ranks_tell_it_once(server: Server, tmp_path: Path) -> None:
    """As processes: two ranks, and a server that goes away."""
    out = tmp_path / "out"
    arguments = command(server.url, out, "--set=scenes_per_shard=1", "--nproc=2", scenes=4)
    server.last = 2
    ended = subprocess.run([*RUN, *arguments], capture_output=True, text=True, check=False)
    told = Told(ended.returncode, ended.stdout, ended.stderr)
    assert "cannot be reached" in told.error
    assert server.answered == 2
