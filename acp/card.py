"""The card of a data set, filled from its recipe, its shards and its files; nothing is typed in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import DatasetCardData

from acp.backends.base import Scorer
from acp.licences import strictest
from acp.runner import Build

if TYPE_CHECKING:
    from datasets import DatasetInfo

FREQUENCIES = {"r": "rare", "c": "common", "f": "frequent"}
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def write_card(build: Build, infos: Mapping[str, DatasetInfo], folder: Path) -> None:
    """Write `README.md` of a data set: YAML that `load_dataset` obeys, then text for people."""
    from jinja2 import Environment, StrictUndefined

    source = (resources.files("acp.cards") / "dataset.md").read_text(encoding="utf-8")
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)  # noqa: S701
    text = environment.from_string(source).render(**_values(build, infos, folder))
    (folder / "README.md").write_text(text, encoding="utf-8")


def _values(build: Build, infos: Mapping[str, DatasetInfo], folder: Path) -> dict[str, Any]:
    statistics = build.statistics()
    rows = {config: info.splits["train"].num_examples for config, info in infos.items()}
    return {
        "card_data": _front_matter(build, infos, folder),
        "title": f"{build.recipe.data_set} ({build.recipe.name})",
        "data_set": build.recipe.data_set,
        "recipe": build.recipe.name,
        "fingerprint": build.fingerprint,
        "scenes": statistics["counts"]["scenes"],
        "candidates": statistics["counts"]["candidates"],
        "kept": statistics["counts"]["kept"],
        "rejects": sorted(statistics["rejects"].items(), key=lambda item: (-item[1], item[0])),
        "rows": rows,
        "frequencies": _frequencies(folder),
        "models": sorted(build.models.items()),
        "sheet": (folder / "contact_sheet.jpg").exists(),
        "proxy": isinstance(scorer := build.recipe.backend("scorer"), Scorer) and scorer.is_proxy,
    }


def _front_matter(build: Build, infos: Mapping[str, DatasetInfo], folder: Path) -> str:
    from datasets.info import DatasetInfosDict
    from datasets.utils.metadata import MetadataConfigs

    rows = infos["curated"].splits["train"].num_examples
    data = DatasetCardData(
        language=["en"],
        license=strictest(model.licence for model in build.models.values()),
        pretty_name=f"{build.recipe.data_set} ({build.recipe.name})",
        task_categories=["object-detection", "image-segmentation", "image-to-text"],
        tags=["synthetic", "lvis", "instance-segmentation", "auto-cherry-picker"],
        size_categories=[next((name for limit, name in SIZES if rows < limit), "n>1M")],
    )
    for config, info in infos.items():
        info.download_size = sum(file.stat().st_size for file in (folder / config).iterdir())
    DatasetInfosDict(infos).to_dataset_card_data(data)
    MetadataConfigs(
        {
            config: {
                "data_files": [{"split": "train", "path": f"{config}/train-*.parquet"}],
                **({"default": True} if config == "curated" else {}),
            }
            for config in infos
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
