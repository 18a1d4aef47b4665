"""Workers that share the shards of a build, die, and take over from each other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from acp.builder.release import useful_processes, work_folder
from acp.cli.build import build_data_set, build_recipe
from acp.core.errors import AcpError
from acp.executor.build import ERROR, Build, failures, open_build
from acp.executor.work import CLAIM, TRIES, Claims, Rank, complete, finish, make_missing
from acp.pipeline.recipe import Recipe, load_recipe
from support.digests import digests

CHEAP = ("scorer={backend: random}", "scenes=8", "render.candidates=2")
"""Eight shards, and no model to load."""
ACP = (sys.executable, "-m", "acp")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


def recipe(*overrides: str) -> Recipe:
    return load_recipe("tiny", [*CHEAP, *overrides])


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What one process makes of `CHEAP`: the checksum of every published file."""
    out = tmp_path_factory.mktemp("alone") / "tiny"
    list(build_recipe(recipe(), out))
    return digests(out)


@pytest.fixture
def opened(tmp_path: Path) -> Build:
    return open_build(recipe("scenes=3"), tmp_path / "work")


# Claims


def test_a_claim_is_held_by_one_until_it_is_dropped(tmp_path: Path) -> None:
    with Claims() as first, Claims() as second:
        assert first.take(tmp_path / CLAIM)
        assert not second.take(tmp_path / CLAIM)
        first.drop(tmp_path / CLAIM)
        assert second.take(tmp_path / CLAIM)
    assert not (tmp_path / CLAIM).exists()


def test_a_renewed_claim_is_not_taken_over(tmp_path: Path) -> None:
    with Claims(1.0) as owner, Claims(1.0) as other:
        assert owner.take(tmp_path / CLAIM)
        until = time.monotonic() + 2.5
        while time.monotonic() < until:
            assert not other.take(tmp_path / CLAIM)
            time.sleep(0.05)


@pytest.mark.parametrize("ahead_s", [-1e6, 0, 1e6])
def test_a_silent_claim_is_taken_over_whatever_its_clock_says(
    tmp_path: Path, ahead_s: float
) -> None:
    (tmp_path / CLAIM).write_text("another-machine 1 token")
    os.utime(tmp_path / CLAIM, (time.time() + ahead_s,) * 2)
    started = time.monotonic()
    with Claims(1.0) as claims:
        while not claims.take(tmp_path / CLAIM):
            time.sleep(0.05)
        assert time.monotonic() - started >= 1.0


def test_the_claim_of_a_process_that_ended_here_is_free_at_once(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from acp.executor.work import Claims\n"
        "with Claims() as claims:\n"
        "    claims.take(Path(sys.argv[1])); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / CLAIM)], check=False)
    assert (tmp_path / CLAIM).exists()
    with Claims() as claims:
        assert claims.take(tmp_path / CLAIM)


def test_who_lost_a_claim_leaves_it_to_its_new_owner(tmp_path: Path) -> None:
    path = tmp_path / CLAIM
    with Claims(1.0) as claims:
        assert claims.take(path)
        path.write_text("another-machine 1 token")
        os.utime(path, (0, 0))
        time.sleep(0.5)  # several heartbeats
        assert path.stat().st_mtime == 0
    assert path.read_text() == "another-machine 1 token"


# The loop


def test_a_shard_of_a_dead_worker_is_made_by_the_living(opened: Build) -> None:
    shard = opened.shards()[1]
    shard.folder.mkdir(parents=True)
    (shard.folder / CLAIM).write_text("another-machine 1 token")
    with Claims(1.0) as claims:
        make_missing(opened, claims)
    assert opened.missing() == []
    assert not [*opened.work.glob(f"shards/*/{CLAIM}")]


def test_two_workers_on_one_shard_leave_one_whole_copy(opened: Build) -> None:
    other = open_build(opened.recipe, opened.work)
    shard = opened.shards()[0]
    opened.make([shard])
    before = digests(shard.folder)
    other.make([shard])
    after = digests(shard.folder)
    assert {**before, "done.json": ""} == {**after, "done.json": ""}
    again = open_build(opened.recipe, opened.work)
    assert again.marker(shard)
    assert again.remove_damaged() == []


def test_a_shard_that_always_fails_is_set_aside_and_told(opened: Build) -> None:
    blocked = opened.shards()[1]
    blocked.table_path("measured").mkdir(parents=True)  # a folder where a file must go
    with (
        Claims() as claims,
        pytest.raises(AcpError, match=r"1 of 3 shards failed 3 times.*shard 1"),
    ):
        make_missing(opened, claims)
    assert opened.missing() == [blocked]
    assert failures(blocked) == TRIES
    assert "IsADirectoryError" in (blocked.folder / ERROR).read_text(encoding="utf-8")
    blocked.table_path("measured").rmdir()
    finish(opened, Rank(), lambda: False, lambda: None)  # tries it again
    assert opened.missing() == []
    assert not (blocked.folder / ERROR).exists()


def test_a_damaged_shard_is_found_before_the_release(opened: Build) -> None:
    with Claims() as claims:
        complete(opened, claims)
        damaged = opened.shards()[1].table_path("measured")
        content = damaged.read_bytes()
        damaged.write_bytes(content[:-1] + b"?")
        complete(open_build(opened.recipe, opened.work), claims)
    assert damaged.read_bytes() == content


def test_one_of_many_workers_releases(opened: Build) -> None:
    released: list[int] = []

    def release() -> None:
        time.sleep(0.5)
        released.append(1)

    with Claims() as claims:
        make_missing(opened, claims)
    arguments = (opened, Rank(1, 2), lambda: bool(released), release)
    threads = [threading.Thread(target=finish, args=arguments) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert released == [1]


def test_a_folder_that_another_build_took_is_left(opened: Build) -> None:
    open_build(recipe("seed=1"), opened.work)  # no shard was finished: it may
    with pytest.raises(AcpError, match="another process has begun another build"):
        opened.make(opened.shards()[:1])


@pytest.mark.parametrize("evidence", ["done.json", CLAIM])
def test_a_machine_with_other_models_cannot_join(opened: Build, evidence: str) -> None:
    (opened.work / "shards" / "00000").mkdir(parents=True)
    (opened.work / "shards" / "00000" / evidence).write_text("")
    state = opened.work / "state.json"
    before = state.read_text(encoding="utf-8")
    state.write_text(before.replace("cutpaste@", "cutpaste@0"), encoding="utf-8")
    with pytest.raises(AcpError, match=r"or other models: models\.renderer was"):
        open_build(opened.recipe, opened.work)


@pytest.mark.parametrize("shards_per_block", [1, 3])
def test_placement_and_blocks_do_not_change_a_byte(
    alone: dict[str, str], tmp_path: Path, shards_per_block: int
) -> None:
    out = tmp_path / "tiny"
    list(build_recipe(recipe("residency=one", f"shards_per_block={shards_per_block}"), out))
    assert digests(out) == alone


def test_another_number_of_processes_than_asked_for_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(AcpError, match="--nproc 3, but the launcher started 2"):
        list(build_data_set("tiny", None, [], None, 3))


def test_auto_starts_what_the_recipe_has_use_for(opened: Build) -> None:
    assert useful_processes(opened) == len(os.sched_getaffinity(0))


# Whole starts


def command(out: Path, *more: str) -> list[str]:
    sets = [part for value in CHEAP for part in ("--set", value)]
    return ["build", "tiny", *sets, "--out", str(out), *more]


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=60)


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)


def owners(out: Path) -> set[int]:
    """The processes that hold claims of a build."""
    found = set()
    for path in work_folder(out).glob(f"shards/*/{CLAIM}"):
        try:
            found.add(int(path.read_text().split()[1]))
        except (OSError, IndexError):
            continue
    return found


def is_alive(process: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


@pytest.mark.slow
def test_a_killed_worker_costs_nothing(alone: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "tiny"
    with started(*ACP, *command(out, "--nproc", "2")) as process:
        wait_for(lambda: owners(out), process)
        os.kill(owners(out).pop(), signal.SIGKILL)
        said, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "ended early (exit code -9)" in said
    assert digests(out) == alone


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_workers_end_with_the_process_that_started_them(
    alone: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "tiny"
    with started(*ACP, *command(out, "--nproc", "2")) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        wait_for(lambda: owners(out), process)
        workers = [*map(int, children.read_text().split())]
        process.send_signal(number)
        process.communicate(timeout=60)
    until = time.monotonic() + 30
    assert len(workers) == 2
    while any(map(is_alive, workers)):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert not out.exists()
    assert owners(out) == set()  # they ended in good order
    list(build_recipe(recipe(), out))
    assert digests(out) == alone


@pytest.mark.slow
def test_ranks_of_torchrun_make_the_bytes_of_one_process(
    alone: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "tiny"
    with started(*TORCHRUN, "-m", "acp", *command(out, "-n", "2")) as process:
        said, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert said.count("load it ") == 1  # rank 0 alone speaks
    assert digests(out) == alone


@pytest.mark.slow
def test_two_starts_share_a_build(alone: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "tiny"
    with started(*ACP, *command(out)) as first, started(*ACP, *command(out)) as second:
        errors = [process.communicate(timeout=240)[1] for process in (first, second)]
    codes = [first.returncode, second.returncode]
    assert codes == [0, 0], errors
    assert digests(out) == alone
