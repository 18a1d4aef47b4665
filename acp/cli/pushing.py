"""What the commands that push have in common: their options, and what they say on the way."""

from __future__ import annotations

from typing import Annotated

import typer

RevisionOption = Annotated[
    str | None,
    typer.Option("--revision", metavar="BRANCH", help="Branch, made if missing. [default: main]"),
]
TagOption = Annotated[
    str | None, typer.Option("--tag", metavar="NAME", help="Tag the release, e.g. v1.0.")
]
PrivateOption = Annotated[bool, typer.Option("--private", help="For you and yours alone.")]
ProposalOption = Annotated[bool, typer.Option("--create-pr", help="Propose it as a pull request.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what would change; write nothing.")
]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="A line for each request.")]


def tell(line: str) -> None:
    """A line on standard error."""
    typer.echo(line, err=True)


def guard_output(*, verbose: bool) -> None:
    """No log shows a token from here on; `verbose` shows the requests."""
    from acp.hub.request_log import keep_secrets_out, show_requests

    keep_secrets_out()
    if verbose:
        show_requests()
