"""What a data set is made of: configurations, splits and their files, as `datasets` finds them."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acp.checks.problems import Problem
from acp.errors import AcpError
from acp.receipt import RECEIPT, Receipt, read_receipt
from acp.rows import CONFIGS

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


def find(name: str, root: Path, config: str | None, split: str | None, partial: bool) -> Found:
    """The parts of the data set at `root`, a folder or a file.

    Raises:
        AcpError: there are no data, or no such configuration or split.
    """
    if root.is_file():
        found = Found(name, root.parent)
        found.parts = [Part("default", "train", _module_of_file(root), (root,))]
    elif _is_work(root):
        raise AcpError(
            f"{name}: what acp build keeps while it works, no data set; check the folder beside "
            "it, without .work"
        )
    elif any((root / each).is_file() for each in ("dataset_dict.json", "state.json")):
        found = Found(name, root)
        found.parts = list(_saved_to_disk(found))
    else:
        found = _folder(Found(name, root, partial=partial), config)
    return _only(found, config, split)


def _is_work(root: Path) -> bool:
    return root.suffix == ".work" and (root / "shards").is_dir() and (root / "lock").exists()


def _folder(found: Found, config: str | None) -> Found:
    from acp.checks.card_yaml import read_card

    found.ours = (found.root / RECEIPT).is_file()
    found.receipt = read_receipt(found.root)
    found.card, problems = read_card(found.root / README)
    found.problems += [*problems, *_broken_configs(found.card or {})]
    names = [entry["config_name"] for entry in configs_of(found.card)]
    if names and config not in (None, *names):
        raise AcpError(f"{found.name}: no config {config!r}; it has {', '.join(names)}")
    if found.ours and not configs_of(found.card):
        found.parts = list(_ours(found))
    else:
        found.parts = list(_declared(found, config)) or list(_inferred(found))
    return found


def _ours(found: Found) -> Iterator[Part]:
    """What our builds write, where the card cannot tell."""
    for config in CONFIGS:
        files = tuple(sorted((found.root / config).glob("*.parquet")))
        if files:
            yield Part(config, "train", "parquet", files)


def _only(found: Found, config: str | None, split: str | None) -> Found:
    for what, wanted in (("config", config), ("split", split)):
        if wanted is not None:
            known = sorted({getattr(part, what) for part in found.parts})
            if wanted not in known:
                raise AcpError(f"{found.name}: no {what} {wanted!r}; it has {', '.join(known)}")
            found.parts = [part for part in found.parts if getattr(part, what) == wanted]
    return found


def configs_of(card: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """The entries of `configs` in the YAML that are mappings with a name."""
    entries = (card or {}).get("configs")
    return [
        entry
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict) and isinstance(entry.get("config_name"), str)
    ]


def _broken_configs(card: Mapping[str, Any]) -> Iterator[Problem]:
    """What `load_dataset` refuses in `configs`, and names that stand for several."""
    from datasets.utils.metadata import MetadataConfigs

    try:
        MetadataConfigs.from_dataset_card_data(dict(card)).get_default_config_name()
    except Exception as error:  # whatever stands in it
        mend = "write a list of entries with config_name and data_files"
        what = f"load_dataset refuses configs: {' '.join(str(error).split())}"
        yield Problem("configs", README, what, mend)
        return
    names = [entry["config_name"] for entry in card.get("configs") or ()]
    for place, name in enumerate(names):
        if not isinstance(name, str):
            yield Problem("configs", README, f"config_name {name!r} is not a string", "quote it")
        elif name in names[:place]:
            what = f"there are two configurations {name!r}, and readers get the last"
            yield Problem("configs", README, what, "give each its own config_name")


def _declared(found: Found, config: str | None) -> Iterator[Part]:
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
                yield _part(found, name, split, files)


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
    files = {} if _leaves(found, base) else _by_name(base)
    if not any(files.values()):
        what = f"there are no data files in {folder}"
        found.problems.append(Problem("data_files", where, what, "correct data_dir"))
    return files


def _by_name(base: Path) -> dict[str, list[Path]]:
    """The data files of a folder by split, as `datasets` finds them by their names."""
    from datasets.data_files import DataFilesDict, EmptyDatasetError, get_data_patterns

    place = base.resolve().as_posix()
    try:
        splits = DataFilesDict.from_patterns(get_data_patterns(place), place)
    except (EmptyDatasetError, FileNotFoundError):
        return {}
    return {str(split): _data_files(files) for split, files in splits.items()}


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


def _inferred(found: Found) -> Iterator[Part]:
    """As `datasets` takes a folder whose README names no files."""
    data = _by_name(found.root)
    if not any(data.values()) and not found.problems:
        raise AcpError(f"{found.name}: no data files in it")
    configs = configs_of(found.card)
    config = configs[0]["config_name"] if configs else "default"
    for split, files in data.items():
        if files:
            yield _part(found, config, split, files)


_NO_DATA = {".md", ".yaml", ".yml", ".py", ".toml"}


def _data_files(files: list[str]) -> list[Path]:
    return [Path(file) for file in files if Path(file).suffix.lower() not in _NO_DATA]


def _part(found: Found, config: str, split: str, files: list[Path]) -> Part:
    from datasets.data_files import DataFilesList
    from datasets.load import infer_module_for_data_files_list
    from datasets.packaged_modules import (
        _MODULE_TO_EXTENSIONS,
        _MODULE_TO_METADATA_EXTENSIONS,
        _MODULE_TO_METADATA_FILE_NAMES,
    )

    root = found.root.resolve()
    named = tuple(
        found.root / file.relative_to(root) if file.is_relative_to(root) else file for file in files
    )
    listed = DataFilesList([str(file) for file in named], [])
    module, _ = infer_module_for_data_files_list(listed)
    if module is None:
        return Part(config, split, UNKNOWN, named)
    listed = listed.filter(  # as load_dataset does, which leaves out what stands beside the data
        extensions=_MODULE_TO_EXTENSIONS[module] + _MODULE_TO_METADATA_EXTENSIONS[module],
        file_names=_MODULE_TO_METADATA_FILE_NAMES[module],
    )
    return Part(config, split, module, tuple(map(Path, listed)))


def _module_of_file(path: Path) -> str:
    from datasets.data_files import DataFilesList
    from datasets.load import infer_module_for_data_files_list

    module, _ = infer_module_for_data_files_list(DataFilesList([path.as_posix()], []))
    if module is None or path.suffix.lower() in _NO_DATA:
        raise AcpError(f"{path}: not a format of data sets; expected e.g. .parquet or .jsonl")
    return str(module)


def _saved_to_disk(found: Found) -> Iterator[Part]:
    if not (found.root / "dataset_dict.json").is_file():
        yield _saved_split(found, found.root, "train")
        return
    try:
        splits = json.loads((found.root / "dataset_dict.json").read_bytes())["splits"]
        folders = [found.root / str(split) for split in splits]
    except (ValueError, KeyError, TypeError):
        raise AcpError(f"{found.root / 'dataset_dict.json'}: cannot be read") from None
    for folder in folders:
        yield _saved_split(found, folder, folder.name)


def _saved_split(found: Found, folder: Path, split: str) -> Part:
    try:
        state = json.loads((folder / "state.json").read_bytes())
        names = [Path(file["filename"]).name for file in state["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError):
        where = found.place(folder / "state.json")
        mend = "save the data set again"
        found.problems.append(Problem("file", where, "cannot be read", mend))
        names = [file.name for file in sorted(folder.glob("*.arrow"))]
    return Part("default", split, "arrow", tuple(folder / name for name in names))
