"""What a Hub holds: repositories with commits and refs, and contents by their SHA-256."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from support.loopback_hub.xet import XetFolder

LFS_ABOVE = 10_000_000
_SUFFIXES = (
    "7z arrow bin bz2 ckpt gz h5 jpeg jpg lz4 model npy npz onnx parquet pickle pkl png pt pth "
    "rar safetensors tar tflite tgz wav webp xz zip zst"
)
BINARY = frozenset(f".{name}" for name in _SUFFIXES.split(" "))
ATTRIBUTES = "".join(f"*{name} filter=lfs diff=lfs merge=lfs -text\n" for name in sorted(BINARY))
SPACE_CARD = "---\ntitle: Space\nsdk: {sdk}\napp_file: app.py\npinned: false\n---\n"


class RefusedError(Exception):
    """What the Hub answers to a request that it does not grant."""

    def __init__(self, status: int, message: str, code: str = "", **headers: str) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.headers = status, message, code, headers


@dataclass(frozen=True)
class Blob:
    """A file of a commit."""

    sha256: str
    size: int
    oid: str
    lfs: bool = False


@dataclass(frozen=True)
class Commit:
    """A commit; `files` are all there are after it."""

    oid: str
    parent: str
    title: str
    files: Mapping[str, Blob]


@dataclass
class Repo:
    """A repository: `refs` maps `refs/heads/main` and the like to commits."""

    kind: str
    name: str
    private: bool = False
    gated: bool = False
    sdk: str = ""
    card: Mapping[str, Any] | None = None
    refs: dict[str, str] = field(default_factory=dict)
    closed: list[int] = field(default_factory=list)
    commits: dict[str, Commit] = field(default_factory=dict)

    def head(self, revision: str) -> Commit:
        """The commit of a branch, tag, pull request or commit id."""
        for ref in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            if ref in self.refs:
                return self.commits[self.refs[ref]]
        if revision in self.commits:
            return self.commits[revision]
        raise RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def log(self, revision: str) -> list[Commit]:
        """Commits of a revision, newest first."""
        commits = [self.head(revision)]
        while commits[-1].parent:
            commits.append(self.commits[commits[-1].parent])
        return commits

    def add(self, ref: str, parent: str, title: str, files: Mapping[str, Blob]) -> Commit:
        """A commit to which `ref` points from now on."""
        text = json.dumps([self.kind, self.name, ref, len(self.commits)])
        oid = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        self.commits[oid] = Commit(oid, parent, title, dict(sorted(files.items())))
        self.refs[ref] = oid
        return self.commits[oid]


class Contents:
    """The bytes of all files; `received` lists the LFS objects that came, (SHA-256, bytes) each
    time one came."""

    def __init__(self, xet: XetFolder) -> None:
        self.xet = xet
        self.stored: dict[str, bytes] = {}
        self.received: list[tuple[str, int]] = []

    def regular(self, data: bytes) -> Blob:
        """A file that git itself keeps."""
        sha256 = hashlib.sha256(data).hexdigest()
        self.stored[sha256] = data
        return Blob(sha256, len(data), _git_id(data))

    def large(self, sha256: str, size: int) -> Blob:
        """A file in LFS; refused if its bytes never came, neither as they are nor by Xet."""
        if sha256 not in self.stored:
            data = self.xet.fetch(sha256, size)
            if data is None or hashlib.sha256(data).hexdigest() != sha256:
                raise RefusedError(422, f"LFS pointer to a file that does not exist: {sha256}")
            self.stored[sha256] = data
        if len(self.stored[sha256]) != size:
            raise RefusedError(422, f"LFS pointer with another size than that of {sha256}")
        return Blob(sha256, size, _git_id(pointer(sha256, size)), lfs=True)

    def apply(self, files: dict[str, Blob], key: str, value: Mapping[str, Any]) -> None:
        """Make one change of a commit."""
        path = value["path"]
        if key == "file":
            data = base64.b64decode(value["content"])
            if is_lfs(path, len(data), data[:512]):
                raise RefusedError(400, f"{path} is large or binary: it belongs into LFS")
            files[path] = self.regular(data)
        elif key == "lfsFile":
            files[path] = self.large(value["oid"], value["size"])
        elif key == "deletedFile" and path in files:
            del files[path]
        else:
            message = f"A file with this name doesn't exist: {path}"
            raise RefusedError(404, message, "EntryNotFound")

    def commit(
        self,
        repo: Repo,
        revision: str,
        changes: Sequence[tuple[str, Mapping[str, Any]]],
        create_pr: bool = False,
    ) -> tuple[Commit, int]:
        """All changes in one step, as the protocol has them; the commit and its pull request."""
        base, header = repo.head(revision), dict(changes[0][1])
        files = dict(base.files)
        for key, value in changes[1:]:
            self.apply(files, key, value)
        if header.get("parentCommit", base.oid) != base.oid:
            raise RefusedError(412, "A commit has happened since. Please refresh and try again.")
        number = 1 + sum(ref.startswith("refs/pr/") for ref in repo.refs) if create_pr else 0
        ref = f"refs/pr/{number}" if create_pr else revision
        ref = ref if ref.startswith("refs/pr/") else f"refs/heads/{ref}"
        return repo.add(ref, base.oid, header["summary"], files), number


def is_lfs(path: str, size: int, sample: bytes) -> bool:
    """Whether the Hub keeps such a file in LFS: for its name, its size or its bytes."""
    by_name = PurePosixPath(path).suffix in BINARY
    return bool(size) and (by_name or size > LFS_ABOVE or b"\0" in sample)


def pointer(sha256: str, size: int) -> bytes:
    """What git holds of an LFS file."""
    head = "version https://git-lfs.github.com/spec/v1"
    return f"{head}\noid sha256:{sha256}\nsize {size}\n".encode()


def _git_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
