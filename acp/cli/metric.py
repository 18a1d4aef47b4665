"""`acp metric`: CLIS as a module of `evaluate`, by its bare name and as a Space on the Hub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

import acp
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
from acp.hub.errors import guard_output
from acp.hub.metric_space import push_metric
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
    guard_output(requests=verbose)
    target = Target(repo, "space", revision, tag, private, create_pr)
    done = push_metric(metric_folder(), target, dry_run=dry_run, tell=tell)
    at = f", revision={tag or revision!r}" if tag or revision else ""
    use = f"use it      evaluate.load({repo!r}{at})"
    for line in [*done.changes.lines(), *outcome(done, [use])]:
        typer.echo(line)


def metric_folder() -> Path:
    """The folder of the module: of the package, or of a checkout.

    Raises:
        AcpError: an installation without it.
    """
    package = Path(acp.__file__).resolve().parent
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
