"""What a priors file knows of a relation: counts by level, and which level answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from acp.clis.predicates import canonical, geometry_of
from acp.clis.priors import Priors, default_priors
from acp.clis.similarity import CLOSE, CategorySimilarity, fold_name, meaning
from acp.core.errors import AcpError, closest
from acp.core.types import BoolArray
from acp.core.vocabulary import nearest

Triple = tuple[str, str, str]

MOST_SIMILAR = 5
_ANSWERS = {
    "triple": "the exact triple, with similar categories",
    "similar": "similar categories",
    "predicate": "the predicate with any categories",
    "geometry": "the geometry of the predicate",
}


@dataclass(frozen=True)
class Shown:
    """A relation as asked for and what the priors have: `rows` (K,) are its references."""

    priors: Priors
    triple: Triple
    level: str
    rows: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]
    evidence: float

    @property
    def answer(self) -> str:
        """The level in words."""
        return _ANSWERS.get(self.level, self.level)


def open_priors(source: str) -> Priors:
    """The packaged priors for "default", else those of the file.

    Raises:
        AcpError: it cannot be read.
    """
    return default_priors() if source == "default" else Priors.load(Path(source))


def look_up(priors: Priors, triple: Triple) -> Shown:
    """The references of a relation.

    Raises:
        AcpError: a category that neither the priors nor LVIS know.
    """
    similarity = CategorySimilarity(priors.table.names, priors.table.vectors)
    for name in (triple[0], triple[2]):
        if not similarity.knows(fold_name(name)):
            near = closest(fold_name(name), priors.table.names, 3) or nearest(name)
            raise AcpError(f"{name!r} is a category of neither the priors nor LVIS{_hint(near)}")
    sets = priors.reference_sets([triple])
    return Shown(priors, triple, sets.level[0], sets.rows, sets.weights, float(sets.evidence[0]))


def _hint(near: Sequence[str]) -> str:
    return f"; the nearest known: {', '.join(near)}" if near else ""


def lines(shown: Shown) -> Iterator[str]:
    """Counts: exact, of similar categories, of the predicate, of its geometry; and who answers."""
    priors, table = shown.priors, shown.priors.table
    subject, predicate, object_ = shown.triple
    wording, place = " ".join(predicate.lower().split()), geometry_of(predicate)
    same, close = _same_and_close(priors, subject)
    same_object, close_object = _same_and_close(priors, object_)
    predicates = np.array([canonical(name) for name in table.predicates], dtype=object)
    named, placed = ((predicates == canonical(p))[table.predicate] for p in (wording, place))
    yield f"asked       {subject} {predicate} {object_}"
    if not named.any():
        near = _hint(closest(wording, table.predicates, 3))
        yield f"note        no pair has the predicate {predicate!r}{near}"
    counted = {
        "exact": same[table.subject] & same_object[table.object] & named,
        "similar": close[table.subject] & close_object[table.object] & named,
        "predicate": named,
        "geometry": placed,
    }
    notes = {"similar": f", both categories by {CLOSE}", "geometry": f', of "{place}"'}
    for what, rows in counted.items():
        total, stated = int(rows.sum()), int((rows & priors.stated).sum())
        counts = f"{total} ({stated} stated, {total - stated} geometric)"
        yield f"{what:<12}{counts}{notes.get(what, '')}"
    yield f"answered by {shown.answer}"
    only = " stated ones" if priors.stated[shown.rows].all() and priors.stated.any() else ""
    yield f"references  {len(shown.rows)}{only}"
    yield f"evidence    {shown.evidence:.4g} (1 a reference of these categories, less of others)"
    kinds = Counter(" ".join(priors.triple(int(row))) for row in shown.rows)
    for name, count in kinds.most_common(MOST_SIMILAR):
        yield f"{count:>10}  {name}"
    if len(kinds) > MOST_SIMILAR:
        yield f"{'':>10}  and {len(kinds) - MOST_SIMILAR} other relations"


def _same_and_close(priors: Priors, name: str) -> tuple[BoolArray, BoolArray]:
    """Which of the categories of the priors mean what `name` means, and which are like it."""
    names, wanted = priors.table.names, meaning(fold_name(name))
    same = np.array([meaning(each) == wanted for each in names], dtype=bool)
    return same, CategorySimilarity(names, priors.table.vectors).to(name) >= CLOSE
