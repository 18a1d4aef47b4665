"""`acp check`: a data set as a reader would see it, with one line for each problem."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from acp.core.errors import shown
from acp.core.progress import Advance, silent
from acp.dataset.check import Report, check_data_set
from acp.dataset.check.schema import named_columns
from acp.executor.progress import terminal


def check(
    dataset: Annotated[str, typer.Argument(help="Folder, file or Hub id of a data set.")],
    config: Annotated[str | None, typer.Option(help="Only this configuration.")] = None,
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
    revision: Annotated[str | None, typer.Option(help="Of a data set on the Hub.")] = None,
    bbox_format: Annotated[
        str,
        typer.Option(help="Boxes of a data set that is not ours: xyxy, cxcywh, xywhn, ..."),
    ] = "xywh",
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="PART=WHERE", help="Where it has what, e.g. bbox=objects.boxes."),
    ] = None,
    max_problems: Annotated[
        int, typer.Option(min=1, help="Lines for problems of one kind; all are counted.")
    ] = 20,
    everything: Annotated[bool, typer.Option("--all", help="A line for every problem.")] = False,
    nproc: Annotated[
        int | None, typer.Option("--nproc", "-n", min=1, help="How many share the work. [cores]")
    ] = None,
) -> None:
    """Check that a data set, ours or not, is whole and means what it says."""
    device = terminal()
    with bar(device) as progress:
        report = check_data_set(
            dataset,
            config=config,
            split=split,
            revision=revision,
            box_format=bbox_format,
            columns=named_columns(column or []),
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
    """Problems, warnings, what was not checked, what `load_dataset` reads, and the summary."""
    yield from report.lines()
    yield from (f"warning: {warning}" for warning in report.warnings)
    yield from map(shown, [*report.notes, *report.reads])
    yield report.summary()


def cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def bar(device: str) -> Iterator[Advance]:
    """A bar of the rows on a terminal; none elsewhere."""
    if not device:
        yield silent
        return
    from huggingface_hub.utils.tqdm import tqdm

    with open(device, "w") as screen:  # noqa: PTH123 - a device, not a file
        rows: Any = tqdm(desc="check", unit="row", file=screen)  # type: ignore[no-untyped-call]
        try:
            yield rows.update
        finally:
            rows.close()
