"""What a check finds: problems, each one line that says where, what and how to fix it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from acp.core.errors import one_line, shown

LONGEST = 500
"""Letters of what is said in a line: what stands in a data set may be of any length."""
COUNTED = ("files", "rows", "images", "objects", "boxes", "masks", "relations")
"""What a report counts, in the order of its summary."""


@dataclass(frozen=True, slots=True)
class Problem:
    """`kind` groups problems of one sort, such as "bbox".

    >>> print(Problem("image", "a.parquet: row 3", "image does not decode", "remove the row"))
    a.parquet: row 3: image does not decode; remove the row
    """

    kind: str
    where: str
    what: str
    fix: str = ""

    def __str__(self) -> str:
        what = self.what if len(self.what) <= LONGEST else f"{self.what[:LONGEST]}..."
        text = f"{self.where}: {what}" if self.where else what
        return shown(one_line(f"{text}; {self.fix}" if self.fix else text))


@dataclass
class Report:
    """Problems in the order of the files and rows, however many share the work.

    Attributes:
        name: the data set as it was asked for.
        keep: how many problems of each kind are kept, all if None; every one is counted.
        problems: those that are kept.
        warnings: what a reader gets on with; they do not count as problems.
        notes: what was not understood, so not checked.
        reads: what `load_dataset` makes of each configuration.
        checked: how many files, rows, images, ... were looked at.
    """

    name: str = ""
    keep: int | None = None
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    checked: Counter[str] = field(default_factory=Counter)

    @property
    def ok(self) -> bool:
        """Whether no problem was found in what was checked."""
        return not self.counts

    @property
    def total(self) -> int:
        """How many problems there are, kept or not."""
        return sum(self.counts.values())

    def add(self, problems: Iterable[Problem]) -> None:
        """Take problems in, in this order."""
        for problem in problems:
            self.counts[problem.kind] += 1
            if self.keep is None or self.counts[problem.kind] <= self.keep:
                self.problems.append(problem)

    def take_back(self, kind: str, start: int, count: int) -> None:
        """Forget the problems of a kind from place `start` on, so that it has `count` again."""
        kept = [problem for problem in self.problems[start:] if problem.kind != kind]
        self.problems[start:] = kept
        self.counts[kind] = count
        self.counts += Counter[str]()  # without those of which there are none

    def lines(self) -> Iterator[str]:
        """A line for each problem that is kept, and for each kind one on those that are not."""
        kept = Counter(problem.kind for problem in self.problems)
        last = {problem.kind: place for place, problem in enumerate(self.problems)}
        for place, problem in enumerate(self.problems):
            yield str(problem)
            more = self.counts[problem.kind] - kept[problem.kind]
            if more and last[problem.kind] == place:
                yield f"{problem.kind}: {more:,} more of this kind; --all shows them"

    def summary(self) -> str:
        """One line: what was checked, what was not there, and the number of problems.

        >>> report = Report("a/b")
        >>> report.checked.update(files=1, rows=20, images=20, objects=2, boxes=2)
        >>> report.summary()
        'a/b: checked 1 file, 20 rows, 20 images, 2 objects, 2 boxes; no problem'
        """
        numbers = [_counted(self.checked[what], what) for what in COUNTED if self.checked[what]]
        absent = [what for what in ("images", "boxes") if not self.checked[what]]
        without = f" ({' and '.join(f'no {what}' for what in absent)})" if absent else ""
        result = _counted(self.total, "problems") if self.total else "no problem"
        left = any(warning.kind == "unclaimed" for warning in self.warnings)
        if (self.notes or left) and not self.total:
            result = "no problem in that, see above for what was not checked"
        return shown(f"{self.name}: checked {', '.join(numbers) or 'nothing'}{without}; {result}")


def several(names: list[str]) -> str:
    """How to go on after the first of some names.

    >>> several(["a.txt"]), several(["a.txt", "b.txt", "c.txt"])
    ('', ', and 2 more: b.txt, c.txt')
    """
    more = [*names[1:6], *(["..."] if len(names) > 6 else [])]
    return f", and {len(names) - 1:,} more: {', '.join(more)}" if more else ""


def _counted(number: int, what: str) -> str:
    one = "box" if what == "boxes" else what[:-1]
    return f"{number:,} {one if number == 1 else what}"
