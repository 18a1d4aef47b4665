"""The command line. Each command is a thin layer over the library; errors are one line each."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from acp.cli import card, check, metric, plan, priors, push, score
from acp.core.errors import AcpError, shown
from acp.core.version import __version__

app = typer.Typer(
    help="Auto Cherry-Picker: synthetic training data from a list of concepts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
assets_app = typer.Typer(help="Pictures of the embedded default.", no_args_is_help=True)
cutouts_app = typer.Typer(help="Banks of cut-outs for the cutpaste renderer.", no_args_is_help=True)
app.add_typer(assets_app, name="assets")
app.add_typer(cutouts_app, name="cutouts")
app.add_typer(priors.app, name="priors")
app.add_typer(metric.app, name="metric")

SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a value, e.g. render.candidates=2."),
]


class _Stopped(BaseException):
    """Ctrl-C or SIGTERM, under a name that no library takes for its own."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


def main() -> None:
    """Entry point: a user's mistake ends in one line on standard error and exit code 1."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        app()
    except AcpError as error:
        typer.secho(f"error: {shown(str(error))}", fg="red", err=True)
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        reason = (error.strerror or str(error)).lower()
        typer.secho(f"error: {shown(where + reason)}", fg="red", err=True)
        sys.exit(1)
    except _Stopped as stopped:
        _tell("stopped")
        sys.exit(stopped.exit_code)


def _stop(number: int, frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough
    raise _Stopped(number)


def _tell(line: str) -> None:
    if os.environ.get("RANK", "0") == "0":  # the only one that speaks where there are several
        typer.echo(line, err=True)


@app.command()
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
    from acp.cli.build import build_data_set

    try:
        for line in build_data_set(recipe, out, overrides or [], limit, _processes(nproc)):
            typer.echo(line)
    except _Stopped as stopped:
        _tell("stopped; what is finished is kept, the same command goes on")
        sys.exit(stopped.exit_code)


def _processes(nproc: str | None) -> int | Literal["auto"] | None:
    if nproc is None or nproc == "auto":
        return nproc  # type: ignore[return-value]
    if not nproc.isdecimal() or not int(nproc):
        raise AcpError(f"--nproc: expected a number from 1 up, or auto, got {nproc!r}")
    return int(nproc)


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(help="Show only this one.")] = None,
    show: Annotated[bool, typer.Option("--show", help="All keys, with every default.")] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="The JSON schema of recipes, for editors.")
    ] = False,
    overrides: SetOption = None,
) -> None:
    """List the recipes, or show one with every key spelled out."""
    import yaml

    from acp.pipeline.recipe import load_recipe, recipe_names, recipe_schema

    if schema:
        typer.echo(json.dumps(recipe_schema(), indent=2))
        return
    for each in [name] if name else recipe_names():
        recipe = load_recipe(each, overrides or [])
        if show:
            typer.echo(yaml.safe_dump(recipe.resolved(), sort_keys=False, allow_unicode=True))
        else:
            typer.echo(f"{recipe.name:<16} {recipe.description}")


@app.command()
def doctor() -> None:
    """What is installed, which backends can run here, what is missing and how to get it."""
    from acp.cli.doctor import report

    for line in report():
        typer.echo(line)


@app.command()
def show(
    dataset: Annotated[str, typer.Argument(help="Folder or Hub id of a data set.")],
    out: Annotated[Path, typer.Option(help="Picture to write (.jpg or .png).")] = Path(
        "contact_sheet.jpg"
    ),
    scenes: Annotated[int, typer.Option(min=1, help="How many scenes.")] = 12,
) -> None:
    """Draw a contact sheet: candidates with boxes, masks and scores, picks and rejects."""
    from acp.dataset.pictures import show_data_set

    drawn = show_data_set(dataset, out, scenes)
    typer.echo(f"{drawn} scenes drawn in {out}")


app.command()(card.card)
app.command()(score.score)
app.command()(plan.plan)
app.command()(check.check)
app.command()(push.push)


@assets_app.command("fetch")
def assets_fetch(
    names: Annotated[list[str] | None, typer.Argument(help="Which; all if none.")] = None,
    recipe: Annotated[
        str | None, typer.Option("--for", metavar="RECIPE", help="Only what this recipe needs.")
    ] = None,
) -> None:
    """Fetch and unpack photographs (without root) that the recipe `demo` needs."""
    from acp.backends.cutpaste.assets import ASSETS, fetch, needed_by

    if recipe is not None:
        from acp.backends.registry import RECIPE_KINDS
        from acp.pipeline.recipe import load_recipe

        names = [*(names or []), *needed_by(map(load_recipe(recipe).backend, RECIPE_KINDS))]
    else:
        names = names or list(ASSETS)
    fetch(names, progress=typer.echo)


@cutouts_app.command("list")
def cutouts_list(
    folder: Annotated[Path | None, typer.Argument(help="A bank; the stamps if none.")] = None,
) -> None:
    """List the LVIS categories that a bank has, with the number of cut-outs of each."""
    from acp.backends.render_cutpaste import CutPaste, CutPasteOptions

    options = CutPasteOptions(cutouts=str(folder) if folder else None)
    for category, looks in CutPaste(options).inventory().looks.items():
        typer.echo(f"{len(looks):>4}  {category}")


@cutouts_app.command("from-coco")
def cutouts_from_coco(
    instances: Annotated[Path, typer.Argument(help="COCO-format JSON with masks.")],
    images: Annotated[Path, typer.Argument(help="Folder of its images.")],
    out: Annotated[Path, typer.Argument(help="Folder of the bank to write.")],
) -> None:
    """Cut objects out of a COCO-format data set into a bank (`--set renderer.cutouts=FOLDER`)."""
    from acp.backends.cutpaste.coco_cutouts import from_coco

    report = from_coco(instances, images, out)
    typer.echo(f"{sum(report.written.values())} cut-outs of {len(report.written)} categories")
    for reason, count in report.skipped.items():
        typer.echo(f"left out {count:>6}  {reason}")
    for name, reason in report.unmapped.items():
        typer.echo(f"not an LVIS category: {name} ({reason})")
    typer.echo(f"use it with --set renderer.cutouts={out}")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


if __name__ == "__main__":
    main()
