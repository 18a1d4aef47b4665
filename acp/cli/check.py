"""`acp check`: a data set as a reader would see it, with one line for each problem."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from acp.dataset.check.problems import Progress, Report


def check(
    dataset: Annotated[str, typer.Argument(help="Folder, file or Hub id of a data set.")],
    config: Annotated[str | None, typer.Option(help="Only this configuration.")] = None,
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
    revision: Annotated[str | None, typer.Option(help="Of a data set on the Hub.")] = None,
    max_problems: Annotated[
        int, typer.Option(min=1, help="Lines for problems of one kind; all are counted.")
    ] = 20,
    everything: Annotated[bool, typer.Option("--all", help="A line for every problem.")] = False,
    nproc: Annotated[
        int | None, typer.Option("--nproc", "-n", min=1, help="How many share the work. [cores]")
    ] = None,
) -> None:
    """Check that a data set, ours or not, is whole and means what it says."""
    from acp.dataset.check import check_data_set
    from acp.executor.progress import terminal

    device = terminal()
    with bar(device) as progress:
        report = check_data_set(
            dataset,
            config=config,
            split=split,
            revision=revision,
            processes=nproc or cores(),
            max_problems=None if everything else max_problems,
            tell=(lambda line: typer.echo(line, err=True)) if device else (lambda line: None),
            progress=progress,
        )
    for line in printed(report):
        typer.echo(line)
    if not report.ok:
        raise typer.Exit(1)


def printed(report: Report) -> Iterator[str]:
    """Problems, warnings, what was taken for what, and the summary."""
    from acp.dataset.check.problems import one_line

    yield from report.lines()
    yield from report.warning_lines()
    yield from map(one_line, report.notes)
    yield report.summary()


def cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def bar(device: str) -> Iterator[Progress]:
    """A bar of the rows on a terminal; none elsewhere."""
    if not device:
        yield lambda what, done, total: None
        return
    from huggingface_hub.utils.tqdm import tqdm

    with open(device, "w") as screen:  # noqa: PTH123 - a device, not a file
        rows: Any = tqdm(desc="check", unit="row", file=screen)  # type: ignore[no-untyped-call]

        def advance(what: str, done: int, total: int) -> None:
            rows.total = total
            rows.update(done - rows.n)

        try:
            yield advance
        finally:
            rows.close()
