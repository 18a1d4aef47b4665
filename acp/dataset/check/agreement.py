"""Whether files agree with one another and with the YAML of the card, as `load_dataset` asks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from acp.core.errors import one_line
from acp.dataset.check.card_yaml import values_of_field
from acp.dataset.check.configs import configs_of
from acp.dataset.check.found import README, Found
from acp.dataset.check.hub_ids import hub_ids, size_category
from acp.dataset.check.problems import Problem
from acp.dataset.check.reading import Shard

if TYPE_CHECKING:
    from datasets import DatasetInfo, Features

_NUMBERED = re.compile(r"(.*-)(\d{5})-of-(\d{5})(?:-.*)?\.\w+")
MOST_SHARDS = 99_999
DATA = (".parquet", ".arrow", ".jsonl", ".ndjson", ".csv", ".tsv", ".tar")


def same_features(shards: Sequence[Shard], *, strict: bool) -> Iterator[tuple[Problem, bool]]:
    """Shards of a configuration whose features are not those of its first one; each with whether
    it is only a warning, since readers cast them."""
    for shard in shards[1:]:
        first = shards[0]
        if shard.features == first.features:
            continue
        what = f"{difference(shard.features, first.features)} in {first.place}"
        mend = "write all shards of a configuration with the same features"
        castable = not strict and _casts(shard, first.features)
        yield Problem("features", shard.place, what, mend), castable


def difference(features: Features, others: Features) -> str:
    """The first column in which features differ from others."""
    for name in others:
        if name not in features:
            return f"lacks the column {name!r}, which is"
    for name, feature in features.items():
        if name not in others:
            return f"has the column {name!r}, which is not"
        if feature != others[name]:
            return f"column {name!r} is {_short(feature)}, and {_short(others[name])}"
    return "the columns are in another order than"


def _short(feature: Any) -> str:
    text = repr(feature)
    return text if len(text) < 120 else f"{text[:120]}..."


def _casts(shard: Shard, features: Features) -> bool:
    from datasets.table import table_cast

    if set(shard.features) != set(features):
        return False
    try:
        table_cast(shard.schema.empty_table(), features.arrow_schema)
    except Exception:  # pyarrow and datasets have their own
        return False
    return True


def infos_of(card: Mapping[str, Any]) -> Iterator[tuple[str, DatasetInfo | Problem]]:
    """What `dataset_info` says of each configuration."""
    from datasets import DatasetInfo

    entries = card.get("dataset_info")
    for entry in values_of_field(entries):
        if not isinstance(entry, dict):
            mend = "write it anew"
            yield "", Problem("dataset_info", README, "dataset_info: an entry is no mapping", mend)
            continue
        config = str(entry.get("config_name", "default"))
        try:
            yield config, DatasetInfo._from_yaml_dict(entry)
        except Exception as error:  # whatever stands in it
            reason = one_line(error)
            what = f"dataset_info of {config} cannot be read: {reason}"
            yield config, Problem("dataset_info", README, what, "write it anew")


def card_and_shards(
    found: Found, shards: Mapping[str, Sequence[Shard]], rows: Mapping[tuple[str, str], int | None]
) -> Iterator[Problem]:
    """Features and numbers of examples of the card against the footers.

    Args:
        found: the data set, with a card.
        shards: those that could be opened, by configuration.
        rows: by configuration and split; None where a file of it cannot be read.
    """
    known = {part.config for part in found.parts}
    named = {entry["config_name"] for entry in configs_of(found.card)}
    told = set()
    for config, info in infos_of(found.card or {}):
        told.add(config)
        if isinstance(info, Problem):
            yield info
        elif config in known:
            yield from _info_and_shards(found, config, info, shards.get(config, ()), rows)
        elif not found.partial and named and config not in named:
            what = f"dataset_info: there is no configuration {config!r}"
            yield Problem("dataset_info", README, what, "remove it, or add it to configs")
    for config in sorted(known - told) if found.ours else ():
        what = f"dataset_info of {config} is missing"
        yield Problem("dataset_info", README, what, found.card_mend)


def _info_and_shards(
    found: Found,
    config: str,
    info: DatasetInfo,
    shards: Sequence[Shard],
    rows: Mapping[tuple[str, str], int | None],
) -> Iterator[Problem]:
    where, mend = f"{README}: dataset_info, {config}", found.card_mend
    if info.features and shards and shards[0].features != info.features:
        first = shards[0]
        if not _casts(first, info.features):
            what = f"{difference(info.features, first.features)} in {first.place}"
            yield Problem("dataset_info", where, f"features: {what}", mend)
    splits = {str(name): split.num_examples for name, split in (info.splits or {}).items()}
    have = {split: count for (name, split), count in rows.items() if name == config}
    missing = set(splits) - set(have) if not found.partial else set()
    if splits and (missing or set(have) - set(splits)):
        what = f"its splits are {', '.join(splits)}, those of its files {', '.join(have)}"
        yield Problem("dataset_info", where, what, "correct splits, or data_files")
    for split, told in splits.items():
        count = have.get(split)
        if count is not None and told != count:
            what = f"split {split!r} has {told} examples, its files {count}"
            yield Problem("dataset_info", where, what, mend)


def size_categories(found: Found, rows: Mapping[tuple[str, str], int | None]) -> Problem | None:
    """Whether the size of the card is that of all rows or of those of a configuration."""
    told = [
        value
        for value in values_of_field((found.card or {}).get("size_categories"))
        if value in hub_ids()["size_categories"]
    ]
    if not told or found.partial or None in rows.values():
        return None
    counts = [count or 0 for count in rows.values()]
    totals = {sum(counts), *counts}
    for config in {config for config, _ in rows}:
        totals.add(sum(count or 0 for (name, _), count in rows.items() if name == config))
    right = {size_category(total) for total in totals}
    if right & set(told):
        return None
    what = f"size_categories is {', '.join(told)}, there are {sum(counts)} rows"
    return Problem("size_categories", README, what, f"write {size_category(sum(counts))}")


def unclaimed(found: Found) -> Iterator[Problem]:
    """Data files that no configuration names, so that no reader gets them."""
    if found.partial:
        return
    declared = any({"data_files", "data_dir"} & set(entry) for entry in configs_of(found.card))
    claimed = {path.resolve() for part in found.parts for path in part.files}
    suffixes = DATA if declared else {path.suffix for path in claimed} & set(DATA[:2])
    for path in sorted(found.root.rglob("*")):
        place = path.relative_to(found.root)
        hidden = any(name.startswith((".", "__")) for name in place.parts)
        no_data = hidden or path.suffix.lower() not in suffixes or path.is_dir()
        if no_data or path.resolve() in claimed:
            continue
        if declared:
            what, mend = "no configuration of the card names it", "add it to configs, or remove it"
        else:
            what = "load_dataset does not find it by its name"
            mend = "name it as the others, or write configs into the card"
        yield Problem("unclaimed", place.as_posix(), what, mend)


def lost_shards(found: Found) -> Iterator[Problem]:
    """Numbers that files with names such as `train-00000-of-00003.parquet` lack."""
    for part in found.parts:
        numbers: dict[str, set[int]] = {}
        for path in part.files:
            if match := _NUMBERED.fullmatch(found.place(path)):
                numbers.setdefault(f"{match[1]}*-of-{match[3]}", set()).add(int(match[2]))
        for name, have in numbers.items():
            total = int(name.rpartition("-")[2])
            lost = sorted(set(range(min(total, MOST_SHARDS))) - have)
            if lost:
                what = f"{len(lost)} of {total} files are not there, first number {lost[0]:05d}"
                yield Problem("lost", name, what, "put them there, or number the others anew")
