"""Where a release goes: a repository of the Hub, a branch or a pull request, a tag."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from acp.core.errors import AcpError

MAIN = "main"
"""The branch that readers get; every repository of the Hub has it."""
MAIN_REF = f"refs/heads/{MAIN}"

_BAD_IN_NAME = re.compile(r"[\s~^:?*\[\\\x00-\x1f\x7f]|\.\.|//|@\{|^[-/.]|[/.]$|\.lock$")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PULL_REQUEST = re.compile(r"refs/pr/[0-9]+")


@dataclass(frozen=True, slots=True)
class Target:
    """A repository `repo` ("owner/name") and where in it.

    `revision`: a branch, made if it is missing, or `refs/pr/N`; None is `main`. `tag`: a name for
    the release's commit. `private`: whether it must be private. `create_pr`: propose the release
    instead of making it.
    """

    repo: str
    repo_type: Literal["dataset", "space"] = "dataset"
    revision: str | None = None
    tag: str | None = None
    private: bool = False
    create_pr: bool = False

    @property
    def branch(self) -> str:
        """The branch, or the pull request, that gets the release."""
        return self.revision or MAIN

    @property
    def ref(self) -> str:
        """The branch or the pull request as git names it in full."""
        return self.branch if self.branch.startswith("refs/") else f"refs/heads/{self.branch}"

    def check(self) -> None:
        """Refuse names that the Hub does not know.

        Raises:
            AcpError: a repository, revision or tag whose name cannot be, or options that
                exclude each other.
        """
        _check_repo(self.repo)
        for option, name in (("--revision", self.revision), ("--tag", self.tag)):
            if name is not None:
                _check_name(option, name)
        if self.create_pr and self.branch.startswith("refs/"):
            raise AcpError(
                f"--create-pr with --revision {self.branch}: adds to a pull request or opens one, "
                "not both; leave out one of them"
            )
        if self.create_pr and self.tag:
            raise AcpError(
                "--tag with --create-pr: a proposal has no release to tag yet; leave out --tag"
            )


def _check_repo(repo: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repo)
        valid = repo.count("/") == 1
    except HFValidationError:
        valid = False
    if not valid:
        raise AcpError(
            f"--repo {repo!r}: not a repository of the Hub; write OWNER/NAME, of letters, digits, "
            "'-', '_' and '.', such as acp/lvis-synth"
        )


def _check_name(option: str, name: str) -> None:
    if not name or _BAD_IN_NAME.search(name) or _COMMIT.fullmatch(name):
        raise AcpError(f"{option} {name!r}: not a name that git takes; write one such as v1.0")
    if name.startswith("refs/") and (option == "--tag" or not _PULL_REQUEST.fullmatch(name)):
        raise AcpError(f"{option} {name!r}: write the bare name, or refs/pr/N for --revision")
