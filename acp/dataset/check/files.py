"""What a data set is made of: the files that `load_dataset` finds for each configuration and split,
and what it reads from them."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from acp.core.errors import AcpError, one_line
from acp.core.files import leads_out
from acp.dataset.check.card_yaml import README, outside, read_card
from acp.dataset.check.problems import Problem, several
from acp.dataset.receipt import RECEIPT, Receipt, files_of, read_receipt

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import DatasetBuilder, Features

BATCH_BYTES = 8_000_000
MOST_ROWS = 256
STREAMED_ROWS = 32
PLENTY, MOST_A_BYTE = 10_000_000, 100
"""A parquet file may hold so many values or bytes, and so many more for each of its own bytes:
nothing that people made is packed tighter, and what is would take all time and memory."""
DATA = {".parquet", ".arrow", ".jsonl", ".csv", ".tsv", ".tar", ".zip"}
PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
CARDS = (README, ".huggingface.yaml")
BUILD_AGAIN = "run acp build again"


@dataclass(frozen=True, slots=True)
class Shard:
    """A parquet file, or a whole split of another format, which `datasets` reads (`stream`).

    `rows` is None where nothing but reading tells; `size` is that of all values, unpacked.
    """

    place: str
    features: Features
    path: Path | None = None
    stream: Any = None
    rows: int | None = None
    size: int = 0


@dataclass
class DataSet:
    """A data set on disk.

    Attributes:
        name: as it was asked for.
        root: its folder.
        split: the split that was asked for; all if None.
        partial: only some files were asked for, so nothing is said of what is missing.
        builders: by configuration, what `load_dataset` makes of card and files.
        receipt: of ours; None if there is none, or if it cannot be read.
        ours: it has a receipt, so all that our builds promise is checked.
        card: the YAML of its README; None if there is none that can be read.
    """

    name: str
    root: Path
    split: str | None = None
    partial: bool = False
    builders: dict[str, DatasetBuilder] = field(default_factory=dict)
    receipt: Receipt | None = None
    ours: bool = False
    card: Mapping[str, Any] | None = None
    problems: list[Problem] = field(default_factory=list)

    @property
    def card_fix(self) -> str:
        """How to get a card that fits the files."""
        if not self.ours:
            return "write the card anew from the files"
        if self.root != Path(self.name).expanduser().resolve():
            return "push the data set again"
        folder, card = shlex.quote(self.name), shlex.quote(str(Path(self.name, README)))
        return f"acp card {folder} --out {card} writes it anew (acp push sends no card but its own)"

    def splits(self, config: str) -> dict[str, tuple[Path, ...]]:
        """The files of each split of a configuration."""
        files = self.builders[config].config.data_files or {}
        return {
            str(split): tuple(map(Path, names))
            for split, names in files.items()
            if names and self.split in (None, str(split))
        }

    @property
    def claimed(self) -> list[Path]:
        """All files that are read."""
        splits = [each for config in self.builders for each in self.splits(config).values()]
        return [path for files in splits for path in files]

    def place(self, path: Path) -> str:
        """A file as it is named in a line."""
        return (
            path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)
        )


def find(
    name: str,
    path: Path,
    config: str | None,
    split: str | None,
    builders: dict[str, DatasetBuilder],
) -> DataSet:
    """The data set at `path`, a folder or a file, as `load_dataset` finds it.

    `builders` are given if only some of its files were fetched.

    Raises:
        AcpError: it is no data set, or has no such configuration or split.
    """
    from datasets import get_dataset_config_names

    for library in ("datasets", "huggingface_hub"):  # what they warn of is told in lines
        logging.getLogger(library).setLevel(logging.CRITICAL)
    path = path.resolve()
    partial = path.is_file() or config is not None or split is not None
    found = DataSet(name, path if path.is_dir() else path.parent, split, partial)
    configs = ["default"]
    if path.is_file():
        _load(found, "default", *_format_of(path))
    else:
        _read_ours(found)
        if builders:
            found.builders, configs = builders, list(builders)
        elif not found.problems and not (found.ours and found.card is None):
            try:
                configs = [str(each) for each in get_dataset_config_names(str(found.root))]
            except Exception as error:  # whatever stands in the folder
                found.problems.append(_refusal(error, ""))
            for each in configs if not found.problems else ():
                if config in (None, each):
                    _load(found, each, str(found.root))
    splits = [str(s) for each in found.builders.values() for s in each.config.data_files or ()]
    for what, wanted, known in (("config", config, configs), ("split", split, splits)):
        if wanted is not None and wanted not in known and not found.problems:
            known = sorted(set(known))
            raise AcpError(f"{found.name}: no {what} {wanted!r}; it has {', '.join(known)}")
    _keep_inside(found)
    return found


def _read_ours(found: DataSet) -> None:
    """Read the card and the receipt of a folder.

    Raises:
        AcpError: it is what a build keeps.
    """
    root = found.root
    if root.suffix == ".work" and (root / "shards").is_dir():
        raise AcpError(
            f"{found.name}: what acp build keeps, no data set; check the folder beside it"
        )
    found.ours = (root / RECEIPT).is_file()
    found.receipt = read_receipt(root)
    if (root / "state.json").exists():  # load_dataset looks for it, too
        fix = "use load_from_disk, then push_to_hub or to_parquet"
        what = "load_dataset refuses what save_to_disk wrote"
        found.problems.append(Problem("load", "state.json", what, fix))
    for name in CARDS:
        card, problems = read_card(root / name)
        found.problems += [*problems, *outside(card or {}, root)]
        found.card = card if name == README else found.card


def _format_of(path: Path) -> tuple[str, str]:
    """How `load_dataset` reads a single file, and its path.

    Raises:
        AcpError: it is not of a format of data sets.
    """
    from datasets.data_files import DataFilesList
    from datasets.load import infer_module_for_data_files_list

    module, _ = infer_module_for_data_files_list(DataFilesList([path.as_posix()], []))
    if module is None or path.suffix in (".md", ".yaml", ".py"):
        raise AcpError(f"{path}: not of a format of data sets; expected e.g. .parquet or .jsonl")
    return module, str(path)


def _load(found: DataSet, config: str, where: str, data_files: str | None = None) -> None:
    from datasets import load_dataset_builder

    place = f"{README}: {config}" if found.card else config
    try:
        with TemporaryDirectory() as cache:
            name = None if data_files else config
            builder = load_dataset_builder(where, name, data_files=data_files, cache_dir=cache)
        found.builders[config] = builder
    except Exception as error:  # whatever stands in the card
        found.problems.append(_refusal(error, place))
        return
    for split, files in (builder.config.data_files or {}).items():
        if not files:
            what = f"no file matches data_files of {str(split)!r}"
            found.problems.append(Problem("load", place, what, "correct it, or add the files"))


def _keep_inside(found: DataSet) -> None:
    """Leave out configurations with links to files elsewhere."""
    for config in list(found.builders):
        files = [path for each in found.splits(config).values() for path in each]
        links = [found.place(path) for path in files if leads_out(path, found.root)]
        if links:
            what = f"is a link that leads out of the data set{several(links)}"
            found.problems.append(Problem("load", links[0], what, "put the file itself there"))
            del found.builders[config]


def _refusal(error: BaseException, where: str) -> Problem:
    what = f"load_dataset cannot read it: {_reason(error)}"
    return Problem("load", where, what, "name the files in configs of the card, or correct them")


def _reason(error: BaseException) -> str:
    cause = error.__cause__ if type(error).__name__ == "DatasetGenerationError" else None
    if isinstance(error, StopIteration):
        return "there are no rows in it"
    reason = one_line(cause or error, 300) or type(error).__name__
    return re.sub(r"NamedSplit\('([^']*)'\): \('?(\w+)'?, \{\}\)", r"\1: \2", reason)


def unclaimed(found: DataSet, *, pictures: bool) -> Iterator[Problem]:
    """Data files that `load_dataset` leaves out, so that no reader gets them; `pictures` of any
    name, too."""
    if found.partial or not found.builders:
        return
    claimed = set(found.claimed)
    suffixes = {path.suffix.lower() for path in claimed} | DATA | (PICTURES if pictures else set())
    paths = {name: found.root / name for name in files_of(found.root) if not hidden(name)}
    left = [n for n, p in paths.items() if p.suffix.lower() in suffixes and p not in claimed]
    if left:
        fix = "name it as the others are named, or in configs of the card"
        yield Problem("unclaimed", left[0], f"load_dataset leaves it out{several(left)}", fix)


def hidden(name: str) -> bool:
    """Whether a path is of what no reader looks at."""
    return any(part.startswith((".", "__")) for part in name.split("/"))


# Reading.


def open_shards(found: DataSet, config: str, split: str) -> Iterator[Shard | Problem]:
    """What can be read of a split, or the problem of what cannot."""
    from datasets.packaged_modules.parquet.parquet import Parquet

    builder = found.builders[config]
    if isinstance(builder, Parquet):
        fix = "write or fetch it again (git lfs pull)"
        for path in found.splits(config)[split]:
            yield _opened(fix, _open_parquet, found.place(path), path)
    else:
        place = split if config == "default" else f"{config}/{split}"
        yield _opened("correct the files", _open_stream, place, builder, split)


def _opened(fix: str, opening: Callable[..., Shard], place: str, *more: Any) -> Shard | Problem:
    try:
        return opening(place, *more)
    except Exception as error:  # pyarrow and each format of `datasets` have their own
        return Problem("file", place, f"cannot be opened: {_reason(error)}", fix)


def _open_parquet(place: str, path: Path) -> Shard:
    import pyarrow.parquet as pq
    from datasets import Features

    with pq.ParquetFile(path) as file:
        features, footer = Features.from_arrow_schema(file.schema_arrow), file.metadata
    groups = [footer.row_group(k) for k in range(footer.num_row_groups)]
    size = sum(group.total_byte_size for group in groups)
    values = (sum(g.column(k).num_values for g in groups) for k in range(footer.num_columns))
    claim, stored = max(size, *values), path.stat().st_size
    if claim > PLENTY + MOST_A_BYTE * stored:
        raise ValueError(f"{stored:,} bytes that stand for {claim:,} values are not read")
    return Shard(place, features, path, None, footer.num_rows, claim)


def _open_stream(place: str, builder: DatasetBuilder, split: str) -> Shard:
    """What `load_dataset` reads, images as they are stored."""
    stream = builder.as_streaming_dataset(split=split)
    if stream.features is None:
        stream = stream._resolve_features()
    return Shard(place, stream.features, stream=stream.decode(False))


def batches(shard: Shard) -> Iterator[tuple[int, pa.RecordBatch] | Problem]:
    """The rows, with the number of the first; a problem ends them."""
    first = 0
    try:
        for batch in _read_stream(shard) if shard.path is None else _read_parquet(shard):
            yield first, batch
            first += len(batch)
    except Exception as error:  # pyarrow and the formats of `datasets` have their own
        what = f"rows from {first} on cannot be read: {_reason(error)}"
        yield Problem("file", shard.place, what, "write or fetch it again")


def _read_parquet(shard: Shard) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    each = max(shard.size / shard.rows, 1) if shard.rows else BATCH_BYTES
    with pq.ParquetFile(shard.path, buffer_size=1 << 20, pre_buffer=False) as file:  # not by groups
        yield from file.iter_batches(int(min(max(BATCH_BYTES / each, 1), MOST_ROWS)))


def _read_stream(shard: Shard) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    rows, schema = iter(shard.stream), shard.features.arrow_schema
    while waiting := list(islice(rows, STREAMED_ROWS)):  # tables of rows without objects differ
        yield pa.RecordBatch.from_pylist(waiting, schema=schema)
