"""The priors that a call names: a file, records, an object, or none for the packaged ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from acp.clis.features import pair_geometry
from acp.clis.priors import Priors, default_priors
from acp.clis.priors_file import PriorsTable
from acp.clis.row_checks import RowError
from acp.clis.similarity import fold_name
from acp.core.errors import AcpError

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
    return Priors.from_parquet(path)


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


def reference_column(references: Any, rows: int) -> list[str | None]:
    """What `evaluate` keeps beside each of `rows` rows to name the priors: a path, records as JSON
    or nothing.

    Args:
        references: None; a path for all; one path or None a row; or relation records, as many as
            there are.

    Raises:
        RowError: anything else.
    """
    if references is None or not rows:
        return [None] * rows
    if isinstance(references, str | Path):
        return [str(references)] * rows
    given = list(references)
    if given and all(isinstance(each, Mapping) for each in given):
        return [json.dumps(given, default=_plain), *[None] * (rows - 1)]
    if len(given) == rows and all(each is None or isinstance(each, str | Path) for each in given):
        return [None if each is None else str(each) for each in given]
    raise RowError(
        "references: expected the path of a priors file (one for all, or one a row, "
        f"{rows} in all) or relation records, got {len(given)}"
        + (f" of {type(given[0]).__name__}" if given else "")
    )


def named_priors(column: Iterable[str | None], priors: PriorsLike) -> PriorsLike:
    """The one that the rows and the call name.

    Raises:
        AcpError: they name more than one.
    """
    named = list(dict.fromkeys(each for each in column if each))
    records = [record for each in named if each.startswith("[") for record in json.loads(each)]
    paths = [each for each in named if not each.startswith("[")]
    if priors is not None and not isinstance(priors, str | Path) and not named:
        return priors
    paths += [] if priors is None else [str(priors)]
    if len(set(paths)) + bool(records) > 1:
        told = ", ".join([*dict.fromkeys(paths), *(["relation records"] if records else [])])
        raise AcpError(f"priors: expected one, got {told}; give `priors` or `references`")
    return paths[0] if paths else records or None


def _plain(value: Any) -> Any:
    """Numpy's numbers and arrays as JSON knows them."""
    return value.tolist()
