"""From a recipe to a data set folder that `load_dataset` opens. The folder is put in place in one
step: readers see the old one or the new one, never half of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import yaml

from acp.builder.lvis_synth import SHARD_BYTES, LvisSynth
from acp.core.errors import AcpError
from acp.core.files import sha256, write_text
from acp.core.version import __version__
from acp.dataset.card import write_card
from acp.dataset.pictures import NothingToShowError, write_contact_sheet
from acp.dataset.receipt import RECEIPT, Receipt, files_of, read_receipt, sums_of, write_receipt
from acp.executor.build import (
    STORAGE_ERRNOS,
    Build,
    as_yaml,
    open_build,
    published_recipe,
    storage_error,
)
from acp.executor.progress import bars
from acp.executor.rows import CONFIGS
from acp.executor.shards import Shard, read_rows
from acp.executor.work import Rank, finish, raise_failed, run_workers
from acp.pipeline.pipeline import MEASURING
from acp.pipeline.placement import one_thread_each, uses_gpu
from acp.pipeline.recipe import Recipe


def make_data_set(
    recipe: Recipe, out: Path, processes: int | Literal["auto"] = 1
) -> tuple[Build, list[str]]:
    """Build a recipe into the folder `out`, or go on where an earlier start ended.

    Args:
        recipe: what to build.
        out: folder of the data set; the work lies beside it, in `OUT.work`.
        processes: how many share the shards, "auto" for as many as are of use here. Where a
            launcher has started several, this process is one of those.

    Returns:
        The build, and a line about each process that ended early.

    Raises:
        AcpError: something missing, a folder of another recipe, shards that failed, a folder that
            cannot be written, or no space left.
    """
    one_thread_each()
    check_out(out)
    out = out.resolve() if out.is_symlink() else out
    build = open_build(recipe, work_folder(out))
    receipt = read_receipt(out)
    if receipt is not None and receipt.fingerprint == build.fingerprint:
        build = build.with_scenes(receipt.scenes)
    rank = Rank.of_environment()
    damaged = _written(out) if rank.rank == 0 and _is_damaged(out) else 0

    def is_released() -> bool:
        return _holds(out, build) and _written(out) != damaged

    count = useful_processes(build) if processes == "auto" else processes
    count = min(count, len(build.missing()))
    if rank.size == 1 and count > 1 and not is_released():
        return build, _share(build, out, count, is_released)
    names = MEASURING if rank.rank == 0 and not is_released() else ()
    try:
        with bars(_scenes(build.missing()), *names) as advance_of:
            finish(build, rank, is_released, lambda: release(build, out), advance_of)
    except OSError as error:
        if error.errno not in STORAGE_ERRNOS:
            raise
        raise storage_error(error, out) from None
    return build, []


def _scenes(shards: Iterable[Shard]) -> int:
    return sum(len(shard.scene_ids) for shard in shards)


def useful_processes(build: Build) -> int:
    """One for each GPU if the recipe has models for GPUs, else one for each CPU core.

    Models for GPUs are too large to be held several times where there is none: then it is one.
    """
    if uses_gpu(build.resolved()):
        import torch

        return max(1, int(torch.cuda.device_count()))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _share(build: Build, out: Path, count: int, is_released: Callable[[], bool]) -> list[str]:
    """Have `count` processes do the work."""
    recipe = build.work / f"recipe-{os.getpid()}.yaml"  # another start may ask for other scenes
    write_text(recipe, as_yaml(build.resolved()))
    command = [sys.executable, "-m", "acp", "build", str(recipe), "--out", str(out)]
    missing = build.missing()
    with bars(_scenes(missing), "scenes") as advance_of:
        done: set[Shard] = set()

        def watch() -> None:
            new = {shard for shard in missing if build.marker(shard)} - done
            done.update(new)
            advance_of("scenes")(_scenes(new))

        notes = run_workers(command, count, build.work, watch)
    recipe.unlink()
    if not is_released():
        raise_failed(build)
        left = len(build.missing())
        raise AcpError(
            f"{next(iter(notes), 'the workers ended early')}; shards missing: {left} of "
            f"{len(build.shards())}, the finished ones are kept: run the same command again"
        )
    return notes


def work_folder(out: Path) -> Path:
    """Where the shards of the data set `out` are kept."""
    return out.with_name(f"{out.name}.work")


def check_out(out: Path) -> None:
    """Refuse to replace a folder that is not a data set of ours.

    Raises:
        AcpError: `out` exists and holds something else, or cannot be replaced by another folder.
    """
    if out.name in ("", ".."):
        raise AcpError(f"--out {out}: name the folder of the data set, such as --out {out}/data")
    if out.is_mount():
        raise AcpError(f"--out {out}: a mount point cannot be replaced; choose a folder in it")
    ours = (out / RECEIPT).is_file() if out.is_dir() else not out.exists()
    if not ours and (not out.is_dir() or any(out.iterdir())):
        raise AcpError(f"{out}: exists and was not made by acp build; choose another --out")


def _is_damaged(out: Path) -> bool:
    """Whether a file of a data set is not as its receipt says, or stands among its shards."""
    receipt = read_receipt(out)
    if receipt is None:
        return False
    ours = [name for name in files_of(out) if name in receipt.sha256 or _is_among_shards(name)]
    return receipt.sha256 != {name: sha256(out / name) for name in ours}


def _is_among_shards(name: str) -> bool:
    return name.partition("/")[0] in CONFIGS


def _written(out: Path) -> int:
    """When a data set was put in place."""
    return (out / RECEIPT).stat().st_mtime_ns


def _holds(out: Path, build: Build) -> bool:
    """Whether `out` is the data set of this build, picked as its recipe says. Of its files only
    the receipt and the recipe are read."""
    receipt = read_receipt(out)
    if receipt is None or receipt.fingerprint != build.fingerprint:
        return False
    try:
        published = yaml.safe_load((out / "recipe.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return False
    wanted = yaml.safe_load(published_recipe(build.resolved()))
    scenes = receipt.scenes
    return scenes >= build.recipe.scenes and published == {**wanted, "scenes": scenes}


def release(build: Build, out: Path) -> None:
    """Pick from the finished shards of a build and write its data set to `out`.

    If that fails, what was in `out` stays as it was. Files that are not of the data set stay there.
    """
    staged = build.work / "staged"
    shutil.rmtree(staged, ignore_errors=True)
    _write(build, staged)
    _keep_others(out, staged)
    _swap(staged, out, build.work / "previous")


def _write(build: Build, staged: Path) -> None:
    for config in CONFIGS:
        _write_config(build, config, staged / config)
    write_text(staged / "recipe.yaml", published_recipe(build.resolved()))
    sheet = staged / "contact_sheet.jpg"
    with contextlib.suppress(NothingToShowError):  # every scene was rejected
        write_contact_sheet(read_rows(staged / "raw"), sheet)
    receipt = Receipt(__version__, build.fingerprint, build.recipe.scenes, build.models, {})
    write_card(staged, receipt, build.recipe.data_set)
    write_receipt(staged, replace(receipt, sha256=sums_of(staged)))


def _write_config(build: Build, config: str, folder: Path) -> None:
    builder = LvisSynth(config, build=build, cache_dir=str(build.work / "datasets"))
    written = build.work / "parquet" / config
    shutil.rmtree(written, ignore_errors=True)
    builder.download_and_prepare(str(written), file_format="parquet", max_shard_size=SHARD_BYTES)
    files = sorted(written.glob("*.parquet"))
    folder.mkdir(parents=True)
    for index, file in enumerate(files):
        file.rename(folder / f"train-{index:05d}-of-{len(files):05d}.parquet")


def _keep_others(out: Path, staged: Path) -> None:
    """Put the files in `out` that its receipt does not know into `staged` too."""
    receipt = read_receipt(out)
    ours = {RECEIPT, *(receipt.sha256 if receipt else ())}
    for path in sorted(out.rglob("*")) if out.is_dir() else ():
        name = path.relative_to(out).as_posix()
        target = staged / name
        is_folder = path.is_dir() and not path.is_symlink()
        if is_folder or name in ours or _is_among_shards(name) or target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target, follow_symlinks=False)


def _swap(staged: Path, out: Path, previous: Path) -> None:
    shutil.rmtree(previous, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.exists():
        out.rename(previous)
    staged.rename(out)
    shutil.rmtree(previous, ignore_errors=True)
