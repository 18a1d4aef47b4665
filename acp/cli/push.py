"""`acp push`: a data set folder becomes one commit on the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acp.cli.check import bar, cores, printed
from acp.cli.options import (
    DryRunOption,
    PrivateOption,
    ProposalOption,
    RevisionOption,
    TagOption,
    VerboseOption,
    outcome,
    tell,
)
from acp.core.errors import AcpError
from acp.dataset.check import check_data_set
from acp.executor.progress import terminal
from acp.hub.data_set import push_data_set
from acp.hub.errors import guard_output
from acp.hub.target import Target

PROBLEMS = 20
"""Lines for problems of one kind."""


def push(
    folder: Annotated[Path, typer.Argument(help="Folder of a data set, as acp build writes it.")],
    repo: Annotated[str, typer.Option(metavar="OWNER/NAME", help="Data set on the Hub.")],
    revision: RevisionOption = None,
    tag: TagOption = None,
    private: PrivateOption = False,
    create_pr: ProposalOption = False,
    dry_run: DryRunOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Put a data set on the Hub, in one commit: readers see the old release or the new one."""
    guard_output(requests=verbose)
    target = Target(repo, "dataset", revision, tag, private, create_pr)
    release, done = push_data_set(
        folder, target, lambda: _check(folder), dry_run=dry_run, tell=tell
    )
    for line in done.changes.lines():
        typer.echo(line)
    if release.left_out:
        typer.echo(f"left out    {len(release.left_out)} files that the receipt does not list")
    split = ", split='train'" if release.sums else ""
    at = f", revision={tag or revision!r}" if tag or revision else ""
    load = f"            data = load_dataset({repo!r}{split}{at})"
    for line in outcome(done, ["load it     from datasets import load_dataset", load]):
        typer.echo(line)


def _check(folder: Path) -> None:
    """Read all of the data set as a reader would; raises AcpError if that does not go well."""
    tell(f"checking {folder}")
    with bar(terminal()) as progress:
        report = check_data_set(
            str(folder), processes=cores(), max_problems=PROBLEMS, progress=progress
        )
    if not report.ok:
        for line in printed(report):
            tell(line)
        raise AcpError(f"{folder}: nothing was sent, see above; acp check tells all problems")
