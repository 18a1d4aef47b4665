"""From finished shards to a data set folder that `load_dataset` opens, in one step: readers see
the old folder or the new one, never half of it."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import replace
from pathlib import Path

from acp.builder.lvis_synth import SHARD_BYTES, LvisSynth
from acp.core.errors import AcpError
from acp.core.files import write_text
from acp.core.version import __version__
from acp.dataset.card import write_card
from acp.dataset.pictures import NothingToShowError, write_contact_sheet
from acp.dataset.receipt import RECEIPT, Receipt, read_receipt, sums_of, write_receipt
from acp.executor.build import STORAGE_ERRNOS, Build, published_recipe, storage_error
from acp.executor.rows import CONFIGS
from acp.executor.shards import read_rows


def work_folder(out: Path) -> Path:
    """Where the shards of the data set `out` are kept."""
    return out.with_name(f"{out.name}.work")


def check_out(out: Path) -> None:
    """Refuse to replace a folder that is not a data set of ours.

    Raises:
        AcpError: `out` exists and holds something else.
    """
    ours = (out / RECEIPT).is_file() if out.is_dir() else not out.exists()
    if not ours and (not out.is_dir() or any(out.iterdir())):
        raise AcpError(f"{out}: exists and was not made by acp build; choose another --out")


def published_scenes(build: Build, out: Path) -> int:
    """How many scenes of this build `out` holds, intact; 0 if it holds another or is damaged."""
    receipt = read_receipt(out)
    if receipt is None or receipt.fingerprint != build.fingerprint:
        return 0
    try:
        return receipt.scenes if receipt.sha256 == sums_of(out) else 0
    except OSError:
        return 0


def release(build: Build, out: Path, num_processes: int) -> None:
    """Run what is missing of a build and write its data set to `out`.

    Raises:
        AcpError: shards failed, the folder cannot be written or the disk is full; what was in
            `out` stays as it was.
    """
    staged = build.work / "staged"
    try:
        shutil.rmtree(staged, ignore_errors=True)
        _write(build, staged, num_processes)
        _swap(staged, out, build.work / "previous")
    except OSError as error:
        if error.errno not in STORAGE_ERRNOS:
            raise
        raise storage_error(error, out) from None


def _write(build: Build, staged: Path, num_processes: int) -> None:
    for config in CONFIGS:
        _write_config(build, config, staged / config, num_processes)
    write_text(staged / "recipe.yaml", published_recipe(build.recipe))
    sheet = staged / "contact_sheet.jpg"
    with contextlib.suppress(NothingToShowError):  # every scene was rejected
        write_contact_sheet(read_rows(staged / "raw"), sheet)
    receipt = Receipt(__version__, build.fingerprint, build.recipe.scenes, build.models, {})
    write_card(staged, receipt, build.recipe.data_set)
    write_receipt(staged, replace(receipt, sha256=sums_of(staged)))


def _write_config(build: Build, config: str, folder: Path, num_processes: int) -> None:
    builder = LvisSynth(
        config_name=config,
        cache_dir=str(build.work / "datasets"),
        recipe=str(build.recipe_path),
        work_dir=str(build.work),
        num_processes=num_processes,
    )
    written = build.work / "parquet" / config
    shutil.rmtree(written, ignore_errors=True)
    builder.download_and_prepare(str(written), file_format="parquet", max_shard_size=SHARD_BYTES)
    files = sorted(written.glob("*.parquet"))
    folder.mkdir(parents=True)
    for index, file in enumerate(files):
        file.rename(folder / f"train-{index:05d}-of-{len(files):05d}.parquet")


def _swap(staged: Path, out: Path, previous: Path) -> None:
    shutil.rmtree(previous, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.exists():
        out.rename(previous)
    staged.rename(out)
    shutil.rmtree(previous, ignore_errors=True)
