"""A folder in which the ranks of one start meet: what is to be done, who lives, who did what."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from acp.core.errors import AcpError
from acp.core.files import write_json, write_text
from acp.executor.build import Build
from acp.executor.pulse import POLL_SECONDS, Watch, beating
from acp.executor.shards import MARKER, Shard

FOLDER = "ranks"
VISIBLE_SECONDS = 60.0
"""How long network storage may take to show on one machine what another has written."""


@dataclass
class Report:
    """What a rank leaves behind: its failed shards by index with the reason, or why it ended."""

    error: str = ""
    failed: Mapping[int, str] = field(default_factory=dict)
    stopped: bool = False


class Meeting:
    """One start of the ranks of a build. The newest counts: older ranks end when they see it."""

    def __init__(self, work: Path, token: str) -> None:
        self.work = work
        self.token = token
        self.folder = work / FOLDER / token

    @classmethod
    def call(cls, work: Path, missing: Sequence[Shard]) -> Meeting:
        """Begin one, for these shards; what earlier ones left is removed."""
        meeting = cls(work, secrets.token_hex(8))
        shutil.rmtree(work / FOLDER, ignore_errors=True)
        meeting.folder.mkdir(parents=True)
        write_json(meeting.folder / "start.json", [shard.index for shard in missing])
        write_text(meeting._current, meeting.token)
        return meeting

    @classmethod
    def find(cls, work: Path, token: str, seconds: float = VISIBLE_SECONDS) -> Meeting:
        """The one that rank 0 has called.

        Raises:
            AcpError: it cannot be seen from here.
        """
        meeting, until = cls(work, token), time.monotonic() + seconds
        while not (meeting.folder / "start.json").is_file():
            if time.monotonic() > until:
                raise AcpError(
                    f"{work.absolute()} is not the folder that rank 0 writes to; --out must name "
                    "the same folder for every rank, on storage that all machines share"
                )
            time.sleep(POLL_SECONDS)
        return meeting

    def shards(self, build: Build, rank: int, size: int) -> list[Shard]:
        """The shards of a rank: every `size`-th missing one."""
        missing = json.loads((self.folder / "start.json").read_text(encoding="utf-8"))
        every = build.shards()
        return [every[index] for index in missing[rank::size]]

    def present(self, rank: int, limit: float) -> contextlib.AbstractContextManager[None]:
        """Give signs of life while the block runs; end this process once a newer start is made."""
        return beating(self._pulse(rank), limit, self._end_if_replaced)

    def report(self, rank: int, report: Report) -> None:
        write_json(self._report(rank), asdict(report))

    def reports(self, ranks: Collection[int]) -> dict[int, Report]:
        """What is there of these ranks."""
        found = {}
        for rank in ranks:
            with contextlib.suppress(FileNotFoundError):
                values = json.loads(self._report(rank).read_text(encoding="utf-8"))
                values["failed"] = {int(k): reason for k, reason in values["failed"].items()}
                found[rank] = Report(**values)
        return found

    def wait_for_reports(self, ranks: Collection[int], limit: float) -> dict[int, Report]:
        """The reports of these ranks, without those that died."""
        waiting = {rank: Watch(self._pulse(rank), limit) for rank in ranks}
        while waiting := {
            rank: watch
            for rank, watch in waiting.items()
            if not self._report(rank).exists() and watch.alive()
        }:
            time.sleep(POLL_SECONDS)
        return self.reports(ranks)

    def conclude(self, good: bool) -> None:
        """Rank 0's last word: whether the data set is there."""
        with contextlib.suppress(OSError):
            write_json(self._verdict, good)

    def wait_for_conclusion(self, limit: float) -> bool | None:
        """Rank 0's last word, or None if it died before."""
        watch = Watch(self._pulse(0), limit)
        while not self._verdict.exists():
            if not watch.alive():
                return None
            time.sleep(POLL_SECONDS)
        good: bool = json.loads(self._verdict.read_text(encoding="utf-8"))
        return good

    def _end_if_replaced(self) -> None:
        with contextlib.suppress(OSError):
            if self._current.read_text(encoding="utf-8") not in ("", self.token):
                os._exit(1)

    @property
    def _current(self) -> Path:
        return self.work / FOLDER / "current"

    @property
    def _verdict(self) -> Path:
        return self.folder / "verdict.json"

    def _pulse(self, rank: int) -> Path:
        return self.folder / f"rank-{rank}.alive"

    def _report(self, rank: int) -> Path:
        return self.folder / f"rank-{rank}.json"


def raise_what_failed(build: Build, reports: Mapping[int, Report], ranks: Sequence[int]) -> None:
    """Tell what kept ranks from finishing their shards, if anything did.

    Raises:
        AcpError: a mistake, failed shards, or ranks that ended early.
    """
    for report in reports.values():
        if report.error:
            raise AcpError(report.error)
    raise_failed(build, {k: why for each in reports.values() for k, why in each.failed.items()})
    dead = [rank for rank in ranks if rank not in reports]
    gone = dead or [rank for rank, report in reports.items() if report.stopped]
    if gone:
        who = "rank" if len(gone) == 1 else "ranks"
        raise AcpError(f"{who} {', '.join(map(str, gone))} ended early; {still_missing(build)}")


def raise_failed(build: Build, failed: Mapping[int, str]) -> None:
    """Raises AcpError if there are failed shards; names the first with its reason."""
    if failed:
        index, reason = min(failed.items())
        path = build.work / "shards" / f"{index:05d}" / "error.txt"
        raise AcpError(
            f"{len(failed)} of {len(build.shards())} shards failed, the others are kept; "
            f"shard {index}: {reason} (details in {path}); run the same command to try again"
        )


def still_missing(build: Build) -> str:
    """How many shards are missing, and that the same command goes on."""
    left = sum(not (shard.folder / MARKER).exists() for shard in build.shards())
    told = "1 shard is" if left == 1 else f"{left} shards are"
    return f"{told} missing, the finished ones are kept: run the same command again"


@contextmanager
def answering(meeting: Meeting, rank: int) -> Iterator[Callable[[Report], None]]:
    """Gives the function that hands in this rank's report; a rank that is ended from outside
    reports that."""
    try:
        yield lambda report: meeting.report(rank, report)
    except Exception as error:
        meeting.report(rank, Report(f"rank {rank}: {type(error).__name__}: {error}"))
        raise
    except BaseException:
        meeting.report(rank, Report(stopped=True))
        raise
