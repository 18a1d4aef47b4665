"""`acp assets` and `acp cutouts`: pictures of the embedded default, and banks of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acp.annotations.cutouts import from_coco
from acp.backends.cutpaste.assets import ASSETS, fetch, needed_by
from acp.backends.registry import RECIPE_KINDS
from acp.backends.render_cutpaste import CutPaste, CutPasteOptions
from acp.core.errors import shown
from acp.pipeline.recipe import load_recipe

assets = typer.Typer(help="Pictures of the embedded default.", no_args_is_help=True)
cutouts = typer.Typer(help="Banks of cut-outs for the cutpaste renderer.", no_args_is_help=True)


@assets.command("fetch")
def assets_fetch(
    names: Annotated[list[str] | None, typer.Argument(help="Which; all if none.")] = None,
    recipe: Annotated[
        str | None, typer.Option("--for", metavar="RECIPE", help="Only what this recipe needs.")
    ] = None,
) -> None:
    """Fetch and unpack photographs (without root) that the recipe `demo` needs."""
    if recipe is not None:
        names = [*(names or []), *needed_by(map(load_recipe(recipe).backend, RECIPE_KINDS))]
    else:
        names = names or list(ASSETS)
    fetch(names, progress=typer.echo)


@cutouts.command("list")
def cutouts_list(
    folder: Annotated[Path | None, typer.Argument(help="A bank; the stamps if none.")] = None,
) -> None:
    """List the LVIS categories that a bank has, with the number of cut-outs of each."""
    options = CutPasteOptions(cutouts=str(folder) if folder else None)
    renderer = CutPaste(options)
    for category, looks in renderer.inventory().looks.items():
        typer.echo(f"{len(looks):>4}  {category}")
    for line in renderer.left_out():
        typer.echo(shown(f"left out  {line}"))


@cutouts.command("from-coco")
def cutouts_from_coco(
    instances: Annotated[Path, typer.Argument(help="COCO-format JSON with masks.")],
    images: Annotated[Path, typer.Argument(help="Folder of its images.")],
    out: Annotated[Path, typer.Argument(help="Folder of the bank to write.")],
) -> None:
    """Cut objects out of a COCO-format data set into a bank (`--set renderer.cutouts=FOLDER`)."""
    report = from_coco(instances, images, out)
    typer.echo(f"{sum(report.written.values())} cut-outs of {len(report.written)} categories")
    for line in report.rejects.lines():
        typer.echo(shown(line))
    for name, reason in report.unmapped.items():
        typer.echo(shown(f"not an LVIS category: {name} ({reason})"))
    typer.echo(f"use it with --set renderer.cutouts={out}")
