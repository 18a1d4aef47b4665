"""The receipt of a data set of ours: every file is there as it was written."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from acp.core.files import sha256
from acp.dataset.check.found import README, Found
from acp.dataset.check.problems import Problem
from acp.dataset.receipt import RECEIPT, files_of

MEND = "run acp build again"


def check_receipt(found: Found, processes: int, broken: Collection[str]) -> Iterator[Problem]:
    """Files that are missing or that are not those of the receipt; of `broken` ones that is told
    already."""
    if not found.ours:
        return
    if found.receipt is None:
        yield Problem("receipt", RECEIPT, "cannot be read, or is of an older acp", MEND)
        return
    sums = found.receipt.sha256
    there = [name for name in files_of(found.root) if not _hidden(name)]
    told = {*broken, README}  # of a card that is not there, too
    for name in sorted(set(sums) - set(there) - told) if not found.partial else ():
        yield Problem("receipt", name, f"is in {RECEIPT}, but not there", MEND)
    known = [name for name in there if name in sums and name not in broken]
    with ThreadPoolExecutor(processes) as pool:
        now = pool.map(lambda name: _sum(found.root / name), known)
        for name, found_sum in zip(known, now, strict=True):
            if isinstance(found_sum, OSError):
                what = f"cannot be opened: {found_sum.strerror}"
                yield Problem("file", name, what, "give yourself the right to read it")
            elif found_sum != sums[name]:
                what = f"is not the file that was built: its checksum is not that in {RECEIPT}"
                mend = found.card_mend if name == README else MEND
                yield Problem("checksum", name, what, mend)


def _sum(path: Path) -> str | OSError:
    try:
        return sha256(path)
    except OSError as error:
        return error


def check_extra(found: Found) -> Iterator[Problem]:
    """Files that the receipt does not name; a push leaves them out, so they are but warnings."""
    if found.receipt is None:
        return
    for name in files_of(found.root):
        if name not in found.receipt.sha256 and not _hidden(name):
            yield Problem("receipt", name, f"is not in {RECEIPT}", "a push leaves it out")


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))
