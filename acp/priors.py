"""The default data priors: which things are seen together, and how related things are laid out.

Both tables in `acp/data` are derived from real annotations by `scripts/derive_priors.py`.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from types import MappingProxyType

import numpy as np

from acp.clis.features import Float64Array, PairFeatures
from acp.clis.predicates import INVERSES, PREDICATES, canonical
from acp.scene_relations import draw_relations
from acp.types import Relation
from acp.vocabulary import categories

__all__ = ["INVERSES", "PREDICATES", "Priors", "References", "canonical", "default_priors"]

LEVELS = ("triple", "similar", "predicate", "any")
"""Which back-off answered: same categories and predicate; categories of the same groups; any
categories with the predicate; anything at all (a predicate that the priors do not know)."""

LEAST_REFERENCES = 8
"""A level answers if it has at least so many references (the last one always does)."""

SAME_GROUP = 0.85
"""The similarity given to two categories of one group; weighed by the square, as published."""


@dataclass(frozen=True, slots=True)
class References:
    """Real layouts that a candidate pair is compared with.

    `features`, and beside it `weights` (0-1, how like the categories are), `subject_wh` and
    `object_wh` (width / height of the boxes in normalised units) and the two areas (shares of the
    image) all have shape (K,), K >= 1. `confidence` is CLIS-L's: the sum of the weights at the
    levels that compare categories, 0.0001 of it at the others.
    """

    features: PairFeatures
    weights: Float64Array
    subject_wh: Float64Array
    object_wh: Float64Array
    subject_area: Float64Array
    object_area: Float64Array
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
        self._rows: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
        for row, (subject, predicate, object_) in enumerate(triples):
            groups = _group(subject), _group(object_)
            for key in ((subject, predicate, object_), (predicate, *groups, ""), (predicate,)):
                self._rows[key].append(row)
        self.references = lru_cache(maxsize=None)(self._references)

    def cooccurrence(self, name: str) -> Mapping[str, float]:
        """The categories seen with `name` and the number of images they share; may be empty.

        >>> default_priors().cooccurrence("zebra")["giraffe"] > 1
        True
        """
        return MappingProxyType(self._partners.get(name, {}))

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
        groups = _group(subject), _group(object_)
        for level, key, weight in (
            ("triple", (subject, predicate, object_), 1.0),
            ("similar", (predicate, *groups, ""), SAME_GROUP**2),
            ("predicate", (predicate,), 1.0),
        ):
            rows = self._rows.get(key, [])
            enough = 1 if level == "predicate" else LEAST_REFERENCES
            if len(rows) >= enough:
                return self._at(np.asarray(rows), level, weight)
        return self._at(np.arange(len(self._columns["iou"])), "any", 1.0)

    def _at(self, rows: np.ndarray, level: str, weight: float) -> References:
        at = {name: column[rows] for name, column in self._columns.items()}
        weights = np.full(len(rows), weight)
        trust = 1.0 if level in ("triple", "similar") else 1e-4
        features = PairFeatures(
            *(at.pop(name) for name in ("area_ratio", "iou", "distance", "dx", "dy"))
        )
        return References(features, weights, **at, level=level, confidence=trust * weights.sum())


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


def _group(name: str) -> str:
    category = categories().get(name)
    return category.group if category else f"({name})"
