"""What a priors file knows of a relation: counts by level, and which level answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from acp.clis.predicates import canonical, geometry_of
from acp.clis.priors import Priors, default_priors
from acp.clis.similarity import CLOSE, CategorySimilarity, fold_name, meaning
from acp.core.errors import AcpError, closest
from acp.core.vocabulary import nearest

BoolArray = npt.NDArray[np.bool_]
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
    confidence: float

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
            known = list(priors.table.names)
            near = closest(fold_name(name), known, 3) or nearest(name)
            hint = f"; the nearest known: {', '.join(near)}" if near else ""
            raise AcpError(f"{name!r} is a category of neither the priors nor LVIS{hint}")
    sets = priors.reference_sets([triple])
    return Shown(priors, triple, sets.level[0], sets.rows, sets.weights, float(sets.confidence[0]))


def lines(shown: Shown) -> Iterator[str]:
    """Counts: exact, of similar categories, of the predicate, of its geometry; and who answers."""
    priors, (subject, predicate, object_) = shown.priors, shown.triple
    wording = " ".join(predicate.lower().split())
    by_name = np.array([canonical(name) for name in priors.table.predicates], dtype=object)
    named = (by_name == canonical(wording))[priors.table.predicate]
    place = geometry_of(wording)
    placed = (by_name == canonical(place))[priors.table.predicate]
    yield f"asked       {subject} {predicate} {object_}"
    if not named.any():
        near = closest(wording, priors.table.predicates, 3)
        hint = f"; the nearest known: {', '.join(near)}" if near else ""
        yield f"note        no pair has the predicate {predicate!r}{hint}"
    alike = _alike(priors, subject) & _alike(priors, object_, of_object=True) & named
    yield _count("exact", _exact(shown), priors)
    yield _count("similar", alike, priors) + f", both categories by {CLOSE}"
    yield _count("predicate", named, priors)
    yield _count("geometry", placed, priors) + f', of "{place}"'
    yield f"answered by {shown.answer}"
    only = " stated ones" if priors.stated[shown.rows].all() and priors.stated.any() else ""
    yield f"references  {len(shown.rows)}{only}, confidence {shown.confidence:.4g}"
    kinds = Counter(" ".join(priors.triple(int(row))) for row in shown.rows)
    for name, count in kinds.most_common(MOST_SIMILAR):
        yield f"{count:>10}  {name}"
    if len(kinds) > MOST_SIMILAR:
        yield f"{'':>10}  and {len(kinds) - MOST_SIMILAR} other relations"


def _count(what: str, mask: BoolArray, priors: Priors) -> str:
    stated = int((mask & priors.stated).sum())
    total = int(mask.sum())
    return f"{what:<12}{total} ({stated} stated, {total - stated} geometric)"


def _alike(priors: Priors, name: str, of_object: bool = False) -> BoolArray:
    """Pairs whose subject, or object, is like `name`."""
    table = priors.table
    close = CategorySimilarity(table.names, table.vectors).to(name) >= CLOSE
    return np.asarray(close[table.object if of_object else table.subject])


def _exact(shown: Shown) -> BoolArray:
    table = shown.priors.table
    meanings = np.array([meaning(name) for name in table.names], dtype=object)
    subject, predicate, object_ = shown.triple
    wording = canonical(predicate)
    names = np.array([canonical(name) for name in table.predicates], dtype=object)
    return np.asarray(
        (meanings == meaning(fold_name(subject)))[table.subject]
        & (meanings == meaning(fold_name(object_)))[table.object]
        & (names == wording)[table.predicate]
    )
