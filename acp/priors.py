"""The default data priors: which things are seen together, and how related things are laid out.

Both tables in `acp/data` are derived from real annotations by `scripts/derive_priors.py`.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from importlib.resources import files
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from acp.clis.features import Float64Array, PairFeatures
from acp.clis.predicates import INVERSES, PREDICATES, canonical
from acp.planning.scene_relations import draw_relations
from acp.types import Relation
from acp.vocabulary import categories

__all__ = ["INVERSES", "PREDICATES", "Priors", "References", "canonical", "default_priors"]

LEVELS = ("triple", "similar", "predicate", "any")
"""Which back-off answered: same categories and predicate; categories of the same groups; any
categories with the predicate; anything at all (a predicate that the priors do not know)."""

LEAST_REFERENCES = 8
"""A level answers if it has at least so many references (the last one always does)."""

SAME_GROUP = 0.95
"""The similarity given to two categories of one group. As published, a similarity above 0.9 is its
own weight, and a reference weighs the product of its subject's and its object's."""

FEATURES = ("area_ratio", "iou", "distance", "dx", "dy")

SIZE_SLOPE = 0.75
"""How the area ratio of real pairs grows with the ratio of the real lengths (least squares of one
logarithm on the other over the table, all predicates; 0.5 to 0.9 by predicate). References with
other categories are carried over to those asked for by it."""


@dataclass(frozen=True, slots=True)
class References:
    """Real layouts that a candidate pair is compared with.

    All arrays have shape (K,), K >= 1: `features`; `weights` (0-1, how like the categories are);
    `subject_wh` and `object_wh` (width / height of the boxes in normalised units); the two areas
    (shares of the image); `rows` (which of the priors' relations they are). `confidence` is
    CLIS-L's: the sum of the weights at the levels that compare categories, 0.0001 of it at others.
    """

    features: PairFeatures
    weights: Float64Array
    subject_wh: Float64Array
    object_wh: Float64Array
    subject_area: Float64Array
    object_area: Float64Array
    rows: npt.NDArray[np.int_]
    level: str
    confidence: float

    def __len__(self) -> int:
        return len(self.weights)


class Priors:
    """Co-occurrence counts and relation features, with back-off for what was never seen."""

    def __init__(
        self,
        cooccurrence: Iterable[tuple[str, str, int]],
        triples: Sequence[tuple[str, str, str]],
        columns: Mapping[str, Float64Array],
    ) -> None:
        """`triples` are (subject, predicate, object); each column of `columns` has one value a
        triple: area_ratio, iou, distance, dx, dy, subject_wh, object_wh, subject_area,
        object_area."""
        self._partners: defaultdict[str, dict[str, float]] = defaultdict(dict)
        for a, b, images in cooccurrence:
            self._partners[a][b] = self._partners[b][a] = float(images)
        self._columns = columns
        self._triples = triples
        self._rows: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
        for row, (subject, predicate, object_) in enumerate(triples):
            groups = _group(subject), _group(object_)
            for key in ((subject, predicate, object_), (predicate, *groups, ""), (predicate,)):
                self._rows[key].append(row)
        lengths = [(_length(subject), _length(object_)) for subject, _, object_ in triples]
        self._length_ratio = np.array([a / b if a and b else np.nan for a, b in lengths])
        self.references = lru_cache(maxsize=256)(self._references)

    def cooccurrence(self, name: str) -> Mapping[str, float]:
        """The categories seen with `name` and the number of images they share; may be empty.

        >>> default_priors().cooccurrence("zebra")["giraffe"] > 1
        True
        """
        return MappingProxyType(self._partners.get(name, {}))

    @cached_property
    def typical_aspects(self) -> Mapping[str, float]:
        """Width / height in pixels by category: the median of the boxes seen, taken in images of
        4:3, where there are at least so many as a level of references needs."""
        found: defaultdict[str, list[float]] = defaultdict(list)
        for row, (subject, _, object_) in enumerate(self._triples):
            found[subject].append(self._columns["subject_wh"][row])
            found[object_].append(self._columns["object_wh"][row])
        return {
            name: float(np.median(aspects)) * 4 / 3
            for name, aspects in found.items()
            if len(aspects) >= LEAST_REFERENCES
        }

    def draw_relations(
        self, names: Sequence[str], habitats: Sequence[str], rng: np.random.Generator
    ) -> tuple[Relation, ...]:
        """Relations that connect all objects as a tree: N - 1 of them, none for one object.

        Only predicates that can be true of the habitats, and only such as one layout can fulfil
        together. The first relation has object 0; each later one has an object named before.

        Args:
            names: LVIS names, shape (N,), N >= 1.
            habitats: where each is found, of `acp.vocabulary.HABITATS`.
            rng: the only source of chance.
        """
        return draw_relations(names, habitats, self.predicate_weights, rng)

    def predicate_weights(self, subject: str, object_: str) -> Mapping[str, float]:
        """How common each predicate is between the two, smoothed; each weight is above 0."""
        return {
            predicate: 1.0 + len(self._rows.get((subject, predicate, object_), ()))
            for predicate in PREDICATES
        }

    def _references(self, subject: str, predicate: str, object_: str) -> References:
        """The layouts to compare `subject predicate object` with; never empty.

        >>> default_priors().references("cat", "next to", "dog").level
        'triple'
        >>> default_priors().references("zebra", "eating", "apple").level
        'any'
        """
        predicate = canonical(predicate)
        exact = self._rows.get((subject, predicate, object_), [])
        if len(exact) >= LEAST_REFERENCES:
            return self._at(exact, "triple")
        similar = self._rows.get((predicate, _group(subject), _group(object_), ""), [])
        if len(similar) >= LEAST_REFERENCES:
            found = self._at(similar, "similar")
            found = _weighed(found, [self._alike(row, subject, object_) for row in similar])
        elif rows := self._rows.get((predicate,), []):
            found = self._at(rows, "predicate")
        else:
            found = self._at(range(len(self._triples)), "any")
        return self._carried_over(found, _length(subject), _length(object_))

    def _at(self, rows: Sequence[int], level: str) -> References:
        at = {name: column[np.asarray(rows)] for name, column in self._columns.items()}
        features = PairFeatures(*(at.pop(name) for name in FEATURES))
        confidence = len(rows) * (1.0 if level in ("triple", "similar") else 1e-4)
        weights = np.ones(len(rows))
        return References(
            features, weights, **at, rows=np.asarray(rows), level=level, confidence=confidence
        )

    def _alike(self, row: int, subject: str, object_: str) -> float:
        """The weight of a relation of the priors whose categories have the same groups."""
        other_subject, _, other_object = self._triples[row]
        differing = (other_subject != subject) + (other_object != object_)
        return float(SAME_GROUP**differing)

    def _carried_over(
        self, references: References, subject_cm: float, object_cm: float
    ) -> References:
        """With the area ratios that the references would have if they were of these lengths."""
        if not (subject_cm and object_cm):
            return references
        ratio = subject_cm / object_cm / self._length_ratio[references.rows]
        factor = np.where(np.isfinite(ratio), ratio, 1.0) ** SIZE_SLOPE
        features = references.features
        features = replace(features, area_ratio=features.area_ratio * factor)
        return replace(references, features=features)


@cache
def default_priors() -> Priors:
    """The priors inside the package."""
    cooccurrence = [(row["a"], row["b"], int(row["images"])) for row in _table("cooccurrence.tsv")]
    rows = _table("relation_features.tsv")
    triples = [(row["subject"], row["predicate"], row["object"]) for row in rows]
    numbers = [name for name in rows[0] if name not in ("subject", "predicate", "object")]
    columns = {name: np.array([float(row[name]) for row in rows]) for name in numbers}
    return Priors(cooccurrence, triples, columns)


def _table(name: str) -> list[dict[str, str]]:
    text = files("acp.data").joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))


def _weighed(references: References, weights: Sequence[float]) -> References:
    return replace(references, weights=np.array(weights), confidence=float(sum(weights)))


def _group(name: str) -> str:
    category = categories().get(name)
    return category.group if category else f"({name})"


def _length(name: str) -> float:
    """The typical longest side in cm; 0 where it is not known."""
    category = categories().get(name)
    return category.longest_cm if category else 0.0
