"""`acp score`: CLIS of a data set, as columns and as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from acp.backends.scoring import score_options
from acp.core.errors import AcpError
from acp.dataset.scored import score_data_set

MOST_REASONS = 8


def score(
    dataset: Annotated[str, typer.Argument(help="Folder, file or Hub id of a data set.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; scores/<data set> if none.")
    ] = None,
    config: Annotated[str | None, typer.Option(help="Configuration of the data set.")] = None,
    split: Annotated[str, typer.Option(help="Split of the data set.")] = "train",
    priors: Annotated[
        Path | None, typer.Option(help="File of acp priors build; the package's own if none.")
    ] = None,
    bbox_format: Annotated[
        str | None, typer.Option(help="Of boxes, as of acp check: xywh, xyxy, xywhn, xyxy1000, ...")
    ] = None,
    variant: Annotated[str, typer.Option(help="Of CLIS-L: paper, reference or acp.")] = "paper",
    components: Annotated[str, typer.Option(help="Of layout and image, with a comma.")] = "layout",
    captioner: Annotated[
        str | None, typer.Option(help="Backend of CLIS-I, or JSON with its options.")
    ] = None,
    judge: Annotated[
        str | None, typer.Option(help="Likewise; the captioner's namesake if none.")
    ] = None,
    plot: Annotated[bool, typer.Option(help="Draw the distribution of the scores.")] = True,
) -> None:
    """Score every row of a data set with CLIS and write rows and scores as a new one."""
    from datasets.utils import disable_progress_bars

    disable_progress_bars()
    options = score_options(
        priors=priors,
        bbox_format=bbox_format,
        variant=variant,
        components=[name.strip() for name in components.split(",") if name.strip()],
        captioner=_backend("captioner", captioner),
        judge=_backend("judge", judge),
    )
    folder = out or Path("scores") / (Path(dataset).expanduser().name or "data")
    summary = score_data_set(dataset, folder, options, config=config, split=split, plot=plot)
    for line in report(summary):
        typer.echo(line)
    typer.echo(f'open it with load_dataset("{folder}", split="{split}")')


def report(summary: Mapping[str, Any]) -> Iterator[str]:
    """Means, and how many rows have no score for which reason."""
    yield f"rows        {summary['rows']}"
    made_by = {
        "variant": summary["variant"],
        "priors": (summary["priors"] or {}).get("name"),
        "captioner": summary["captioner"],
        "judge": summary["judge"],
    }
    yield from (f"{key:<12}{value}" for key, value in made_by.items() if value)
    for key, value in summary.items():
        if key.startswith("mean_") and value is not None:
            yield f"{key.removeprefix('mean_'):<20}{value:8.2f}"
    asked = {"layout": "clis_l", "image": "clis_i"}
    for name in (asked[component] for component in summary["components"]):
        reasons = list(summary[f"{name}_reason"].items())
        for reason, count in reasons[:MOST_REASONS]:
            yield f"{name}: {count:>6}  {reason}"
        if rest := sum(count for _, count in reasons[MOST_REASONS:]):
            yield f"{name}: {rest:>6}  other reasons, see scores.json"


def _backend(kind: str, text: str | None) -> Any:
    import json

    if text is None or not text.lstrip().startswith("{"):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise AcpError(f"--{kind}: expected a name or JSON, got {text!r} ({error})") from None
