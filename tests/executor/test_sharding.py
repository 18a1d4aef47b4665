"""Ranks that share the shards of a build, and models that take turns in memory."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import pytest

from acp.backends.base import Backend, ScoreRequest
from acp.backends.score_random import Random
from acp.builder.release import work_folder
from acp.cli.build import build_recipe, useful_processes
from acp.core.errors import AcpError, ToldElsewhereError
from acp.core.progress import Advance, silent
from acp.core.types import Failure, ImageScores, ModelInfo
from acp.executor.build import Build, join_build, open_build
from acp.executor.launch import Launch, launched, uses_gpu
from acp.executor.meeting import Meeting, Report, raise_what_failed
from acp.executor.pulse import Watch, beating
from acp.pipeline.pipeline import Pipeline
from acp.pipeline.placement import Measures, Residency
from acp.pipeline.recipe import Recipe, load_recipe
from support.digests import digests

CHEAP = ("scorer={backend: random}", "scenes=8", "render.candidates=2")
"""Eight shards, and no model to load."""

TORCHRUN = (sys.executable, "-m", "torch.distributed.run")
ACCELERATE = (sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch")


def recipe(*overrides: str) -> Recipe:
    return load_recipe("tiny", [*CHEAP, *overrides])


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What one process makes of `CHEAP`: the checksum of every published file."""
    out = tmp_path_factory.mktemp("alone") / "tiny"
    list(build_recipe(recipe(), out, 1))
    return digests(out)


# Models in memory


class _Weights:
    pass


class _Holder(Backend):
    """Holds weights in memory under some keys."""

    name = "holder"
    summary = "for tests"

    def __init__(self, *keys: str) -> None:
        super().__init__()
        self.keys = keys
        self.loads = 0

    def load(self) -> None:
        _ = self.weights

    def model_keys(self) -> frozenset[str]:
        return frozenset(self.keys)

    def info(self) -> ModelInfo:
        return ModelInfo("holder", "1", "apache-2.0")

    @cached_property
    def weights(self) -> _Weights:
        self.loads += 1
        return _Weights()


def _holders() -> dict[str, _Holder]:
    return {"llm": _Holder("a"), "renderer": _Holder("b"), "scorer": _Holder("a", "c")}


def test_one_model_at_a_time_frees_the_others() -> None:
    backends = _holders()
    residency = Residency(backends, "one")
    residency.bring("llm")
    gone = weakref.ref(backends["llm"].weights)
    residency.bring("renderer")
    assert gone() is None
    gone = weakref.ref(backends["renderer"].weights)
    residency.bring("scorer")
    assert gone() is None


def test_models_that_are_shared_stay() -> None:
    backends = _holders()
    residency = Residency(backends, "one")
    residency.bring("llm")
    residency.bring("scorer")  # needs all that the llm holds, and more
    assert "weights" in vars(backends["llm"])
    residency.bring("llm")  # needs a part of what the scorer holds
    assert "weights" not in vars(backends["scorer"])
    assert backends["llm"].loads == 1


def test_with_all_every_model_stays() -> None:
    backends = _holders()
    residency = Residency(backends, "all")
    for kind in ("llm", "renderer", "scorer", "llm"):
        residency.bring(kind)
    assert [holder.loads for holder in backends.values()] == [1, 1, 1]


def test_seconds_add_up_and_there_are_no_peaks_without_a_gpu() -> None:
    import torch

    measures = Measures()
    for _ in range(2):
        with measures.of("render"):
            time.sleep(0.01)
    assert measures.seconds["render"] >= 0.02
    assert bool(measures.peak_bytes) == torch.cuda.is_initialized()


@pytest.mark.parametrize("shards_per_block", [1, 3])
def test_residency_and_blocks_do_not_change_a_byte(
    alone: dict[str, str], tmp_path: Path, shards_per_block: int
) -> None:
    out = tmp_path / "tiny"
    run = recipe("residency=one", f"shards_per_block={shards_per_block}")
    list(build_recipe(run, out, 1))
    assert digests(out) == alone


def test_a_build_goes_on_with_another_residency(tmp_path: Path) -> None:
    work = tmp_path / "work"
    first = open_build(recipe(), work)
    again = open_build(recipe("residency=one", "shards_per_block=2"), work)
    assert again.fingerprint == first.fingerprint
    assert load_recipe(str(work / "recipe.yaml")).residency == "one"


def test_a_failing_part_of_a_block_loses_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = Pipeline(recipe("residency=one", "shards_per_block=3"))
    combine = pipeline.stages[0]
    monkeypatch.setattr(type(combine), "_combine", _failing(type(combine)._combine, 1))  # type: ignore[attr-defined]
    parts = list(pipeline.run_block([[0], [1], [2]]))
    assert [part.error is None for part in parts] == [True, False, True]
    assert "ZeroDivisionError: no" in parts[1].trace
    assert parts[1].error is not None
    assert parts[1].error.__traceback__ is None  # frames would keep what they worked on
    assert all(c.rendering is None for part in parts for s in part.scenes for c in s.candidates)


@pytest.mark.parametrize("residency", ["all", "one"])
def test_a_model_that_cannot_be_loaded_is_told_before_any_work(
    tmp_path: Path, residency: str
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    segmenter = f"segmenter={{backend: sam2, model: {tmp_path}}}"
    pipeline = Pipeline(recipe(f"residency={residency}", segmenter))
    worked: list[str] = []

    def advance_of(name: str) -> Advance:
        worked.append(name)
        return silent

    with pytest.raises(AcpError, match=r"segmenter 'sam2': .* is a 'bert'"):
        pipeline.run([0], advance_of)
    assert worked == []


class StoppedScorer(Random):
    """As a scorer whose server goes away after one shard."""

    calls = 0

    def score(self, requests: Sequence[ScoreRequest]) -> list[ImageScores | Failure]:
        self.calls += 1
        if self.calls > 1:
            raise AcpError("the server cannot be reached")
        return super().score(requests)


def test_what_was_scored_before_a_block_ends_early_is_handed_out() -> None:
    pipeline = Pipeline(recipe("residency=one", "shards_per_block=3"))
    pipeline.backends["scorer"] = StoppedScorer()
    parts = pipeline.run_block([[0], [1], [2]])
    (scene,) = next(parts).scenes
    assert [candidate.scores is not None for candidate in scene.candidates] == [True, True]
    with pytest.raises(AcpError, match="cannot be reached"):
        next(parts)


def _failing(function: object, scene_id: int) -> object:
    def wrapped(self: object, scene: object) -> object:
        if scene.scene_id == scene_id:  # type: ignore[attr-defined]
            raise ZeroDivisionError("no")
        return function(self, scene)  # type: ignore[operator]

    return wrapped


# Who is a rank of what


def place(rank: int, size: int) -> dict[str, str]:
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(size),
    }


def test_a_rank_knows_its_place() -> None:
    assert launched(None, {}) is None
    assert launched(4, {}) is None
    assert launched(None, place(1, 2)) == launched(2, place(1, 2)) == Launch(1, 2, 1, 2)


def test_another_number_of_processes_than_asked_for_is_told_once() -> None:
    with pytest.raises(AcpError, match="--nproc 3, but the launcher started 2") as caught:
        launched(3, place(0, 2))
    assert not isinstance(caught.value, ToldElsewhereError)
    with pytest.raises(ToldElsewhereError):
        launched(3, place(1, 2))


@pytest.mark.parametrize(
    ("asked", "environment"), [(None, {"MASTER_PORT": "1"}), (2, {"MASTER_PORT": "1"}), (2, {})]
)
def test_accelerate_that_starts_one_process_only_is_noticed(
    asked: int | None, environment: dict[str, str]
) -> None:
    environment = {"ACCELERATE_MIXED_PRECISION": "no", **environment}
    with pytest.raises(AcpError, match=r"accelerate launch made 1; start several with .*multi_gpu"):
        launched(asked, environment)


def test_accelerate_may_start_one_process() -> None:
    assert launched(1, {"ACCELERATE_MIXED_PRECISION": "no"}) is None
    assert launched(None, {"ACCELERATE_MIXED_PRECISION": "no"}) is None


def test_only_recipes_with_models_on_a_gpu_need_one_for_each_rank() -> None:
    assert not uses_gpu(recipe())
    assert uses_gpu(recipe("llm={backend: transformers}"))
    assert not uses_gpu(recipe("llm={backend: transformers, device: cpu}"))


def test_auto_starts_what_the_recipe_has_use_for() -> None:
    import torch

    assert useful_processes(recipe()) == len(os.sched_getaffinity(0))
    gpus = torch.cuda.device_count()
    assert useful_processes(recipe("llm={backend: transformers}")) == max(1, gpus)


# Signs of life, and what ranks leave for each other


def test_what_keeps_beating_is_alive_and_what_stops_is_not(tmp_path: Path) -> None:
    pulse = tmp_path / "pulse"
    watch = Watch(pulse, 1.0)
    assert watch.alive()  # it may not have begun
    with beating(pulse, 1.0, lambda: None):
        until = time.monotonic() + 2.0
        while time.monotonic() < until:
            assert watch.alive()
            time.sleep(0.05)
    until = time.monotonic() + 5.0
    while watch.alive():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.fixture
def opened(tmp_path: Path) -> Build:
    return open_build(recipe(), tmp_path / "work")


def test_ranks_share_the_missing_shards(opened: Build) -> None:
    meeting = Meeting.call(opened.work, opened.shards()[1:])
    found = [Meeting.find(opened.work, meeting.token).shards(opened, r, 3) for r in range(3)]
    assert [[shard.index for shard in shards] for shards in found] == [[1, 4, 7], [2, 5], [3, 6]]


def test_a_folder_that_is_not_shared_is_noticed(opened: Build, tmp_path: Path) -> None:
    meeting = Meeting.call(opened.work, opened.missing())
    with pytest.raises(AcpError, match="on storage that all machines share"):
        Meeting.find(tmp_path / "elsewhere", meeting.token, 0.3)


def test_a_machine_with_other_models_cannot_join(opened: Build) -> None:
    assert join_build(opened.work).fingerprint == opened.fingerprint
    state = opened.work / "state.json"
    before = state.read_text(encoding="utf-8")
    state.write_text(before.replace("cutpaste@", "cutpaste@0"), encoding="utf-8")
    with pytest.raises(AcpError, match=r"would make other data: models\.renderer was"):
        join_build(opened.work)


def test_a_dead_rank_is_named_and_the_others_are_not_lost(opened: Build) -> None:
    meeting = Meeting.call(opened.work, opened.missing())
    meeting.report(1, Report())
    reports = meeting.wait_for_reports([1, 2], 0.5)
    assert [*reports] == [1]
    with pytest.raises(AcpError, match=r"rank 2 ended early; 8 shards are missing, .*again"):
        raise_what_failed(opened, reports, [1, 2])


def test_what_a_rank_reports_is_told(opened: Build) -> None:
    meeting = Meeting.call(opened.work, opened.missing())
    meeting.report(0, Report(failed={3: "OSError: no"}))
    meeting.report(1, Report(stopped=True))
    with pytest.raises(AcpError, match=r"1 of 8 shards failed.*shard 3: OSError: no"):
        raise_what_failed(opened, meeting.reports([0, 1]), [0, 1])
    meeting.report(0, Report("out of memory"))
    with pytest.raises(AcpError, match=r"^out of memory$"):
        raise_what_failed(opened, meeting.reports([0, 1]), [0, 1])


def test_followers_hear_the_last_word_or_that_rank_0_is_dead(opened: Build) -> None:
    meeting = Meeting.call(opened.work, opened.missing())
    assert meeting.wait_for_conclusion(0.5) is None
    meeting.conclude(True)
    assert meeting.wait_for_conclusion(0.5) is True


# Whole launches


def command(out: Path, *more: str) -> list[str]:
    sets = [part for value in CHEAP for part in ("--set", value)]
    return ["-m", "acp", "build", "tiny", *sets, "--out", str(out), *more]


def run(launcher: Sequence[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*launcher, *arguments], capture_output=True, text=True, timeout=240, check=False
    )


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


ON_ONE_MACHINE = (*TORCHRUN, "--standalone", "--nproc_per_node", "2")


def test_ranks_of_accelerate_make_the_bytes_of_one_process(
    alone: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "tiny"
    launcher = (*ACCELERATE, "--multi_gpu", "--num_processes", "2", "--main_process_port", "0")
    done = run(launcher, *command(out, "--nproc", "2"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("load it ") == 1  # rank 0 alone speaks
    assert digests(out) == alone


def test_accelerate_on_the_cpu_alone_is_stopped(tmp_path: Path) -> None:
    launcher = (*ACCELERATE, "--cpu", "--num_processes", "2")
    done = run(launcher, *command(tmp_path / "tiny"))
    assert done.returncode != 0
    assert "asked for several processes, accelerate launch made 1; start several" in done.stderr
    assert not work_folder(tmp_path / "tiny").exists()


def test_what_is_wrong_is_told_once_and_every_rank_fails(tmp_path: Path) -> None:
    build = open_build(recipe("size_wh=[320, 241]"), work_folder(tmp_path / "tiny"))
    marker = build.shards()[0].folder / "done.json"
    marker.parent.mkdir(parents=True)
    marker.write_text("{}")
    done = run(ON_ONE_MACHINE, *command(tmp_path / "tiny"))
    assert done.returncode != 0
    assert done.stderr.count("error: ") == 1
    assert "was begun with another recipe: size_wh" in done.stderr


class Machines:
    """Two launchers on loopback, as on two machines, with one rank each."""

    def __init__(self, out: Path, silence: str = "4") -> None:
        self.out, port = out, free_port()
        self.agents = [
            subprocess.Popen(
                [
                    *(*TORCHRUN, "--nnodes", "2", "--nproc_per_node", "1", "--node_rank", str(k)),
                    *(
                        "--master_addr",
                        "127.0.0.1",
                        "--master_port",
                        port,
                        *command(out, "-n", "2"),
                    ),
                ],
                env={**os.environ, "ACP_RANK_TIMEOUT": silence},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for k in range(2)
        ]

    def wait_for_shards(self, least: int) -> None:
        while len(self.finished()) < least:
            assert all(agent.poll() is None for agent in self.agents), self.end()
            time.sleep(0.02)

    def finished(self) -> dict[str, int]:
        """The markers of finished shards and when they were written."""
        markers = work_folder(self.out).glob("shards/*/done.json")
        return {path.parent.name: path.stat().st_mtime_ns for path in markers}

    def kill(self, rank: int) -> None:
        """SIGKILL for the process of a rank, not for its launcher."""
        (pid,) = (pid for pid in ranks_of(self.out, rank))
        os.kill(pid, signal.SIGKILL)

    def end(self) -> list[tuple[int, str, str]]:
        """Exit code, output and errors of each launcher; fails if one goes on for ever."""
        told = [agent.communicate(timeout=120) for agent in self.agents]
        return [(agent.returncode, *text) for agent, text in zip(self.agents, told, strict=True)]


@contextlib.contextmanager
def machines(out: Path) -> Iterator[Machines]:
    started = Machines(out)
    try:
        yield started
    finally:
        for agent in started.agents:
            if agent.poll() is None:
                agent.terminate()
                agent.communicate(timeout=60)


def ranks_of(out: Path, rank: int) -> list[int]:
    """Processes that are this rank of the build into `out`."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit():
                told = (folder / "environ").read_bytes().split(b"\0")
                mine = str(out) in (folder / "cmdline").read_text()
                found += [int(folder.name)] if mine and b"RANK=%d" % rank in told else []
    return found


def test_two_machines_share_the_shards(alone: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "tiny"
    with machines(out) as started:
        (code, said, errors), (other_code, other_said, _) = started.end()
    assert (code, other_code) == (0, 0), errors
    assert "load it " in said
    assert not other_said
    assert digests(out) == alone


@pytest.mark.parametrize("dead", [0, 1])
def test_a_dead_machine_holds_no_other_and_its_shards_are_made_next_time(
    alone: dict[str, str], tmp_path: Path, dead: int
) -> None:
    out = tmp_path / "tiny"
    with machines(out) as started:
        started.wait_for_shards(1)
        started.kill(dead)
        results = started.end()
    assert all(code != 0 for code, _, _ in results)
    line = "rank 1 ended early" if dead == 1 else "rank 0 has given no sign of life"
    assert line in results[1 - dead][2]
    assert "the finished ones are kept: run the same command again" in results[1 - dead][2]
    before = started.finished()
    assert 0 < len(before) <= 8
    assert not out.exists()
    list(build_recipe(recipe(), out, 1))
    assert digests(out) == alone
    assert before.items() <= started.finished().items()


@pytest.mark.parametrize(
    ("dead", "told"),
    [
        (0, "error: rank 0 ended early; "),
        (1, "error: ended from outside, as launchers do once another rank has died; "),
    ],
)
def test_a_dead_rank_of_one_machine_ends_the_start(tmp_path: Path, dead: int, told: str) -> None:
    out = tmp_path / "tiny"
    process = subprocess.Popen([*ON_ONE_MACHINE, *command(out)], stderr=subprocess.PIPE, text=True)
    while not [*work_folder(out).glob("shards/*/done.json")] and process.poll() is None:
        time.sleep(0.02)
    (pid,) = ranks_of(out, dead)
    os.kill(pid, signal.SIGKILL)
    errors = process.communicate(timeout=120)[1]
    assert process.returncode != 0
    (line,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert line.startswith(told)
    assert line.endswith("the finished ones are kept: run the same command again")
    assert [*work_folder(out).glob("shards/*/done.json")]


def test_machines_that_never_come_are_not_waited_for_for_ever(tmp_path: Path) -> None:
    alone_of_two = {
        **os.environ,
        **place(0, 2),
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": free_port(),
        "ACP_RANK_TIMEOUT": "1",
    }
    done = subprocess.run(
        [sys.executable, *command(tmp_path / "tiny")],
        env=alone_of_two,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "rank 0 of 2 processes: not all of them came within 6 s" in done.stderr
