"""`acp priors`: make priors files of annotations, and look into them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from acp.annotations.build import BuildOptions, build_priors
from acp.annotations.formats import FORMATS
from acp.annotations.json_lists import Notify
from acp.annotations.showing import lines, look_up, open_priors
from acp.backends.base import LLM
from acp.backends.registry import make_backend
from acp.core.errors import AcpError, did_you_mean, shown
from acp.dataset.pictures import check_picture, draw_references
from acp.executor.progress import terminal

app = typer.Typer(help="Priors: real layouts that CLIS-L compares with.", no_args_is_help=True)


CAPTIONS_BY = ("rules", "llm", "none")


@app.command()
def build(
    files: Annotated[list[Path], typer.Argument(help="Annotation files of the format.")],
    file_format: Annotated[
        str,
        typer.Option(
            "--from", metavar="FORMAT", help="coco, lvis, visual-genome or relations: of the files."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Priors file to write (.parquet).")],
    captions_by: Annotated[
        str, typer.Option(metavar="rules|llm|none", help="Who reads the relations of captions.")
    ] = "rules",
    llm: Annotated[str, typer.Option(help="Language model of --captions-by llm.")] = "smollm2",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Its options, e.g. llm.temperature=0."),
    ] = None,
    max_geometric: Annotated[
        int, typer.Option(min=1, help="Rows kept of each geometric relation of two categories.")
    ] = 64,
    nproc: Annotated[int, typer.Option(min=1, help="Processes that parse captions.")] = 2,
) -> None:
    """Make a priors file of COCO, LVIS, Visual Genome or plain relation files."""
    _check("--from", file_format, tuple(FORMATS))
    _check("--captions-by", captions_by, CAPTIONS_BY)
    options = BuildOptions(
        captions_by=captions_by,
        llm=_language_model(llm, overrides or []) if captions_by == "llm" else None,
        max_geometric=max_geometric,
        processes=nproc,
    )
    with _progress_bars(terminal()) as notify:
        report = build_priors(file_format, files, out, options, notify)
    counts = report.info["counts"]
    typer.echo(f"images      {counts['images']} with {counts['boxes']} usable boxes")
    if counts["captions"]:
        by = (report.info["parser"] or {}).get("model", "nobody")
        typer.echo(f"captions    {counts['captions']}, read by {by}")
    typer.echo(f"stated      {counts['stated']} relations")
    kept, seen = (sum(counts[f"geometric_{key}"].values()) for key in ("kept", "seen"))
    typer.echo(f"geometric   {kept} relations, of {seen} seen")
    for line in report.left_out:
        typer.echo(shown(line))
    typer.echo(f"priors      {out} ({report.rows} rows, {out.stat().st_size / 1e6:.1f} MB)")


@app.command()
def show(
    priors: Annotated[str, typer.Argument(help="Priors file, or default for the packaged ones.")],
    subject: Annotated[str, typer.Argument(help="Category, e.g. dog.")],
    predicate: Annotated[str, typer.Argument(help="Predicate, e.g. riding.")],
    object_: Annotated[str, typer.Argument(metavar="OBJECT", help="Category, e.g. skateboard.")],
    out: Annotated[Path, typer.Option(help="Picture to write (.png or .jpg).")] = Path(
        "priors.png"
    ),
) -> None:
    """How many real layouts there are of a relation, and a picture of them."""
    check_picture(out)
    shown = look_up(open_priors(priors), (subject, predicate, object_))
    for line in lines(shown):
        typer.echo(line)
    drawn = draw_references(shown, out)
    typer.echo(f"picture     {out} ({drawn} of {len(shown.rows)} drawn alone)")


def _language_model(name: str, overrides: list[str]) -> LLM:
    import yaml

    options: dict[str, Any] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key.startswith("llm.") or key == "llm.":
            raise AcpError(f"--set {override}: expected llm.KEY=VALUE, as --set llm.threads=2")
        try:
            options[key.removeprefix("llm.")] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise AcpError(f"--set {override}: {text!r} is not a YAML value; quote it") from None
    made: LLM = make_backend("llm", {**options, "backend": name})  # type: ignore[assignment]
    return made


def _check(option: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise AcpError(f"{option}: there is no {value!r}; {did_you_mean(value, known)}")


@contextlib.contextmanager
def _progress_bars(device: str) -> Iterator[Notify]:
    """A `Notify` that draws a bar for what is being done, on a terminal; none elsewhere."""
    if not device:
        yield lambda what, done, total: None
        return
    from huggingface_hub.utils.tqdm import tqdm

    bars: dict[str, Any] = {}

    def notify(what: str, done: int, total: int) -> None:
        if what not in bars:
            close()
            bars[what] = tqdm(total=total, desc=what, unit="", unit_scale=True, file=screen)  # type: ignore[no-untyped-call]
        bars[what].update(done - bars[what].n)

    def close() -> None:
        for bar in bars.values():
            bar.close()
        bars.clear()

    with open(device, "w") as screen:  # noqa: PTH123 - a device, not a file
        try:
            yield notify
        finally:
            close()
