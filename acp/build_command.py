"""What `acp build` does: recipe in, data set out, summary last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from acp.recipe import Recipe, load_recipe
from acp.runner import Build, open_build


def build_data_set(
    source: str, out: Path | None, overrides: Sequence[str], limit: int | None, num_processes: int
) -> Iterator[str]:
    """Build a recipe by name or path into `out` (default `build/<data_set>`).

    Yields the lines of the summary.

    Raises:
        AcpError: a wrong recipe, something missing, a folder of another recipe, failed shards.
    """
    recipe = load_recipe(source, overrides)
    if limit is not None:
        recipe = recipe.model_copy(update={"scenes": min(limit, recipe.scenes)})
    yield from build_recipe(recipe, out or Path("build") / recipe.data_set, num_processes)


def build_recipe(recipe: Recipe, out: Path, num_processes: int) -> Iterator[str]:
    """Build a recipe into `out` and yield the lines of the summary."""
    from datasets.utils import disable_progress_bars
    from datasets.utils.logging import set_verbosity_error
    from filelock import FileLock, Timeout

    from acp.builder.release import check_out, published_scenes, release, work_folder
    from acp.errors import AcpError

    disable_progress_bars()
    set_verbosity_error()
    check_out(out)
    build = open_build(recipe, work_folder(out))
    try:
        with FileLock(build.work / "lock", timeout=0):
            published = published_scenes(build, out)
            build = build.with_scenes(max(published, build.finished_scenes()))
            if published < build.recipe.scenes or build.missing():
                release(build, out, num_processes)
    except Timeout:
        raise AcpError(f"{build.work}: another build is at work there; wait for it") from None
    yield from summary(build, out)


def summary(build: Build, out: Path) -> Iterator[str]:
    """Scenes, candidates, kept, rejected by reason, seconds by stage, and how to load it."""
    statistics = build.statistics()
    counts, seconds = statistics["counts"], statistics["seconds"]
    yield f"scenes      {counts['scenes']} ({counts['scenes rejected']} rejected)"
    yield f"candidates  {counts['candidates']}"
    yield f"kept        {counts['kept']} images with {counts['objects']} objects"
    for reason, count in sorted(statistics["rejects"].items(), key=lambda item: -item[1]):
        yield f"rejected    {count:>5}  {reason}"
    yield "seconds     " + ", ".join(f"{name} {value:.1f}" for name, value in seconds.items())
    config = "" if counts["kept"] else "'raw', "
    if not counts["kept"]:
        yield "note        nothing was picked: `curated` is empty; loosen the thresholds of `pick`"
    sheet = out / "contact_sheet.jpg"
    yield f"data set    {out}" + (f"  (contact sheet: {sheet})" if sheet.exists() else "")
    yield "load it     from datasets import load_dataset"
    yield f"            data = load_dataset({str(out)!r}, {config}split='train')"
