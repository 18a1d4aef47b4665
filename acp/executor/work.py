"""The one loop that makes a build, whoever starts it: a process alone, the processes of `acp build
--nproc N`, those of accelerate or torchrun on several machines, jobs of an array.

A worker goes over the shards: it skips what is done, claims the next free one, makes it, writes its
marker, until none is left. Then whoever claims the release first makes the data set. Nobody waits
for a message. All that workers share is the folder of the build: a claim is a file beside the
marker, which its owner renews; one that has not changed for a while is free again, so that what a
dead worker leaves is made by the living.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from itertools import islice
from pathlib import Path

from acp.core.errors import AcpError
from acp.core.progress import silent
from acp.executor.build import ERROR, FAILURES, Build, failures
from acp.pipeline.pipeline import AdvanceOf
from acp.pipeline.placement import take_gpu, uses_gpu

CLAIM = "claim"
CLAIM_SECONDS = 300.0
POLL_SECONDS = 0.2
TRIES = 3
"""How often a shard may fail before it is set aside."""
NO_CLAIM = ("", 0)
ENDS_WITH_PARENT = "ACP_ENDS_WITH_PARENT"
_RANK = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}


@dataclass(frozen=True, slots=True)
class Rank:
    """Which of `size` workers this process is, on all machines and on this one. It says where in
    the list of shards to begin, which GPU to use, and who prints the summary."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> Rank:
        """As accelerate, torchrun and `--nproc` write it; the only one if nobody did.

        >>> Rank.of_environment({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"})
        Rank(rank=3, size=4, local_rank=1, local_size=1)
        >>> Rank.of_environment({})
        Rank(rank=0, size=1, local_rank=0, local_size=1)
        """
        return cls(*(int(environment.get(name, value)) for name, value in _RANK.items()))

    def as_environment(self) -> dict[str, str]:
        """What `of_environment` reads."""
        return {name: str(value) for name, value in zip(_RANK, astuple(self), strict=True)}


class Claims:
    """What this process is at work on, told to the others by files that a thread renews.

    Clocks of several machines need not agree: what counts is that a file changes, by the clock of
    whoever looks at it. Of a process on the same machine it is seen at once that it has ended.
    A claim that stays as it is for `limit` seconds (by default $ACP_CLAIM_TIMEOUT, or 300) is free.
    """

    def __init__(self, limit: float | None = None) -> None:
        self._limit = limit or CLAIM_SECONDS
        with suppress(KeyError, ValueError):
            self._limit = limit or max(1.0, float(os.environ["ACP_CLAIM_TIMEOUT"]))
        self._owner = f"{_machine()} {os.getpid()} {secrets.token_hex(8)}"
        self._held: set[Path] = set()
        self._seen: dict[Path, tuple[tuple[str, int], float]] = {}  # each claim, and since when
        self._done = threading.Event()

    def __enter__(self) -> Claims:
        threading.Thread(target=self._renew, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for path in [*self._held]:
            self.drop(path)

    def take(self, path: Path) -> bool:
        """Claim what `path` stands for; False if another worker holds it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if not self._is_free(path):
            return False
        try:
            with path.open("x", encoding="utf-8") as file:
                self._held.add(path)
                file.write(self._owner)
        except FileExistsError:
            return False
        except OSError:  # no space left, for one
            path.unlink(missing_ok=True)
            raise
        return True

    def drop(self, path: Path) -> None:
        """Give a claim back, unless another worker has taken it over."""
        self._held.discard(path)
        if _read_claim(path)[0] == self._owner:
            path.unlink(missing_ok=True)

    def _is_free(self, path: Path) -> bool:
        """Whether there is no claim, or one whose owner is gone; that one is removed."""
        now = _read_claim(path)
        if now == NO_CLAIM:
            return True
        before, since = self._seen.get(path, (None, 0.0))
        if now != before:
            since = time.monotonic()
            self._seen[path] = now, since
        if time.monotonic() - since < self._limit and not _has_ended(now[0]):
            return False
        if _read_claim(path) == now:
            path.unlink(missing_ok=True)
        return True

    def _renew(self) -> None:
        while not self._done.wait(min(5.0, self._limit / 10)):
            for path in [*self._held]:
                with suppress(OSError):
                    if _read_claim(path)[0] == self._owner:
                        os.utime(path)


def _read_claim(path: Path) -> tuple[str, int]:
    """Owner and time of a claim. The file is opened, not only looked at: network storage may keep
    old answers about files that nobody opens."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(), os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return NO_CLAIM


def _machine() -> str:
    """A name for all processes that see each other: this host, or a container on it."""
    with suppress(OSError):
        return f"{socket.gethostname()}/{Path('/proc/self/ns/pid').readlink()}"
    return socket.gethostname()


def _has_ended(owner: str) -> bool:
    """Whether the owner of a claim was a process of this machine that is no more."""
    machine, _, rest = owner.partition(" ")
    process = rest.partition(" ")[0]
    if machine != _machine() or not process.isdecimal():
        return False
    try:
        os.kill(int(process), 0)
    except OSError as error:
        return isinstance(error, ProcessLookupError)
    return False


def finish(
    build: Build,
    rank: Rank,
    is_released: Callable[[], bool],
    release: Callable[[], object],
    advance_of: AdvanceOf = lambda name: silent,
) -> None:
    """Work on a build until its data set is there (`is_released`), made by this worker or another:
    who is first, once the shards are finished, calls `release`.

    Raises:
        AcpError: shards failed again and again, or something would stop every shard of this worker.
    """
    if is_released():
        return
    if rank.rank == 0:
        forget_failures(build)
    if rank.size > 1 and uses_gpu(build.resolved()):
        take_gpu(rank.local_rank, rank.local_size)
    with Claims() as claims:
        make_missing(build, claims, rank, advance_of)
        while not is_released():
            if claims.take(build.work / "release.claim"):
                if not is_released():  # nor has another done it meanwhile
                    complete(build, claims)
                    release()
                return
            time.sleep(POLL_SECONDS)


def complete(build: Build, claims: Claims) -> None:
    """Make what is missing until every shard is there and whole. Each is read once a process.

    Raises:
        AcpError: shards failed again and again, or something would stop every shard.
    """
    make_missing(build, claims)
    while build.remove_damaged():
        make_missing(build, claims)


def make_missing(
    build: Build,
    claims: Claims,
    rank: Rank = Rank(),
    advance_of: AdvanceOf = lambda name: silent,
) -> None:
    """Make shards, a block at a time, until each is done or set aside, here or elsewhere.

    Raises:
        AcpError: shards failed again and again, or something would stop every shard of this worker.
    """
    shards = build.shards()
    start = len(shards) * rank.rank // rank.size
    left = [*shards[start:], *shards[:start]]
    while left := [each for each in left if not build.marker(each) and failures(each) < TRIES]:
        free = (shard for shard in left if claims.take(shard.folder / CLAIM))
        block = [*islice(free, build.pipeline.block)]
        if not block:
            time.sleep(POLL_SECONDS)
            continue
        # Another worker may have finished one between the look at its marker and the claim.
        build.make([shard for shard in block if not build.marker(shard)], advance_of)
        for shard in block:
            claims.drop(shard.folder / CLAIM)
        left.sort(key=lambda shard: shard in block)  # what failed is tried again last
    raise_failed(build)


def forget_failures(build: Build) -> None:
    """Give every shard that has failed before all its tries again."""
    for shard in build.shards():
        (shard.folder / FAILURES).unlink(missing_ok=True)


def raise_failed(build: Build) -> None:
    """Raise an AcpError if shards were set aside: it names the first and why it failed."""
    failed = [shard for shard in build.missing() if failures(shard) >= TRIES]
    if failed:
        path = failed[0].folder / ERROR
        reason = path.read_text(encoding="utf-8").strip().splitlines()[-1]
        raise AcpError(
            f"{len(failed)} of {len(build.shards())} shards failed {TRIES} times each, the others "
            f"are kept; shard {failed[0].index}: {reason} (details in {path}); run the same "
            "command to try again"
        )


def run_workers(
    command: Sequence[str], count: int, logs: Path, watch: Callable[[], object]
) -> list[str]:
    """Run a command in `count` processes that are the ranks of one build; they end with this one.

    What they print goes to the folder `logs`; `watch` is called again and again while they run.

    Returns:
        What those say that ended otherwise than with exit code 0.
    """
    paths = [logs / f"worker-{place}.log" for place in range(count)]
    workers = [
        _start(command, Rank(place, count, place, count), path) for place, path in enumerate(paths)
    ]
    try:
        while None in [worker.poll() for worker in workers]:  # asks all: the dead must not linger
            watch()
            time.sleep(POLL_SECONDS)
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            with suppress(subprocess.TimeoutExpired):
                worker.wait(30)
            worker.kill()
            worker.wait()
    return [
        f"worker {place} ended early (exit code {worker.returncode}): {_last_line(path)}"
        for place, (worker, path) in enumerate(zip(workers, paths, strict=True))
        if worker.returncode
    ]


def _start(command: Sequence[str], rank: Rank, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            env={**os.environ, **rank.as_environment(), ENDS_WITH_PARENT: "1"},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for the parent, which ends them
        )


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"{lines[-1].removeprefix('error: ')} (log: {log})" if lines else f"see {log}"


def end_with_parent() -> None:
    """In a process of `run_workers`: end once its parent has, however that was. Then standard
    input, which the parent holds open, comes to its end."""
    if os.environ.pop(ENDS_WITH_PARENT, ""):

        def watch() -> None:
            os.read(sys.stdin.fileno(), 1)
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=watch, daemon=True).start()
