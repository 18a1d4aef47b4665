"""What a data set is made of: the files that `load_dataset` finds for each configuration and split,
and the receipt of ours."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from acp.core.errors import AcpError, one_line
from acp.core.files import sha256
from acp.dataset.check.card_yaml import README, outside, read_card
from acp.dataset.check.problems import Problem
from acp.dataset.receipt import RECEIPT, Receipt, files_of, read_receipt

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import DatasetBuilder, Features

BATCH_BYTES = 8_000_000
MOST_ROWS = 256
STREAMED_ROWS = 32
DATA = {".parquet", ".arrow", ".jsonl", ".csv", ".tsv", ".tar", ".zip"}
BUILD_AGAIN = "run acp build again"


@dataclass(frozen=True, slots=True)
class Shard:
    """A parquet file, or a whole split of another format, which `datasets` reads (`stream`).

    `rows` is None where nothing but reading tells.
    """

    config: str
    split: str
    place: str
    features: Features
    path: Path | None = None
    stream: Any = None
    rows: int | None = None
    bytes: int = 0


@dataclass
class DataSet:
    """A data set on disk.

    Attributes:
        name: as it was asked for.
        root: its folder.
        builders: by configuration, what `load_dataset` makes of card and files.
        split: the split that was asked for; all if None.
        partial: only some files were asked for, so nothing is said of what is missing.
        receipt: of ours; None if there is none, or if it cannot be read.
        ours: it has a receipt, so all that our builds promise is checked.
        card: the YAML of its README; None if there is none that can be read.
    """

    name: str
    root: Path
    builders: dict[str, DatasetBuilder] = field(default_factory=dict)
    split: str | None = None
    partial: bool = False
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
    partial = config is not None or split is not None
    if path.is_file():
        found = DataSet(name, path.parent.resolve(), split=split, partial=True)
        _load(found, "default", *_format_of(found.root / path.name))
        return _checked(found, config)
    found = DataSet(name, path.resolve(), split=split, partial=partial)
    if found.root.suffix == ".work" and (found.root / "shards").is_dir():
        raise AcpError(f"{name}: what acp build keeps, no data set; check the folder beside it")
    found.ours = (found.root / RECEIPT).is_file()
    found.receipt = read_receipt(found.root)
    found.card, problems = read_card(found.root / README)
    found.problems += [*problems, *outside(found.card or {}, found.root)]
    if builders:
        found.builders = builders
        return _checked(found, config, builders)
    if found.problems or (found.ours and found.card is None):
        return found
    try:
        configs = [str(each) for each in get_dataset_config_names(str(found.root))]
    except Exception as error:  # whatever stands in the folder
        found.problems.append(_refusal(error, ""))
        return found
    for each in configs:
        if config in (None, each):
            _load(found, each, str(found.root))
    return _checked(found, config, configs)


def _checked(found: DataSet, config: str | None, configs: Iterable[str] = ("default",)) -> DataSet:
    splits = {
        str(split) for each in found.builders.values() for split in each.config.data_files or ()
    }
    for what, wanted, known in (("config", config, configs), ("split", found.split, splits)):
        if wanted is not None and wanted not in known and not found.problems:
            raise AcpError(f"{found.name}: no {what} {wanted!r}; it has {', '.join(sorted(known))}")
    return found


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


def _refusal(error: BaseException, where: str) -> Problem:
    what = f"load_dataset cannot read it: {_reason(error)}"
    return Problem("load", where, what, "name the files in configs of the card, or correct them")


def _reason(error: BaseException) -> str:
    cause = error.__cause__ if type(error).__name__ == "DatasetGenerationError" else None
    return one_line(cause or error, 300) or type(error).__name__


def unclaimed(found: DataSet) -> Iterator[Problem]:
    """Data files that `load_dataset` leaves out, so that no reader gets them."""
    if found.partial or not found.builders:
        return
    splits = [split for config in found.builders for split in found.splits(config).values()]
    claimed = {path for split in splits for path in split}
    suffixes = {path.suffix.lower() for path in claimed} | DATA
    paths = {name: found.root / name for name in files_of(found.root) if not _hidden(name)}
    left = [n for n, p in paths.items() if p.suffix.lower() in suffixes and p not in claimed]
    if left:
        what = f"load_dataset leaves it out{_more(left)}"
        fix = "name it as the others are named, or in configs of the card"
        yield Problem("unclaimed", left[0], what, fix)


def _more(names: list[str]) -> str:
    return f", and {len(names) - 1:,} more, such as {names[1]}" if len(names) > 1 else ""


# The receipt.


def check_receipt(found: DataSet, processes: int, broken: set[str]) -> Iterator[Problem]:
    """Files that are missing, or not those of the receipt; `broken` ones were told of already."""
    if found.receipt is None:
        yield Problem("receipt", RECEIPT, "cannot be read, or is of an older acp", BUILD_AGAIN)
        return
    sums, there = found.receipt.sha256, set(files_of(found.root))
    for name in sorted(set(sums) - there - {README}) if not found.partial else ():
        yield Problem("receipt", name, f"is in {RECEIPT}, but not there", BUILD_AGAIN)
    known = sorted((there & set(sums)) - broken)
    with ThreadPoolExecutor(processes) as pool:
        reasons = pool.map(lambda name: _difference(found.root / name, sums[name]), known)
        for name, reason in zip(known, reasons, strict=True):
            if reason:
                fix = found.card_fix if name == README else BUILD_AGAIN
                yield Problem("checksum", name, reason, fix)


def extra_files(found: DataSet) -> Iterator[Problem]:
    """Files that the receipt does not name."""
    sums = found.receipt.sha256 if found.receipt else {}
    extra = [name for name in files_of(found.root) if name not in sums and not _hidden(name)]
    if extra and sums:
        what = f"is not in {RECEIPT}{_more(extra)}"
        yield Problem("receipt", extra[0], what, "a push leaves it out")


def _difference(path: Path, expected: str) -> str:
    try:
        if sha256(path) == expected:
            return ""
    except OSError as error:
        return f"cannot be opened: {error.strerror}"
    return f"is not the file that was built: its checksum is not that in {RECEIPT}"


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "__")) for part in name.split("/"))


# Reading.


def open_shards(found: DataSet, config: str, split: str) -> Iterator[Shard | Problem]:
    """What can be read of a split, or the problem of what cannot."""
    from datasets.packaged_modules.parquet.parquet import Parquet

    builder = found.builders[config]
    if not isinstance(builder, Parquet):
        yield _open_stream(config, split, builder)
        return
    for path in found.splits(config)[split]:
        place = found.place(path)
        try:
            yield _open_parquet(config, split, place, path)
        except Exception as error:  # pyarrow and `datasets` have their own
            what = f"cannot be opened: {_reason(error)}"
            yield Problem("file", place, what, "write or fetch it again (git lfs pull)")


def _open_parquet(config: str, split: str, place: str, path: Path) -> Shard:
    import pyarrow.parquet as pq
    from datasets import Features

    with pq.ParquetFile(path) as file:
        features, footer = Features.from_arrow_schema(file.schema_arrow), file.metadata
    size = sum(footer.row_group(k).total_byte_size for k in range(footer.num_row_groups))
    return Shard(config, split, place, features, path, None, footer.num_rows, size)


def _open_stream(config: str, split: str, builder: DatasetBuilder) -> Shard | Problem:
    """What `load_dataset` reads, images as they are stored."""
    place = split if config == "default" else f"{config}/{split}"
    try:
        stream = builder.as_streaming_dataset(split=split)
        if stream.features is None:
            stream = stream._resolve_features()
        return Shard(config, split, place, stream.features, stream=stream.decode(False))
    except Exception as error:  # each format of `datasets` has its own
        what = f"cannot be opened: {_reason(error)}"
        return Problem("file", place, what, "correct the files")


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

    each = max(shard.bytes / shard.rows, 1) if shard.rows else BATCH_BYTES
    with pq.ParquetFile(shard.path, buffer_size=1 << 20, pre_buffer=False) as file:  # not by groups
        yield from file.iter_batches(int(min(max(BATCH_BYTES / each, 1), MOST_ROWS)))


def _read_stream(shard: Shard) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    rows, schema = iter(shard.stream), shard.features.arrow_schema
    while waiting := list(islice(rows, STREAMED_ROWS)):  # tables of rows without objects differ
        yield pa.RecordBatch.from_pylist(waiting, schema=schema)
