"""What a release changes in a repository."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from huggingface_hub.hf_api import RepoFile

from acp.hub.local import Local


@dataclass(frozen=True)
class Changes:
    """Paths with their bytes: those to send are `new` or `replaced`, `others` are left alone."""

    new: Mapping[str, int]
    replaced: Mapping[str, int]
    removed: Mapping[str, int]
    unchanged: Mapping[str, int]
    others: Mapping[str, int]

    @property
    def to_send(self) -> list[str]:
        """Paths whose content is not in the repository yet."""
        return sorted([*self.new, *self.replaced])

    @property
    def nothing(self) -> bool:
        """Whether the repository holds the release already."""
        return not (self.new or self.replaced or self.removed)

    def lines(self) -> list[str]:
        """A line for each kind, with files and bytes."""
        kinds = ("new", "replaced", "removed", "unchanged", "others")
        notes = {"others": "  (not of this release: left alone)"}
        return [
            f"{kind:<10}  {_files(len(sizes)):>10}  {in_bytes(sum(sizes.values())):>10}"
            f"{notes.get(kind, '')}"
            for kind in kinds
            if (sizes := getattr(self, kind)) or kind not in notes
        ]


def changes(
    files: Mapping[str, Local], remote: Mapping[str, RepoFile], stale: Collection[str]
) -> Changes:
    """Compare `files` with the files of the repository; `stale` are those of it that go."""
    same = {path for path in files if path in remote and files[path].same_as(remote[path])}
    gone = {path for path in stale if path in remote} - set(files)
    return Changes(
        new={path: files[path].size for path in files if path not in remote},
        replaced={path: files[path].size for path in files if path in remote and path not in same},
        removed={path: remote[path].size for path in sorted(gone)},
        unchanged={path: files[path].size for path in sorted(same)},
        others={
            path: file.size
            for path, file in remote.items()
            if path not in files and path not in gone
        },
    )


def in_bytes(count: int) -> str:
    """Bytes for people.

    >>> in_bytes(999), in_bytes(1_500), in_bytes(28_000_000)
    ('999 B', '1.5 kB', '28.0 MB')
    """
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def _files(count: int) -> str:
    return f"{count} file{'s' if count != 1 else ''}"
