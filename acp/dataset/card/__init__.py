"""The card of a data set, filled from its recipe, its shards and its receipt; nothing is typed
in."""

from __future__ import annotations

from pathlib import Path

from acp.core.files import write_text
from acp.dataset.card.render import render_card as render_card
from acp.dataset.card.sample import write_sample
from acp.dataset.receipt import Receipt

CARD = "README.md"
"""Its name in the folder."""


def write_card(folder: Path, receipt: Receipt, data_set: str) -> None:
    """Write the card of a data set, and `sample.jpg`, the picture of its sample row.

    Raises:
        AcpError: a table or the recipe cannot be read.
    """
    write_sample(folder)
    write_text(folder / CARD, render_card(folder, receipt, data_set))
