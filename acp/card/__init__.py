"""The card of a data set, filled from its recipe, its shards and its receipt; nothing is typed
in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCardData

from acp.backends.base import Scorer
from acp.licences import strictest
from acp.receipt import Receipt
from acp.recipe import load_recipe
from acp.rows import CONFIGS

FREQUENCIES = {"r": "rare", "c": "common", "f": "frequent"}
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def write_card(folder: Path, receipt: Receipt, data_set: str) -> None:
    """Write `README.md` of a data set: YAML that `load_dataset` obeys, then text for people."""
    (folder / "README.md").write_text(render_card(folder, receipt, data_set), encoding="utf-8")


def render_card(folder: Path, receipt: Receipt, data_set: str) -> str:
    """The text of the card of the data set in `folder`; `data_set` is its id on the Hub."""
    from jinja2 import Environment, StrictUndefined

    source = (resources.files("acp.cards") / "dataset.md").read_text(encoding="utf-8")
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)  # noqa: S701
    return environment.from_string(source).render(**_values(folder, receipt, data_set))


def _values(folder: Path, receipt: Receipt, data_set: str) -> dict[str, Any]:
    recipe = load_recipe(str(folder / "recipe.yaml"))
    rows = {config: _rows(folder, config) for config in CONFIGS}
    rejects = Counter(f"scene: {reason}" for reason in _column(folder, "scene_graphs") if reason)
    rejects.update(f"candidate: {reason}" for reason in _column(folder, "raw") if reason)
    scorer = recipe.backend("scorer")
    return {
        "card_data": _front_matter(folder, receipt, data_set, rows),
        "title": data_set,
        "data_set": data_set,
        "recipe": recipe.name,
        "fingerprint": receipt.fingerprint,
        "scenes": rows["scene_graphs"],
        "candidates": rows["raw"],
        "kept": rows["curated"],
        "rejects": sorted(rejects.items(), key=lambda item: (-item[1], item[0])),
        "rows": rows,
        "frequencies": _frequencies(folder),
        "models": sorted(receipt.models.items()),
        "sheet": (folder / "contact_sheet.jpg").exists(),
        "proxy": isinstance(scorer, Scorer) and scorer.is_proxy,
    }


def _tables(folder: Path, config: str) -> Iterator[Any]:
    import pyarrow.parquet as pq

    for file in sorted((folder / config).glob("*.parquet")):
        with pq.ParquetFile(file) as table:
            yield table


def _rows(folder: Path, config: str) -> int:
    return sum(table.metadata.num_rows for table in _tables(folder, config))


def _column(folder: Path, config: str) -> Iterator[str]:
    for table in _tables(folder, config):
        yield from table.read(columns=["reject"]).column("reject").to_pylist()


def _front_matter(folder: Path, receipt: Receipt, data_set: str, rows: dict[str, int]) -> str:
    from datasets import DatasetInfo, Features, SplitDict, SplitInfo
    from datasets.info import DatasetInfosDict
    from datasets.utils.metadata import MetadataConfigs

    data = DatasetCardData(
        language=["en"],
        license=strictest(model.licence for model in receipt.models.values()),
        pretty_name=data_set,
        task_categories=["object-detection", "image-segmentation", "image-to-text"],
        tags=["synthetic", "lvis", "instance-segmentation", "auto-cherry-picker"],
        size_categories=[next((n for limit, n in SIZES if rows["curated"] < limit), "n>1M")],
    )
    infos = DatasetInfosDict()
    for config in CONFIGS:
        tables = list(_tables(folder, config))
        size = sum(
            t.metadata.row_group(i).total_byte_size for t in tables for i in range(t.num_row_groups)
        )
        infos[config] = DatasetInfo(
            features=Features.from_arrow_schema(tables[0].schema_arrow),
            splits=SplitDict({"train": SplitInfo("train", size, rows[config])}),
            dataset_size=size,
            download_size=sum(file.stat().st_size for file in (folder / config).iterdir()),
        )
    infos.to_dataset_card_data(data)
    MetadataConfigs(
        {
            config: {
                "data_files": [{"split": "train", "path": f"{config}/train-*.parquet"}],
                **({"default": True} if config == "curated" else {}),
            }
            for config in CONFIGS
        }
    ).to_dataset_card_data(data)
    return str(data).rstrip()


def _frequencies(folder: Path) -> list[tuple[str, int, int]]:
    import pyarrow.parquet as pq

    counts: Counter[tuple[str, str]] = Counter()
    for file in sorted((folder / "curated").glob("*.parquet")):
        table = pq.ParquetFile(file).read(columns=["objects.category", "objects.frequency"])
        for row in table.column("objects").to_pylist():
            counts.update(zip(row["frequency"], row["category"], strict=True))
    return [
        (
            label,
            sum(key[0] == letter for key in counts),
            sum(count for key, count in counts.items() if key[0] == letter),
        )
        for letter, label in FREQUENCIES.items()
    ]
