"""The YAML at the head of a card, made of the footers: what the Hub shows and `load_dataset`
obeys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acp.core.licences import Licence
from acp.dataset.card.statistics import files, opened
from acp.dataset.check.card_yaml import size_category
from acp.executor.rows import CONFIGS, features


def front_matter(folder: Path, data_set: str, licence: Licence, rows: Mapping[str, int]) -> str:
    """The YAML of the data set in `folder`, without the lines of dashes.

    Raises:
        AcpError: a file cannot be read.
    """
    from huggingface_hub import DatasetCardData

    data = DatasetCardData(
        language=["en"],
        license=licence.id,
        pretty_name=data_set,
        annotations_creators=["machine-generated"],
        language_creators=["machine-generated"],
        source_datasets=["original"],
        task_categories=["object-detection", "image-segmentation", "image-to-text"],
        task_ids=["instance-segmentation", "image-captioning"],
        tags=["synthetic", "lvis", "scene-graphs", "auto-cherry-picker", "arxiv:2406.20085"],
        size_categories=[size_category(rows["curated"])],
        **_name_and_link(data_set, licence),
    )
    _infos(folder).to_dataset_card_data(data)
    _configs().to_dataset_card_data(data)
    return str(data).rstrip()


def _name_and_link(data_set: str, licence: Licence) -> dict[str, Any]:
    if licence.name is None:
        return {}
    link = f"https://huggingface.co/datasets/{data_set}#licence"
    return {"license_name": licence.name, "license_link": link}


def _infos(folder: Path) -> Any:
    from datasets.info import DatasetInfosDict

    return DatasetInfosDict({config: _info(folder, config) for config in CONFIGS})


def _info(folder: Path, config: str) -> Any:
    from datasets import DatasetInfo, Features, SplitDict, SplitInfo

    found, rows, size = features(config), 0, 0
    for file in files(folder, config):
        with opened(file) as table:
            found = Features.from_arrow_schema(table.schema_arrow)
            groups = (table.metadata.row_group(i) for i in range(table.num_row_groups))
            size += sum(group.total_byte_size for group in groups)
            rows += table.metadata.num_rows
    return DatasetInfo(
        features=found,
        splits=SplitDict({"train": SplitInfo("train", size, rows)}),
        dataset_size=size,
        download_size=sum(file.stat().st_size for file in files(folder, config)),
    )


def _configs() -> Any:
    from datasets.utils.metadata import MetadataConfigs

    return MetadataConfigs(
        {
            config: {
                "data_files": [{"split": "train", "path": f"{config}/train-*.parquet"}],
                **({"default": True} if config == CONFIGS[0] else {}),
            }
            for config in CONFIGS
        }
    )
