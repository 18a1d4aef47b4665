"""The command line. Each command is a thin layer over the library; errors are one line each."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from acp.cli.options import Stopped, tell
from acp.core.errors import AcpError, shown
from acp.core.version import __version__

COMMANDS = {
    "build": "acp.cli.build:build",
    "recipes": "acp.cli.recipes:recipes",
    "plan": "acp.cli.plan:plan",
    "show": "acp.cli.show:show",
    "card": "acp.cli.card:card",
    "check": "acp.cli.check:check",
    "push": "acp.cli.push:push",
    "score": "acp.cli.score:score",
    "metric": "acp.cli.metric:app",
    "priors": "acp.cli.priors:app",
    "cutouts": "acp.cli.assets:cutouts",
    "assets": "acp.cli.assets:assets",
    "doctor": "acp.cli.doctor:doctor",
}


class Commands(TyperGroup):
    """Imports the module of a command when the command is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*COMMANDS]

    def get_command(self, ctx: Any, name: str) -> Any:
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if isinstance(command, typer.Typer):
            group = typer.main.get_group(command)
            group.name = name
            return group
        alone = typer.Typer(add_completion=False)
        alone.command(name)(command)
        return typer.main.get_command(alone)


app = typer.Typer(
    cls=Commands,
    help="Auto Cherry-Picker: synthetic training data from a list of concepts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Auto Cherry-Picker: synthetic training data from a list of concepts."""


def main() -> None:
    """Entry point: a user's mistake ends in one line on standard error and exit code 1."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        app()
    except AcpError as error:
        _end(str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _end(where + (error.strerror or str(error)).lower())
    except Stopped as stopped:
        if os.environ.get("RANK", "0") == "0":  # the only one that speaks where there are several
            tell("stopped")
        sys.exit(stopped.exit_code)


def _end(reason: str) -> None:
    typer.secho(f"error: {shown(reason)}", fg="red", err=True)
    sys.exit(1)


def _stop(number: int, frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough
    raise Stopped(number)


if __name__ == "__main__":
    main()
