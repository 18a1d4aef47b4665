"""A data set checked as a reader would see it: `check_data_set`."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from acp.core.boxes import BOX_FORMATS, FIT, in_words, other_format
from acp.core.errors import AcpError, reason_of
from acp.core.progress import Advance, Tell, silent
from acp.dataset.check.card_yaml import README, check_card, check_info, difference, same
from acp.dataset.check.fetch import locate
from acp.dataset.check.files import (
    BUILD_AGAIN,
    DataSet,
    Shard,
    batches,
    find,
    open_shards,
    unclaimed,
)
from acp.dataset.check.foreign import exports
from acp.dataset.check.ours import check_ids, check_receipt, extra_files
from acp.dataset.check.problems import Problem, Report
from acp.dataset.check.rows import Outcome, Plan, check_rows
from acp.dataset.check.schema import columns_of
from acp.executor.rows import CONFIGS, features

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features

__all__ = ["Problem", "Report", "check_data_set"]


def check_data_set(
    name: str,
    *,
    config: str | None = None,
    split: str | None = None,
    revision: str | None = None,
    box_format: str = "xywh",
    columns: Mapping[str, str] | None = None,
    processes: int = 1,
    max_problems: int | None = 20,
    tell: Tell = lambda line: None,
    progress: Advance = silent,
) -> Report:
    """Check a folder, a file or a data set on the Hub as a reader would see it.

    Args:
        name: a folder, a file, or an id on the Hub.
        config: this configuration alone; all if None.
        split: this split alone; all if None.
        revision: of a data set on the Hub.
        box_format: how a data set of others writes its boxes, see `acp.core.boxes.BOX_FORMATS`.
        columns: where a data set of others has which part, see `acp.dataset.check.schema`.
        processes: how many threads share the work; images are decoded outside of Python's lock. The
            report does not depend on it.
        max_problems: how many of each kind the report keeps; all if None.
        tell: gets a line on what takes long.
        progress: gets the number of rows that were just checked.

    Raises:
        AcpError: there is no such data set, configuration, split, column or format, or it cannot be
            reached.
    """
    if box_format not in BOX_FORMATS:
        known = ", ".join(BOX_FORMATS)
        raise AcpError(f"--bbox-format {box_format}: no such format; known: {known}")
    path, builders = locate(name, revision, config, tell)
    found = find(name, path, config, split, builders)
    check = _Check(found, Report(name, max_problems), box_format, columns or {}, processes)
    check.run(progress)
    return check.report


@dataclass
class _Check:
    """One run over a data set that was found."""

    found: DataSet
    report: Report
    box_format: str
    columns: Mapping[str, str]
    processes: int
    shards: dict[str, list[Shard]] = field(default_factory=dict)
    rows: dict[str, dict[str, int | None]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)

    def run(self, progress: Advance) -> None:
        found, report = self.found, self.report
        report.add(found.problems)
        self._open()
        self._check_card()
        if found.ours:
            report.add([*check_receipt(found, self.processes, self.broken)])
            report.warnings += extra_files(found)
        for config, shards in self.shards.items():
            if shards:
                self._check_config(config, shards, progress)
        if found.ours:
            self._check_ids()
            report.add(unclaimed(found, pictures=False))
            return
        report.warnings += unclaimed(found, pictures=not report.checked["images"])
        if not report.checked["boxes"]:
            report.add(exports(found))

    def _check_ids(self) -> None:
        known = not any(self.report.counts[kind] for kind in ("features", "null", "lengths"))
        if self.found.receipt and not self.broken and known:
            files = {
                config: [shard.path for shard in each if shard.path]
                for config, each in self.shards.items()
            }
            whole = {config: paths for config, paths in files.items() if paths}
            self.report.add(check_ids(whole, self.found.receipt))

    def _open(self) -> None:
        """Open every file by its footer."""
        for config in self.found.builders:
            self.shards[config], self.rows[config] = [], {}
            for split, files in self.found.splits(config).items():
                shards = list(open_shards(self.found, config, split))
                problems = [shard for shard in shards if isinstance(shard, Problem)]
                whole = [shard for shard in shards if isinstance(shard, Shard)]
                counts = [shard.rows for shard in whole]
                known = not problems and None not in counts
                self.report.checked["files"] += len(files)
                self.report.add(problems)
                self.broken |= {problem.where for problem in problems}
                self.shards[config] += whole
                self.rows[config][split] = sum(n or 0 for n in counts) if known else None
            if not self.found.ours:
                self.report.reads.append(_reads(self.found, config))

    def _check_card(self) -> None:
        found, report = self.found, self.report
        if found.card is not None:
            report.add(check_card(found.card, found.card_fix if found.ours else None))
        elif found.ours and not found.problems:
            report.add([Problem("card", README, "is not there", found.card_fix)])
        for config, builder in found.builders.items():
            shards, rows = self.shards[config], self.rows[config]
            written = self._expected(config, shards)[0] if shards else None
            report.add(check_info(config, builder.info, written, rows, found.card_fix, found.ours))
            for split in (split for split, count in rows.items() if count == 0):
                what = "has no rows; load_dataset reads it only with streaming=True"
                report.warnings.append(Problem("empty", f"{config}, {split}", what))

    def _check_config(self, config: str, shards: list[Shard], progress: Advance) -> None:
        report = self.report
        report.add(self._features(config, shards))
        start, before = len(report.problems), report.counts["bbox"]
        fits = Counter[str]()
        plans = [self._plan(shard) for shard in shards]
        for note in dict.fromkeys(_unread(config, plan) for plan in plans):
            report.notes += [note] if note else []
        if not any(plan.columns.understood for plan in plans):
            report.add([_not_understood(config, shards[0])])
        for outcome in self._outcomes(zip(shards, plans, strict=True)):
            if isinstance(outcome, Problem):
                report.add([outcome])
                self.broken.add(outcome.where)
                continue
            progress(outcome.checked["rows"])
            report.add(outcome.problems)
            report.checked.update(outcome.checked)
            fits.update(outcome.fits)
        for problem in _other_format(config, self.box_format, fits):
            report.take_back("bbox", start, before)  # it explains them all
            report.add([problem])

    def _expected(self, config: str, shards: list[Shard]) -> tuple[Features, str]:
        """The features that all files of a configuration must have, and where they are from."""
        if self.found.ours and config in CONFIGS:
            return features(config), "what this acp writes"
        return shards[0].features, shards[0].place

    def _features(self, config: str, shards: list[Shard]) -> Iterator[Problem]:
        """Ours are as this version writes them; those of others the same in all files."""
        expected, where = self._expected(config, shards)
        fix = "write all files of a configuration with the same features"
        for shard in shards:
            if same(shard.features, expected, strict=self.found.ours):
                continue
            what = f"{difference(shard.features, expected)} in {where}"
            yield Problem("features", shard.place, what, BUILD_AGAIN if self.found.ours else fix)

    def _plan(self, shard: Shard) -> Plan:
        found = self.found
        named = {} if found.ours else self.columns
        columns = columns_of(shard.features, named, ours=found.ours)
        box_format = "xywh" if found.ours else self.box_format
        return Plan(columns, found.root, box_format, found.ours)

    def _outcomes(self, work: Any) -> Iterator[Outcome | Problem]:
        """Every batch checked by a few threads, in the order of the rows."""
        with ThreadPoolExecutor(self.processes) as pool:
            waiting: deque[Problem | Future[Outcome]] = deque()
            for shard, plan in work:
                for each in batches(shard):
                    if isinstance(each, Problem):
                        waiting.append(each)
                    else:
                        waiting.append(pool.submit(_check_batch, plan, shard.place, *each))
                    if len(waiting) > 2 * self.processes:
                        yield _done(waiting.popleft())
            while waiting:
                yield _done(waiting.popleft())


def _reads(found: DataSet, config: str) -> str:
    format_name = type(found.builders[config].config).__name__.removesuffix("Config")
    splits = (f"{split} {len(files):,}" for split, files in found.splits(config).items())
    return f"{config}: load_dataset reads it as {format_name}, files: {', '.join(splits)}"


def _unread(config: str, plan: Plan) -> str:
    names = ", ".join(plan.columns.unread)
    return f"{config}: not checked: {names}" if names else ""


def _not_understood(config: str, shard: Shard) -> Problem:
    names = ", ".join(map(str, shard.features))
    what = f"no column of images or objects that is understood, so none was checked ({names})"
    fix = "name them, as with --column image=NAME --column bbox=NAME.NAME"
    return Problem("columns", config, what, fix)


def _other_format(config: str, box_format: str, fits: Mapping[str, int]) -> Iterator[Problem]:
    """Whether the boxes of others plainly are not in the format that they are read in."""
    total = fits.get("all", 0)
    if not total or fits[box_format] >= FIT * total:
        return
    best = other_format(fits, box_format)
    share = f"{fits[box_format] / total:.0%} of {total:,} boxes"
    what = f"only {share} lie in their images as {in_words(box_format)}"
    if best:
        what += f", {fits[best] / total:.0%} do as {in_words(best)}"
        yield Problem("bbox format", config, what, f"use --bbox-format {best}")
    elif fits[box_format] < total / 2:
        yield Problem("bbox format", config, what, "say how they are written with --bbox-format")


def _check_batch(plan: Plan, place: str, first: int, batch: pa.RecordBatch) -> Outcome:
    """What stands in the files of others may be anything; it must not hide the next problem."""
    names = batch.schema.names if plan.ours else plan.columns.names
    try:
        return check_rows(plan, place, first, batch.select(names).to_pylist())
    except Exception as error:  # of what Python cannot hold
        what = f"rows {first} to {first + len(batch) - 1} cannot be checked: {reason_of(error)}"
        problem = Problem("rows", place, what, "write them as load_dataset reads them")
        return Outcome([problem], Counter(rows=len(batch)))


def _done(each: Problem | Future[Outcome]) -> Outcome | Problem:
    return each if isinstance(each, Problem) else each.result()
