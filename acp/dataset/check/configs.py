"""The configurations that a card names, and the files that its patterns find."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from acp.core.errors import one_line
from acp.dataset.check.found import README, Found, Part
from acp.dataset.check.problems import Problem
from acp.dataset.check.split_files import by_name, part_of


def configs_of(card: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """The entries of `configs` in the YAML that are mappings with a name."""
    entries = (card or {}).get("configs")
    return [
        entry
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict) and isinstance(entry.get("config_name"), str)
    ]


def broken_configs(card: Mapping[str, Any]) -> Iterator[Problem]:
    """What `load_dataset` refuses in `configs`, and names that stand for several."""
    from datasets.utils.metadata import MetadataConfigs

    try:
        MetadataConfigs.from_dataset_card_data(dict(card)).get_default_config_name()
    except Exception as error:  # whatever stands in it
        mend = "write a list of entries with config_name and data_files"
        what = f"load_dataset refuses configs: {one_line(error)}"
        yield Problem("configs", README, what, mend)
        return
    names = [entry["config_name"] for entry in card.get("configs") or ()]
    for place, name in enumerate(names):
        if not isinstance(name, str):
            yield Problem("configs", README, f"config_name {name!r} is not a string", "quote it")
        elif name in names[:place]:
            what = f"there are two configurations {name!r}, and readers get the last"
            yield Problem("configs", README, what, "give each its own config_name")


def declared(found: Found, config: str | None) -> Iterator[Part]:
    """What the README names; what its patterns do not find is a problem."""
    for entry in configs_of(found.card):
        name = entry["config_name"]
        if not {"data_files", "data_dir"} & set(entry) or config not in (None, name):
            continue
        where = f"{README}: configs, {name}"
        splits = _patterns(found, where, entry) if "data_files" in entry else {}
        if "data_files" not in entry:
            splits = _in_data_dir(found, where, entry["data_dir"])
        for split, files in splits.items():
            if files:
                yield part_of(found, name, split, files)


def _patterns(found: Found, where: str, entry: Mapping[str, Any]) -> dict[str, list[Path]]:
    from datasets.data_files import sanitize_patterns

    base = found.root / str(entry.get("data_dir") or "")
    try:
        patterns = sanitize_patterns(entry["data_files"])
    except (ValueError, TypeError, AttributeError) as error:
        problem = Problem("data_files", where, f"data_files: {error}", "write split and path")
        found.problems.append(problem)
        return {}
    return {
        str(split): list(_matched(found, where, str(split), globs, base))
        for split, globs in patterns.items()
    }


def _in_data_dir(found: Found, where: str, folder: Any) -> dict[str, list[Path]]:
    base = found.root / str(folder)
    files = {} if _leaves(found, base) else by_name(base)
    if not any(files.values()):
        what = f"there are no data files in {folder}"
        found.problems.append(Problem("data_files", where, what, "correct data_dir"))
    return files


def _leaves(found: Found, path: Path) -> bool:
    """By name alone: files of the cache are links to elsewhere."""
    full = Path(os.path.normpath(path.absolute()))
    return not full.is_relative_to(os.path.normpath(found.root.absolute()))


def _matched(found: Found, where: str, split: str, globs: list[str], base: Path) -> Iterator[Path]:
    from datasets.data_files import resolve_pattern

    for pattern in map(str, globs):
        if "://" in pattern or _leaves(found, base / pattern):
            what = f"data_files of {split!r} {pattern!r} are not in the data set"
            found.problems.append(Problem("data_files", where, what, "put them into it"))
            continue
        try:
            yield from map(Path, sorted(resolve_pattern(pattern, base.resolve().as_posix())))
        except (FileNotFoundError, ValueError, OSError):
            mend = "correct the pattern, or add the files"
            what = f"data_files of {split!r} {pattern!r} match no file"
            found.problems.append(Problem("data_files", where, what, mend))
