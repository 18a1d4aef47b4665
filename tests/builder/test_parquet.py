"""The published files, by their footers: as the Hub's viewer and a later push like them."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Features, load_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from acp.builder import lvis_synth, release
from acp.builder.lvis_synth import row_groups
from acp.core.types import Scene
from acp.executor.rows import CONFIGS, features
from support.synthetic_scenes import finish_build

SMALL = ("size_wh=[64,64]",)
VIEWER_LIMIT = 300_000_000


def files(folder: Path, config: str) -> list[Path]:
    return sorted((folder / config).glob("*.parquet"))


def columns(path: Path) -> list[Any]:
    """The column chunks of all row groups."""
    footer = pq.read_metadata(path)
    groups = [footer.row_group(index) for index in range(footer.num_row_groups)]
    return [group.column(index) for group in groups for index in range(group.num_columns)]


def groups(path: Path) -> list[tuple[int, int]]:
    """Rows and bytes of each row group."""
    footer = pq.read_metadata(path)
    found = [footer.row_group(index) for index in range(footer.num_row_groups)]
    return [(group.num_rows, group.total_byte_size) for group in found]


def released(folder: Path, scenes: int, **options: Any) -> Path:
    build = finish_build(folder / "set.work", scenes, **options)
    release.release(build, folder / "set")
    return folder / "set"


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """250 small images."""
    folder = tmp_path_factory.mktemp("many")
    return released(folder, 250, settings=[*SMALL, "scenes_per_shard=40"])


@pytest.mark.parametrize("config", CONFIGS)
def test_images_are_stored_plain_and_all_else_snappy(built: Path, config: str) -> None:
    for column in (column for path in files(built, config) for column in columns(path)):
        image = column.path_in_schema.startswith("image.")
        assert column.compression == ("UNCOMPRESSED" if image else "SNAPPY"), column.path_in_schema
        assert not image or set(column.encodings) == {"PLAIN", "RLE"}  # RLE is that of the levels


@pytest.mark.parametrize("config", CONFIGS)
def test_pages_have_an_index(built: Path, config: str) -> None:
    for column in (column for path in files(built, config) for column in columns(path)):
        assert column.has_offset_index, column.path_in_schema
        # bounds of pages of whole images would be as long as images
        assert column.has_column_index is (column.path_in_schema != "image.bytes")


@pytest.mark.parametrize("config", CONFIGS)
def test_footers_hold_the_features_and_how_pages_were_cut(built: Path, config: str) -> None:
    for path in files(built, config):
        schema = pq.read_schema(path)
        assert Features.from_arrow_schema(schema) == features(config)
        chunking = json.loads(pq.read_metadata(path).metadata[b"content_defined_chunking"])
        assert 0 < chunking["min_chunk_size"] < chunking["max_chunk_size"]


def test_a_row_group_is_cut_by_bytes_and_not_by_rows(many: Path) -> None:
    for config in CONFIGS:
        (path,) = files(many, config)
        ((rows, size),) = groups(path)
        assert rows == 250
        assert size < lvis_synth.ROW_GROUP_BYTES


def test_the_limits_are_those_of_the_viewer() -> None:
    assert lvis_synth.ROW_GROUP_BYTES * 2 < VIEWER_LIMIT
    assert release.SHARD_BYTES + lvis_synth.ROW_GROUP_BYTES <= 500_000_000


def test_files_and_row_groups_keep_to_their_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: Path
) -> None:
    monkeypatch.setattr(lvis_synth, "ROW_GROUP_BYTES", 30_000)
    monkeypatch.setattr(release, "SHARD_BYTES", 120_000)
    out = released(tmp_path, 250, settings=[*SMALL, "scenes_per_shard=40"])
    written = files(out, "curated")
    assert len(written) > 2
    assert all(sum(size for _, size in groups(path)) < 155_000 for path in written)
    assert all(len(groups(path)) > 1 for path in written[:-1])
    found = [group for path in written for group in groups(path)]
    assert all(rows for rows, _ in found)
    assert max(size for _, size in found) < 31_000
    assert [path.name for path in written] == [
        f"train-{index:05d}-of-{len(written):05d}.parquet" for index in range(len(written))
    ]
    both = [load_dataset(str(folder), split="train") for folder in (out, many)]
    assert both[0]["image_id"][:] == both[1]["image_id"][:]
    assert both[0][249]["caption"] == both[1][249]["caption"]
    stream = load_dataset(str(out), split="train", streaming=True)
    assert stream.num_shards == len(written)
    assert stream.reshard().num_shards == len(found)


def test_written_twice_the_files_have_the_same_bytes(tmp_path: Path, many: Path) -> None:
    again = released(tmp_path, 250, settings=[*SMALL, "scenes_per_shard=40"])
    for config in CONFIGS:
        for path in files(many, config):
            assert (again / config / path.name).read_bytes() == path.read_bytes()


def not_picked(scene: Scene) -> Scene:
    (candidate,) = scene.candidates
    return replace(scene, candidates=(replace(candidate, reject="pick: not good enough"),))


def test_a_data_set_without_picks_has_an_empty_curated(tmp_path: Path) -> None:
    out = released(tmp_path, 3, settings=SMALL, change=not_picked)
    (path,) = files(out, "curated")
    assert groups(path) == []
    assert Features.from_arrow_schema(pq.read_schema(path)) == features("curated")
    curated = load_dataset(str(out), split="train", streaming=True)
    assert list(curated) == []
    assert curated.features == features("curated")
    with pytest.raises(ValueError, match="no data"):  # `datasets` loads no split without rows
        load_dataset(str(out), split="train")
    assert len(load_dataset(str(out), "raw", split="train")) == 3


@settings(max_examples=60, deadline=None)
@given(
    tables=st.lists(st.lists(st.integers(0, 60), max_size=6), max_size=6),
    max_bytes=st.integers(1, 150),
)
def test_row_groups_hold_all_rows_and_are_as_full_as_they_can(
    tables: list[list[int]], max_bytes: int
) -> None:
    schema = pa.schema({"blob": pa.binary()})
    given_tables = [
        pa.Table.from_pydict({"blob": [bytes(size) for size in sizes]}, schema) for sizes in tables
    ]
    cut = list(row_groups(given_tables, max_bytes))
    sizes = [[table.slice(row, 1).nbytes for row in range(len(table))] for table in cut]
    lengths = [len(blob.as_py()) for table in cut for blob in table["blob"]]
    assert lengths == [size for each in tables for size in each]
    assert all(each and (len(each) == 1 or sum(each) <= max_bytes) for each in sizes)
    for each, following in pairwise(sizes):
        assert sum(each) + following[0] > max_bytes
    together = row_groups([pa.concat_tables([schema.empty_table(), *given_tables])], max_bytes)
    assert [len(table) for table in together] == [len(each) for each in sizes]
