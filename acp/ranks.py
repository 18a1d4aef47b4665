"""Several processes that share the missing shards of a build, by accelerate.

The parent starts them with torchrun; each takes every n-th missing shard. A rank that dies takes
no finished shard with it: the next start makes what is missing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from acp.errors import AcpError
from acp.progress import stage_bars, terminal
from acp.recipe import load_recipe
from acp.runner import Build, open_build, recipe_path, run_shards
from acp.shards import Shard, write_json

RANK_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",  # more ranks use more cores; sums must not depend on their number
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "LOGLEVEL": "CRITICAL",
}


def complete(build: Build, num_processes: int) -> None:
    """Run every missing shard of the build, in this process or in `num_processes` ranks.

    Raises:
        AcpError: some shards failed, or a rank ended early; all that was finished is kept.
    """
    missing = build.missing()
    num_processes = min(num_processes, len(missing))
    if num_processes == 1:
        with stage_bars(scenes_in(missing), terminal()) as advance_of:
            failed = run_shards(build, missing, advance_of)
        _raise_failed(build, failed)
    elif num_processes > 1:
        _run_ranks(build, num_processes)


def scenes_in(shards: Sequence[Shard]) -> int:
    """How many scenes these shards hold."""
    return sum(len(shard.scene_ids) for shard in shards)


def _run_ranks(build: Build, num_processes: int) -> None:
    results = build.work / "ranks"
    results.mkdir(exist_ok=True)
    for old in results.glob("*.json"):
        old.unlink()
    log = results / "log.txt"
    with _lifeline() as lifeline, log.open("wb") as output:
        code = subprocess.run(
            _command(build, num_processes, lifeline),
            env={**os.environ, **RANK_ENVIRONMENT},
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for this process; the lifeline ends the ranks
            check=False,
        ).returncode
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in results.glob("*.json")]
    for report in reports:
        if report["error"]:
            raise AcpError(report["error"])
    _raise_failed(build, {int(k): v for r in reports for k, v in r["failed"].items()})
    if code or len(reports) < num_processes:
        left = len(build.missing())
        raise AcpError(
            f"a rank ended early (exit code {code}); {left} shards are missing, the finished ones "
            f"are kept: run the same command again (details in {log})"
        )


def _command(build: Build, num_processes: int, lifeline: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *("--nproc_per_node", str(num_processes), "-m", "acp.ranks"),
        *(str(build.work), str(num_processes), str(lifeline), terminal()),
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


def _raise_failed(build: Build, failed: dict[int, str]) -> None:
    if failed:
        index, reason = min(failed.items())
        path = build.work / "shards" / f"{index:05d}" / "error.txt"
        raise AcpError(
            f"{len(failed)} of {len(build.shards())} shards failed, the others are kept; "
            f"shard {index}: {reason} (details in {path}); run the same command to try again"
        )


def main(work: Path, expected: int, lifeline: Path, terminal: str) -> None:
    """What each rank does; the first one draws its bars on `terminal`, if there is one."""
    _end_with(lifeline)
    import torch
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())
    error, failed = "", dict[int, str]()
    try:
        if state.num_processes != expected:
            raise AcpError(f"asked for {expected} processes, accelerate made {state.num_processes}")
        build = open_build(load_recipe(str(recipe_path(work))), work)
        missing = build.missing()
        state.wait_for_everyone()  # before the first of them finishes a shard
        mine = missing[state.process_index :: expected]
        with stage_bars(scenes_in(mine), terminal * state.is_main_process) as advance_of:
            failed = run_shards(build, mine, advance_of)
    except AcpError as mistake:
        error = str(mistake)
    write_json(work / "ranks" / f"{state.process_index}.json", {"error": error, "failed": failed})


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
