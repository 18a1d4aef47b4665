"""The receipt of a data set folder: which build it holds, what made it, a checksum for each file.

It stands beside the data, in a folder as on the Hub, and tells a data set of ours from another.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from acp.core.files import sha256, write_json
from acp.core.types import ModelInfo

RECEIPT = ".acp.json"
"""Its name in the folder."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """`version` is that of this package which built the data; `models` by kind of backend;
    `sha256` by path in the folder, with `/`, but its own."""

    version: str
    fingerprint: str
    scenes: int
    models: Mapping[str, ModelInfo]
    sha256: Mapping[str, str]

    def as_json(self) -> dict[str, object]:
        """What is kept of it in a file."""
        return asdict(self)


def parse_receipt(text: str | bytes) -> Receipt | None:
    """The receipt that a file holds; None for anything else, one without a version too."""
    try:
        content = json.loads(text)
        models = {str(kind): ModelInfo(**model) for kind, model in content["models"].items()}
        sums = {str(name): str(value) for name, value in content["sha256"].items()}
        version, fingerprint = str(content["version"]), str(content["fingerprint"])
        return Receipt(version, fingerprint, int(content["scenes"]), models, sums)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return None


def read_receipt(folder: Path) -> Receipt | None:
    """The receipt of a folder; None where there is none, or one that cannot be read."""
    try:
        return parse_receipt((folder / RECEIPT).read_bytes())
    except OSError:
        return None


def write_receipt(folder: Path, receipt: Receipt) -> None:
    """Write the receipt, last of all files."""
    write_json(folder / RECEIPT, receipt.as_json())


def files_of(folder: Path) -> Iterator[str]:
    """The files of a data set but the receipt, as paths with `/` in the order of their names."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != RECEIPT:
            yield path.relative_to(folder).as_posix()


def sums_of(folder: Path) -> dict[str, str]:
    """The checksum of every file of a data set but the receipt."""
    return {name: sha256(folder / name) for name in files_of(folder)}
