"""The priors file: parquet, one row a real pair of boxes in a relation. Format version 1."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from acp.clis.features import PairGeometry
from acp.clis.similarity import unpacked
from acp.core.errors import AcpError, one_line
from acp.core.types import IntArray

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 1
INFO, VECTORS = b"acp.priors", b"acp.vectors"
"""Keys of the schema's metadata: JSON about the file; vectors of `acp.clis.similarity`."""

MOST_PAIRS = 20_000_000
"""A file of more is refused before it is read."""
GEOMETRY = ("subject_w", "subject_h", "object_w", "object_h", "dx", "dy")
STATED, GEOMETRIC = "stated", "geometric"
"""Values of `source`: a relation that people or a parser stated, or one read off the boxes."""


@dataclass(frozen=True)
class PriorsTable:
    """R real pairs in the order of the file.

    `subject`, `object` (R,) index `names`, which are folded; `predicate` (R,) indexes `predicates`.
    `geometry` is float64, `stated` (R,) bool. `info` is what the file says of itself, `origin` its
    path or a name, `digest` 16 hex digits of its sha256, `vectors` those of names of its own.
    """

    names: tuple[str, ...]
    predicates: tuple[str, ...]
    subject: IntArray
    predicate: IntArray
    object: IntArray
    geometry: PairGeometry
    stated: npt.NDArray[np.bool_]
    info: Mapping[str, Any]
    origin: str = ""
    digest: str = ""
    vectors: bytes = b""
    images: Any = None

    def __len__(self) -> int:
        return len(self.subject)

    def take(self, rows: IntArray) -> PriorsTable:
        """The same with some of the rows."""
        columns = {key: getattr(self, key)[rows] for key in ("subject", "predicate", "object")}
        images = None if self.images is None else self.images.take(rows)
        return replace(
            self,
            **columns,
            geometry=self.geometry.take(rows),
            stated=self.stated[rows],
            images=images,
        )

    @cached_property
    def image_ids(self) -> list[str | None]:
        """The image of each row, where the file says it; R of them."""
        found: list[str | None] = [None] * len(self) if self.images is None else []
        return found or self.images.to_pylist()


def schema(compact: bool = False) -> pa.Schema:
    """The columns of a priors file; `compact` has float32 and no image ids."""
    import pyarrow as pa

    text = pa.dictionary(pa.int32(), pa.string())
    number = pa.float32() if compact else pa.float64()
    fields = [pa.field(name, text) for name in ("subject", "predicate", "object")]
    fields += [pa.field(name, number) for name in GEOMETRY]
    fields += [pa.field("source", text)]
    return pa.schema(fields if compact else [*fields, pa.field("image_id", pa.string())])


def write_priors(
    path: str | Path,
    batches: Iterable[Mapping[str, Any]],
    info: Mapping[str, Any],
    vectors: bytes = b"",
    compact: bool = False,
) -> int:
    """Write a priors file as its batches come, whole or not at all; returns the number of rows.

    Args:
        batches: columns by name (names folded, geometry float64, `source`, `image_id`), each a
            sequence or an arrow array.
        info: what the file says of itself, JSON; read when the last batch is written.
        vectors: of `acp.clis.similarity.pack_vectors`.
        compact: float32 and no image ids, as inside the package.

    Raises:
        OSError: the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, wanted, rows = Path(path), schema(compact), 0
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with pq.ParquetWriter(temporary, wanted, compression="zstd") as writer:
            for batch in batches:
                arrays = [pa.array(batch[field.name], field.type) for field in wanted]
                table = pa.table(arrays, schema=wanted)
                writer.write_table(table, row_group_size=1 << 17)
                rows += len(table)
            about = json.dumps({"version": VERSION, **info}, ensure_ascii=False, sort_keys=True)
            writer.add_key_value_metadata({INFO: about.encode(), VECTORS: vectors})
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return rows


def read_priors(path: str | Path, origin: str = "") -> PriorsTable:
    """Read a priors file.

    Raises:
        AcpError: no such file, no priors file, of another version, or without rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    if not path.is_file():
        raise AcpError(f"{path}: no such priors file; make one with `acp priors build`")
    try:
        about = pq.read_metadata(path)
        if about.num_rows > MOST_PAIRS:
            raise AcpError(f"{path}: {about.num_rows:,} pairs; at most {MOST_PAIRS:,} are read")
        # Pages and not a map of the file: it may be replaced while it is in use.
        return _table(path, pq.read_table(path, memory_map=False), about.metadata or {}, origin)
    except AcpError:
        raise
    except (pa.ArrowInvalid, OSError) as error:
        raise AcpError(f"{path}: not a parquet file ({one_line(error, 200)})") from None
    except Exception as error:  # damaged files fail anywhere
        what = f"damaged ({one_line(error, 200)}); make it anew with `acp priors build`"
        raise AcpError(f"{path}: {what}") from None


def _table(
    path: Path, table: pa.Table, metadata: Mapping[bytes, bytes], origin: str
) -> PriorsTable:
    info = _info(path, metadata, table)
    names, (subject, object_) = _codes(table, "subject", "object")
    predicates, (predicate,) = _codes(table, "predicate")
    geometry = [table[name].to_numpy().astype(np.float64) for name in GEOMETRY]
    unpacked(metadata.get(VECTORS, b""))
    return PriorsTable(
        names, predicates, subject, predicate, object_,
        geometry=_checked(path, PairGeometry(*geometry)),
        stated=np.asarray(table["source"].to_numpy() == STATED),
        info=info,
        origin=origin or str(path),
        digest=hashlib.sha256(path.read_bytes()).hexdigest()[:16],
        vectors=metadata.get(VECTORS, b""),
        images=table["image_id"] if "image_id" in table.column_names else None,
    )  # fmt: skip


def _info(path: Path, metadata: Mapping[bytes, bytes], table: pa.Table) -> dict[str, Any]:
    missing = [field.name for field in schema(compact=True) if field.name not in table.column_names]
    if INFO not in metadata or missing:
        what = f"column {missing[0]!r}" if missing else "the mark of a priors file"
        raise AcpError(f"{path}: {what} is missing; make a priors file with `acp priors build`")
    info: dict[str, Any] = json.loads(metadata[INFO])
    if not isinstance(info, dict):
        raise ValueError("its mark is no object")
    if info.get("version") != VERSION:
        raise AcpError(
            f"{path}: version {info.get('version')!r} of the priors format, this is {VERSION};"
            " make it anew with `acp priors build`"
        )
    if not len(table):
        raise AcpError(f"{path}: no pairs in it; build it from annotations that have some")
    return info


def _codes(table: pa.Table, *columns: str) -> tuple[tuple[str, ...], list[IntArray]]:
    """The distinct values of some columns together, and where each row points."""
    import pyarrow as pa

    joined = pa.chunked_array([c.cast(pa.string()) for n in columns for c in table[n].chunks])
    if joined.null_count:
        raise ValueError(f"{columns[0]} is null in a row")
    encoded = joined.combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return tuple(encoded.dictionary.to_pylist()), np.split(codes, len(columns))


def _checked(path: Path, geometry: PairGeometry) -> PairGeometry:
    for name in GEOMETRY:
        values = getattr(geometry, name)
        wrong = ~np.isfinite(values) | ((values <= 0) & (name not in ("dx", "dy")))
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise AcpError(f"{path}: row {row}: {name} is {values[row]}; expected a finite size")
    return geometry
