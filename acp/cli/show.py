"""`acp show`: a picture of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acp.dataset.pictures import show_data_set


def show(
    dataset: Annotated[str, typer.Argument(help="Folder or Hub id of a data set.")],
    out: Annotated[Path, typer.Option(help="Picture to write (.jpg or .png).")] = Path(
        "contact_sheet.jpg"
    ),
    scenes: Annotated[int, typer.Option(min=1, help="How many scenes.")] = 12,
) -> None:
    """Draw a contact sheet: candidates with boxes, masks and scores, picks and rejects."""
    drawn = show_data_set(dataset, out, scenes)
    typer.echo(f"{drawn} scenes drawn in {out}")
