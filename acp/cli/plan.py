"""`acp plan`: what a recipe will take in hours, memory and disk, by what its first scenes took."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acp.builder.release import work_folder
from acp.executor.plan import carried_forward, measured_in
from acp.pipeline.recipe import load_recipe


def plan(
    recipe: Annotated[str, typer.Argument(help="Name or path of a recipe.")],
    build: Annotated[
        Path,
        typer.Option(
            "--from",
            metavar="FOLDER",
            help="A short build of it: acp build --limit 64.",
        ),
    ],
    processes: Annotated[int, typer.Option(min=1, help="How many share the shards.")] = 1,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a value of the recipe."),
    ] = None,
) -> None:
    """What a recipe takes: hours, GPU memory and disk, carried forward from a short build of it."""
    scenes = load_recipe(recipe, overrides or []).scenes
    for line in carried_forward(measured_in(work_folder(build)), scenes, processes):
        typer.echo(line)
