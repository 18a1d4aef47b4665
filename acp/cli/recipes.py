"""`acp recipes`: what recipes there are, what they say, and what they may say."""

from __future__ import annotations

import json
from typing import Annotated

import typer
import yaml

from acp.cli.options import SetOption
from acp.pipeline.recipe import load_recipe, recipe_names, recipe_schema


def recipes(
    name: Annotated[str | None, typer.Argument(help="Show only this one.")] = None,
    show: Annotated[bool, typer.Option("--show", help="All keys, with every default.")] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="The JSON schema of recipes, for editors.")
    ] = False,
    overrides: SetOption = None,
) -> None:
    """List the recipes, or show one with every key spelled out."""
    if schema:
        typer.echo(json.dumps(recipe_schema(), indent=2))
        return
    for each in [name] if name else recipe_names():
        recipe = load_recipe(each, overrides or [])
        if show:
            typer.echo(yaml.safe_dump(recipe.resolved(), sort_keys=False, allow_unicode=True))
        else:
            typer.echo(f"{recipe.name:<16} {recipe.description}")
