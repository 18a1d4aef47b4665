"""A published data set as its readers load it: each in a fresh process with an empty cache."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import loopback_hub.server
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from loopback_hub import Hub, serving
from synthetic_scenes import finish_build

from acp.builder.release import release
from acp.rows import CONFIGS

REPO = "acp/lvis-synth"
HEAD = f"import json\nfrom datasets import Image, load_dataset\nrepo = {REPO!r}\n"


def answer_of(hub: Hub, code: str, cache: Path) -> Any:
    """What a process prints as JSON."""
    ran = hub.run(HEAD + code, cache)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def rows_of(folder: Path, config: str, *columns: str) -> list[dict[str, Any]]:
    tables = [
        pq.read_table(path, columns=[*columns]) for path in sorted((folder / config).iterdir())
    ]
    return [row for table in tables for row in table.to_pylist()]


@pytest.fixture(scope="module", params=[False, True], ids=["lfs", "xet"])
def pushed(
    request: pytest.FixtureRequest, built: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hub]:
    """A data set that `acp push` has put there, with a tag."""
    folder = tmp_path_factory.mktemp("pushed")
    with serving(Hub(folder / "hub", xet=request.param)) as hub:
        ran = hub.acp(["push", str(built), "--repo", REPO, "--tag", "v1.0"], folder / "cache")
        assert ran.returncode == 0, ran.stderr
        yield hub
    assert hub.errors == []


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
    handled = vars(loopback_hub.server)["answer"]

    def counted(hub: Any, request: Any) -> Any:
        told = handled(hub, request)
        if request.method == "GET" and "/resolve/" in request.path:
            pieces.append((request.path, len(told.body)))
        return told

    with monkeypatch.context() as patch:
        patch.setattr(loopback_hub.server, "answer", counted)
        yield pieces


ALL = """
found = {}
for config in (None, "raw", "scene_graphs"):
    data = load_dataset(repo, config, split="train", revision="v1.0")
    first = data[0]
    found[config or "curated"] = [len(data), first.get("caption"), data.column_names]
    if config != "scene_graphs":
        assert first["image"].size == (first["width"], first["height"])
        first["image"].load()
print(json.dumps(found))
"""


def test_every_configuration_loads(pushed: Hub, built: Path, tmp_path: Path) -> None:
    found = answer_of(pushed, ALL, tmp_path)
    for config in CONFIGS:
        expected = rows_of(built, config, "caption")
        assert found[config][:2] == [len(expected), expected[0]["caption"]]
    assert "reject" in found["raw"][2]
    assert "layouts" in found["scene_graphs"][2]


STREAMED = """
data = load_dataset(repo, "raw", split="train", streaming=True)
ids = [row["image_id"] for row in data]
assert next(iter(data))["image"].size == (320, 240)
shuffled = [row["image_id"] for row in data.shuffle(seed=1, buffer_size=4)]
assert sorted(shuffled) == sorted(ids) and shuffled != ids
assert [row["image_id"] for row in data.skip(1).take(2)] == ids[1:3]
print(json.dumps(ids))
"""


def test_streaming_gives_the_same_rows(pushed: Hub, built: Path, tmp_path: Path) -> None:
    ids = answer_of(pushed, STREAMED, tmp_path)
    assert ids == [row["image_id"] for row in rows_of(built, "raw", "image_id")]


def test_readers_see_the_old_release_until_the_commit(built: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(built, other)
    seen: list[Any] = []
    with serving(Hub(tmp_path / "hub")) as hub:
        ran = hub.acp(["push", str(built), "--repo", REPO], tmp_path / "cache")
        assert ran.returncode == 0, ran.stderr
        table = pq.read_table(other / "curated" / "train-00000-of-00001.parquet")
        smaller = tmp_path / "smaller.parquet"
        pq.write_table(table.slice(0, 2), smaller)
        before = hub.head(REPO)

        def look() -> None:
            seen.append(answer_of(hub, LENGTH, tmp_path / f"reader{len(seen)}"))
            assert hub.head(REPO) == before

        hub.when("PUT", "", look)
        hub.when("POST", "/commit/", look)
        ran = hub.run(REPLACE, tmp_path / "cache", REPO, str(smaller))
        assert ran.returncode == 0, ran.stderr
        assert seen == [len(table), len(table)]
        seen.append(answer_of(hub, LENGTH, tmp_path / "after"))
        assert seen[-1] == 2


LENGTH = "print(len(list(load_dataset(repo, split='train', streaming=True))))"
REPLACE = """
import sys
from huggingface_hub import CommitOperationAdd, HfApi
add = CommitOperationAdd("curated/train-00000-of-00001.parquet", sys.argv[2])
HfApi().create_commit(sys.argv[1], [add], commit_message="smaller", repo_type="dataset")
"""


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
duckdb.register_filesystem(HfFileSystem())
rows = duckdb.sql("FROM '{FILES}/*.parquet' SELECT image_id WHERE clis > 80")
found = [image_id for image_id, in rows.fetchall()]
""",
}


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """480 images of 23 kB: DuckDB fetches small files as a whole."""
    folder = tmp_path_factory.mktemp("larger")
    release(finish_build(folder / "set.work", 60, ["scenes_per_shard=60"]), folder / "set", 1)
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
