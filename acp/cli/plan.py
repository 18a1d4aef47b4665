"""`acp plan`: what a recipe will take in hours, memory and disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def plan(
    recipe: Annotated[str, typer.Argument(help="Name or path of a recipe.")],
    gpus: Annotated[int, typer.Option(min=1, help="How many GPUs share the shards.")] = 1,
    build: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FOLDER", help="A short build of the recipe: its data set's folder."
        ),
    ] = None,
    rates: Annotated[
        Path | None, typer.Option(help="JSON with measured rates, as of benchmarks/gpu.py.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a value of the recipe."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON.")] = False,
) -> None:
    """What a recipe takes: hours by stage, shards, GPU memory, disk."""
    import json

    from acp.executor.forecast import table
    from acp.executor.forecast.plan import plan_recipe
    from acp.executor.forecast.rates import published_rates, rates_for, read_rates
    from acp.pipeline.recipe import load_recipe

    wanted = load_recipe(recipe, overrides or [])
    known = [rates_for(wanted, build)] if build else []
    known += [read_rates(rates)] if rates else []
    found = plan_recipe(wanted, gpus, [*known, *published_rates(wanted)])
    if as_json:
        typer.echo(json.dumps(table.as_json(found), indent=1))
        return
    for line in table.lines(found):
        typer.echo(line)
