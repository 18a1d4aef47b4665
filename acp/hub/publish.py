"""One release, one commit: all contents are sent first, then a single commit shows them.

Readers see the old release or the new one. A push that fails or is killed leaves the repository
as it was, or with the whole release; the same push again sends what is missing and no more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from huggingface_hub import get_token

from acp.core.errors import AcpError, without_token
from acp.hub.changes import Changes, changes
from acp.hub.commit import Landed, commit, proposed
from acp.hub.local import Local, local_files
from acp.hub.remote import Remote, RemoteFiles, State
from acp.hub.retries import Tell
from acp.hub.target import MAIN, Target
from acp.hub.trouble import told_in_one_line
from acp.hub.upload import additions, held, upload

Stale = Callable[[RemoteFiles], Collection[str]]
"""Given the files of the repository, which of them the release replaces by nothing."""


@dataclass(frozen=True)
class Published:
    """What a push changed, or would change.

    `commit` is None after a dry run; `created`: the repository was not there before. Of the files
    to send, the Hub had `held` bytes already.
    """

    changes: Changes
    address: str
    commit: str | None = None
    proposal: str | None = None
    created: bool = False
    held: int = 0

    @property
    def sent(self) -> int:
        """Bytes that went, or would go, to the Hub; with Xet at most."""
        return sum(self.changes.new.values()) + sum(self.changes.replaced.values()) - self.held


@dataclass(frozen=True)
class Plan:
    """A release against the repository as it was at commit `base`."""

    state: State
    base: str | None
    changes: Changes

    def base_branch(self, target: Target) -> str:
        """The branch that `base` is the head of."""
        return target.branch if self.state.head(target.branch) else MAIN


def check_target(target: Target, *, dry_run: bool = False, tell: Tell = lambda line: None) -> None:
    """Ask whether a release can go there, before it costs anything.

    Raises:
        AcpError: nobody has logged in, the Hub cannot be reached, or the target cannot be.
    """
    _check_options(target, dry_run)
    with told_in_one_line(target, "nothing was sent"):
        _check_state(Remote(target, lambda line: tell(without_token(line))))


def _check_options(target: Target, dry_run: bool) -> None:
    target.check()
    if not dry_run and get_token() is None:
        raise AcpError(
            "no token of the Hub: run hf auth login, or set HF_TOKEN to one with write access"
        )


def publish(
    files: Mapping[str, Path | bytes],
    target: Target,
    *,
    stale: Stale,
    message: str,
    sums: Mapping[str, str] | None = None,
    dry_run: bool = False,
    tell: Tell = lambda line: None,
) -> Published:
    """Make the repository of `target` hold `files` (by path), in one commit at most.

    `stale`: which of the files that are there go; all others stay. `sums`: SHA-256 of files, where
    they are known. `tell` gets lines of progress.

    Raises:
        AcpError: a line with the mend; the repository is as it was unless the line says otherwise.
    """
    _check_options(target, dry_run)
    remote = Remote(target, lambda line: tell(without_token(line)))
    with told_in_one_line(target, "nothing was sent"):
        wanted = local_files(files, sums or {})
        plan = _plan(remote, wanted, stale)
        created = not plan.state.exists
        if dry_run:
            there = held(remote, _to_send(plan, wanted)) if plan.state.exists else 0
            return Published(plan.changes, remote.address(), created=created, held=there)
        if created:
            remote.create()
            plan = _plan(remote, wanted, stale)
    landed, there = _release(remote, plan, wanted, stale, message)
    if target.tag and plan.state.tags.get(target.tag) is None:
        with told_in_one_line(target, f"the release is there ({landed.commit}), without its tag"):
            remote.create_tag(target.tag, landed.commit)
    return Published(
        plan.changes,
        remote.address("tree", quote(target.tag or target.branch, safe="")),
        landed.commit,
        landed.proposal,
        created,
        there,
    )


def _check_state(remote: Remote) -> State:
    """The state of the repository, if a release can go there."""
    target, state = remote.target, remote.state()
    if state.exists and target.private and not state.private:
        raise AcpError(
            f"{target.repo}: exists and is public; make it private in its settings "
            f"({remote.address('settings')}), or leave out --private"
        )
    if target.branch in state.tags:
        raise AcpError(f"--revision {target.branch}: a tag of {target.repo}; name a branch")
    must_be_there = target.create_pr or target.branch.startswith("refs/pr/")
    if must_be_there and state.head(target.branch) is None:
        mend = "push without --create-pr first" if target.create_pr else "see its pull requests"
        raise AcpError(f"{target.repo}: has no {target.branch} yet; {mend}")
    return state


def _plan(remote: Remote, files: Mapping[str, Local], stale: Stale) -> Plan:
    target, state = remote.target, _check_state(remote)
    base = state.head(target.branch) or state.head(MAIN)
    there = remote.files(base)
    plan = Plan(state, base, changes(files, there, stale(there)))
    tagged = state.tags.get(target.tag) if target.tag else None
    if tagged is not None and (tagged != base or not plan.changes.nothing):
        raise AcpError(
            f"--tag {target.tag}: {target.repo} has it already, at another release "
            f"({tagged[:12]}); choose another name, or delete that tag first"
        )
    return plan


def _release(
    remote: Remote, plan: Plan, files: Mapping[str, Local], stale: Stale, message: str
) -> tuple[Landed, int]:
    """The commit that holds the release, and the bytes that the Hub had of the files to send."""
    target = remote.target

    def holds(there: RemoteFiles) -> bool:
        try:
            return changes(files, there, stale(there)).nothing
        except AcpError:  # what somebody else has put there
            return False

    with told_in_one_line(target, "nothing of this release is in it; what was sent is kept there"):
        if plan.base is None:
            raise AcpError(f"{target.repo}: has no branch {MAIN}; make one on the Hub")
        there = proposed(remote, plan.state, message, holds) if target.create_pr else None
        to_send = _to_send(plan, files)
        if there is not None:
            return there, sum(file.size for file in to_send.values())
        had = held(remote, to_send) if to_send else 0
        operations = additions(to_send)
        upload(remote, operations, to_send, plan.base_branch(target))
        if not plan.state.head(target.branch):
            remote.create_branch(plan.base)
        if plan.changes.nothing:
            return Landed(plan.base), 0
        for file in to_send.values():  # small ones are read once more, into the commit itself
            file.check_unchanged()
        landed = commit(remote, plan.state, plan.base, operations, plan.changes, message, holds)
    return landed, had


def _to_send(plan: Plan, files: Mapping[str, Local]) -> dict[str, Local]:
    return {path: files[path] for path in plan.changes.to_send}
