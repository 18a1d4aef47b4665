"""A data set on disk: what is known of it before its rows are read."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acp.dataset.check.problems import Problem
from acp.dataset.receipt import Receipt

README = "README.md"
UNKNOWN = "unknown"
"""The module of files that no reader knows."""


@dataclass(frozen=True, slots=True)
class Part:
    """The files of one split of one configuration; `module` is what `datasets` reads them with."""

    config: str
    split: str
    module: str
    files: tuple[Path, ...]


@dataclass
class Found:
    """A data set on disk. `card`: the YAML of its README, None if there is none that can be read.

    `ours`: it has a receipt, so all that our builds promise is checked.
    """

    name: str
    root: Path
    parts: list[Part] = field(default_factory=list)
    card: Mapping[str, Any] | None = None
    ours: bool = False
    receipt: Receipt | None = None
    problems: list[Problem] = field(default_factory=list)
    partial: bool = False
    """Only what was asked for is on disk, so nothing is said of what is missing."""

    @property
    def card_mend(self) -> str:
        """How to get a card that fits the files."""
        if not self.ours:
            return "write the card anew from the files"
        if self.root != Path(self.name).expanduser():
            return "push the data set again"
        folder, card = shlex.quote(self.name), shlex.quote(str(Path(self.name, README)))
        return f"acp card {folder} --out {card} writes it anew (acp push sends no card but its own)"

    def place(self, path: Path) -> str:
        """A file as it is named in a line."""
        try:
            return path.relative_to(self.root).as_posix()
        except ValueError:
            return str(path)
