"""The data sets that `acp score` reads, found and opened as `acp check` does: a batch at a time.

No path in the data leads out of its folder, and nothing is fetched for one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acp.clis.rows import Row, with_class_names
from acp.core.errors import AcpError, one_line
from acp.core.files import leads_out
from acp.core.images import BrokenImageError
from acp.core.types import Failure
from acp.dataset.check.fetch import locate
from acp.dataset.check.files import DATA, MOST_ROWS, PICTURES, DataSet, batches, find, open_shards
from acp.dataset.check.problems import Problem
from acp.dataset.check.rows import content_of

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features

_READ = ("width", "height", "caption", "objects", "relations", "image", "clis_i", "provenance")


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows: as a table with its features, images as bytes, and what scoring reads of them."""

    table: pa.Table
    features: Features
    rows: list[Row]


def read_parts(name: str, config: str | None, split: str) -> Iterator[Part]:
    """The rows of a folder, a file, a data set on the Hub or one of `save_to_disk`.

    Raises:
        AcpError: it cannot be opened or read, or has no objects.
    """
    import pyarrow as pa

    folder = Path(name).expanduser()
    saved = [each for each in (folder, folder / split) if (each / "state.json").is_file()]
    try:
        root, tables = _saved(saved[0]) if saved else _found(name, config, split)
        for table, features in tables:
            _check(name, features)
            yield _part(table, features, root)
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        raise AcpError(f"{name}: cannot be read: {one_line(error, 300)}") from None


Tables = Iterator[tuple["pa.Table", "Features"]]


def _found(name: str, config: str | None, split: str) -> tuple[Path, Tables]:
    path, builders = locate(name, None, config, lambda line: None)
    found = find(name, path, config, split, builders)
    chosen = config or _default(found)
    if chosen not in found.builders:
        raise AcpError(f"{name}: cannot be opened as a data set: {found.problems[0]}")
    if not any(each.suffix.lower() in DATA | PICTURES for each in found.claimed):
        raise AcpError(
            f"{name}: no data set: nothing in it is parquet, JSON lines, CSV, or a picture with "
            "its objects in metadata.jsonl"
        )
    return found.root, _batches(found, chosen, split)


def _default(found: DataSet) -> str:
    """As `load_dataset` chooses.

    Raises:
        AcpError: it would ask for one.
    """
    from datasets import get_dataset_default_config_name

    if len(found.builders) < 2:
        return next(iter(found.builders), "default")
    name = get_dataset_default_config_name(str(found.root))
    if name is None:
        raise AcpError(f"{found.name}: give --config; it has {', '.join(found.builders)}")
    return str(name)


def _batches(found: DataSet, config: str, split: str) -> Tables:
    import pyarrow as pa

    for shard in open_shards(found, config, split):
        if isinstance(shard, Problem):
            raise AcpError(f"{found.name}: {shard}")
        for each in batches(shard):
            if isinstance(each, Problem):
                raise AcpError(f"{found.name}: {each}")
            yield pa.Table.from_batches([each[1]]), shard.features


def _saved(folder: Path) -> tuple[Path, Tables]:
    from datasets import load_from_disk

    rows = load_from_disk(str(folder))
    for file in rows.cache_files:
        if leads_out(Path(file["filename"]), folder):
            raise AcpError(f"{folder}: {file['filename']} is not in the data set")
    tables = rows.with_format("arrow").iter(batch_size=MOST_ROWS)
    return folder, ((table, rows.features) for table in tables)


def _check(name: str, features: Features) -> None:
    objects = features.get("objects")
    inner = getattr(objects, "feature", objects)
    if not isinstance(inner, dict) or not {"category", "bbox"} <= set(inner):
        got = ", ".join(inner) if isinstance(inner, dict) else ", ".join(features)
        raise AcpError(f"{name}: expected objects with category and bbox, got {got}")


def _part(table: pa.Table, features: Features, root: Path) -> Part:
    import pyarrow as pa
    from datasets import Image

    read = table.select([key for key in _READ if key in table.column_names])
    rows: list[Any] = with_class_names(read.to_pylist(), features)
    rows = [{**row, "image": _image(row.get("image"), root)} for row in rows]
    for place, (name, feature) in enumerate(features.items()):
        if isinstance(feature, Image):  # what is written holds no paths
            values = [_image(each, root) for each in table[name].to_pylist()]
            whole = [each if isinstance(each, dict) else None for each in values]
            table = table.set_column(place, name, pa.array(whole, feature.pa_type))
    return Part(table, features, rows)


def _image(value: Any, root: Path) -> dict[str, Any] | Failure | None:
    if isinstance(value, str):
        value = {"path": value}
    try:
        content = content_of(value, root)
    except BrokenImageError as error:
        return Failure(f"the image {error}")
    path = value.get("path") if isinstance(value, dict) else None
    return None if content is None else {"bytes": content, "path": path and Path(path).name}
