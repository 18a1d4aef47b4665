"""`acp card`: the card of a data set, as it stands or as it would be pushed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acp.core.errors import AcpError
from acp.core.files import sha256
from acp.dataset.card import CARD, render_card
from acp.dataset.card.markdown import as_page
from acp.dataset.receipt import RECEIPT, Receipt, read_receipt, write_receipt
from acp.hub.target import Target
from acp.pipeline.recipe import load_recipe


def card(
    dataset: Annotated[Path, typer.Argument(help="Folder of a data set that acp build made.")],
    repo: Annotated[
        str | None,
        typer.Option(metavar="OWNER/NAME", help="As a push to this data set would show it."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write it to this file: .md, or .html to look at.")
    ] = None,
) -> None:
    """Show the card of a data set: what it holds, how it was made, where it fails."""
    if out is not None and out.suffix.lower() not in {".md", ".html"}:
        raise AcpError(f"--out {out}: a card is a .md or a .html")
    if repo is not None:
        Target(repo).check()
    receipt = _receipt(dataset)
    name = repo or load_recipe(str(dataset / "recipe.yaml")).data_set
    text = render_card(dataset, receipt, name)
    if out is None:
        typer.echo(text, nl=False)
        return
    content = as_page(text, dataset, name) if out.suffix.lower() == ".html" else text
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(content, encoding="utf-8")
    if out.resolve() == (dataset / CARD).resolve():
        _sign(dataset, receipt)
    typer.echo(f"card        {out}")


def _sign(folder: Path, receipt: Receipt) -> None:
    """The receipt knows the card that is there now, so that acp check takes it for ours."""
    from dataclasses import replace

    sums = {**receipt.sha256, CARD: sha256(folder / CARD)}
    write_receipt(folder, replace(receipt, sha256=sums))


def _receipt(folder: Path) -> Receipt:

    if not folder.is_dir():
        raise AcpError(f"{folder}: no such folder; give the one that acp build --out wrote")
    receipt = read_receipt(folder)
    if receipt is None:
        raise AcpError(
            f"{folder}: not a data set of acp build, it has no {RECEIPT} that can be read; give "
            "the folder that acp build --out wrote, or run acp build again if it is an old one"
        )
    return receipt
