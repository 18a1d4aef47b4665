"""Xet storage in a folder: the real hf_xet writes there; its shards say which file is which."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

ENTRY = 48  # bytes of the header and of each entry of a file in a shard
WITH_CHECKS, WITH_SHA256 = 1 << 31, 1 << 30
END = b"\xff" * 32


class XetFolder:
    """A store that clients open as `local://FOLDER`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = f"local://{root / 'cas'}"
        self._stored = root / "cas" / "xet" / "xorbs"
        (root / "cas").mkdir(parents=True, exist_ok=True)

    def fetch(self, sha256: str, size: int) -> bytes | None:
        """The file with this SHA-256; None if it never came."""
        known: dict[str, str] = {}
        for path in (self._stored / "shards").glob("*.mdb"):
            with path.open("rb") as shard:
                known.update(_files(shard))
        return self._read(known[sha256], size) if sha256 in known else None

    def _read(self, xet_hash: str, size: int) -> bytes:
        """By a view with a database of its own: the client has a lock on that of the store."""
        import hf_xet  # type: ignore[import-untyped,unused-ignore]

        view = Path(tempfile.mkdtemp(dir=self.root))
        own = view / "xet" / "xorbs"
        own.mkdir(parents=True)
        for part in ("xorbs", "shards"):
            (own / part).symlink_to(self._stored / part)
        for database in self._stored.glob("*.redb"):
            shutil.copy(database, own)
        with hf_xet.XetSession().new_file_download_group(
            endpoint=f"local://{view}",
            token="local",  # noqa: S106
            token_expiry_unix_secs=1 << 40,
        ) as group:
            group.start_download_file(hf_xet.XetFileInfo(xet_hash, size), str(view / "file"))
        return (view / "file").read_bytes()

    def size(self) -> int:
        """Bytes of what clients stored: chunks and shards, without lookups and caches."""
        found = [*self._stored.glob("xorbs/*"), *self._stored.glob("shards/*.mdb")]
        return sum(path.stat().st_size for path in found)


def _files(shard: BinaryIO) -> Iterator[tuple[str, str]]:
    """(SHA-256, Xet hash) of each file in a shard."""
    shard.seek(ENTRY)
    while (head := shard.read(ENTRY)) and head[:32] != END:
        flags, entries = (int.from_bytes(head[at : at + 4], "little") for at in (32, 36))
        shard.seek(entries * ENTRY * (2 if flags & WITH_CHECKS else 1), 1)
        if flags & WITH_SHA256:
            yield _hex(shard.read(ENTRY)[:32]), _hex(head[:32])


def _hex(raw: bytes) -> str:
    """A hash as Xet writes it: words of 8 bytes, each with its last byte first."""
    return b"".join(raw[place : place + 8][::-1] for place in range(0, 32, 8)).hex()
