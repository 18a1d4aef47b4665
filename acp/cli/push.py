"""`acp push`: a data set folder becomes one commit on the Hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acp.cli.pushing import (
    DryRunOption,
    PrivateOption,
    ProposalOption,
    RevisionOption,
    TagOption,
    VerboseOption,
    guard_output,
    tell,
)
from acp.core.errors import AcpError

if TYPE_CHECKING:
    from acp.hub.data_set import Release
    from acp.hub.publish import Published
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
    from acp.hub.data_set import release_of, stale_files
    from acp.hub.publish import check_target, publish
    from acp.hub.target import Target

    guard_output(verbose=verbose)
    target = Target(repo, "dataset", revision, tag, private, create_pr)
    if not folder.is_dir():
        raise AcpError(f"{folder}: no such folder; make a data set with acp build")
    check_target(target, dry_run=dry_run, tell=tell)
    with _unchanged(folder):
        _check(folder)
        release = release_of(folder, repo)
    done = publish(
        release.files,
        target,
        stale=lambda there: stale_files(there, release.files, repo),
        message=release.title,
        sums=release.sums,
        dry_run=dry_run,
        tell=tell,
    )
    for line in [
        *_changed(release, done),
        *(_would(done) if dry_run else _did(release, done, target)),
    ]:
        typer.echo(line)


def _check(folder: Path) -> None:
    """Read all of the data set as a reader would; raises AcpError if that does not go well."""
    from acp.cli.check import bar, cores, printed
    from acp.dataset.check import check_data_set
    from acp.executor.progress import terminal

    tell(f"checking {folder}")
    with bar(terminal()) as progress:
        report = check_data_set(
            str(folder), processes=cores(), max_problems=PROBLEMS, progress=progress
        )
    if not report.ok:
        for line in printed(report):
            tell(line)
        raise AcpError(f"{folder}: nothing was sent, see above; acp check tells all problems")


@contextmanager
def _unchanged(folder: Path) -> Iterator[None]:
    """Raises AcpError if the folder changes meanwhile, in place of what else may come of that."""
    before = _stamps(folder)
    changed = AcpError(f"{folder}: changed while it was checked, so nothing was sent; push again")
    try:
        yield
    except Exception:
        if _stamps(folder) != before:
            raise changed from None
        raise
    if _stamps(folder) != before:
        raise changed


def _stamps(folder: Path) -> list[tuple[Path, int, int]]:
    found = []
    with suppress(FileNotFoundError):  # a list that ends early is not equal to a whole one
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                stat = path.stat()
                found.append((path, stat.st_size, stat.st_mtime_ns))
    return found


def _changed(release: Release, done: Published) -> list[str]:
    lines = done.changes.lines()
    if release.left_out:
        lines.append(f"left out    {len(release.left_out)} files that the receipt does not list")
    return lines


def _would(done: Published) -> list[str]:
    from acp.hub.changes import in_bytes

    return [
        f"would send  {_sent(done)}"
        + (f"; {in_bytes(done.held)} are there from before" if done.held else ""),
        f"to          {done.address} ({'to be made' if done.created else 'exists'})",
        "dry run: nothing was written",
    ]


def _did(release: Release, done: Published, target: Target) -> list[str]:
    if done.proposal:
        return [
            f"proposed    {done.proposal}",
            f"commit      {done.commit}",
            f"sent        {_sent(done)}",
        ]
    state = "nothing changed: no commit" if done.changes.nothing else _sent(done)
    at = target.tag or target.revision
    of_ours = ", split='train'" if release.sums else ""
    at_commit = f", revision={at!r}" if at else ""
    return [
        f"release     {done.address}",
        f"commit      {done.commit}",
        f"sent        {state}",
        "load it     from datasets import load_dataset",
        f"            data = load_dataset({target.repo!r}{of_ours}{at_commit})",
    ]


def _sent(done: Published) -> str:
    from huggingface_hub.utils._runtime import is_xet_available

    from acp.hub.changes import in_bytes

    if is_xet_available():
        return f"{in_bytes(done.sent)} at most: Xet leaves out what the Hub has"
    return in_bytes(done.sent)
