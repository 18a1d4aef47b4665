"""A folder of a data set as a release: what is sent for a repository, and what goes from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from acp.core.errors import AcpError
from acp.dataset.card import render_card
from acp.dataset.receipt import RECEIPT, Receipt, files_of, parse_receipt, read_receipt
from acp.executor.rows import CONFIGS
from acp.hub.remote import RemoteFiles

CARD = "README.md"
_OF_GIT = ".gitattributes"  # which files are large ones; never part of a release
_DATA = frozenset(
    {".parquet", ".arrow", ".csv", ".tsv", ".jsonl", ".tar", ".tgz", ".gz", ".zst", ".zip", ".h5"}
)
"""Suffixes of files that are data, wherever they come from."""


@dataclass(frozen=True)
class Release:
    """`files` by path, the SHA-256 of those whose is known, the title of the commit, and files of
    the folder that are `left_out`."""

    files: Mapping[str, Path | bytes]
    sums: Mapping[str, str]
    title: str
    left_out: Collection[str] = ()


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
    files: dict[str, Path | bytes] = {
        name: folder / name for name in files_of(folder) if not _hidden(name)
    }
    if CARD not in files or not any(name.endswith(".parquet") for name in files):
        raise AcpError(
            f"{folder}: not a data set: there is no {RECEIPT} of acp build, nor a {CARD} beside "
            "parquet files; name the folder that acp build wrote"
        )
    return Release(files, {}, f"Release of {len(files)} files")


def _ours(folder: Path, receipt: Receipt, repo: str) -> Release:
    present = set(files_of(folder))
    if missing := sorted(set(receipt.sha256) - present - {CARD}):
        raise AcpError(
            f"{folder / missing[0]}: missing, though {RECEIPT} lists it; build the data set again"
        )
    card = render_card(folder, receipt, repo).encode()
    sums = {**receipt.sha256, CARD: hashlib.sha256(card).hexdigest()}
    files: dict[str, Path | bytes] = {name: folder / name for name in sorted(receipt.sha256)}
    files[CARD] = card
    files[RECEIPT] = _as_bytes(replace(receipt, sha256=sums))
    title = f"Release of {receipt.scenes} scenes, build {receipt.fingerprint[:12]}"
    return Release(files, sums, title, sorted(present - set(files)))


def _as_bytes(receipt: Receipt) -> bytes:
    return json.dumps(receipt.as_json(), indent=1, sort_keys=True).encode()


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def stale_files(there: RemoteFiles, new: Collection[str], repo: str) -> set[str]:
    """Files of the last release that the new one does not have: parquet files in the folders of
    the data, and what the receipt in the repository lists.

    Raises:
        AcpError: the repository holds other data, which readers would get mixed with the new.
    """
    receipt = parse_receipt(there.read(RECEIPT)) if RECEIPT in there else None
    folders = {PurePosixPath(name).parent for name in new if name.endswith(".parquet")}
    folders |= {PurePosixPath(config) for config in CONFIGS} if RECEIPT in new else set()
    gone = {name for name in there if name.endswith(".parquet") and _below(name, folders)}
    if receipt is not None:
        gone |= {*receipt.sha256, RECEIPT} & set(there)
    stale = gone - set(new) - {_OF_GIT}
    if receipt is None:
        _check_no_other(set(there) - set(new) - stale, repo)
    return stale


def _below(name: str, folders: Collection[PurePosixPath]) -> bool:
    first, *others = PurePosixPath(name).parents
    return first in folders or any(folder in folders for folder in others if folder.parts)


def _check_no_other(names: Collection[str], repo: str) -> None:
    data = sorted(name for name in names if PurePosixPath(name).suffix in _DATA)
    if data:
        more = f" and {len(data) - 1} more" if len(data) > 1 else ""
        raise AcpError(
            f"{repo}: holds another data set ({data[0]}{more}) that acp did not put there; push to "
            "another --repo, or delete its data there first"
        )
