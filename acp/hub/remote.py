"""A repository of the Hub as a push sees it; what asks it is asked again after a failure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile

from acp.core.errors import without_token
from acp.hub.bars import no_bars
from acp.hub.retries import Tell, retried
from acp.hub.target import Target


@dataclass(frozen=True)
class State:
    """Commits by name; all empty if the repository does not exist."""

    exists: bool = False
    private: bool = False
    branches: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    proposals: Mapping[str, str] = field(default_factory=dict)

    def head(self, revision: str) -> str | None:
        """The commit of a branch or of `refs/pr/N`; None if it is missing."""
        return self.branches.get(revision) or self.proposals.get(revision)


class RemoteFiles(Mapping[str, RepoFile]):
    """The files of a repository at a commit, by path, and their contents on request."""

    def __init__(self, remote: Remote, commit: str, files: Mapping[str, RepoFile]) -> None:
        self._remote, self._commit, self._files = remote, commit, files

    def __getitem__(self, path: str) -> RepoFile:
        return self._files[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def read(self, path: str) -> bytes:
        """The content of a (small) file."""
        return self._remote.read(path, self._commit)


class Remote:
    """The repository of `target`; `tell` gets a line for each failure that is tried again."""

    def __init__(self, target: Target, tell: Tell) -> None:
        self.target = target
        self.tell = tell
        self.api = HfApi(library_name="acp")

    def state(self) -> State:
        """What there is now."""
        repo, repo_type = self.target.repo, self.target.repo_type
        try:
            info = retried(
                lambda: self.api.repo_info(repo, repo_type=repo_type), "asking for it", self.tell
            )
        except RepositoryNotFoundError:
            return State()
        refs = retried(
            lambda: self.api.list_repo_refs(repo, repo_type=repo_type, include_pull_requests=True),
            "asking for its branches",
            self.tell,
        )
        return State(
            exists=True,
            private=bool(info.private),
            branches={ref.name: ref.target_commit for ref in refs.branches},
            tags={ref.name: ref.target_commit for ref in refs.tags},
            proposals={ref.ref: ref.target_commit for ref in refs.pull_requests or ()},
        )

    @property
    def _proposals_matter(self) -> bool:
        return self.target.create_pr or self.target.branch.startswith("refs/pr/")

    def open_proposals(self, title: str) -> list[str]:
        """Pull requests with this title that nobody closed or merged, as `refs/pr/N`."""

        def ask() -> list[str]:
            found = self.api.get_repo_discussions(
                self.target.repo,
                repo_type=self.target.repo_type,
                discussion_type="pull_request",
                discussion_status="open",
            )
            return [f"refs/pr/{each.num}" for each in found if each.title == title]

        return retried(ask, "asking for its pull requests", self.tell)

    def files(self, commit: str | None) -> RemoteFiles:
        """The files at a commit; none for None."""
        found = self._tree(commit) if commit else {}
        return RemoteFiles(self, commit or "", found)

    def _tree(self, commit: str) -> dict[str, RepoFile]:
        def ask() -> dict[str, RepoFile]:
            entries = self.api.list_repo_tree(
                self.target.repo,
                repo_type=self.target.repo_type,
                revision=commit,
                recursive=True,
            )
            return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}

        return retried(ask, "listing its files", self.tell)

    def commits(self, head: str, base: str) -> list[str]:
        """The commits up to `head` that follow `base`, oldest first."""

        def ask() -> list[str]:
            found = self.api.list_repo_commits(
                self.target.repo, repo_type=self.target.repo_type, revision=head
            )
            newer = itertools.takewhile(lambda oid: oid != base, (each.commit_id for each in found))
            return [*newer][::-1]

        return retried(ask, "listing its commits", self.tell)

    def read(self, path: str, commit: str) -> bytes:
        """The content of a (small) file at a commit."""
        with TemporaryDirectory() as folder, no_bars():
            copy = retried(
                lambda: self.api.hf_hub_download(
                    self.target.repo,
                    path,
                    repo_type=self.target.repo_type,
                    revision=commit,
                    local_dir=folder,
                ),
                f"reading its {path}",
                self.tell,
            )
            return Path(copy).read_bytes()

    def create(self) -> None:
        """Make the repository, if nobody has meanwhile."""
        retried(
            lambda: self.api.create_repo(
                self.target.repo,
                repo_type=self.target.repo_type,
                private=self.target.private or None,
                exist_ok=True,
                space_sdk="gradio" if self.target.repo_type == "space" else None,
            ),
            "making it",
            self.tell,
        )

    def create_branch(self, start: str) -> None:
        """Make the branch of the target at a commit, if it is not there."""
        retried(
            lambda: self.api.create_branch(
                self.target.repo,
                repo_type=self.target.repo_type,
                branch=self.target.branch,
                revision=start,
                exist_ok=True,
            ),
            f"making the branch {self.target.branch}",
            self.tell,
        )

    def create_tag(self, tag: str, commit: str) -> None:
        """Tag a commit; nothing to do if the tag is there already, at this commit.

        Raises:
            HfHubHTTPError: the tag was given to another commit meanwhile.
        """
        try:
            retried(
                lambda: self.api.create_tag(
                    self.target.repo,
                    repo_type=self.target.repo_type,
                    tag=tag,
                    revision=commit,
                ),
                f"tagging {tag}",
                self.tell,
            )
        except HfHubHTTPError as error:
            if error.response.status_code != 409 or self.state().tags.get(tag) != commit:
                raise

    def proposal_address(self, ref: str) -> str:
        """Of the page of `refs/pr/N`."""
        return self.address("discussions", ref.rsplit("/", 1)[-1])

    def address(self, *parts: str) -> str:
        """Of the repository, or of a page of it, for a browser."""
        pages = f"{self.target.repo_type}s"
        return without_token("/".join([constants.ENDPOINT, pages, self.target.repo, *parts]))
