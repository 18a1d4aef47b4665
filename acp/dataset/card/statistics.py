"""Counts of a data set for its card, from the columns of its parquet files; no image is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from acp.core.errors import AcpError, one_line

ROWS_AT_ONCE = 8192


def files(folder: Path, config: str) -> list[Path]:
    """The parquet files of a configuration, in the order of their names."""
    return sorted((folder / config).glob("*.parquet"))


@contextmanager
def opened(file: Path) -> Iterator[Any]:
    """A parquet file.

    Raises:
        AcpError: it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            yield table
    except (pa.ArrowException, KeyError, OSError) as error:
        reason = one_line(error, 200)
        raise AcpError(f"{file}: cannot be read ({reason}); run acp build again") from None


def rows(folder: Path, config: str) -> int:
    """How many rows the footers tell of."""
    total = 0
    for file in files(folder, config):
        with opened(file) as table:
            total += table.metadata.num_rows
    return total


def batches(folder: Path, config: str, columns: Sequence[str]) -> Iterator[Any]:
    """The rows in order, as record batches of these columns alone (dots lead into structs)."""
    for file in files(folder, config):
        with opened(file) as table:
            yield from table.iter_batches(batch_size=ROWS_AT_ONCE, columns=list(columns))


def row(folder: Path, config: str, index: int) -> dict[str, Any]:
    """One row with all its columns, images as stored; reads the row group that holds it alone."""
    for file in files(folder, config):
        with opened(file) as table:
            for group in range(table.num_row_groups):
                count = table.metadata.row_group(group).num_rows
                if index < count:
                    return _row_of_group(table, group, index)
                index -= count
    raise IndexError(index)


def _row_of_group(table: Any, group: int, index: int) -> dict[str, Any]:
    for batch in table.iter_batches(batch_size=64, row_groups=[group]):
        if index < batch.num_rows:
            found: dict[str, Any] = batch.slice(index, 1).to_pylist()[0]
            return found
        index -= batch.num_rows
    raise IndexError(index)


SCORES = ("clis_l", "clis_i", "clis")
SMALL_PX, LARGE_PX = 32**2, 96**2
"""Areas between which COCO calls an object medium."""


@dataclass(slots=True)
class Curated:
    """Of the picked images and the objects that are labelled in them.

    `frequency` is r, c or f by category; `images` and `objects` count by category; `per_image`
    counts images by their number of objects.
    """

    rows: int = 0
    frequency: dict[str, str] = field(default_factory=dict)
    images: Counter[str] = field(default_factory=Counter)
    objects: Counter[str] = field(default_factory=Counter)
    predicates: Counter[str] = field(default_factory=Counter)
    per_image: Counter[int] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    captions: set[str] = field(default_factory=set)
    images_of_frequency: Counter[str] = field(default_factory=Counter)
    unscored: int = 0
    at_edge: int = 0
    plain: int = 0

    @property
    def total(self) -> int:
        """How many objects."""
        return self.objects.total()


@dataclass(slots=True)
class Raw:
    """Of all candidates. `scores` has the arrays (all, kept) of each score, null as NaN."""

    rows: int = 0
    kept: int = 0
    rejects: Counter[str] = field(default_factory=Counter)
    object_rejects: Counter[str] = field(default_factory=Counter)
    scores: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)


@dataclass(slots=True)
class SceneGraphs:
    """Of all scenes. `sources` counts the layouts that went on by who proposed them."""

    rows: int = 0
    rejects: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Statistics:
    """Everything that the card counts."""

    curated: Curated
    raw: Raw
    scene_graphs: SceneGraphs

    @property
    def rows(self) -> Mapping[str, int]:
        """Rows of each configuration."""
        return {
            "curated": self.curated.rows,
            "raw": self.raw.rows,
            "scene_graphs": self.scene_graphs.rows,
        }

    def counts(self) -> dict[str, int]:
        """The counts that `acp build` prints."""
        return {
            "scenes": self.scene_graphs.rows,
            "scenes rejected": self.scene_graphs.rejects.total(),
            "candidates": self.raw.rows,
            "kept": self.raw.kept,
            "objects": self.curated.total,
        }

    def rejects(self) -> dict[tuple[str, str], int]:
        """Counts by level and reason, as `acp build` prints them: most frequent first."""
        levels = {
            "scene": self.scene_graphs.rejects,
            "candidate": self.raw.rejects,
            "object of a kept image": self.raw.object_rejects,
        }
        found = {(level, key): n for level, each in levels.items() for key, n in each.items()}
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def read_statistics(folder: Path) -> Statistics:
    """Count what the card of the data set in `folder` tells.

    Raises:
        AcpError: a file cannot be read.
    """
    return Statistics(_curated(folder), _raw(folder), _scene_graphs(folder))


def _curated(folder: Path) -> Curated:
    inner = ("category", "frequency", "bbox", "area", "attributes", "clis_i")
    columns = ["width", "height", "caption", "relations.predicate"]
    found = Curated()
    for batch in batches(folder, "curated", [*columns, *(f"objects.{key}" for key in inner)]):
        found.rows += batch.num_rows
        found.captions.update(batch.column("caption").to_pylist())
        found.predicates.update(_flat(batch.column("relations").field("predicate")).to_pylist())
        _count_objects(found, batch)
    return found


def _count_objects(found: Curated, batch: Any) -> None:
    import pyarrow.compute as pc

    objects = batch.column("objects")
    names = _flat(objects.field("category")).to_pylist()
    letters = _flat(objects.field("frequency")).to_pylist()
    image_of = pc.list_parent_indices(objects.field("category")).to_numpy()
    per_image = np.bincount(image_of, minlength=batch.num_rows)
    found.frequency.update(zip(names, letters, strict=True))
    found.objects.update(names)
    images = image_of.tolist()
    found.images.update(name for _, name in set(zip(images, names, strict=True)))
    found.images_of_frequency.update(key for _, key in set(zip(images, letters, strict=True)))
    found.per_image.update(per_image.tolist())
    found.sizes.update(_size(area) for area in _flat(objects.field("area")).to_pylist())
    found.plain += sum(not words for words in _flat(objects.field("attributes")).to_pylist())
    found.unscored += _flat(objects.field("clis_i")).null_count
    sides = (batch.column(side).to_numpy()[image_of] for side in ("width", "height"))
    boxes_xywh_px = _flat(_flat(objects.field("bbox"))).to_numpy().reshape(-1, 4)
    found.at_edge += int(_touch_edges(boxes_xywh_px, *sides).sum())


def _flat(lists: Any) -> Any:
    import pyarrow.compute as pc

    return pc.list_flatten(lists)


def _size(area_px: float) -> str:
    return "small" if area_px < SMALL_PX else "medium" if area_px < LARGE_PX else "large"


def _touch_edges(boxes_xywh_px: np.ndarray, width: np.ndarray, height: np.ndarray) -> np.ndarray:
    x, y, w, h = boxes_xywh_px.T
    touch: np.ndarray = (x <= 0) | (y <= 0) | (x + w >= width) | (y + h >= height)
    return touch


def _raw(folder: Path) -> Raw:
    found = Raw()
    parts: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []
    for batch in batches(folder, "raw", ["kept", "reject", "objects.reject", *SCORES]):
        kept = np.array(batch.column("kept").to_pylist(), dtype=bool)
        found.rows += len(kept)
        found.kept += int(kept.sum())
        found.rejects.update(filter(None, batch.column("reject").to_pylist()))
        reasons = batch.column("objects").field("reject").filter(batch.column("kept"))
        found.object_rejects.update(filter(None, _flat(reasons).to_pylist()))
        parts.append((kept, {name: _numbers(batch.column(name)) for name in SCORES}))
    every = np.concatenate([kept for kept, _ in parts]) if parts else np.zeros(0, dtype=bool)
    for name in SCORES:
        values = np.concatenate([each[name] for _, each in parts]) if parts else np.zeros(0)
        found.scores[name] = (values, values[every])
    return found


def _numbers(column: Any) -> np.ndarray:
    numbers: np.ndarray = column.to_numpy(zero_copy_only=False).astype(np.float64)
    return numbers


def _scene_graphs(folder: Path) -> SceneGraphs:
    found = SceneGraphs()
    layout = "layouts.list.element"
    for batch in batches(
        folder, "scene_graphs", ["reject", f"{layout}.source", f"{layout}.chosen"]
    ):
        found.rows += batch.num_rows
        found.rejects.update(filter(None, batch.column("reject").to_pylist()))
        layouts = _flat(batch.column("layouts"))
        chosen = layouts.field("source").filter(layouts.field("chosen"))
        found.sources.update(chosen.to_pylist())
    return found
