"""Contents on their way to the Hub, before the commit that shows them to readers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from huggingface_hub import CommitOperationAdd
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.lfs import UploadInfo, post_lfs_batch_info
from huggingface_hub.utils._runtime import is_xet_available

from acp.hub.bars import no_bars
from acp.hub.changes import in_bytes
from acp.hub.local import Local
from acp.hub.remote import Remote
from acp.hub.retries import retried

BATCH_BYTES = 64_000_000
"""What Xet sends in one piece: smaller batches would not be safer against a kill, only slower."""

BATCH_FILES = 256
NOTHING_IGNORED = "# Nothing.\n"
"""In place of a `.gitignore` in the repository, for which the Hub would leave files out of the
commit in silence."""

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
    with no_bars(but_on_terminals=True):
        for batch in _batches(operations):
            _send(remote, batch, files, branch)
            sent += sum(files[each.path_in_repo].size for each in batch)
            count += len(batch)
            remote.tell(
                f"sent {count} of {len(operations)} files, {in_bytes(sent)} of {in_bytes(total)}"
            )


def held(remote: Remote, files: Mapping[str, Local]) -> int:
    """How many bytes of `files` the Hub has already, of an earlier release or of a push that was
    killed; 0 if it does not say."""
    sums = {file.sha256: file.size for file in files.values()}
    try:
        there = set(_held_sums(remote, sums))
    except (HfHubHTTPError, ValueError):  # of interest, but no reason to fail
        return 0
    return sum(file.size for file in files.values() if file.sha256 in there)


def _held_sums(remote: Remote, sums: Mapping[str, int]) -> Iterator[str]:
    wanted = [
        UploadInfo(size=size, sample=b"", sha256=bytes.fromhex(name))
        for name, size in sums.items()
        if size
    ]
    for start in range(0, len(wanted), BATCH_FILES):
        known = post_lfs_batch_info(
            wanted[start : start + BATCH_FILES],
            token=None,
            repo_type=remote.target.repo_type,
            repo_id=remote.target.repo,
        )[0]
        yield from (each["oid"] for each in known if each.get("actions") is None)


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
                gitignore_content=NOTHING_IGNORED,
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
