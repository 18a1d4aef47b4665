"""What is asked of a data set of ours beyond its rows: files and ids agree with each other and with
the receipt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acp.core.files import sha256
from acp.dataset.check.card_yaml import README
from acp.dataset.check.files import BUILD_AGAIN, DataSet, hidden
from acp.dataset.check.problems import Problem, several
from acp.dataset.receipt import RECEIPT, Receipt, files_of

if TYPE_CHECKING:
    import pyarrow as pa


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


def _difference(path: Path, expected: str) -> str:
    try:
        if sha256(path) == expected:
            return ""
    except OSError as error:
        return f"cannot be opened: {error.strerror}"
    return f"is not the file that was built: its checksum is not that in {RECEIPT}"


def extra_files(found: DataSet) -> Iterator[Problem]:
    """Files that the receipt does not name."""
    sums = found.receipt.sha256 if found.receipt else {}
    extra = [name for name in files_of(found.root) if name not in sums and not hidden(name)]
    if extra and sums:
        yield Problem(
            "receipt", extra[0], f"is not in {RECEIPT}{several(extra)}", "a push leaves it out"
        )


def check_ids(files: Mapping[str, Sequence[Path]], receipt: Receipt) -> Iterator[Problem]:
    """Of the parquet files by configuration: every id is there once, all rows are of the build of
    the receipt, and `curated` holds the images and objects that `raw` has as kept, no others."""
    import pyarrow.compute as pc

    tables = {config: _read(paths) for config, paths in files.items()}
    for config, table in tables.items():
        if set(pc.unique(table["provenance.fingerprint"]).to_pylist()) - {receipt.fingerprint}:
            what = f"holds rows of another build than {RECEIPT} says"
            yield Problem("build", config, what, BUILD_AGAIN)
        if config == "scene_graphs" and len(table) != receipt.scenes:
            what = f"holds {len(table):,} scenes, {RECEIPT} says {receipt.scenes:,}"
            yield Problem("build", config, what, BUILD_AGAIN)
    ids = {config: _ids(tables[config]) for config in ("curated", "raw") if config in tables}
    for config, columns in ids.items():
        for name, (values, _) in columns.items():
            for each in pc.value_counts(values).to_pylist():
                if each["counts"] > 1:
                    what = f"{name} {each['values']} is there more than once"
                    yield Problem("id", config, what, "give each its own id")
    for name, (values, _) in ids["curated"].items() if len(ids) == 2 else ():
        picked, kept = set(values.to_pylist()), set(ids["raw"][name][1].to_pylist())
        for value in sorted(picked - kept):
            what = f"{name} {value} is not among those that raw has as kept"
            yield Problem("subset", "curated", what, BUILD_AGAIN)
        for value in sorted(kept - picked):
            yield Problem(
                "subset", "raw", f"{name} {value} is kept, but not in curated", BUILD_AGAIN
            )


def _read(paths: Sequence[Path]) -> pa.Table:
    """What tells the rows of files apart, by the names of leaves."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ["image_id", "kept", "objects.id", "objects.reject", "provenance.fingerprint"]
    return pa.concat_tables(pq.ParquetFile(path).read(names).flatten() for path in paths)


def _ids(table: pa.Table) -> dict[str, tuple[Any, Any]]:
    """The ids of images and of objects, each all of them and those that are kept."""
    import pyarrow.compute as pc

    images, objects = table["image_id"], pc.list_flatten(table["objects.id"])
    if "kept" not in table.column_names:
        return {"image_id": (images, images), "objects.id": (objects, objects)}
    used = table.filter(table["kept"])
    unused = pc.list_flatten(used["objects.reject"])
    kept = pc.list_flatten(used["objects.id"]).filter(pc.equal(unused, ""))
    return {"image_id": (images, used["image_id"]), "objects.id": (objects, kept)}
