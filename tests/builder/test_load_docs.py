"""The examples of docs/loading.md and docs/training.md, run as they stand against the Hub."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from support.doc_blocks import blocks
from support.loopback_hub import Hub, serving

REPO = "acp/lvis-synth"


@pytest.fixture(scope="module")
def hub(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("documented")
    with serving(Hub(folder / "hub")) as hub:
        ran = hub.acp(["push", str(built), "--repo", REPO, "--tag", "v1.0"], folder / "cache")
        assert ran.returncode == 0, ran.stderr
        yield hub
    assert hub.errors == []


def rows_of(folder: Path, config: str) -> list[dict[str, Any]]:
    return [row for path in (folder / config).iterdir() for row in pq.read_table(path).to_pylist()]


def names_of(hub: Hub, cache: Path, code: str, *names: str) -> dict[str, Any]:
    """What the names hold after the code has run in a process of its own."""
    wanted = ", ".join(f"{name!r}: {name}" for name in names)
    tell = f"\nimport json\nprint(json.dumps({{{wanted}}}, default=lambda value: value.to_dict()))"
    ran = hub.run(code + tell, cache)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def test_loading_streaming_and_filtering(hub: Hub, built: Path, tmp_path: Path) -> None:
    code = [block for block in blocks("docs/loading.md", "python") if "hf://" not in block]
    tell = """
found = [len(curated), len(raw), len(scenes), len(pinned), len(some), scores, ids, len(dogs)]
found += [len(good), len(best), len(list(best_of_stream)), len(kept), kept[0][:2].hex()]
"""
    found = names_of(hub, tmp_path, "\n".join(code) + tell, "found")["found"]
    curated, raw = (rows_of(built, config) for config in ("curated", "raw"))
    good = sum(row["clis"] > 80 for row in curated)
    assert found[:5] == [len(curated), len(raw), 4, len(curated), 4]
    assert found[5] == [row["clis"] for row in curated]
    assert sorted(found[6]) == sorted(row["image_id"] for row in raw)
    dogs = sum("dog" in row["objects"]["category"] for row in curated)
    assert found[7:] == [dogs, good, good, good, sum(row["kept"] for row in raw), "ffd8"]


def test_pandas(hub: Hub, built: Path, tmp_path: Path) -> None:
    (code,) = [block for block in blocks("docs/loading.md", "python") if "pandas" in block]
    found = names_of(hub, tmp_path, code, "per_category", "top")
    rows = rows_of(built, "curated")
    counts = Counter(category for row in rows for category in row["objects"]["category"])
    assert found["per_category"]["count"] == counts
    best = max(rows, key=lambda row: float(row["clis"]))
    assert best["image_id"] in found["top"]["image_id"].values()
    assert len(found["top"]["image_id"]) < len(rows)


def test_duckdb(hub: Hub, built: Path, tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    (code,) = [block for block in blocks("docs/loading.md", "python") if "duckdb" in block]
    code = code.replace("category = 'dog'", f"category = '{category_above(built, 80)}'")
    names = ("objects_per_category", "clis_by_predicate", "images_of_good_dogs", "why_not")
    found = names_of(hub, tmp_path, code, *names)
    rows = rows_of(built, "curated")
    counts = Counter(category for row in rows for category in row["objects"]["category"])
    assert {category: count for category, _, count, _ in found[names[0]]} == counts
    assert {row[0]: row[2] for row in found[names[1]]} == pytest.approx(by_predicate(rows), abs=0.1)
    assert found[names[2]] == [
        [row["image_id"], row["caption"]]
        for row in sorted(rows, key=lambda row: int(row["image_id"]))
        if category_above(built, 80) in good_categories(row, 80)
    ]
    rejects = Counter(row["reject"] for row in rows_of(built, "raw") if not row["kept"])
    assert {reason: count for reason, count, _ in found[names[3]]} == rejects


def good_categories(row: dict[str, Any], score: float) -> list[str]:
    objects = row["objects"]
    pairs = zip(objects["category"], objects["clis_i"], strict=True)
    return [category for category, clis_i in pairs if clis_i is not None and clis_i > score]


def category_above(folder: Path, score: float) -> str:
    return next(name for row in rows_of(folder, "curated") for name in good_categories(row, score))


def by_predicate(rows: list[dict[str, Any]]) -> dict[str, float]:
    scores = defaultdict(list)
    for row in rows:
        for predicate in row["relations"]["predicate"]:
            scores[predicate].append(row["clis"])
    return {predicate: sum(each) / len(each) for predicate, each in scores.items()}
