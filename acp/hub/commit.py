"""The one commit of a release, made once even if its answer is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

from acp.core.errors import AcpError
from acp.hub.changes import Changes
from acp.hub.remote import Remote, RemoteFiles, State
from acp.hub.retries import PAUSES, passing, reason_of, wait_after
from acp.hub.trouble import told_in_one_line

Operation = CommitOperationAdd | CommitOperationDelete

_MOVED = {409, 412}
"""Answers to a commit whose parent is not the head any more."""

_UNKNOWN = "whether the release is in it is not known yet: the same command finds out"


@dataclass(frozen=True)
class Landed:
    """A commit that holds the release, and the address of its pull request if it is one."""

    commit: str
    proposal: str | None = None


def proposed(
    remote: Remote, now: State, title: str, holds: Callable[[RemoteFiles], bool]
) -> Landed | None:
    """An open pull request that proposes this release already."""
    for name in remote.open_proposals(title) if now.proposals else ():
        head = now.proposals.get(name)
        if head is not None and holds(remote.files(head)):
            return Landed(head, remote.proposal_address(name))
    return None


def commit(
    remote: Remote,
    before: State,
    base: str,
    additions: Sequence[CommitOperationAdd],
    changes: Changes,
    message: str,
    holds: Callable[[RemoteFiles], bool],
) -> Landed:
    """Add and remove in one commit on top of `base`, or find that this has happened already.

    `holds` tells whether files of the repository are those of the release.

    Raises:
        AcpError: somebody else moved the branch meanwhile.
    """
    operations: list[Operation] = [*additions]
    operations += (CommitOperationDelete(path) for path in changes.removed)
    for pause in (*PAUSES, None):
        try:
            info = _send(remote, base, operations, message)
            return Landed(info.oid, info.pr_url)
        except HfHubHTTPError as error:
            failed: Exception = error
        except Exception as error:
            failed = error
        if not passing(failed) and not _moved(failed):
            raise failed
        with told_in_one_line(remote.target, _UNKNOWN):
            landed = _landed(remote, before, base, holds)
        if landed is not None:
            return landed
        if pause is None:
            raise failed
        wait = wait_after(failed, pause)
        remote.tell(f"committing: {reason_of(failed)}, nothing is in yet; again in {wait:g} s")
        time.sleep(wait)
    raise AssertionError


def _send(
    remote: Remote,
    base: str,
    operations: Sequence[Operation],
    message: str,
) -> CommitInfo:
    target = remote.target
    return remote.api.create_commit(
        target.repo,
        operations,
        commit_message=message,
        repo_type=target.repo_type,
        revision=target.branch,
        create_pr=target.create_pr,
        parent_commit=base,
    )


def _moved(error: Exception) -> bool:
    if isinstance(error, EntryNotFoundError):  # somebody else has removed what this commit removes
        return True
    return isinstance(error, HfHubHTTPError) and error.response.status_code in _MOVED


def _landed(
    remote: Remote, before: State, base: str, holds: Callable[[RemoteFiles], bool]
) -> Landed | None:
    """The release, if an attempt whose answer was lost has made it."""
    now = remote.state()
    if remote.target.create_pr:
        for name, oid in now.proposals.items():
            if name not in before.proposals and holds(remote.files(oid)):
                return Landed(oid, remote.proposal_address(name))
        return None
    head = now.head(remote.target.branch)
    if head == base:
        return None
    for oid in remote.commits(head, base) if head else ():
        if holds(remote.files(oid)):
            return Landed(oid)
    raise AcpError(
        f"{remote.target.repo}: {remote.target.branch} moved from {base[:12]} to "
        f"{(head or 'nothing')[:12]} during this push, so nothing of it is in; look at what the "
        "other one did and push again"
    )
