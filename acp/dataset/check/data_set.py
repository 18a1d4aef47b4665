"""`check_data_set`: every check of a data set, in a fixed order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from acp.core.errors import AcpError
from acp.dataset.check.agreement import (
    card_and_shards,
    lost_shards,
    same_features,
    size_categories,
    unclaimed,
)
from acp.dataset.check.batch import Outcome, Plan
from acp.dataset.check.card_yaml import check_card
from acp.dataset.check.columns import unread
from acp.dataset.check.conventions import COCO
from acp.dataset.check.found import README, Found, Part
from acp.dataset.check.ids import Collected
from acp.dataset.check.parts import find
from acp.dataset.check.problems import Problem, Progress, Report, silent
from acp.dataset.check.reading import Shard, open_shards
from acp.dataset.check.remote import fetch
from acp.dataset.check.rows import check_rows, plans_of
from acp.dataset.check.sums import check_extra, check_receipt

VIEWER_BYTES = 300_000_000
"""The Hub's viewer reads no larger row groups."""
FEW_FIT = 0.5


def check_data_set(
    name: str,
    *,
    config: str | None = None,
    split: str | None = None,
    revision: str | None = None,
    processes: int = 1,
    max_problems: int | None = None,
    tell: Callable[[str], None] = lambda line: None,
    progress: Progress = silent,
) -> Report:
    """Check a folder, a file or a data set on the Hub as a reader would see it.

    Args:
        name: a folder, a file, or an id on the Hub.
        config: this configuration alone; all if None.
        split: this split alone; all if None.
        revision: of a data set on the Hub.
        processes: how many share the work, up to 4 as threads; more need the usual
            `if __name__ == "__main__":` in a script. The answer does not depend on it.
        max_problems: how many of each kind the report keeps; all if None.
        tell: told in a line of what takes long.
        progress: told of the rows.

    Raises:
        AcpError: there is no such data set, or it cannot be reached.
    """
    root, partial = _locate(name, revision, config, split, tell)
    found = find(name, root, config, split, partial or config is not None or split is not None)
    check = _Check(found, Report(name, max_problems), processes, progress)
    check.run()
    return check.report


def _locate(
    name: str,
    revision: str | None,
    config: str | None,
    split: str | None,
    tell: Callable[[str], None],
) -> tuple[Path, bool]:
    path = Path(name).expanduser()
    try:
        known = path.exists()
    except OSError:  # too long for a name
        known = False
    if known:
        if not (path.is_dir() or path.is_file()):
            raise AcpError(f"{name}: neither a folder nor a file")
        if revision is not None:
            raise AcpError(f"--revision {revision}: {name} is on disk; leave out --revision")
        return path, False
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or not name:
        raise AcpError(f"{name[:200] or 'DATASET'}: no such folder or file")
    return fetch(name, revision, config, split, tell)


@dataclass
class _Check:
    """One run over a data set that was found."""

    found: Found
    report: Report
    processes: int
    progress: Progress
    shards: dict[Part, list[Shard]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)

    def run(self) -> None:
        found, report = self.found, self.report
        report.add(*found.problems)
        if found.card is not None:
            must = found.card_mend if found.ours else None
            report.add(*check_card(found.card, README, must))
        elif found.ours and not found.problems:
            report.add(Problem("card", README, "is not there", found.card_mend))
        self._open()
        report.add(*check_receipt(found, self.processes, self.broken))
        report.warnings += check_extra(found)
        self._agree()
        for problem in unclaimed(found):
            self._add(problem, warning=not found.ours)
        if not found.ours:  # the receipt tells
            report.warnings += lost_shards(found)
        self._check_rows()
        self._sum_up()

    def _add(self, problem: Problem, *, warning: bool) -> None:
        if warning:
            self.report.warnings.append(problem)
        else:
            self.report.add(problem)

    def _open(self) -> None:
        for part in self.found.parts:
            self.shards[part] = []
            for shard in open_shards(self.found, part):
                self.report.checked["files"] += len(part.files) if self._streams(shard) else 1
                if isinstance(shard, Problem):
                    self.report.add(shard)
                    self.broken.add(shard.where)
                else:
                    self.shards[part].append(shard)
                    self._check_row_groups(shard)

    @staticmethod
    def _streams(shard: Shard | Problem) -> bool:
        return isinstance(shard, Shard) and shard.path is None

    def _check_row_groups(self, shard: Shard) -> None:
        for place, group in enumerate(shard.row_groups):
            where = f"{shard.place}: row group {place}"
            if group.bytes > VIEWER_BYTES:
                what = f"has {group.bytes:,} bytes; the Hub's viewer reads {VIEWER_BYTES:,} at most"
                self.report.add(Problem("row group", where, what, "write smaller row groups"))
            if self.found.ours and group.image_codecs not in ((), ("UNCOMPRESSED",)):
                what = f"compresses images again ({', '.join(group.image_codecs).lower()})"
                mend = "uncompressed, a small edit uploads a small part"
                self._add(Problem("layout", where, what, mend), warning=True)
            if self.found.ours and not group.indexed:
                what = "has no page index"
                mend = "with one, readers skip pages"
                self._add(Problem("layout", where, what, mend), warning=True)

    def _by_config(self) -> dict[str, list[Shard]]:
        configs: dict[str, list[Shard]] = {}
        for part, shards in self.shards.items():
            configs.setdefault(part.config, []).extend(shards)
        return {config: shards for config, shards in configs.items() if shards}

    def _rows(self) -> dict[tuple[str, str], int | None]:
        """Rows by configuration and split; None where a file is broken or has to be read."""
        rows: dict[tuple[str, str], int | None] = {}
        for part, shards in self.shards.items():
            counts = [shard.rows for shard in shards]
            whole = len(counts) == len(part.files) and None not in counts
            rows[part.config, part.split] = sum(n or 0 for n in counts) if whole else None
        return rows

    def _agree(self) -> None:
        for shards in self._by_config().values():
            for problem, warning in same_features(shards, strict=self.found.ours):
                self._add(problem, warning=warning)
        rows = self._rows()
        for (config, split), count in rows.items():
            if count == 0:
                what = "has no rows; load_dataset reads it only with streaming=True"
                self._add(Problem("empty", f"{config}, {split}", what), warning=True)
        if self.found.card is None:
            return
        self.report.add(*card_and_shards(self.found, self._by_config(), rows))
        size = size_categories(self.found, rows)
        if size is not None:
            self._add(size, warning=not self.found.ours)

    def _size(self) -> int:
        """Bytes of the files that can be read."""
        return sum(
            path.stat().st_size
            for part, shards in self.shards.items()
            for path in (part.files if shards else ())
            if path.is_file()
        )

    def _plans(self) -> Iterator[tuple[Shard, Plan]]:
        for config, shards in self._by_config().items():
            plans, share = plans_of(self.found, shards)
            self._note(config, plans[0], share)
            lines = unread(plans[0].columns, shards[0].schema)
            self.report.notes += [f"{config}: {line}" for line in lines]
            yield from zip(shards, plans, strict=True)

    def _note(self, config: str, plan: Plan, share: float) -> None:
        group = plan.columns.objects
        if share < 0:
            what = "boxes are not of four numbers, so they are not compared with the images"
            self.report.notes.append(f"{config}: {what}")
        if self.found.ours or group is None or "bbox" not in group.fields:
            return
        label = ".".join((*group.path, group.fields["bbox"]))
        note = f"{config}: {label} taken as {plan.convention}"
        if share < FEW_FIT:
            note += f", though only {share:.0%} of its boxes fit in their images"
        elif plan.convention == COCO:
            note += ", as COCO has it"
        self.report.notes.append(note)

    def _check_rows(self) -> None:
        total = sum(count or 0 for count in self._rows().values())
        ids: dict[tuple[str, str, str], Collected] = {}
        done = 0
        for shard, outcome in check_rows(self._plans(), self.processes, self._size()):
            if isinstance(outcome, Problem):
                self.report.add(outcome)
                continue
            done += outcome.checked["rows"]
            self.progress("rows", done, max(total, done))
            self.report.add(*outcome.problems)
            self.report.checked.update(outcome.checked)
            self._collect(ids, shard, outcome)
        for collected in ids.values():
            repeated = collected.repeated(strict=self.found.ours)
            if isinstance(repeated, str):
                self.report.notes.append(repeated)
            else:
                self.report.add(*repeated)

    def _collect(
        self, ids: dict[tuple[str, str, str], Collected], shard: Shard, outcome: Outcome
    ) -> None:
        part = shard.part
        rows, objects = (part.config, part.split, "image_id"), (part.config, part.split, "objects")
        ids.setdefault(rows, Collected("image_id")).add(shard.place, outcome.image_ids)
        label = outcome.object_label
        ids.setdefault(objects, Collected("id", label)).add(shard.place, outcome.object_ids)

    def _sum_up(self) -> None:
        checked = self.report.checked
        self.report.absent = [
            what for what in ("images", "boxes", "masks", "relations") if not checked[what]
        ]
        order = ("files", "rows", "images", "objects", "boxes", "masks", "relations")
        self.report.checked = type(checked)(
            {what: checked[what] for what in order if checked[what]}
        )
