"""Xet storage in a folder: the real hf_xet writes there; its shards say which file is which."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

ENTRY = 48  # bytes of the header and of each entry of a file in a shard
WITH_CHECKS, WITH_SHA256 = 1 << 31, 1 << 30
END = b"\xff" * 32


def _hex(raw: bytes) -> str:
    """A hash as Xet writes it: words of 8 bytes, each with its last byte first."""
    return b"".join(raw[place : place + 8][::-1] for place in range(0, 32, 8)).hex()


def _files(shard: BinaryIO) -> Iterator[tuple[str, str]]:
    """(sha256, Xet hash) of each file in a shard."""
    shard.seek(ENTRY)
    while (head := shard.read(ENTRY)) and head[:32] != END:
        flags, entries = (int.from_bytes(head[at : at + 4], "little") for at in (32, 36))
        shard.seek(entries * ENTRY * (2 if flags & WITH_CHECKS else 1), 1)
        if flags & WITH_SHA256:
            yield _hex(shard.read(ENTRY)[:32]), _hex(head[:32])


class XetFolder:
    """A store that clients open as `local://FOLDER`, one at a time: its database has a lock.

    So who only reads gets a view of his own, with a database of its own.
    """

    def __init__(self, folder: Path, views: Path) -> None:
        self.folder = folder
        self._views = views
        self._lock = threading.Lock()
        self._read: set[Path] = set()
        self._known: dict[str, str] = {}

    @property
    def url(self) -> str:
        return f"local://{self.folder}"

    def view(self) -> str:
        """The address of the store for one reader."""
        stored = self.folder / "xet" / "xorbs"
        own = Path(tempfile.mkdtemp(dir=self._views)) / "xet" / "xorbs"
        own.mkdir(parents=True)
        for part in ("xorbs", "shards"):
            (stored / part).mkdir(parents=True, exist_ok=True)
            (own / part).symlink_to(stored / part)
        for database in stored.glob("*.redb"):
            shutil.copy(database, own)
        return f"local://{own.parents[1]}"

    def hash_of(self, sha256: str) -> str:
        """The Xet hash of the file with this sha256, "" if it never came."""
        with self._lock:
            for path in (self.folder / "xet" / "xorbs" / "shards").glob("*.mdb"):
                if path not in self._read:
                    with path.open("rb") as shard:
                        self._known.update(_files(shard))
                    self._read.add(path)
            return self._known.get(sha256, "")

    def fetch(self, xet_hash: str, size: int, target: Path) -> None:
        """Write the file with this hash to `target`."""
        import hf_xet  # type: ignore[import-untyped,unused-ignore]

        session = hf_xet.XetSession()
        with session.new_file_download_group(
            endpoint=self.view(),
            token="local",  # noqa: S106
            token_expiry_unix_secs=1 << 40,
        ) as group:
            group.start_download_file(hf_xet.XetFileInfo(xet_hash, size), str(target))

    def size(self) -> int:
        """Bytes of what clients stored: chunks and shards, without lookups and caches."""
        stored = self.folder / "xet" / "xorbs"
        found = [*stored.glob("xorbs/*"), *stored.glob("shards/*.mdb")]
        return sum(path.stat().st_size for path in found)
