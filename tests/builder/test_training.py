"""docs/training.md: what it makes of a data set is what detectors want, and one trains on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, load_dataset

from acp.backends.models.torch_tools import torch_threads
from acp.builder.release import release
from support.doc_blocks import blocks, run
from support.synthetic_scenes import finish_build

pytest.importorskip("transformers")

CONVERT, TRAIN, MIX = blocks("docs/training.md", "python")


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic")
    release(finish_build(folder / "set.work", 24, ["scenes_per_shard=24"]), folder / "set")
    return folder / "set"


@pytest.fixture(scope="module")
def converted(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the block leaves behind; its files lie in `folder`."""
    folder = tmp_path_factory.mktemp("converted")
    code = CONVERT.replace("acp/lvis-synth", str(synthetic))
    return {
        **run(code.replace("lvis-synth-detection", str(folder / "out"))),
        "folder": folder / "out",
    }


@pytest.fixture
def trained(
    converted: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    """What the block of the Trainer leaves behind, with a tiny model, for a few steps."""
    save_tiny_detector(tmp_path / "detr")
    code = TRAIN.replace("facebook/detr-resnet-50", str(tmp_path / "detr"))
    code = code.replace("num_train_epochs=30", "max_steps=30, logging_steps=1, report_to='none'")
    code = code.replace("batch_size=8", "batch_size=4, use_cpu=True, disable_tqdm=True")
    code = code.replace("learning_rate=5e-5", "learning_rate=2e-3")
    code = code.replace('output_dir="detr', f'output_dir="{tmp_path}/out')
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    names = {key: converted[key] for key in ("splits", "COLUMNS")}
    with torch_threads(1):
        exec(code, names)  # noqa: S102 - our own documentation
        yield names


def save_tiny_detector(folder: Path) -> None:
    """DETR with a tiny ResNet, random, for 91 classes; its processor keeps images small."""
    import torch
    from transformers import (
        DetrConfig,
        DetrForObjectDetection,
        DetrImageProcessorPil,
        ResNetConfig,
    )

    torch.manual_seed(0)
    backbone = ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16],
        depths=[1, 1],
        layer_type="basic",
        out_features=["stage2"],
    )
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "num_queries": 8}
    heads = {f"{part}_attention_heads": 2 for part in ("encoder", "decoder")}
    widths = {f"{part}_ffn_dim": 32 for part in ("encoder", "decoder")}
    config = DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=backbone,
        num_labels=91,
        **sizes,
        **heads,
        **widths,
    )
    DetrForObjectDetection(config).save_pretrained(folder)
    DetrImageProcessorPil(size={"height": 96, "width": 128}).save_pretrained(folder)


def test_the_conversion_is_what_the_example_reads(
    converted: dict[str, Any], synthetic: Path
) -> None:
    data = load_dataset(str(converted["folder"]))
    assert set(data) == {"train", "validation", "test"}
    labels = data["train"].features["objects"]["category"].feature  # as the example asks for them
    rows = [
        row for path in (synthetic / "curated").iterdir() for row in pq.read_table(path).to_pylist()
    ]
    assert labels.names == sorted({name for row in rows for name in row["objects"]["category"]})
    assert sum(map(len, data.values())) == len(rows)
    before = {row["image_id"]: row for row in rows}
    for name, split in data.items():
        stored = split.with_format("arrow")[:].to_pylist()
        for row in stored:
            source = before[row["image_id"]]
            assert (source["provenance"]["scene"] % 10 in (0, 1)) == (name != "train")
            assert row["image"]["bytes"] == source["image"]["bytes"]
            assert row["objects"]["bbox"] == source["objects"]["bbox"]
            found = [labels.int2str(label) for label in row["objects"]["category"]]
            assert found == source["objects"]["category"]


def test_a_detector_trains_on_it(trained: dict[str, Any]) -> None:
    trainer = trained["trainer"]
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    norms = [entry["grad_norm"] for entry in trainer.state.log_history if "grad_norm" in entry]
    assert len(losses) == len(norms) == 30
    assert np.isfinite(losses).all()
    assert np.isfinite(norms).all()
    assert min(norms) > 0
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    names = trained["names"]
    assert trainer.model.config.id2label == dict(enumerate(names))


def test_the_boxes_that_the_model_gets_are_ours(trained: dict[str, Any]) -> None:
    rows = trained["splits"]["train"]
    for row, item in zip(rows, rows.with_transform(trained["encode"]), strict=True):
        labels = item["labels"]
        x, y, w, h = np.array(row["objects"]["bbox"]).T
        size = np.array([row["width"], row["height"]] * 2)
        expected = np.stack([x + w / 2, y + h / 2, w, h], axis=1) / size
        assert np.allclose(labels["boxes"].numpy(), expected, atol=1e-5)
        assert labels["class_labels"].tolist() == row["objects"]["category"]
        assert labels["orig_size"].tolist() == [row["height"], row["width"]]


def test_an_annotation_file_in_the_format_of_coco(synthetic: Path, tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    (code,) = blocks("docs/data.md", "python")
    coco = run(code.replace("build/acp/lvis-synth", str(synthetic)))["coco"]
    (tmp_path / "instances.json").write_text(json.dumps(coco.dataset), encoding="utf-8")
    again = COCO(str(tmp_path / "instances.json"))
    assert again.dataset == coco.dataset
    assert again.annToMask(again.loadAnns(again.getAnnIds())[0]).any()


def test_real_images_are_mixed_in(synthetic: Path) -> None:
    ours = load_dataset(str(synthetic), split="train")
    columns = ["image", "image_id", "width", "height", "objects"]
    real = ours.select(range(8)).select_columns(columns)
    names = {"COLUMNS": columns}
    exec(MIX, names)  # noqa: S102 - our own documentation
    both: Dataset = names["mixed"](real, ours, share=0.5)  # type: ignore[operator]
    labels = both.features["objects"]["category"].feature
    assert set(labels.names) >= {name for row in ours["objects"] for name in row["category"]}
    assert len(both) > 8
    assert {row["image_id"] for row in both.select_columns("image_id")} >= set(real["image_id"])
    first = both.select_columns(["image_id", "objects"])[0]
    (same,) = (row for row in ours if row["image_id"] == first["image_id"])
    assert [labels.int2str(x) for x in first["objects"]["category"]] == same["objects"]["category"]
