"""Which real pairs a relation is compared with, and the back-off where it was never seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from acp.clis.features import PairGeometry
from acp.clis.predicates import canonical, geometry_of, holds
from acp.clis.priors_file import PriorsTable
from acp.clis.similarity import CLOSE, CategorySimilarity, fold_name, meaning, weight_of
from acp.core.types import Float64Array, IntArray
from acp.core.vocabulary import Category, categories

LEVELS = ("triple", "similar", "predicate", "geometry", "none")
"""What answered: the same categories and predicate; similar categories; any categories with the
predicate; any pairs that are placed as the predicate says; nothing (only where asked strictly)."""

LEAST_REFERENCES = 8
"""So many pairs are varied enough to draw from."""

MOST_BACKED_OFF = 1024
"""The levels that compare no categories use at most so many pairs, evenly spaced in the file."""

FAR_EVIDENCE = 1e-4
"""What a reference of other categories adds to the evidence, times its weight (authors' code)."""

SIZE_SLOPE = 0.75
"""How the area ratio of real pairs grows with the ratio of the real lengths (least squares of one
logarithm on the other over the default priors, all predicates; 0.5 to 0.9 by predicate). References
with other categories are carried over to those asked for by it."""

Triple = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class ReferenceSets:
    """The references of G relations, one set after another.

    `rows` (K,): of the priors, in the order of the file within a set; set g is
    `rows[starts[g]:starts[g + 1]]`, `starts` (G + 1,). Of each reference: `weights`, 0-1, how like
    its categories are (subject's times object's); `close`, both similarities are 0.8 or more, or no
    categories are compared; `area_factor`, what its area ratio is multiplied by to fit the sizes of
    the categories asked for. Of each set: `level` of `LEVELS`; `evidence` of the metric;
    `reason`, empty or why there are no references.
    """

    rows: IntArray
    starts: IntArray
    weights: Float64Array
    close: npt.NDArray[np.bool_]
    area_factor: Float64Array
    level: tuple[str, ...]
    evidence: Float64Array
    reason: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.level)


@dataclass(frozen=True, slots=True)
class _Set:
    """One set; see `ReferenceSets`."""

    rows: IntArray
    weights: Float64Array
    close: npt.NDArray[np.bool_]
    area_factor: Float64Array
    level: str
    evidence: float
    reason: str = ""


class ReferenceFinder:
    """Finds sets in a table; what was found once is kept."""

    def __init__(self, table: PriorsTable) -> None:
        self._table = table
        names = len(table.names)
        key = ((table.predicate * names + table.subject) * names + table.object) * 2 + table.stated
        self._order = np.argsort(key, kind="stable")
        first = np.unique(key[self._order], return_index=True)[1]
        self._edges = np.append(first, len(key))
        at = self._order[first]
        self._subject, self._object = table.subject[at], table.object[at]
        self._predicate, self._stated = table.predicate[at], table.stated[at]
        self._canonical = np.array([canonical(p) for p in table.predicates], dtype=object)
        self.one = lru_cache(maxsize=1 << 16)(self._one)

    def find(
        self,
        triples: Sequence[Triple],
        *,
        strict: bool = False,
        min_similarity: float = CLOSE,
        least: int = 1,
    ) -> ReferenceSets:
        """See `Priors.reference_sets`; a set with fewer than `least` pairs backs off: from what was
        stated to what was read off boxes too, then from level to level."""
        found = [self.one(*triple, strict, min_similarity, least) for triple in triples]
        sizes = [len(each.rows) for each in found]
        return ReferenceSets(
            rows=np.concatenate([each.rows for each in found] or [np.zeros(0, np.int64)]),
            starts=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            weights=np.concatenate([each.weights for each in found] or [np.zeros(0)]),
            close=np.concatenate([each.close for each in found] or [np.zeros(0, bool)]),
            area_factor=np.concatenate([each.area_factor for each in found] or [np.zeros(0)]),
            level=tuple(each.level for each in found),
            evidence=np.array([each.evidence for each in found], dtype=np.float64),
            reason=tuple(each.reason for each in found),
        )

    def count(self, triple: Triple) -> int:
        """How many pairs of exactly these categories and this predicate there are."""
        subject, predicate, object_ = triple
        groups = self._named(canonical(predicate), strict=False)
        same = [
            self.similarity.to(name)[codes[groups]] >= 1.0
            for name, codes in ((subject, self._subject), (object_, self._object))
        ]
        return int(np.diff(self._edges)[groups[same[0] & same[1]]].sum())

    @cached_property
    def similarity(self) -> CategorySimilarity:
        """Between any name and those of the table."""
        return CategorySimilarity(self._table.names, self._table.vectors)

    def lvis_name(self, name: str) -> str | None:
        """The LVIS name of a folded name; None if it is none."""
        found = _category(name)
        return found.name if found else None

    def _one(
        self,
        subject: str,
        predicate: str,
        object_: str,
        strict: bool,
        least_alike: float,
        least: int,
    ) -> _Set:
        wording = " ".join(predicate.lower().split())
        groups = self._named(wording if strict else canonical(wording), strict)
        stated = groups if strict else groups[self._stated[groups]]
        found = self._alike(stated, subject, object_, least_alike)
        if strict:
            if not len(groups):
                return _none(f"predicate {predicate!r} is not in the priors")
            if not len(found.rows):
                return _none(f"no references for {subject!r} {predicate!r} {object_!r}")
            return found
        if len(found.rows) < least:
            found = self._alike(groups, subject, object_, least_alike)
        if len(found.rows) < least:
            varied = len(self._rows(stated)) >= LEAST_REFERENCES
            found = self._back_off(stated if varied else groups, wording)
        return self._carried_over(found, subject, object_)

    def _named(self, predicate: str, strict: bool) -> IntArray:
        """The groups of a predicate, by its wording or by what it means."""
        names = self._wordings if strict else self._canonical
        wanted = (names == predicate)[self._predicate]
        if strict and self._table.stated.any():
            wanted = wanted & self._stated
        return np.flatnonzero(wanted)

    @cached_property
    def _wordings(self) -> npt.NDArray[np.object_]:
        return np.array(self._table.predicates, dtype=object)

    def _alike(self, groups: IntArray, subject: str, object_: str, least_alike: float) -> _Set:
        """References of the same or similar categories."""
        alike_s = self.similarity.to(subject)[self._subject[groups]]
        alike_o = self.similarity.to(object_)[self._object[groups]]
        fits = (alike_s >= least_alike) & (alike_o >= least_alike)
        groups, alike_s, alike_o = groups[fits], alike_s[fits], alike_o[fits]
        sizes = self._edges[groups + 1] - self._edges[groups]
        rows = self._rows(groups)
        order = np.argsort(rows, kind="stable")
        weights = np.repeat(weight_of(alike_s) * weight_of(alike_o), sizes)[order]
        close = np.repeat((alike_s >= CLOSE) & (alike_o >= CLOSE), sizes)[order]
        exact = bool(((alike_s >= 1.0) & (alike_o >= 1.0)).any())
        evidence = float((weights * np.where(close, 1.0, FAR_EVIDENCE)).sum())
        level = "triple" if exact else "similar"
        return _Set(rows[order], weights, close, np.ones(len(rows)), level, evidence)

    def _rows(self, groups: IntArray) -> IntArray:
        starts, ends = self._edges[groups], self._edges[groups + 1]
        lengths = ends - starts
        before = np.repeat(np.cumsum(lengths) - lengths, lengths)
        places = np.arange(lengths.sum()) - before + np.repeat(starts, lengths)
        return np.asarray(self._order[places], dtype=np.int64)

    def _back_off(self, groups: IntArray, wording: str) -> _Set:
        if len(groups):
            return _any_categories(np.sort(self._rows(groups)), "predicate")
        return _any_categories(self._placed_as(geometry_of(wording)), "geometry")

    def _placed_as(self, geometry: str) -> IntArray:
        """Pairs named by a geometric predicate, else those that fit it, else all."""
        groups = self._named(geometry, strict=False)
        if len(groups):
            return np.sort(self._rows(groups))
        fitting = np.flatnonzero(holds(geometry, *_boxes(self._table.geometry)))
        return fitting if len(fitting) else np.arange(len(self._table))

    def _carried_over(self, found: _Set, subject: str, object_: str) -> _Set:
        """With the factors for references whose things have other sizes."""
        wanted = _length_ratio(_length(subject), _length(object_))
        seen = self._length_ratios[found.rows]
        factor = np.where(seen > 0, wanted / np.where(seen > 0, seen, 1.0), 1.0) ** SIZE_SLOPE
        factor = np.where(factor > 0, factor, 1.0)
        return _Set(found.rows, found.weights, found.close, factor, found.level, found.evidence)

    @cached_property
    def _length_ratios(self) -> Float64Array:
        lengths = np.array([_length(name) for name in self._table.names])
        top, bottom = lengths[self._table.subject], lengths[self._table.object]
        return np.asarray(np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0))


def _any_categories(rows: IntArray, level: str) -> _Set:
    if len(rows) > MOST_BACKED_OFF:
        rows = rows[np.linspace(0, len(rows) - 1, MOST_BACKED_OFF).astype(np.int64)]
    ones = np.ones(len(rows))
    return _Set(rows, ones, ones > 0, ones, level, FAR_EVIDENCE * len(rows))


def _none(reason: str) -> _Set:
    none = np.zeros(0)
    return _Set(none.astype(np.int64), none, none > 0, none, "none", 0.0, reason)


def _boxes(pairs: PairGeometry) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Boxes (R, 4) of the pairs, the subject's centre at the origin."""
    subject = (-pairs.subject_w / 2, -pairs.subject_h / 2, pairs.subject_w, pairs.subject_h)
    corner = pairs.dx - pairs.object_w / 2, pairs.dy - pairs.object_h / 2
    object_ = (*corner, pairs.object_w, pairs.object_h)
    return np.stack(subject, axis=1).astype(np.float32), np.stack(object_, axis=1).astype(
        np.float32
    )


def _category(name: str) -> Category | None:
    return _by_folded_name().get(meaning(fold_name(name)))


@lru_cache(maxsize=1)
def _by_folded_name() -> dict[str, Category]:
    return {fold_name(category.name): category for category in categories().values()}


def _length(name: str) -> float:
    """The typical longest side in cm; 0 where it is not known."""
    found = _category(name)
    return found.longest_cm if found else 0.0


def _length_ratio(top: float, bottom: float) -> float:
    return top / bottom if bottom > 0 else 0.0
