"""What `acp build` does: recipe in, data set out, summary last."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from acp.core.errors import AcpError
from acp.executor.build import Build, open_build
from acp.executor.launch import launched, uses_gpu
from acp.executor.world import one_thread_each
from acp.pipeline.recipe import Recipe, load_recipe


def build_data_set(
    source: str,
    out: Path | None,
    overrides: Sequence[str],
    limit: int | None,
    num_processes: int | Literal["auto"] | None = None,
) -> Iterator[str]:
    """Build a recipe by name or path into `out` (default `build/<data_set>`).

    Yields the lines of the summary. `num_processes` is 1 if None, and with "auto" as many as the
    recipe has use for here. Where a launcher has started several processes, each does its part,
    and rank 0 alone yields something.

    Raises:
        AcpError: a wrong recipe, something missing, a folder of another recipe, failed shards,
            or not as many processes as were asked for.
    """

    def place() -> tuple[Recipe, Path]:
        recipe = load_recipe(source, overrides)
        if limit is not None:
            recipe = recipe.model_copy(update={"scenes": min(limit, recipe.scenes)})
        return recipe, out or Path("build") / recipe.data_set

    launch = launched(None if num_processes == "auto" else num_processes)
    if launch is not None and launch.size > 1:
        from acp.executor.launched import build_as_rank

        yield from build_as_rank(launch, place)
        return
    recipe, folder = place()
    if num_processes == "auto":
        num_processes = 1 if launch else useful_processes(recipe)
    yield from build_recipe(recipe, folder, num_processes or 1)


def useful_processes(recipe: Recipe) -> int:
    """One for each GPU if the recipe has models for GPUs, else one for each CPU core.

    Models for GPUs are too large to be held several times where there is none: then it is one.
    """
    if uses_gpu(recipe):
        import torch

        return max(1, int(torch.cuda.device_count()))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def build_recipe(recipe: Recipe, out: Path, num_processes: int) -> Iterator[str]:
    """Build a recipe into `out` and yield the lines of the summary."""
    from acp.builder.release import release

    with opened(recipe, out) as build:
        if not is_done(build, out):
            release(build, out, num_processes)
    yield from summary(build, out)


@contextmanager
def opened(recipe: Recipe, out: Path) -> Iterator[Build]:
    """The build of a recipe for the folder `out`, for this process alone.

    Raises:
        AcpError: something missing, a folder of another recipe, or another build at work there.
    """
    one_thread_each()  # before anything imports torch
    from datasets.utils import disable_progress_bars
    from datasets.utils.logging import set_verbosity_error
    from filelock import FileLock, Timeout

    from acp.builder.release import check_out, published_scenes, work_folder

    disable_progress_bars()
    set_verbosity_error()
    check_out(out)
    build = open_build(recipe, work_folder(out))
    lock = FileLock(build.work / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise AcpError(f"{build.work}: another build is at work there; wait for it") from None
    try:
        yield build.with_scenes(max(published_scenes(build, out), build.finished_scenes()))
    finally:
        lock.release()


def is_done(build: Build, out: Path) -> bool:
    """Whether `out` holds the data set and no shard is missing."""
    from acp.builder.release import published_scenes

    return published_scenes(build, out) >= build.recipe.scenes and not build.missing()


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
    if peaks := statistics["peak_bytes"]:
        told = (f"{name} {value / 2**30:.2f}" for name, value in peaks.items())
        yield "GPU GiB     " + ", ".join(told) + " at most"
    config = "" if counts["kept"] else "'raw', "
    if not counts["kept"]:
        yield "note        nothing was picked: `curated` is empty; loosen the thresholds of `pick`"
    sheet = out / "contact_sheet.jpg"
    yield f"data set    {out}" + (f"  (contact sheet: {sheet})" if sheet.exists() else "")
    yield "load it     from datasets import load_dataset"
    yield f"            data = load_dataset({str(out)!r}, {config}split='train')"
