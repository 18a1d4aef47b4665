"""The data priors: which things are seen together, and how related things are laid out.

The default ones are files in `acp/data`, derived from real annotations by
`scripts/derive_priors.py`; others are made by `acp priors build`.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from importlib.resources import as_file, files
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from acp.clis.features import Float64Array, PairFeatures, PairGeometry, features_of
from acp.clis.predicates import INVERSES, PREDICATES, canonical
from acp.clis.priors_file import PriorsTable, read_priors, write_priors
from acp.clis.reference_sets import LEAST_REFERENCES, LEVELS, ReferenceFinder, ReferenceSets

__all__ = [
    "INVERSES",
    "LEVELS",
    "PREDICATES",
    "Priors",
    "ReferenceSets",
    "References",
    "canonical",
    "default_priors",
    "write_priors",
]

Triple = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class References:
    """Real layouts to draw new ones from.

    All arrays have shape (K,), K >= 1: `features`; `weights` (0-1, how like the categories are);
    `subject_wh` and `object_wh` (width / height of the boxes in normalised units); `rows` (which of
    the priors' pairs they are).
    """

    features: PairFeatures
    weights: Float64Array
    subject_wh: Float64Array
    object_wh: Float64Array
    rows: npt.NDArray[np.int_]
    level: str
    confidence: float

    def __len__(self) -> int:
        return len(self.weights)


class Priors:
    """Co-occurrence counts and real pairs, with back-off for what was never seen."""

    def __init__(
        self, table: PriorsTable, cooccurrence: Iterable[tuple[str, str, int]] = ()
    ) -> None:
        self.table = table
        self._partners: defaultdict[str, dict[str, float]] = defaultdict(dict)
        for a, b, images in cooccurrence:
            self._partners[a][b] = self._partners[b][a] = float(images)
        self._finder = ReferenceFinder(table)
        self.references = lru_cache(maxsize=256)(self._references)

    @classmethod
    def from_parquet(cls, path: str | Path) -> Priors:
        """Read a file of `acp priors build`.

        Raises:
            AcpError: no such file, or no priors file of this version.
        """
        return cls(read_priors(path))

    def __len__(self) -> int:
        return len(self.table)

    @property
    def geometry(self) -> PairGeometry:
        """Sides and offsets of every pair, shape (R,)."""
        return self.table.geometry

    @cached_property
    def features(self) -> PairFeatures:
        """What CLIS-L compares of every pair, shape (R,)."""
        return features_of(self.table.geometry)

    def triple(self, row: int) -> Triple:
        """Subject, predicate and object of a pair."""
        table = self.table
        return (
            table.names[table.subject[row]],
            table.predicates[table.predicate[row]],
            table.names[table.object[row]],
        )

    @property
    def stated(self) -> npt.NDArray[np.bool_]:
        """Whether each relation was stated, not read off the boxes; (R,)."""
        return self.table.stated

    def reference_sets(
        self, triples: Sequence[Triple], *, strict: bool = False, min_similarity: float = 0.8
    ) -> ReferenceSets:
        """The pairs to compare each of G triples (subject, predicate, object) with.

        Args:
            triples: names and wordings as they come.
            strict: as the authors' code does: the predicate as it is written, no back-off, and only
                what was stated unless nothing was. Otherwise no set is empty.
            min_similarity: of both categories, for a reference to count.

        >>> sets = default_priors().reference_sets([("cat", "next to", "dog")])
        >>> sets.level
        ('triple',)
        """
        return self._finder.find(triples, strict=strict, min_similarity=min_similarity)

    def cooccurrence(self, name: str) -> Mapping[str, float]:
        """The categories seen with `name` and the number of images they share; may be empty.

        >>> default_priors().cooccurrence("zebra")["giraffe"] > 1
        True
        """
        return MappingProxyType(self._partners.get(name, {}))

    @cached_property
    def typical_aspects(self) -> Mapping[str, float]:
        """Width / height in pixels by LVIS name: the median of the boxes seen, taken in images of
        4:3, where there are enough of them."""
        pairs, table = self.geometry, self.table
        codes = np.concatenate([table.subject, table.object])
        shapes = np.concatenate(
            [pairs.subject_w / pairs.subject_h, pairs.object_w / pairs.object_h]
        )
        order = np.argsort(codes, kind="stable")
        edges = np.searchsorted(codes[order], np.arange(len(table.names) + 1))
        found = {}
        for name, start, end in zip(table.names, edges, edges[1:], strict=False):
            category = self._finder.lvis_name(name)
            if category and end - start >= LEAST_REFERENCES:
                found[category] = float(np.median(shapes[order[start:end]])) * 4 / 3
        return found

    def predicate_weights(self, subject: str, object_: str) -> Mapping[str, float]:
        """How common each predicate is between the two, smoothed; each weight is above 0."""
        return {
            predicate: 1.0 + self._finder.count((subject, predicate, object_))
            for predicate in PREDICATES
        }

    def _references(self, subject: str, predicate: str, object_: str) -> References:
        """Layouts of `subject predicate object` to draw from; never empty, and never too few to be
        varied.

        >>> default_priors().references("cat", "next to", "dog").level
        'triple'
        >>> default_priors().references("zebra", "eating", "apple").level
        'geometry'
        """
        triple = (subject, predicate, object_)
        sets = self._finder.find([triple], least=LEAST_REFERENCES)
        pairs = self.geometry.take(sets.rows)
        features = self.features.take(sets.rows)
        return References(
            replace(features, area_ratio=features.area_ratio * sets.area_factor),
            sets.weights,
            subject_wh=pairs.subject_w / pairs.subject_h,
            object_wh=pairs.object_w / pairs.object_h,
            rows=sets.rows,
            level=sets.level[0],
            confidence=float(sets.confidence[0]),
        )


@cache
def default_priors() -> Priors:
    """The priors inside the package."""
    with as_file(files("acp.data").joinpath("priors.parquet")) as path:
        table = read_priors(path, origin="default")
    text = files("acp.data").joinpath("cooccurrence.tsv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    return Priors(table, [(row["a"], row["b"], int(row["images"])) for row in rows])
