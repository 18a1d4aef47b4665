"""Reads a published data set in a fresh process with an empty cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from support.loopback_hub import Hub

REPO = "acp/lvis-synth"
HEAD = f"import json\nfrom datasets import Image, load_dataset\nrepo = {REPO!r}\n"


def answer_of(hub: Hub, code: str, cache: Path) -> Any:
    """What a process prints as JSON; streams import torch, unless told that nothing needs it."""
    ran = hub.run(HEAD + code, cache, USE_TORCH="auto" if "torch" in code else "0")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def rows_of(folder: Path, config: str, *columns: str) -> list[dict[str, Any]]:
    tables = [
        pq.read_table(path, columns=[*columns] or None)
        for path in sorted((folder / config).glob("*.parquet"))
    ]
    return [row for table in tables for row in table.to_pylist()]
