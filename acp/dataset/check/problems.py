"""What a check finds: problems, each one line that says where, what and how to mend it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from acp.core.errors import shown

Progress = Callable[[str, int, int], None]
"""Told of the progress: what is being done, how much of it is done, out of how much."""


def silent(what: str, done: int, total: int) -> None:
    """Tells nobody."""


_LONG = 500
"""Letters of a line; what stands in a data set may be of any length."""


def one_line(text: str) -> str:
    """On one line, with nothing in it that a terminal obeys or cannot show."""
    return shown(" ".join(text.split()))


@dataclass(frozen=True, slots=True)
class Problem:
    """`kind` groups problems of one sort, such as "bbox outside".

    >>> print(Problem("image", "a.parquet: row 3", "image does not decode", "remove the row"))
    a.parquet: row 3: image does not decode; remove the row
    """

    kind: str
    where: str
    what: str
    mend: str = ""

    def __str__(self) -> str:
        what = self.what if len(self.what) <= _LONG else f"{self.what[:_LONG]}..."
        text = f"{self.where}: {what}" if self.where else what
        return one_line(f"{text}; {self.mend}" if self.mend else text)


@dataclass
class Report:
    """Problems in the order of the files and rows, whatever the number of processes.

    `problems` keeps the first `keep` of each kind (all if None), `counts` counts every one of them.
    `warnings` are no problems: a reader gets on with them. `notes` say what was taken for what.
    """

    name: str = ""
    keep: int | None = None
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    checked: Counter[str] = field(default_factory=Counter)
    absent: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether no problem was found."""
        return not self.counts

    @property
    def total(self) -> int:
        """How many problems there are, kept or not."""
        return sum(self.counts.values())

    def add(self, *problems: Problem) -> None:
        """Take problems in, in this order."""
        for problem in problems:
            self.counts[problem.kind] += 1
            if self.keep is None or self.counts[problem.kind] <= self.keep:
                self.problems.append(problem)

    def lines(self) -> Iterator[str]:
        """A line for each problem that is kept, and for each kind one on those that are not."""
        last = {problem.kind: place for place, problem in enumerate(self.problems)}
        kept = Counter(problem.kind for problem in self.problems)
        for place, problem in enumerate(self.problems):
            yield str(problem)
            more = self.counts[problem.kind] - kept[problem.kind]
            if more and last[problem.kind] == place:
                yield f"{problem.kind}: {more:,} more of this kind; --all shows them"

    def warning_lines(self) -> Iterator[str]:
        """A line for each warning, for the first of each kind if not all are to be kept."""
        counts: Counter[str] = Counter()
        for warning in self.warnings:
            counts[warning.kind] += 1
            if self.keep is None or counts[warning.kind] <= self.keep:
                yield f"warning: {warning}"
        for kind, count in counts.items():
            if self.keep is not None and count > self.keep:
                yield f"warning: {kind}: {count - self.keep:,} more of this kind; --all shows them"

    def summary(self) -> str:
        """One line: what was checked, what was not there, and the number of problems.

        >>> report = Report("a/b")
        >>> report.checked.update(files=1, rows=20, images=20)
        >>> report.summary()
        'a/b: checked 1 file, 20 rows, 20 images; no problem'
        """
        numbers = ", ".join(_counted(number, what) for what, number in self.checked.items())
        without = f" (there are no {_listed(self.absent)})" if self.absent else ""
        found = _counted(self.total, "problems") if self.total else "no problem"
        return one_line(f"{self.name}: checked {numbers or 'nothing'}{without}; {found}")


def _counted(number: int, what: str) -> str:
    one = "box" if what == "boxes" else what[:-1]
    return f"{number:,} {one if number == 1 else what}"


def _listed(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last
