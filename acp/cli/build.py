"""What `acp build` does: recipe in, data set out, summary last."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from acp.builder.release import make_data_set, work_folder
from acp.cli.options import SetOption, Stopped, tell
from acp.core.errors import AcpError
from acp.dataset.card.statistics import read_statistics
from acp.executor.build import Build
from acp.executor.plan import carried_forward, measured_in
from acp.executor.work import Rank, end_with_parent
from acp.pipeline.recipe import Recipe, load_recipe


def build(
    recipe: Annotated[str, typer.Argument(help="Name or path of a recipe.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the data set. [default: build/<data_set>]"),
    ] = None,
    overrides: SetOption = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Make only the first N scenes; later builds go on from there."),
    ] = None,
    nproc: Annotated[
        str | None,
        typer.Option(
            "--nproc",
            "-n",  # torchrun takes any --nproc for its own, and says so
            metavar="N|auto",
            help="Processes that share the shards; auto: one a GPU, or a core. 1 if none.",
        ),
    ] = None,
) -> None:
    """Make a data set, or go on with one that was interrupted."""
    try:
        for line in build_data_set(recipe, out, overrides or [], limit, _processes(nproc)):
            typer.echo(line)
    except Stopped as stopped:
        if Rank.of_environment().rank == 0:  # the only one that speaks
            tell("stopped; what is finished is kept, the same command goes on")
        sys.exit(stopped.exit_code)


def _processes(nproc: str | None) -> int | Literal["auto"] | None:
    if nproc is None or nproc == "auto":
        return nproc  # type: ignore[return-value]
    if not nproc.isdecimal() or not int(nproc):
        raise AcpError(f"--nproc: expected a number from 1 up, or auto, got {nproc!r}")
    return int(nproc)


def build_data_set(
    source: str,
    out: Path | None,
    overrides: Sequence[str],
    limit: int | None,
    num_processes: int | Literal["auto"] | None = None,
) -> Iterator[str]:
    """Build a recipe by name or path into `out` (default `build/<data_set>`).

    Yields the lines of the summary. `num_processes` is 1 if None, and with "auto" as many as the
    recipe has use for here. Where a launcher has started several processes, each does its part,
    and rank 0 alone yields something.

    Raises:
        AcpError: a wrong recipe, something missing, a folder of another recipe, failed shards,
            or not as many processes as were asked for.
    """
    end_with_parent()
    rank = Rank.of_environment()
    try:
        if rank.size > 1 and num_processes not in (None, "auto", rank.size):
            raise AcpError(
                f"--nproc {num_processes}, but the launcher started {rank.size} processes; give "
                "both the same number, or leave --nproc out"
            )
        recipe = load_recipe(source, overrides)
        folder = out or Path("build") / recipe.data_set
        if limit is None or limit >= recipe.scenes:
            yield from build_recipe(recipe, folder, num_processes or 1)
            return
        part = recipe.model_copy(update={"scenes": limit})
        yield from build_recipe(part, folder, num_processes or 1)
        if rank.rank == 0:
            yield from carried_forward(measured_in(work_folder(folder)), recipe.scenes)
    except AcpError as error:
        who = f"rank {rank.rank} on {socket.gethostname()}: " if rank.rank else ""
        raise AcpError(f"{who}{error}") from None


def build_recipe(
    recipe: Recipe, out: Path, num_processes: int | Literal["auto"] = 1
) -> Iterator[str]:
    """Build a recipe into `out` and yield the lines of the summary; rank 0 alone has any."""
    from datasets.utils import disable_progress_bars
    from datasets.utils.logging import set_verbosity_error

    disable_progress_bars()
    set_verbosity_error()
    build, notes = make_data_set(recipe, out, num_processes)
    if Rank.of_environment().rank:
        return
    yield from summary(build, out)
    yield from (f"note        {note}" for note in notes)


def summary(build: Build, out: Path) -> Iterator[str]:
    """Scenes, candidates, kept, rejected by reason, seconds by stage, and how to load it."""
    statistics = read_statistics(out)
    counts, measured = statistics.counts(), measured_in(build.work)
    yield f"scenes      {counts['scenes']} ({counts['scenes rejected']} rejected)"
    yield f"candidates  {counts['candidates']}"
    yield f"kept        {counts['kept']} images with {counts['objects']} objects"
    for (level, reason), count in statistics.rejects().items():
        yield f"rejected    {count:>5}  {level}: {reason}"
    if seconds := measured.seconds:
        yield "seconds     " + ", ".join(f"{name} {value:.1f}" for name, value in seconds.items())
    if measured.peak_bytes:
        told = (f"{name} {value / 2**30:.2f}" for name, value in measured.peak_bytes.items())
        yield "GPU GiB     " + ", ".join(told) + " at most"
    config = "" if counts["kept"] else "'raw', "
    if not counts["kept"]:
        yield "note        nothing was picked: `curated` is empty; loosen the thresholds of `pick`"
    sheet = out / "contact_sheet.jpg"
    yield f"data set    {out}" + (f"  (contact sheet: {sheet})" if sheet.exists() else "")
    yield "load it     from datasets import load_dataset"
    yield f"            data = load_dataset({str(out)!r}, {config}split='train')"
