"""What a Hub remembers: repositories with commits and refs in a folder, objects by their sha256."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from support.loopback_hub.xet import XetFolder

DATE = "2026-01-01T00:00:{:02d}.000Z"
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
    xet: str = ""


@dataclass(frozen=True)
class Commit:
    """A commit; `files` are all there are after it."""

    oid: str
    parent: str
    title: str
    message: str
    date: str
    files: dict[str, Blob] = field(default_factory=dict)


@dataclass
class Repo:
    """A repository: `refs` maps `refs/heads/main` and the like to commits."""

    kind: str
    name: str
    private: bool = False
    gated: bool = False
    sdk: str = ""
    card: dict[str, Any] | None = None
    refs: dict[str, str] = field(default_factory=dict)
    closed: list[int] = field(default_factory=list)
    commits: dict[str, Commit] = field(default_factory=dict)

    def head(self, revision: str) -> Commit:
        """The commit of a branch, tag, PR or commit id."""
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


def blob_oid(data: bytes) -> str:
    """The git id of a file with these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def pointer(sha256: str, size: int) -> bytes:
    """What git holds of an LFS file."""
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
    )


class Store:
    """Everything lies under `root`; what changes a repository is one atomic step."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.xet = XetFolder(root / "cas", root / "views")
        self.lock = threading.RLock()
        self.received: list[tuple[str, int]] = []
        for folder in ("lfs", "git", "repos", "cas", "views"):
            (root / folder).mkdir(parents=True, exist_ok=True)

    # Objects.

    def put(self, data: bytes, *, lfs: bool = False) -> str:
        """Keep these bytes; their sha256."""
        sha256 = hashlib.sha256(data).hexdigest()
        place = self.root / ("lfs" if lfs else "git") / sha256
        part = place.with_suffix(f".{threading.get_ident()}.part")
        part.write_bytes(data)
        part.replace(place)
        return sha256

    def has_lfs(self, sha256: str) -> bool:
        return (self.root / "lfs" / sha256).is_file()

    def read(self, blob: Blob) -> bytes:
        """The bytes of a file."""
        return (self.root / ("lfs" if blob.lfs else "git") / blob.sha256).read_bytes()

    def regular(self, data: bytes) -> Blob:
        return Blob(self.put(data), len(data), blob_oid(data))

    def large(self, sha256: str, size: int) -> Blob:
        """A file in LFS or Xet; refused if its bytes never came."""
        xet = self.xet.hash_of(sha256)
        if xet and not self.has_lfs(sha256):
            self._adopt(sha256, xet, size)
        if not self.has_lfs(sha256):
            raise RefusedError(422, f"LFS pointer pointed to a file that does not exist: {sha256}")
        if (self.root / "lfs" / sha256).stat().st_size != size:
            raise RefusedError(422, f"LFS pointer with another size than that of {sha256}")
        return Blob(sha256, size, blob_oid(pointer(sha256, size)), lfs=True, xet=xet)

    def _adopt(self, sha256: str, xet: str, size: int) -> None:
        """Read a file back from Xet, so that it can be served plainly as well."""
        part = self.root / "lfs" / f"{sha256}.xet"
        self.xet.fetch(xet, size, part)
        if hashlib.sha256(part.read_bytes()).hexdigest() != sha256:
            raise RefusedError(422, f"Xet holds other bytes than those of {sha256}")
        part.replace(part.with_suffix(""))

    # Repositories.

    def _file(self, kind: str, name: str) -> Path:
        return self.root / "repos" / f"{kind}s" / f"{name.replace('/', '--')}.json"

    def repo(self, kind: str, name: str) -> Repo:
        """A repository by type ("dataset") and id."""
        try:
            saved = json.loads(self._file(kind, name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RefusedError(404, "Repository not found", "RepoNotFound") from None
        for commit in saved["commits"].values():
            commit["files"] = {path: Blob(**blob) for path, blob in commit["files"].items()}
        saved["commits"] = {oid: Commit(**commit) for oid, commit in saved["commits"].items()}
        return Repo(**saved)

    def save(self, repo: Repo) -> None:
        file = self._file(repo.kind, repo.name)
        file.parent.mkdir(exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(json.dumps(asdict(repo)), encoding="utf-8")
        os.replace(part, file)  # noqa: PTH105

    def create(self, kind: str, name: str, **settings: Any) -> Repo:
        """A new repository with the first commit that the Hub makes."""
        with self.lock:
            if self._file(kind, name).exists():
                raise RefusedError(409, "You already created this repo")
            repo = Repo(kind, name, **settings)
            files: dict[str, bytes] = {".gitattributes": ATTRIBUTES.encode()}
            if kind == "space":
                files["README.md"] = SPACE_CARD.format(sdk=repo.sdk).encode()
            blobs = {path: self.regular(data) for path, data in files.items()}
            self._add(repo, "refs/heads/main", "", blobs, "initial commit", "")
            self.save(repo)
            return repo

    def delete(self, kind: str, name: str) -> None:
        self.repo(kind, name)
        self._file(kind, name).unlink()

    def _add(
        self, repo: Repo, ref: str, parent: str, files: dict[str, Blob], title: str, message: str
    ) -> Commit:
        date = DATE.format(len(repo.commits) % 60)
        commit = Commit("", parent, title, message, date, dict(sorted(files.items())))
        text = json.dumps([repo.kind, repo.name, ref, len(repo.commits), asdict(commit)])
        commit = replace(commit, oid=hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
        repo.commits[commit.oid] = commit
        repo.refs[ref] = commit.oid
        return commit

    def commit(
        self,
        kind: str,
        name: str,
        revision: str,
        operations: Sequence[tuple[str, Mapping[str, Any]]],
        *,
        create_pr: bool = False,
    ) -> tuple[Commit, int]:
        """All `operations` of the protocol in one step; the commit and the number of its PR."""
        with self.lock:
            repo = self.repo(kind, name)
            base = repo.head(revision)
            if revision in repo.commits and not create_pr:
                raise RefusedError(400, "Cannot commit on a commit id: name a branch")
            header: dict[str, Any] = {}
            files = dict(base.files)
            for key, value in operations:
                if key == "header":
                    header = dict(value)
                else:
                    self._apply(files, key, value)
            if header.get("parentCommit", base.oid) != base.oid:
                raise RefusedError(
                    412, "A commit has happened since. Please refresh and try again."
                )
            number = 1 + sum(ref.startswith("refs/pr/") for ref in repo.refs) if create_pr else 0
            ref = f"refs/pr/{number}" if create_pr else revision
            if ref not in repo.refs:
                ref = ref if create_pr else f"refs/heads/{revision}"
            title, message = header.get("summary", ""), header.get("description", "")
            commit = self._add(repo, ref, base.oid, files, title, message)
            self.save(repo)
            return commit, number

    def _apply(self, files: dict[str, Blob], key: str, value: Mapping[str, Any]) -> None:
        path = value["path"]
        if key == "file":
            data = base64.b64decode(value["content"])
            if self.is_lfs(path, len(data), data[:512]):
                raise RefusedError(400, f"{path} is large or binary: it belongs into LFS")
            files[path] = self.regular(data)
        elif key == "lfsFile":
            files[path] = self.large(value["oid"], value["size"])
        elif key == "deletedFile":
            if path not in files:
                raise RefusedError(
                    404, f"A file with this name doesn't exist: {path}", "EntryNotFound"
                )
            del files[path]
        elif key == "deletedFolder":
            gone = [each for each in files if each.startswith(path.rstrip("/") + "/")]
            if not gone:
                raise RefusedError(
                    404, f"A folder with this name doesn't exist: {path}", "EntryNotFound"
                )
            for each in gone:
                del files[each]
        else:
            raise RefusedError(400, f"Unknown operation {key}")

    def is_lfs(self, path: str, size: int, sample: bytes) -> bool:
        """Whether the Hub keeps such a file in LFS: for its name, its size or its bytes."""
        by_name = PurePosixPath(path).suffix in BINARY
        return bool(size) and (by_name or size > LFS_ABOVE or b"\0" in sample)
