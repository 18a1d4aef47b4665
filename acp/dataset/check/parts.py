"""What a data set is made of: configurations, splits and their files, as `datasets` finds them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from acp.core.errors import AcpError
from acp.dataset.check.configs import broken_configs, configs_of, declared
from acp.dataset.check.found import README, Found, Part
from acp.dataset.check.problems import Problem
from acp.dataset.check.split_files import by_name, module_of_file, part_of
from acp.dataset.receipt import RECEIPT, read_receipt
from acp.executor.rows import CONFIGS


def find(name: str, root: Path, config: str | None, split: str | None, partial: bool) -> Found:
    """The parts of the data set at `root`, a folder or a file.

    Raises:
        AcpError: there are no data, or no such configuration or split.
    """
    if root.is_file():
        found = Found(name, root.parent)
        found.parts = [Part("default", "train", module_of_file(root), (root,))]
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
    from acp.dataset.check.card_yaml import read_card

    found.ours = (found.root / RECEIPT).is_file()
    found.receipt = read_receipt(found.root)
    found.card, problems = read_card(found.root / README)
    found.problems += [*problems, *broken_configs(found.card or {})]
    names = [entry["config_name"] for entry in configs_of(found.card)]
    if names and config not in (None, *names):
        raise AcpError(f"{found.name}: no config {config!r}; it has {', '.join(names)}")
    if found.ours and not configs_of(found.card):
        found.parts = list(_ours(found))
    else:
        found.parts = list(declared(found, config)) or list(_inferred(found))
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


def _inferred(found: Found) -> Iterator[Part]:
    """As `datasets` takes a folder whose README names no files."""
    data = by_name(found.root)
    if not any(data.values()) and not found.problems:
        raise AcpError(f"{found.name}: no data files in it")
    configs = configs_of(found.card)
    config = configs[0]["config_name"] if configs else "default"
    for split, files in data.items():
        if files:
            yield part_of(found, config, split, files)


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
