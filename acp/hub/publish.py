"""One release, one commit: all contents are sent first, then a single commit shows them.

Readers see the old release or the new one. A push that fails or is killed leaves the repository
as it was, or with the whole release; the same push again sends what is missing and no more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants, get_token
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.sha import git_hash

from acp.core.errors import AcpError, without_token
from acp.core.progress import Tell
from acp.hub.errors import in_one_line, passing, retried
from acp.hub.target import MAIN, MAIN_REF, Target

Stale = Callable[[Collection[str], Callable[[str], bytes]], Collection[str]]
"""Given the files that are there, and how to read one: which of them the release takes away."""

BATCH_BYTES = 64_000_000
"""Xet registers files when all of a batch have arrived; smaller batches would only be slower."""

BATCH_FILES = 256
NOTHING_IGNORED = "# Nothing.\n"
"""In place of a `.gitignore` in the repository, for which the Hub would leave files out of the
commit in silence."""

_NOT_SENT = "nothing was sent"
_NOT_IN = "nothing of this release is in it; what was sent is kept there"
_UNKNOWN = "whether the release is in it is not known yet: the same command finds out"


@dataclass(frozen=True)
class Release:
    """What one commit with this `title` makes of a repository.

    `files` are contents, or files on disk, by path; `sums` the SHA-256 of those whose is known.
    `stale` says which other files go (none if it is None) and raises AcpError where the release
    may not be; all others stay. `left_out` are files of the folder that are not sent.
    """

    files: Mapping[str, Path | bytes]
    title: str
    stale: Stale = lambda there, read: ()
    sums: Mapping[str, str] = field(default_factory=dict)
    left_out: Collection[str] = ()

    def additions(self) -> dict[str, CommitOperationAdd]:
        """The files as the API takes them; sums that are known are not computed again."""
        found = {}
        for path, content in sorted(self.files.items()):
            found[path] = CommitOperationAdd(path, content)
            if path in self.sums:
                found[path].upload_info.sha256 = bytes.fromhex(self.sums[path])
        return found


@dataclass(frozen=True)
class Changes:
    """Paths with their bytes: those to send are `new` or `replaced`, `others` are left alone."""

    new: Mapping[str, int]
    replaced: Mapping[str, int]
    removed: Mapping[str, int]
    unchanged: Mapping[str, int]
    others: Mapping[str, int]

    @property
    def nothing(self) -> bool:
        """Whether the repository holds the release already."""
        return not (self.new or self.replaced or self.removed)

    @property
    def to_send(self) -> dict[str, int]:
        """What is not in the repository yet."""
        return {**self.new, **self.replaced}

    def lines(self) -> list[str]:
        """A line for each kind, with files and bytes."""
        kinds = ("new", "replaced", "removed", "unchanged", "others")
        notes = {"others": "  (not of this release: left alone)"}
        return [
            f"{kind:<10}  {_files(len(sizes)):>10}  {in_bytes(sum(sizes.values())):>10}"
            f"{notes.get(kind, '')}"
            for kind in kinds
            if (sizes := getattr(self, kind)) or kind not in notes
        ]


@dataclass(frozen=True)
class Published:
    """What a push changed, or would change.

    `commit` is None after a dry run; `proposal` is the address of a pull request; `created`: the
    repository was not there before.
    """

    changes: Changes
    address: str
    commit: str | None = None
    proposal: str | None = None
    created: bool = False


def check_target(target: Target, *, dry_run: bool = False, tell: Tell = lambda line: None) -> None:
    """Ask whether a release can go there, before it costs anything.

    Raises:
        AcpError: nobody has logged in, the Hub cannot be reached, or the target cannot be.
    """
    push = _Push(Release({}, ""), target, tell, dry_run)
    with in_one_line(target.repo, lambda: _NOT_SENT):
        retried(push.refs, tell)


def publish(
    release: Release, target: Target, *, dry_run: bool = False, tell: Tell = lambda line: None
) -> Published:
    """Make the repository of `target` hold the files of `release`, in one commit at most.

    `tell` gets lines of progress.

    Raises:
        AcpError: a line with the mend; the repository is as it was unless the line says otherwise.
    """
    push = _Push(release, target, tell, dry_run)
    with in_one_line(target.repo, lambda: push.so_far):
        return retried(push.attempt, tell)


def stamps(paths: Iterable[Path]) -> dict[Path, tuple[int, int] | None]:
    """Size and time of files as they are now; None for one that is missing."""
    found: dict[Path, tuple[int, int] | None] = {}
    for path in paths:
        found[path] = None
        with suppress(OSError):
            stat = path.stat()
            found[path] = stat.st_size, stat.st_mtime_ns
    return found


@contextmanager
def unchanged(before: Mapping[Path, tuple[int, int] | None]) -> Iterator[None]:
    """Raises AcpError if a file was changed or removed, in place of what else may come of that."""
    try:
        yield
    finally:
        now = stamps(before)
        for path in before:
            if now[path] != before[path]:
                raise AcpError(f"{path}: changed or vanished during the push; push again") from None


class _Push:
    """A release on its way; an attempt that follows another finds out how far that one came.

    `so_far` says what is in the repository; `base` is the commit that the first attempt found.
    """

    def __init__(self, release: Release, target: Target, tell: Tell, dry_run: bool) -> None:
        target.check()
        if not dry_run and get_token() is None:
            raise AcpError(
                "no token of the Hub: run hf auth login, or set HF_TOKEN to one with write access"
            )
        self.release, self.target, self.tell, self.dry_run = release, target, tell, dry_run
        self.api = HfApi(library_name="acp")
        self.where: dict[str, Any] = {"repo_id": target.repo, "repo_type": target.repo_type}
        self.before = stamps(each for each in release.files.values() if isinstance(each, Path))
        self.additions: dict[str, CommitOperationAdd] = {}
        self.so_far = _NOT_SENT
        self.created = False
        self.base = ""
        self.result: Changes | None = None

    def attempt(self) -> Published:
        """Send, commit and tag what is not there yet; a dry run says what that would be."""
        refs, target = self.refs(), self.target
        changes = self.plan(refs)
        if self.dry_run:
            return Published(changes, self.address(), created=not refs)
        if not refs:
            sdk = "gradio" if target.repo_type == "space" else None
            private = target.private or None
            self.api.create_repo(**self.where, private=private, exist_ok=True, space_sdk=sdk)
            self.created, refs = True, self.refs()
            changes = self.plan(refs)
        self.base = self.base or self.head(refs)
        if target.ref not in refs:
            self.api.create_branch(
                **self.where, branch=target.branch, revision=self.base, exist_ok=True
            )
        self.result = self.result or changes
        commit, proposal = self.commit(changes, self.head(refs))
        if target.tag and f"refs/tags/{target.tag}" not in refs:
            self.so_far = f"the release is there ({commit}), without its tag"
            self.api.create_tag(**self.where, tag=target.tag, revision=commit)
        address = self.address("tree", quote(target.tag or target.branch, safe=""))
        return Published(self.result, address, commit, proposal, self.created)

    def refs(self) -> dict[str, str]:
        """The commits of the repository by ref ("refs/heads/main"); none if it is to be made.

        Raises:
            AcpError: the release cannot go there.
        """
        target = self.target
        try:
            private = bool(self.api.repo_info(**self.where).private)
            there = self.api.list_repo_refs(**self.where, include_pull_requests=True)
            every = [*there.branches, *there.tags, *(there.pull_requests or ())]
        except RepositoryNotFoundError:
            private, every = None, []
        refs = {each.ref: each.target_commit for each in every}
        if target.private and private is False:
            raise AcpError(
                f"{target.repo}: exists and is public; make it private in its settings "
                f"({self.address('settings')}), or leave out --private"
            )
        if f"refs/tags/{target.branch}" in refs:
            raise AcpError(f"--revision {target.branch}: a tag of {target.repo}; name a branch")
        must_be_there = target.create_pr or target.branch.startswith("refs/pr/")
        if must_be_there and target.ref not in refs:
            mend = "push without --create-pr first" if target.create_pr else "see its pull requests"
            raise AcpError(f"{target.repo}: has no {target.branch} yet; {mend}")
        if private is not None and not {target.ref, MAIN_REF} & set(refs):
            raise AcpError(f"{target.repo}: has no branch {MAIN}; make one on the Hub")
        return refs

    def address(self, *parts: str) -> str:
        """Of the repository, or of a page of it, for a browser."""
        pages = f"{self.target.repo_type}s"
        return without_token("/".join([constants.ENDPOINT, pages, self.target.repo, *parts]))

    def head(self, refs: Mapping[str, str]) -> str:
        """The commit that the release is to follow; "" of a repository that is to be made."""
        return refs.get(self.target.ref) or refs.get(MAIN_REF, "")

    def plan(self, refs: Mapping[str, str]) -> Changes:
        """What is to be done; raises AcpError if somebody else has been faster."""
        target, head = self.target, self.head(refs)
        changes = self.changes(head)
        if self.base not in ("", head) and not changes.nothing:
            raise AcpError(
                f"{target.repo}: {target.branch} moved from {self.base[:12]} to {head[:12]} during "
                "this push, so nothing of it is in; look at what the other one did and push again"
            )
        tagged = refs.get(f"refs/tags/{target.tag}") if target.tag else None
        if tagged is not None and (tagged != head or not changes.nothing):
            raise AcpError(
                f"--tag {target.tag}: {target.repo} has it already, at another release "
                f"({tagged[:12]}); choose another name, or delete that tag first"
            )
        return changes

    def changes(self, commit: str) -> Changes:
        """What the release changes in the files at a commit."""
        self.additions = ours = self.additions or self.release.additions()
        there = self.files(commit) if commit else {}
        stale = self.release.stale(there, lambda path: self.read(commit, path))
        same = {path for path in ours if path in there and _same(ours[path], there[path])}
        gone = set(stale) & set(there) - set(ours)
        size = {path: file.size for path, file in there.items()}
        size |= {path: each.upload_info.size for path, each in ours.items()}

        kinds = {
            "new": set(ours) - set(there),
            "replaced": set(ours) & set(there) - same,
            "removed": gone,
            "unchanged": same,
            "others": set(there) - set(ours) - gone,
        }
        return Changes(
            **{kind: {path: size[path] for path in sorted(kinds[kind])} for kind in kinds}
        )

    def files(self, commit: str) -> dict[str, RepoFile]:
        """The files at a commit, by path."""
        entries = self.api.list_repo_tree(**self.where, revision=commit, recursive=True)
        return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}

    def read(self, commit: str, path: str) -> bytes:
        """The content of a (small) file at a commit."""
        copy = self.api.hf_hub_download(**self.where, filename=path, revision=commit)
        return Path(copy).read_bytes()

    def commit(self, changes: Changes, head: str) -> tuple[str, str | None]:
        """The commit that holds the release, and the address of its pull request."""
        if changes.nothing:
            return head, None
        if self.target.create_pr and (proposed := self.proposed()):
            return proposed
        self.so_far = _NOT_IN
        additions = [self.additions[path] for path in changes.to_send]
        with unchanged(self.before):
            self.send(additions)
        removals = [CommitOperationDelete(path) for path in changes.removed]
        try:
            info = self.api.create_commit(
                **self.where,
                operations=[*additions, *removals],
                commit_message=self.release.title,
                revision=self.target.branch,
                create_pr=self.target.create_pr,
                parent_commit=self.base,
            )
        except Exception as error:
            if _moved(error):
                refs = self.refs()
                if self.plan(refs).nothing:
                    return self.head(refs), None
            self.so_far = _UNKNOWN if passing(error) else _NOT_IN
            raise
        return info.oid, info.pr_url

    def send(self, additions: Sequence[CommitOperationAdd]) -> None:
        """Send what is large, a batch at a time: a finished batch is never sent again, also not by
        a push that follows one that was killed."""
        total, sent, count = sum(each.upload_info.size for each in additions), 0, 0
        for batch in _batches(additions):
            self.api.preupload_lfs_files(
                **self.where,
                additions=batch,
                revision=self.target.branch,
                create_pr=self.target.create_pr,
                free_memory=False,
                gitignore_content=NOTHING_IGNORED,
            )
            sent += sum(each.upload_info.size for each in batch)
            count += len(batch)
            self.tell(
                f"sent {count} of {len(additions)} files, {in_bytes(sent)} of {in_bytes(total)}"
            )

    def proposed(self) -> tuple[str, str] | None:
        """An open pull request that proposes this release already."""
        found = self.api.get_repo_discussions(
            **self.where, discussion_type="pull_request", discussion_status="open"
        )
        refs = self.refs()
        for each in found:
            head = refs.get(f"refs/pr/{each.num}")
            if not head or each.title != self.release.title:
                continue
            with suppress(AcpError):  # somebody else has put other data there
                if self.changes(head).nothing:
                    return head, self.address("discussions", str(each.num))
        return None


def _same(ours: CommitOperationAdd, theirs: RepoFile) -> bool:
    if theirs.size != ours.upload_info.size:
        return False
    if theirs.lfs is not None:
        return theirs.lfs.sha256 == ours.upload_info.sha256.hex()
    with ours.as_file() as file:
        return theirs.blob_id == git_hash(file.read())


def _moved(error: Exception) -> bool:
    """Whether the Hub refused a commit because its parent is not the head any more."""
    if isinstance(error, EntryNotFoundError):  # somebody else has removed what this commit removes
        return True
    return isinstance(error, HfHubHTTPError) and error.response.status_code in (409, 412)


def _batches(additions: Iterable[CommitOperationAdd]) -> Iterator[list[CommitOperationAdd]]:
    batch: list[CommitOperationAdd] = []
    for addition in additions:
        batch.append(addition)
        size = sum(each.upload_info.size for each in batch)
        if len(batch) == BATCH_FILES or size >= BATCH_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


def in_bytes(count: int) -> str:
    """Bytes for people.

    >>> in_bytes(999), in_bytes(1_500), in_bytes(28_000_000)
    ('999 B', '1.5 kB', '28.0 MB')
    """
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def _files(count: int) -> str:
    return f"{count} file{'s' if count != 1 else ''}"
