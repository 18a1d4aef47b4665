"""The `datasets` builder of a recipe: it makes the shards that are missing and reads the finished
ones, picked by the thresholds of the recipe.

    builder = LvisSynth("curated", recipe="demo", work_dir="build/acp/lvis-synth.work")
    builder.download_and_prepare("out", file_format="parquet", num_proc=2)

`num_proc` processes read finished shards; several that make them are started by `acp build`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from acp.executor.build import ROWS_VERSION, Build, open_build
from acp.executor.rows import CONFIGS, curated_table, features, picked_table
from acp.executor.shards import Shard
from acp.executor.work import Claims, complete, forget_failures
from acp.pipeline.pick import PickSettings
from acp.pipeline.recipe import load_recipe

ROW_GROUP_BYTES = 100_000_000
"""Of a row group at most. Large ones keep a later push small; the Hub's viewer refuses 300 MB."""
SHARD_BYTES = 400_000_000
"""A file is full once it holds more than this: with its last row group at most 500 MB."""


VERSION = datasets.Version(f"{ROWS_VERSION}.0.0")


@dataclass
class LvisSynthConfig(datasets.BuilderConfig):
    """What to build, and where its work lies.

    `recipe` is a recipe's name or path; `overrides` are `key=value` strings.
    """

    version: datasets.Version = VERSION
    recipe: str = "demo"
    overrides: tuple[str, ...] = ()
    work_dir: str = "build/acp/lvis-synth.work"


class LvisSynth(datasets.ArrowBasedBuilder):
    """Synthetic detection data; a row is an image, or a scene in `scene_graphs`.

    Args:
        config_name: "curated" (the default), "raw" or "scene_graphs".
        build: a build whose shards are all finished, in place of a recipe.
        options: `recipe`, `overrides` and `work_dir` of `LvisSynthConfig`, and what every builder
            of `datasets` takes, such as `cache_dir`.
    """

    VERSION = VERSION
    BUILDER_CONFIG_CLASS = LvisSynthConfig
    BUILDER_CONFIGS = [  # noqa: RUF012 - the name and type that `datasets` expects
        LvisSynthConfig(name="curated", description="the picked images with their used objects"),
        LvisSynthConfig(name="raw", description="every candidate with scores and reject reasons"),
        LvisSynthConfig(name="scene_graphs", description="every scene with its layouts"),
    ]
    DEFAULT_CONFIG_NAME = CONFIGS[0]
    DEFAULT_WRITER_BATCH_SIZE = 1 << 20  # rows; else `datasets` cuts row groups of 100 images

    def __init__(
        self, config_name: str | None = None, *, build: Build | None = None, **options: Any
    ) -> None:
        super().__init__(config_name=config_name, **options)
        self._build = build

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_build": None}  # processes that read need no models

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(features=features(self.config.name))

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        build = self._build or _completed(self.config)
        content = {"shards": build.shards(), "limits": build.recipe.pick}
        return [datasets.SplitGenerator(datasets.Split.TRAIN, gen_kwargs=content)]

    def _generate_tables(
        self, shards: list[Shard], limits: PickSettings
    ) -> Iterator[tuple[datasets.builder.Key, pa.Table]]:
        tables = (_table(shard, self.config.name, limits) for shard in shards)
        for index, group in enumerate(row_groups(tables, ROW_GROUP_BYTES)):
            yield datasets.builder.Key(index, 0), group


def _completed(config: LvisSynthConfig) -> Build:
    build = open_build(load_recipe(config.recipe, config.overrides), Path(config.work_dir))
    forget_failures(build)
    with Claims() as claims:
        complete(build, claims)
    return build


def _table(shard: Shard, config: str, limits: PickSettings) -> pa.Table:
    """The rows of a shard in a configuration."""
    if config == "scene_graphs":
        return pq.read_table(shard.table_path("scene_graphs"))
    raw = picked_table(pq.read_table(shard.table_path("measured")), limits)
    return raw if config == "raw" else curated_table(raw)


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
