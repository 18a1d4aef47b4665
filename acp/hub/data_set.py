"""A folder of a data set as a release: what is sent for a repository, and what goes from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path, PurePosixPath

from acp.core.errors import AcpError
from acp.core.progress import Tell
from acp.dataset.card import render_card
from acp.dataset.receipt import RECEIPT, Receipt, files_of, parse_receipt, read_receipt
from acp.executor.rows import CONFIGS
from acp.hub.publish import Published, Release, check_target, publish, stamps, unchanged
from acp.hub.target import Target

CARD = "README.md"
_OF_GIT = ".gitattributes"  # which files are large ones; never part of a release
_DATA = frozenset(
    {".parquet", ".arrow", ".csv", ".tsv", ".jsonl", ".tar", ".tgz", ".gz", ".zst", ".zip", ".h5"}
)
"""Suffixes of files that are data, wherever they come from."""


def push_data_set(
    folder: Path,
    target: Target,
    check: Callable[[], object],
    *,
    dry_run: bool = False,
    tell: Tell = lambda line: None,
) -> tuple[Release, Published]:
    """Put the data set of a folder on the Hub, in one commit at most.

    `check` raises AcpError where the folder should not be sent; it runs once it is known that a
    release can go to `target`. `tell` gets lines of progress.

    Raises:
        AcpError: a line with the mend; the repository is as it was unless the line says otherwise.
    """
    if not folder.is_dir():
        raise AcpError(f"{folder}: no such folder; make a data set with acp build")
    check_target(target, dry_run=dry_run, tell=tell)
    with unchanged(stamps(folder / name for name in (RECEIPT, *files_of(folder)))):
        check()
        release = release_of(folder, target.repo)
    return release, publish(release, target, dry_run=dry_run, tell=tell)


def release_of(folder: Path, repo: str) -> Release:
    """What a push of `folder` to `repo` sends; the folder itself stays as it is.

    A data set of ours gets its card and its receipt anew, for `repo`; of any other folder all
    files but hidden ones are sent as they are.

    Raises:
        AcpError: the folder is no data set.
    """
    receipt = read_receipt(folder)
    if receipt is not None:
        return _ours(folder, receipt, repo)
    if (folder / RECEIPT).exists():
        raise AcpError(f"{folder / RECEIPT}: not a receipt of acp build; build it again")
    names = [name for name in files_of(folder) if not f"/{name}".count("/.")]
    if CARD not in names or not any(name.endswith(".parquet") for name in names):
        raise AcpError(
            f"{folder}: not a data set: there is no {RECEIPT} of acp build, nor a {CARD} beside "
            "parquet files; name the folder that acp build wrote"
        )
    files = {name: folder / name for name in names}
    return Release(files, f"Release of {len(files)} files", _stale_files(names, repo))


def _ours(folder: Path, receipt: Receipt, repo: str) -> Release:
    present = set(files_of(folder))
    if missing := sorted(set(receipt.sha256) - present - {CARD}):
        raise AcpError(
            f"{folder / missing[0]}: missing, though {RECEIPT} lists it; build the data set again"
        )
    card = render_card(folder, receipt, repo).encode()
    sums = {**receipt.sha256, CARD: hashlib.sha256(card).hexdigest()}
    signed = replace(receipt, sha256=sums).as_json()
    files: dict[str, Path | bytes] = {name: folder / name for name in receipt.sha256}
    files[CARD] = card
    files[RECEIPT] = json.dumps(signed, indent=1, sort_keys=True).encode()
    return Release(
        files,
        f"Release of {receipt.scenes} scenes, build {receipt.fingerprint[:12]}",
        _stale_files(files, repo),
        sums,
        sorted(present - set(files)),
    )


def _stale_files(new: Collection[str], repo: str) -> Callable[..., set[str]]:
    """Which files of the last release go when those of `new` come: parquet files in the folders of
    the data, and what the receipt in the repository lists."""
    folders = {PurePosixPath(name).parent for name in new if name.endswith(".parquet")}
    folders |= {PurePosixPath(config) for config in CONFIGS} if RECEIPT in new else set()

    def stale(there: Collection[str], read: Callable[[str], bytes]) -> set[str]:
        receipt = parse_receipt(read(RECEIPT)) if RECEIPT in there else None
        gone = {name for name in there if name.endswith(".parquet") and _below(name, folders)}
        if receipt is not None:
            gone |= {*receipt.sha256, RECEIPT} & set(there)
        gone -= {*new, _OF_GIT}
        if receipt is None:
            _check_no_other(set(there) - set(new) - gone, repo)
        return gone

    return stale


def _below(name: str, folders: Collection[PurePosixPath]) -> bool:
    first, *others = PurePosixPath(name).parents
    return first in folders or any(folder in folders for folder in others if folder.parts)


def _check_no_other(names: Collection[str], repo: str) -> None:
    """Raises AcpError if there is other data, which readers would get mixed with the new."""
    data = sorted(name for name in names if PurePosixPath(name).suffix in _DATA)
    if data:
        more = f" and {len(data) - 1} more" if len(data) > 1 else ""
        raise AcpError(
            f"{repo}: holds another data set ({data[0]}{more}) that acp did not put there; push to "
            "another --repo, or delete its data there first"
        )
