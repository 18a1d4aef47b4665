"""What several commands have in common: options, and what they say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from acp.hub.publish import Published, in_bytes

SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a value, e.g. render.candidates=2."),
]
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


class Stopped(BaseException):
    """Ctrl-C or SIGTERM, under a name that no library takes for its own."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


def tell(line: str) -> None:
    """A line on standard error."""
    typer.echo(line, err=True)


def outcome(done: Published, how_to_use: list[str]) -> Iterator[str]:
    """What a push did, or would do, in lines."""
    at_most = f"{in_bytes(sum(done.changes.to_send.values()))} at most: less what the Hub had"
    if done.commit is None:
        yield f"would send  {at_most}"
        yield f"to          {done.address} ({'to be made' if done.created else 'exists'})"
        yield "dry run: nothing was written"
        return
    yield f"proposed    {done.proposal}" if done.proposal else f"release     {done.address}"
    yield f"commit      {done.commit}"
    yield f"sent        {'nothing changed: no commit' if done.changes.nothing else at_most}"
    if not done.proposal:
        yield from how_to_use
