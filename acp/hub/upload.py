"""Contents on their way to the Hub, before the commit that shows them to readers."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from huggingface_hub import CommitOperationAdd, constants
from huggingface_hub.utils._runtime import is_xet_available
from huggingface_hub.utils.tqdm import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)

from acp.hub.changes import in_bytes
from acp.hub.local import Local
from acp.hub.remote import Remote
from acp.hub.retries import retried

BATCH_BYTES = 64_000_000
"""What Xet sends in one piece: smaller batches would not be safer against a kill, only slower."""

BATCH_FILES = 256
LFS_AT_ONCE = 5
"""Without Xet each file is a request of its own; this many are sent at the same time."""

_PAUSES = (1.0, 4.0)  # the client itself has tried six times by then


def additions(files: Mapping[str, Local]) -> list[CommitOperationAdd]:
    """The operations that add `files`; sums that are known are not computed again."""
    found = []
    for path, file in files.items():
        file.check_unchanged()
        operation = CommitOperationAdd(path, file.content)
        operation.upload_info.sha256 = bytes.fromhex(file.sha256)
        found.append(operation)
    return found


def upload(
    remote: Remote, operations: list[CommitOperationAdd], files: Mapping[str, Local], branch: str
) -> None:
    """Send what is large, a batch at a time: a finished batch is never sent again, also not by a
    push that follows one that was killed."""
    total = sum(file.size for file in files.values())
    sent = count = 0
    with _bars_on_terminals_only():
        for batch in _batches(operations):
            _send(remote, batch, files, branch)
            sent += sum(files[each.path_in_repo].size for each in batch)
            count += len(batch)
            remote.tell(
                f"sent {count} of {len(operations)} files, {in_bytes(sent)} of {in_bytes(total)}"
            )


def _send(
    remote: Remote, batch: list[CommitOperationAdd], files: Mapping[str, Local], branch: str
) -> None:
    target = remote.target
    try:
        retried(
            lambda: remote.api.preupload_lfs_files(
                target.repo,
                batch,
                repo_type=target.repo_type,
                revision=branch,
                create_pr=target.create_pr,
                num_threads=LFS_AT_ONCE,
                free_memory=False,
            ),
            "sending",
            remote.tell,
            _PAUSES,
        )
    finally:
        for each in batch:  # says so if a file vanished, whatever the client says then
            files[each.path_in_repo].check_unchanged()


def _batches(operations: Iterable[CommitOperationAdd]) -> Iterator[list[CommitOperationAdd]]:
    least = 1 if is_xet_available() else LFS_AT_ONCE
    batch: list[CommitOperationAdd] = []
    size = 0
    for operation in operations:
        batch.append(operation)
        size += operation.upload_info.size
        if len(batch) == BATCH_FILES or (size >= BATCH_BYTES and len(batch) >= least):
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


@contextmanager
def _bars_on_terminals_only() -> Iterator[None]:
    decided = constants.HF_HUB_DISABLE_PROGRESS_BARS is not None or are_progress_bars_disabled()
    if decided or sys.stderr.isatty():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
