"""Several processes that share the missing shards of a build, by accelerate.

`acp build --nproc N` starts them with torchrun; each takes every n-th missing shard. A rank that
dies takes no finished shard with it: the next start makes what is missing. `launched` is for
processes that the user starts with a launcher.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from acp.core.errors import AcpError
from acp.executor.build import Build, join_build, run_shards
from acp.executor.launch import launched, take_gpu
from acp.executor.meeting import (
    Meeting,
    Report,
    answering,
    raise_failed,
    raise_what_failed,
    still_missing,
)
from acp.executor.progress import stage_bars, terminal
from acp.executor.shards import Shard
from acp.executor.world import THREADS, World, one_thread_each, start_seconds

RANK_ENVIRONMENT = {"TORCH_CPP_LOG_LEVEL": "ERROR", "LOGLEVEL": "CRITICAL"}


class Terminated(BaseException):
    """SIGTERM, under a name that no library takes for its own."""


def complete(build: Build, num_processes: int) -> None:
    """Run every missing shard of the build, in this process or in `num_processes` ranks.

    Raises:
        AcpError: some shards failed, or a rank ended early; all that was finished is kept.
    """
    missing = build.missing()
    num_processes = min(num_processes, len(missing))
    if num_processes == 1:
        one_thread_each()
        with stage_bars(scenes_in(missing), terminal()) as advance_of:
            failed = run_shards(build, missing, advance_of)
        raise_failed(build, failed)
    elif num_processes > 1:
        _run_ranks(build, missing, num_processes)


def scenes_in(shards: Sequence[Shard]) -> int:
    """How many scenes these shards hold."""
    return sum(len(shard.scene_ids) for shard in shards)


def work_on(build: Build, shards: Sequence[Shard], device: str) -> Report:
    """Run a rank's shards, with bars on the terminal `device` if there is one."""
    try:
        with stage_bars(scenes_in(shards), device) as advance_of:
            return Report(failed=run_shards(build, shards, advance_of))
    except AcpError as mistake:
        return Report(str(mistake))


def end_on_sigterm() -> None:
    """From here on SIGTERM raises `Terminated` in the main thread."""

    def end(number: int, frame: object) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
        raise Terminated

    signal.signal(signal.SIGTERM, end)


def _run_ranks(build: Build, missing: Sequence[Shard], num_processes: int) -> None:
    meeting = Meeting.call(build.work, missing)
    log = meeting.folder / "log.txt"
    with _lifeline() as lifeline, log.open("wb") as output:
        code = subprocess.run(
            _command(meeting, num_processes, lifeline),
            env={**os.environ, THREADS: os.environ.get(THREADS, "1"), **RANK_ENVIRONMENT},
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for this process; the lifeline ends the ranks
            check=False,
        ).returncode
    ranks = range(num_processes)
    try:
        raise_what_failed(build, meeting.reports(ranks), ranks)
    except AcpError as error:
        details = f" (log: {log})" if "ended early" in str(error) else ""
        raise AcpError(f"{error}{details}") from None
    if code:
        left = still_missing(build)
        raise AcpError(f"the ranks ended with exit code {code}; {left} (log: {log})")


def _command(meeting: Meeting, num_processes: int, lifeline: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *("--nproc_per_node", str(num_processes), "-m", "acp.executor.ranks"),
        *(str(meeting.work), meeting.token, str(num_processes), str(lifeline), terminal()),
    ]


@contextmanager
def _lifeline() -> Iterator[Path]:
    """A named pipe that this process holds open: the ranks end when it closes, so that none goes
    on alone after this process was killed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lifeline"
        os.mkfifo(path)
        held = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            yield path
        finally:
            os.close(held)


def _end_with(lifeline: Path) -> None:
    """End this process once nobody holds the lifeline open for writing."""

    def watch() -> None:
        with lifeline.open("rb") as pipe:
            pipe.read()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(work: Path, token: str, expected: int, lifeline: Path, device: str) -> None:
    """What each rank does; the first one draws its bars on the terminal `device`, if any."""
    _end_with(lifeline)
    end_on_sigterm()
    launch = launched(expected)
    if launch is None:
        raise AcpError(f"asked for {expected} processes and found this one alone")
    meeting = Meeting(work, token)
    with answering(meeting, launch.rank) as answer:
        try:
            World(launch, start_seconds()).close()  # says that there are as many as expected
            build = join_build(work)
            take_gpu(launch, build.recipe)
        except AcpError as mistake:
            answer(Report(str(mistake)))
            return
        shards = meeting.shards(build, launch.rank, launch.size)
        answer(work_on(build, shards, device * launch.leads))


if __name__ == "__main__":
    work, token, expected, lifeline, device = sys.argv[1:]
    try:
        main(Path(work), token, int(expected), Path(lifeline), device)
    except Terminated:
        sys.exit(128 + signal.SIGTERM)
