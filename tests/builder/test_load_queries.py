"""Filters and queries on a published data set: no image is decoded, or even fetched, for them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import support.loopback_hub.server
from acp.builder.release import release
from support.loading import REPO, answer_of, rows_of
from support.loopback_hub import Hub, serving
from support.synthetic_scenes import finish_build


@pytest.fixture(scope="module")
def served(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """The same with plain LFS, for what does not depend on how it came."""
    with serving(Hub(tmp_path_factory.mktemp("served") / "hub")) as hub:
        hub.put_folder(REPO, built)
        yield hub
    assert hub.errors == []


@contextmanager
def given(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, int]]]:
    """(path, bytes) of each piece of a file that the Hub gives away."""
    pieces: list[tuple[str, int]] = []
    handled = vars(support.loopback_hub.server)["answer"]

    def counted(hub: Any, request: Any) -> Any:
        told = handled(hub, request)
        if request.method == "GET" and "/resolve/" in request.path:
            pieces.append((request.path, len(told.body)))
        return told

    with monkeypatch.context() as patch:
        patch.setattr(support.loopback_hub.server, "answer", counted)
        yield pieces


BY_SCORE = """
some = {"columns": ["image_id", "clis"], "filters": [("clis", ">", 90)], "split": "train"}
high = load_dataset(repo, **some, verification_mode="no_checks")  # fewer rows than the card says
assert list(load_dataset(repo, **some, streaming=True)) == list(high)
print(json.dumps([high["image_id"][:], high["clis"][:]]))
"""


def test_a_filter_by_score_while_reading(served: Hub, built: Path, tmp_path: Path) -> None:
    rows = [row for row in rows_of(built, "curated", "image_id", "clis") if row["clis"] > 90]
    ids, scores = answer_of(served, BY_SCORE, tmp_path)
    assert ids == [row["image_id"] for row in rows]
    assert all(score > 90 for score in scores)


FILES = f"hf://datasets/{REPO}/curated"
READERS = {
    "datasets": """
data = load_dataset(repo, split="train", streaming=True, columns=["image_id", "clis", "objects"])
found = [row["image_id"] for row in data if row["clis"] > 80]
""",
    "pandas": f"""
import pandas
frame = pandas.read_parquet({FILES!r}, columns=["image_id", "clis"], filters=[("clis", ">", 80)])
found = frame["image_id"].tolist()
""",
    "duckdb": f"""
import duckdb
from huggingface_hub import HfFileSystem
db = duckdb.connect()
db.register_filesystem(HfFileSystem())
rows = db.sql("FROM '{FILES}/*.parquet' SELECT image_id WHERE clis > 80")
found = [image_id for image_id, in rows.fetchall()]
db.close()
""",
}


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """480 images of 23 kB: DuckDB fetches small files as a whole."""
    folder = tmp_path_factory.mktemp("larger")
    release(finish_build(folder / "set.work", 60, ["scenes_per_shard=60"]), folder / "set")
    (path,) = (folder / "set" / "curated").iterdir()
    pq.write_table(pa.concat_tables([pq.read_table(path)] * 8), path)
    return folder / "set"


@pytest.mark.parametrize("reader", READERS)
def test_a_query_leaves_the_images_where_they_are(
    reader: str, larger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(reader)
    with serving(Hub(tmp_path / "hub")) as hub, given(monkeypatch) as pieces:
        hub.put_folder(REPO, larger)
        ids = answer_of(hub, READERS[reader] + "print(json.dumps(found))", tmp_path / "cache")
    rows = rows_of(larger, "curated", "image_id", "clis")
    assert sorted(ids) == sorted(row["image_id"] for row in rows if row["clis"] > 80)
    (path,) = (larger / "curated").iterdir()
    read = sum(size for name, size in pieces if name.endswith(".parquet"))
    assert 0 < read < path.stat().st_size / 40


@pytest.fixture(scope="module")
def unreadable(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """The data set with images that nothing can decode."""
    folder = tmp_path_factory.mktemp("unreadable")
    shutil.copytree(built, folder / "set")
    (path,) = (folder / "set" / "curated").iterdir()
    table = pq.read_table(path)
    images = [{"bytes": b"no picture", "path": f"{row}.jpg"} for row in range(len(table))]
    field = table.schema.field("image")
    table = table.set_column(0, field, [images])
    pq.write_table(table.replace_schema_metadata(pq.read_schema(path).metadata), path)
    with serving(Hub(folder / "hub")) as hub:
        hub.put_folder(REPO, folder / "set")
        yield hub
    assert hub.errors == []


UNDECODED = """
def has(objects):
    return category in objects["category"]

found = []
data = load_dataset(repo, split="train")
category = data.select_columns("objects")[0]["objects"]["category"][0]
found += [len(data.filter(has, input_columns=["objects"]))]
found += [len(data.filter(lambda clis: clis > 0, input_columns=["clis"]))]
stream = load_dataset(repo, split="train", streaming=True)
some = stream.select_columns(["objects", "clis"])
found += [len(list(some.filter(has, input_columns="objects")))]
undecoded = stream.cast_column("image", Image(decode=False))
assert data.cast_column("image", Image(decode=False))[0]["image"]["bytes"] == b"no picture"
found += [len(list(undecoded.filter(lambda row: row["clis"] > 0)))]
try:
    data[0]
except Exception as error:
    found += [type(error).__name__]
print(json.dumps([category, *found]))
"""


def test_filters_decode_no_image(unreadable: Hub, built: Path, tmp_path: Path) -> None:
    category, *found, error = answer_of(unreadable, UNDECODED, tmp_path)
    rows = rows_of(built, "curated", "objects", "clis")
    with_it = sum(category in row["objects"]["category"] for row in rows)
    assert found == [with_it, len(rows), with_it, len(rows)]
    assert error == "UnidentifiedImageError"


WORKERS = """
from torch.utils.data import DataLoader
from datasets.distributed import split_dataset_by_node

def ids(data):
    loader = DataLoader(data.select_columns("image_id"), batch_size=1, num_workers=2)
    return [int(row["image_id"][0]) for row in loader]

if __name__ == "__main__":
    data = load_dataset(repo, "raw", split="train", streaming=True)
    nodes = [ids(split_dataset_by_node(data, rank, 2)) for rank in range(2)]
    print(json.dumps([data.reshard().num_shards, ids(data), nodes]))
"""


def test_workers_and_nodes_share_a_stream(served: Hub, built: Path, tmp_path: Path) -> None:
    shards, ids, nodes = answer_of(served, WORKERS, tmp_path)
    expected = sorted(row["image_id"] for row in rows_of(built, "raw", "image_id"))
    assert shards == 1
    assert sorted(ids) == expected
    assert sorted(nodes[0] + nodes[1]) == expected
    assert min(map(len, nodes)) > 0
