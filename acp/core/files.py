"""Files: where assets are kept, how a file is written whole or not at all, checksums."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any


def acp_home() -> Path:
    """`$ACP_HOME`, or `~/.cache/acp`. It need not exist yet."""
    return Path(os.environ.get("ACP_HOME") or "~/.cache/acp").expanduser()


def write_json(path: Path, content: Any) -> None:
    """`write_text` of the content as JSON."""
    write_text(path, json.dumps(content, indent=1, sort_keys=True))


def write_text(path: Path, text: str) -> None:
    """Write so that `path` holds either what it held or all of the new text."""
    temporary = beside(path)
    temporary.write_text(text, encoding="utf-8")
    replace_durably(temporary, path)


def beside(path: Path) -> Path:
    """A name in the same folder that only this process uses."""
    return path.with_name(f"{path.name}.{os.getpid()}.tmp")


def replace_durably(temporary: Path, path: Path) -> None:
    """Put `temporary` in the place of `path`, once it is on the disk."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def leads_out(path: Path, folder: Path) -> bool:
    """Whether a path, its links followed, is not in a folder; the files of a snapshot in the Hub's
    cache are links into the cache of its repository."""
    home = folder.parents[1] if folder.parent.name == "snapshots" else folder
    return not path.resolve().is_relative_to(home.resolve())


def sha256(path: Path) -> str:
    """Checksum of a file."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
