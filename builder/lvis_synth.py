"""The `datasets` builder of a recipe: it runs the pipeline for the shards that are missing and
reads the finished ones.

    builder = LvisSynth("curated", recipe="demo", work_dir="build/acp/lvis-synth.work")
    builder.download_and_prepare("out", file_format="parquet")
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from acp.executor.build import Build, open_build
from acp.executor.ranks import complete
from acp.executor.rows import CONFIGS, curated_row, features
from acp.executor.shards import read_rows
from acp.pipeline.recipe import load_recipe

ROW_GROUP_BYTES = 100_000_000
"""Of a row group at most. Large ones keep a later push small; the Hub's viewer refuses 300 MB."""
SHARD_BYTES = 400_000_000
"""A file is full once it holds more than this: with its last row group at most 500 MB."""


@dataclass
class LvisSynthConfig(datasets.BuilderConfig):
    """What to build, where its work lies, and how many processes share it.

    `recipe` is a recipe's name or path; `overrides` are `key=value` strings.
    """

    recipe: str = "demo"
    overrides: tuple[str, ...] = ()
    work_dir: str = "build/acp/lvis-synth.work"
    num_processes: int = 1


class LvisSynth(datasets.ArrowBasedBuilder):
    """Synthetic detection data; a row is an image, or a scene in `scene_graphs`."""

    VERSION = datasets.Version("1.0.0")
    BUILDER_CONFIG_CLASS = LvisSynthConfig
    BUILDER_CONFIGS = [  # noqa: RUF012 - the name and type that `datasets` expects
        LvisSynthConfig(name="curated", description="the picked images with their used objects"),
        LvisSynthConfig(name="raw", description="every candidate with scores and reject reasons"),
        LvisSynthConfig(name="scene_graphs", description="every scene with its layouts"),
    ]
    DEFAULT_CONFIG_NAME = CONFIGS[0]
    DEFAULT_WRITER_BATCH_SIZE = 1 << 20  # rows; else `datasets` cuts row groups of 100 images

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(features=features(self.config.name))

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        recipe = load_recipe(self.config.recipe, self.config.overrides)
        build = open_build(recipe, Path(self.config.work_dir))
        complete(build, self.config.num_processes)
        return [datasets.SplitGenerator(datasets.Split.TRAIN, gen_kwargs={"build": build})]

    def _generate_tables(self, build: Build) -> Iterator[tuple[datasets.builder.Key, pa.Table]]:
        for index, group in enumerate(row_groups(self._tables(build), ROW_GROUP_BYTES)):
            yield datasets.builder.Key(index, 0), group

    def _tables(self, build: Build) -> Iterator[pa.Table]:
        """The rows of this configuration, a table a shard."""
        schema = self.info.features.arrow_schema
        for shard in build.shards():
            rows: list[Any] = [*read_rows(shard.table_path(_source_table(self.config.name)))]
            if self.config.name == "curated":
                rows = [row for row in map(curated_row, rows) if row is not None]
            yield pa.Table.from_pylist(rows, schema)


def row_groups(tables: Iterable[pa.Table], max_bytes: int) -> Iterator[pa.Table]:
    """The rows of all tables, cut anew into tables of at most `max_bytes` (or of one larger row).

    No table is empty: a row group without rows cannot be read back.
    """
    waiting: list[pa.Table] = []
    size = 0
    for table in tables:
        start = 0
        for row in range(len(table)):
            row_bytes = table.slice(row, 1).nbytes
            if size and size + row_bytes > max_bytes:
                yield pa.concat_tables([*waiting, table.slice(start, row - start)])
                waiting, start, size = [], row, 0
            size += row_bytes
        waiting.append(table.slice(start))
    if any(map(len, waiting)):
        yield pa.concat_tables(waiting)


def _source_table(config: str) -> str:
    return "scene_graphs" if config == "scene_graphs" else "raw"
