"""The YAML of a card: what the Hub and `load_dataset` refuse, and whether it fits the files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acp.core.errors import one_line
from acp.dataset.check.problems import Problem

if TYPE_CHECKING:
    from datasets import Features

README = "README.md"
OF_OURS = ("license", "language", "size_categories", "task_categories", "configs")
MOST_VALUES = 100_000
"""Of the YAML, each alias of it counted out: a few lines of them can stand for all memory."""
_BOUNDS = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")


def size_category(rows: int) -> str:
    """The Hub's size category of so many rows.

    >>> size_category(999), size_category(1000), size_category(10**13)
    ('n<1K', '1K<n<10K', 'n>1T')
    """
    for place, bound in enumerate(_BOUNDS):
        if rows < 1000 * 10**place:
            return f"{_BOUNDS[place - 1]}<n<{bound}" if place else f"n<{bound}"
    return f"n>{_BOUNDS[-1]}"


def read_card(readme: Path) -> tuple[Mapping[str, Any] | None, list[Problem]]:
    """The YAML at the top of a README, or in a file of its own: None, with a problem if it cannot
    be read; {} if a README has none."""
    from huggingface_hub import RepoCard

    try:
        text = readme.read_text(encoding="utf-8")
        content = RepoCard(text if readme.suffix == ".md" else f"---\n{text}\n---\n")
        card: dict[str, Any] = content.data.to_dict()  # type: ignore[no-untyped-call]
        if _size(card, MOST_VALUES) > MOST_VALUES:
            raise ValueError(f"it stands for more than {MOST_VALUES:,} values")
    except FileNotFoundError:
        return None, []
    except OSError as error:
        what = f"cannot be read: {(error.strerror or str(error)).lower()}"
        return None, [Problem("card", readme.name, what, "put a file there")]
    except UnicodeDecodeError:
        return None, [Problem("card", readme.name, "is not UTF-8", "write it as UTF-8")]
    except Exception as error:  # of dates, nesting, names, whatever stands in it
        what = f"its YAML cannot be read: {one_line(error)}"
        return None, [Problem("card", readme.name, what, "correct it")]
    return card, []


def _size(value: Any, most: int) -> int:
    """How many values there are in one, counted no further than a little over `most`."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    total = 1
    for each in inner:
        total += _size(each, most - total) if total <= most else 0
    return total


def check_card(card: Mapping[str, Any], ours: str | None = None) -> Iterator[Problem]:
    """What the Hub refuses in a card; of our own cards, also what they must have: `ours` says how
    to fix one."""
    if "other" in _values(card, "license"):
        for key in ("license_name", "license_link"):
            if not card.get(key):
                yield Problem("license", README, f"license is other without {key}", f"add {key}")
    for key in ("license", "language", "tags"):
        for value in _values(card, key):
            if not isinstance(value, str):  # YAML reads no as false
                shown = value if isinstance(value, (bool, int, float)) else type(value).__name__
                yield Problem(key, README, f"{key}: {shown} is not a string", "put it in quotes")
    for key in OF_OURS if ours is not None else ():
        if not card.get(key):
            yield Problem("card", README, f"{key} is missing", ours or "")


def outside(card: Mapping[str, Any], root: Path) -> Iterator[Problem]:
    """Files of `configs` that are not in the data set; what is read stays in it."""
    for entry in _values(card, "configs"):
        if not isinstance(entry, dict):
            continue
        base = root / str(entry.get("data_dir") or "")
        for pattern in [*_strings(entry.get("data_files"))] or [""]:
            path = os.path.normpath(base / pattern)
            if "://" in pattern or not Path(path).is_relative_to(root):
                what = f"configs: {pattern or entry.get('data_dir')} is not in the data set"
                yield Problem("load", README, what, "put the files there")


def _strings(value: Any) -> Iterator[str]:
    """All strings in a value, the names of splits among them."""
    if isinstance(value, str):
        yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        yield from _strings(each)


def _values(card: Mapping[str, Any], key: str) -> list[Any]:
    """What a field of the YAML holds, one value or a list of them."""
    value = card.get(key)
    return value if isinstance(value, list) else [] if value is None else [value]


def check_info(
    config: str,
    info: Any,
    features: Features | None,
    rows: Mapping[str, int | None],
    fix: str,
    strict: bool,
) -> Iterator[Problem]:
    """Features, splits and numbers of examples of the card against the files.

    Args:
        config: the configuration.
        info: the `datasets.DatasetInfo` of the card.
        features: those of its rows; None if no file could be opened.
        rows: how many the files of each split have; None where that is not known.
        fix: how to fix a card.
        strict: the features must be equal, else that one can be cast into the other is enough.
    """
    told = {str(name): split.num_examples for name, split in (info.splits or {}).items()}
    what = []
    if features is not None and info.features and not same(features, info.features, strict=strict):
        what.append(f"features: {difference(info.features, features)} in its rows")
    if told and set(rows) - set(told):
        what.append(f"its splits are {', '.join(told)}, those of its files {', '.join(rows)}")
    for split, count in rows.items():
        if count is not None and split in told and told[split] != count:
            what.append(f"split {split!r} has {told[split]} examples, its files {count}")
    yield from (Problem("dataset_info", f"{README}: {config}", each, fix) for each in what)


def difference(features: Features, others: Features) -> str:
    """The first column in which features differ from others."""
    for name in others:
        if name not in features:
            return f"lacks the column {name!r}, which is"
    for name, feature in features.items():
        if name not in others:
            return f"has the column {name!r}, which is not"
        if feature != others[name]:
            mine, theirs = (repr(each)[:120] for each in (feature, others[name]))
            return f"column {name!r} is {mine}, and {theirs}"
    return "the columns are in another order than"


def same(features: Features, others: Features, *, strict: bool) -> bool:
    """Whether features are equal or, if not `strict`, the ones can be read as the others."""
    from datasets.table import table_cast

    if features == others or strict or set(features) != set(others):
        return bool(features == others)
    try:
        table_cast(features.arrow_schema.empty_table(), others.arrow_schema)
    except Exception:  # pyarrow and datasets have their own
        return False
    return True
