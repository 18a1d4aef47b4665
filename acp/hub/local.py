"""Files to publish: their size and sums, each computed once and only if it is asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from huggingface_hub.hf_api import RepoFile

from acp.core.errors import AcpError
from acp.core.files import sha256


class Local:
    """A file on disk, or contents in memory; `known` is its SHA-256 if somebody computed it."""

    def __init__(self, content: Path | bytes, known: str | None = None) -> None:
        self.content = content
        self._known = known
        self._seen = self._stamp()

    @property
    def size(self) -> int:
        """Bytes."""
        return self._seen[0]

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the content, which is what the Hub knows large files by."""
        if self._known is not None:
            return self._known
        if isinstance(self.content, bytes):
            return hashlib.sha256(self.content).hexdigest()
        return sha256(self.content)

    @cached_property
    def git_sha1(self) -> str:
        """What git, and so the Hub, knows small files by."""
        content = self.content if isinstance(self.content, bytes) else self.content.read_bytes()
        head = b"blob %d\0" % len(content)
        return hashlib.sha1(head + content, usedforsecurity=False).hexdigest()

    def same_as(self, remote: RepoFile) -> bool:
        """Whether the file of the Hub holds the same."""
        if remote.size != self.size:
            return False
        if remote.lfs is not None:
            return remote.lfs.sha256 == self.sha256
        return remote.blob_id == self.git_sha1

    def check_unchanged(self) -> None:
        """Raises AcpError if the file was written to, or removed, since it was first seen."""
        try:
            unchanged = self._stamp() == self._seen
        except OSError:
            unchanged = False
        if not unchanged:
            raise AcpError(f"{self.content!s}: changed or vanished during the push; push again")

    def _stamp(self) -> tuple[int, int]:
        if isinstance(self.content, bytes):
            return len(self.content), 0
        found = self.content.stat()
        return found.st_size, found.st_mtime_ns


def local_files(files: Mapping[str, Path | bytes], sums: Mapping[str, str]) -> dict[str, Local]:
    """`files` by path, with the SHA-256 of those that have one in `sums`."""
    return {path: Local(content, sums.get(path)) for path, content in sorted(files.items())}
