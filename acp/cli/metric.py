"""`acp metric`: CLIS as a module of `evaluate`, by its bare name and as a Space on the Hub."""

from __future__ import annotations

import os
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
from acp.core.version import __version__

if TYPE_CHECKING:
    from acp.hub.publish import Published
    from acp.hub.target import Target

app = typer.Typer(help="CLIS as a module of `evaluate`.", no_args_is_help=True)

NAMES = ("evaluate-metric/clis", "acp/clis")
"""What `evaluate.load("clis")` and `evaluate.load("acp/clis")` ask the Hub for, and then their
cache."""


@app.command()
def install() -> None:
    """Put the metric into `evaluate`'s cache: `evaluate.load("clis")` works everywhere then."""
    for folder in install_metric():
        typer.echo(f"installed {folder}")
    typer.echo('use it with evaluate.load("clis"), in any folder, offline too')


@app.command()
def push(
    repo: Annotated[str, typer.Option(metavar="OWNER/clis", help="Space on the Hub.")],
    revision: RevisionOption = None,
    tag: TagOption = None,
    private: PrivateOption = False,
    create_pr: ProposalOption = False,
    dry_run: DryRunOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Put the metric on the Hub as a Space: a page to try it, and `evaluate.load("OWNER/clis")`."""
    from acp.hub.metric_space import check_name, space_files, stale_files
    from acp.hub.publish import check_target, publish
    from acp.hub.target import Target

    guard_output(verbose=verbose)
    target = Target(repo, "space", revision, tag, private, create_pr)
    check_name(repo)
    check_target(target, dry_run=dry_run, tell=tell)
    done = publish(
        space_files(metric_folder()),
        target,
        stale=lambda there: stale_files(there, repo),
        message=f"CLIS of auto-cherry-picker {__version__}",
        dry_run=dry_run,
        tell=tell,
    )
    for line in [*done.changes.lines(), *(_would(done) if dry_run else _did(done, target))]:
        typer.echo(line)


def _would(done: Published) -> list[str]:
    from acp.hub.changes import in_bytes

    state = "to be made" if done.created else "exists"
    return [
        f"would send  {in_bytes(done.sent)}",
        f"to          {done.address} ({state})",
        "dry run: nothing was written",
    ]


def _did(done: Published, target: Target) -> list[str]:
    if done.proposal:
        return [f"proposed    {done.proposal}", f"commit      {done.commit}"]
    at = target.tag or target.revision
    more = f", revision={at!r}" if at else ""
    return [
        f"Space       {done.address}",
        f"commit      {done.commit}" + (" (as before)" if done.changes.nothing else ""),
        f"use it      evaluate.load({target.repo!r}{more})",
    ]


def metric_folder() -> Path:
    """The folder of the module: of the package, or of a checkout.

    Raises:
        AcpError: an installation without it.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "metric", package.parent / "metrics" / "clis"):
        if (folder / "clis.py").is_file():
            return folder
    raise AcpError(f"{package}: the metric's files are missing; install auto-cherry-picker anew")


def install_metric() -> list[Path]:
    """Copy the module where `evaluate` keeps modules of the Hub; returns the folders.

    Raises:
        AcpError: the cache cannot be written.
    """
    from datasets import DownloadMode
    from evaluate import loading

    source = str(metric_folder() / "clis.py")
    try:
        cache = loading.init_dynamic_modules()
        return [_install(loading, source, cache, name, DownloadMode) for name in NAMES]
    except OSError as error:
        where = error.filename or "the cache of evaluate"
        raise AcpError(
            f"{where}: {(error.strerror or str(error)).lower()}; set HF_MODULES_CACHE to a folder "
            "that can be written"
        ) from None


def _install(loading: object, source: str, cache: str, name: str, modes: object) -> Path:
    """As `evaluate` itself does with a module that it fetched; the newest is the one it loads."""
    create = loading._create_importable_file  # type: ignore[attr-defined]
    module, _ = create(
        local_path=source,
        local_imports=[],
        additional_files=[],
        dynamic_modules_path=cache,
        module_namespace="metrics",
        name=name,
        download_mode=modes.REUSE_DATASET_IF_EXISTS,  # type: ignore[attr-defined]
    )
    folder = Path(cache).joinpath(*module.split(".")[1:-1])
    os.utime(folder / "clis.py")
    return folder
