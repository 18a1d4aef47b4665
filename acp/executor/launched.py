"""`acp build` as one of the processes that `accelerate launch` or `torchrun` started, on one
machine or several.

Rank 0 opens the build, holds its lock, tells the others what is missing, and at the end makes the
data set and speaks. Every rank makes its shards in the folder they share. No rank waits for ever:
signs of life are files there.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from acp.core.errors import AcpError, ToldElsewhereError
from acp.executor.build import Build, join_build
from acp.executor.launch import Launch, take_gpu
from acp.executor.meeting import Meeting, answering, raise_what_failed, still_missing
from acp.executor.progress import terminal
from acp.executor.pulse import silence_seconds
from acp.executor.ranks import Terminated, end_on_sigterm, work_on
from acp.executor.world import LostContactError, World, start_seconds
from acp.pipeline.placement import free_memory
from acp.pipeline.recipe import Recipe

ENDED = "ended from outside, as launchers do once another rank has died"

LAST_WORD_SECONDS = 5.0
"""How long a rank that is ended waits to hear that rank 0 speaks. Launchers give more time."""

PlaceOf = Callable[[], tuple[Recipe, Path]]
"""Gives the recipe and the folder of its data set."""


def build_as_rank(launch: Launch, place_of: PlaceOf) -> Iterator[str]:
    """Do the part of this rank; rank 0 yields the lines of the summary.

    Raises:
        AcpError: something failed here or in another rank; rank 0 says what.
        ToldElsewhereError: likewise; another rank says it.
    """
    end_on_sigterm()
    try:
        world = World(launch, start_seconds())
        if launch.leads:
            yield from _lead(launch, world, place_of)
        else:
            _follow(launch, world, place_of)
    except LostContactError as error:  # rank 0 tells it, or the next where rank 0 is what was lost
        if launch.rank <= 1:
            raise
        raise ToldElsewhereError(str(error)) from None
    except AcpError as error:
        if launch.leads:
            raise
        raise ToldElsewhereError(str(error)) from None
    except Terminated:
        kind = AcpError if launch.leads else ToldElsewhereError
        raise kind(f"{ENDED}; run the same command again") from None


def _lead(launch: Launch, world: World, place_of: PlaceOf) -> Iterator[str]:
    from acp.builder.release import release
    from acp.cli.build import is_done, opened, summary

    with ExitStack() as stack:
        try:
            recipe, out = place_of()
            build = stack.enter_context(opened(recipe, out))
            done = is_done(build, out)
            meeting = Meeting.call(build.work, [] if done else build.missing())
        except BaseException:
            with suppress(LostContactError):  # what went wrong first is what is told
                world.from_leader("")
            raise
        world.from_leader(meeting.token)
        limit = silence_seconds()
        stack.enter_context(meeting.present(launch.rank, limit))
        try:
            _agree(world, lambda: take_gpu(launch, build.recipe))
            _make_shards(launch, meeting, build, limit)
            if not done:
                release(build, out, 1)
        except BaseException as error:
            # Launchers end all processes once one has failed; this one has something to say first.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            meeting.conclude(False)
            if isinstance(error, Terminated):
                raise AcpError(f"{ENDED}; {still_missing(build)}") from None
            raise
        meeting.conclude(True)
    yield from summary(build, out)


def _make_shards(launch: Launch, meeting: Meeting, build: Build, limit: float) -> None:
    """Rank 0's own shards, then those of the others are waited for."""
    own = work_on(build, meeting.shards(build, launch.rank, launch.size), terminal())
    free_memory()
    others = meeting.wait_for_reports(range(1, launch.size), limit)
    raise_what_failed(build, {launch.rank: own, **others}, range(launch.size))


def _follow(launch: Launch, world: World, place_of: PlaceOf) -> None:
    token = world.from_leader("")
    if not token:
        raise ToldElsewhereError("rank 0 could not open the build")
    meeting, build = _join(launch, world, token, place_of)
    limit = silence_seconds()
    with _speaking_for_rank_0(meeting, build), meeting.present(launch.rank, limit):
        with answering(meeting, launch.rank) as answer:
            report = work_on(build, meeting.shards(build, launch.rank, launch.size), "")
            if report.error:
                report.error = f"{_name(launch)}: {report.error}"
            answer(report)
        free_memory()
        good = meeting.wait_for_conclusion(limit)
    if good is None:
        raise LostContactError(
            f"rank 0 has given no sign of life for {limit:g} s; {still_missing(build)}"
        )
    if not good:
        raise ToldElsewhereError("rank 0 says what failed")


@contextmanager
def _speaking_for_rank_0(meeting: Meeting, build: Build) -> Iterator[None]:
    """Where this rank is ended from outside, find out whether rank 0 was what had died.

    Raises:
        LostContactError: it was; nobody else tells the user.
    """
    try:
        yield
    except Terminated:
        if meeting.wait_for_conclusion(LAST_WORD_SECONDS) is None:
            raise LostContactError(f"rank 0 ended early; {still_missing(build)}") from None
        raise


def _join(launch: Launch, world: World, token: str, place_of: PlaceOf) -> tuple[Meeting, Build]:
    from acp.builder.release import work_folder

    joined: list[tuple[Meeting, Build]] = []

    def join() -> None:
        meeting = Meeting.find(work_folder(place_of()[1]), token)
        build = join_build(meeting.work)
        take_gpu(launch, build.recipe)
        joined.append((meeting, build))

    _agree(world, join, f"{_name(launch)}: ")
    return joined[0]


def _agree(world: World, prepare: Callable[[], object], who: str = "") -> None:
    """Do what has to be done before the start; go on only if every rank could.

    Raises:
        AcpError: what the first of them that could not says.
    """
    error = ""
    try:
        prepare()
    except (AcpError, OSError) as mistake:
        error = f"{who}{mistake}"
    errors = [told for told in world.from_all(error) if told]
    world.close()
    if errors:
        raise AcpError(errors[0])


def _name(launch: Launch) -> str:
    return f"rank {launch.rank} on {socket.gethostname()}"
