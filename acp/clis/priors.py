"""The data priors: which things are seen together, and how related things are laid out."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from importlib.resources import as_file, files
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from acp.clis.features import PairFeatures, PairGeometry, features_of, pair_geometry
from acp.clis.predicates import INVERSES, PREDICATES, canonical
from acp.clis.priors_file import PriorsTable, read_priors, write_priors
from acp.clis.references import LEAST_REFERENCES, LEVELS, ReferenceFinder, ReferenceSets
from acp.clis.similarity import fold_name
from acp.core.errors import AcpError, RowError
from acp.core.types import Float64Array

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
    evidence: float

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
    def load(cls, path: str | Path) -> Priors:
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
            evidence=float(sets.evidence[0]),
        )


@cache
def default_priors() -> Priors:
    """The priors inside the package."""
    with as_file(files("acp.data").joinpath("priors.parquet")) as path:
        table = read_priors(path, origin="default")
    text = files("acp.data").joinpath("cooccurrence.tsv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    return Priors(table, [(row["a"], row["b"], int(row["images"])) for row in rows])


PriorsLike = Priors | str | Path | Sequence[Mapping[str, Any]] | None

_NAMES = ("subject", "predicate", "object")
_BOXES = ("subject_box", "object_box")


def load_priors(priors: PriorsLike) -> Priors:
    """The priors that `priors` names.

    Args:
        priors: None for those inside the package; the path of a file of `acp priors build`; priors;
            or a list of relation records, `{"image_id", "width", "height", "subject", "predicate",
            "object", "subject_box": [x, y, w, h], "object_box": [x, y, w, h]}` in pixels
            (`image_id`, and `width` and `height` of normalised boxes, may be missing).

    Raises:
        AcpError: no such file, or a record that is none.
    """
    if priors is None:
        return default_priors()
    if isinstance(priors, Priors):
        return priors
    if isinstance(priors, str | Path):
        path = Path(priors).expanduser()
        state = path.stat() if path.is_file() else None
        return _read(path, state and (state.st_mtime_ns, state.st_size))
    if isinstance(priors, Sequence):
        records = [record for record in priors if isinstance(record, Mapping)]
        if len(records) == len(priors):
            return priors_of_records(records)
    raise AcpError(
        f"priors: expected a path, relation records or None, got {type(priors).__name__}"
    )


@lru_cache(maxsize=4)
def _read(path: Path, state: tuple[int, int] | None) -> Priors:
    return Priors.load(path)


def priors_of_records(records: Sequence[Mapping[str, Any]]) -> Priors:
    """Priors of relation records; a category outside the vocabulary is similar to itself alone.

    Raises:
        RowError: what was expected of a record, what was given and where; or no records.

    >>> box = {"subject_box": [0, 0, 0.5, 0.5], "object_box": [0.5, 0, 0.5, 0.5]}
    >>> len(priors_of_records([{"subject": "dog", "predicate": "near", "object": "cat", **box}]))
    1
    """
    if not records:
        raise RowError("priors: expected relation records, got none")
    for place, record in enumerate(records):
        _check(record, f"priors[{place}]")
    sides = np.array([[record.get("width", 1), record.get("height", 1)] * 2 for record in records])
    boxes = [np.array([record[key] for record in records], np.float64) / sides for key in _BOXES]
    names, (subject, object_) = _codes(
        [[fold_name(record[key]) for record in records] for key in ("subject", "object")]
    )
    predicates, (predicate,) = _codes([[str(r["predicate"]) for r in records]])
    text = json.dumps([[str(r.get(k)) for k in (*_NAMES, *_BOXES)] for r in records])
    table = PriorsTable(
        names,
        predicates,
        subject,
        predicate,
        object_,
        geometry=pair_geometry(*boxes),
        stated=np.ones(len(records), dtype=bool),
        info={"version": 1, "sources": ["relation records"]},
        origin=f"{len(records)} relation records",
        digest=hashlib.sha256(text.encode()).hexdigest()[:16],
    )
    return Priors(table)


def _check(record: Mapping[str, Any], where: str) -> None:
    for key in _NAMES:
        if not isinstance(record.get(key), str):
            raise RowError(f"{where}.{key}: expected a string, got {record.get(key)!r}")
    for key in ("width", "height"):
        if not _finite([record.get(key, 1)]) or record.get(key, 1) <= 0:
            raise RowError(f"{where}.{key}: expected a number above 0, got {record[key]!r}")
    for key in _BOXES:
        box = record.get(key)
        if not isinstance(box, Sequence | np.ndarray) or len(box) != 4 or not _finite(box):
            raise RowError(f"{where}.{key}: expected 4 numbers [x, y, w, h], got {box!r}")
        if min(box[2:]) <= 0:
            raise RowError(f"{where}.{key}: expected sides above 0, got {box!r}")


def _finite(values: Iterable[Any]) -> bool:
    try:
        return bool(np.isfinite(np.array(list(values), dtype=np.float64)).all())
    except (TypeError, ValueError):
        return False


def _codes(columns: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], list[np.ndarray]]:
    numbers: dict[str, int] = {}
    codes = [[numbers.setdefault(name, len(numbers)) for name in column] for column in columns]
    return tuple(numbers), [np.array(each, dtype=np.int64) for each in codes]


def named_priors(references: Any, priors: PriorsLike = None) -> PriorsLike:
    """The priors that a call of the metric names, by `references` or by `priors`.

    Args:
        references: None; a path, or a list of the same one and None; or a list of relation records.
        priors: None, a path, records or `Priors`.

    Raises:
        AcpError: they name more than one, or `references` is something else.
    """
    if references is None:
        return priors
    whole = [references] if isinstance(references, str | Path) else references
    given = [each for each in whole if each is not None]
    if given and all(isinstance(each, Mapping) for each in given):
        found: PriorsLike = cast(Sequence[Mapping[str, Any]], given)
    elif len(paths := {str(each) for each in given if isinstance(each, str | Path)}) == 1:
        found = paths.pop()
    else:
        raise AcpError("references: expected the path of one priors file, or relation records")
    if priors is not None and str(priors) != str(found):
        raise AcpError("priors: expected one, got two; give `priors` or `references`")
    return found
