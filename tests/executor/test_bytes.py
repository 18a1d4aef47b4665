"""What the recipe `tiny` publishes: every value, and every picture to the byte."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from support.in_process import run_acp

DIGESTS = {
    "curated": "c80348427998f0d2",
    "raw": "033082ea5e31f2c3",
    "scene_graphs": "ebd674a757b4526b",
}


def plain(value: Any) -> Any:
    """As JSON: pictures by their checksum, numbers to a hundredth, as far as CPUs agree.

    The fingerprint is left out: it tells recipes apart, not data.
    """
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, float):
        return round(value, 2)
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items() if key != "fingerprint"}
    return value


def digest(folder: Path) -> str:
    tables = [pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]
    rows = [plain(row) for table in tables for row in table.to_pylist()]
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()[:16]


def test_the_recipe_tiny_publishes_the_same_data_as_ever(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "tiny"
    code, _, told = run_acp(["build", "tiny", "--nproc", "1", "--out", str(out)], capsys)
    assert code == 0, told
    assert {config: digest(out / config) for config in DIGESTS} == DIGESTS
