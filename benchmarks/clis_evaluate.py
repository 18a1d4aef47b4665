"""How fast CLIS-L is through `evaluate`'s `compute`, rows in and lists out, beside the naive
re-derivation of `support.clis_rederivation` on the same pairs: 38 references each, one core.

    OMP_NUM_THREADS=1 python benchmarks/clis_evaluate.py [ROWS]

Every row has three objects and two relations; each row is its own dict, as after reading JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import acp
from acp.clis.priors import write_priors

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.clis_rederivation import Reference, pair_score

MODULE = str(Path(__file__).resolve().parents[1] / "metrics" / "clis")
REFERENCES = 38
NAIVE_PAIRS = 400
REPEATS = 5
NAMES = ("person", "horse", "boat", "frisbee", "clock", "pizza", "zebra", "lamp")
PREDICATES = ("riding", "left of", "next to", "above", "holding")
KEYS = ("subject_w", "subject_h", "object_w", "object_h", "dx", "dy")


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.concatenate([rng.uniform(0, 0.6, (count, 2)), rng.uniform(0.02, 0.4, (count, 2))], 1)


def make_priors(path: Path, rng: np.random.Generator) -> dict[tuple[str, ...], list[Reference]]:
    """A file with 38 pairs for every triple; the same as the re-derivation takes them."""
    triples = [(s, p, o) for s in NAMES for p in PREDICATES for o in NAMES if s != o]
    each = [triple for triple in triples for _ in range(REFERENCES)]
    a, b = random_boxes(rng, len(each)), random_boxes(rng, len(each))
    offset = (b[:, :2] + b[:, 2:] / 2) - (a[:, :2] + a[:, 2:] / 2)
    numbers = np.concatenate([a[:, 2:], b[:, 2:], offset], axis=1)
    columns: dict[str, Any] = dict(zip(KEYS, numbers.T, strict=True))
    for place, name in enumerate(("subject", "predicate", "object")):
        columns[name] = [triple[place] for triple in each]
    columns |= {"source": ["stated"] * len(each), "image_id": [None] * len(each)}
    write_priors(path, [columns], {"sources": ["random boxes"]})
    found: dict[tuple[str, ...], list[Reference]] = {}
    for triple, subject, object_ in zip(each, a.tolist(), b.tolist(), strict=True):
        found.setdefault(triple, []).append(Reference(tuple(subject), tuple(object_)))
    return found


def make_rows(rng: np.random.Generator, count: int) -> list[dict[str, Any]]:
    rows = []
    for _ in range(count):
        relations = {
            "subject": [0, 1],
            "predicate": [str(rng.choice(PREDICATES)) for _ in range(2)],
            "object": [1, 2],
        }
        names = [str(name) for name in rng.choice(NAMES, 3, replace=False)]
        objects = {"category": names, "attributes": ["", "", ""]}
        boxes = {"bbox": random_boxes(rng, 3).tolist()}
        about = {"width": 1, "height": 1, "caption": "a scene", "image": None}
        rows.append({**about, "objects": {**objects, **boxes}, "relations": relations})
    return json.loads(json.dumps(rows))  # type: ignore[no-any-return]


def naive(
    rows: list[dict[str, Any]], priors: dict[tuple[str, ...], list[Reference]]
) -> tuple[float, list[float]]:
    """Microseconds a pair, and the scores."""
    pairs = []
    for row in rows[: NAIVE_PAIRS // 2]:
        objects = row["objects"]
        for s, p, o in zip(*row["relations"].values(), strict=True):
            triple = (objects["category"][s], p, objects["category"][o])
            pairs.append((tuple(objects["bbox"][s]), tuple(objects["bbox"][o]), priors[triple]))
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        scores = [pair_score(s, o, references, "reference").total for s, o, references in pairs]
        times.append(time.perf_counter() - start)
    return min(times) / len(pairs) * 1e6, scores


def fastest(work: Callable[[], Any], pairs: int) -> float:
    """Microseconds a pair, the best of several runs."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times) / pairs * 1e6


def main() -> None:
    import evaluate

    pa.set_cpu_count(1)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    rng = np.random.default_rng(0)
    rows = make_rows(rng, count)
    pairs = 2 * count
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "priors.parquet"
        references = make_priors(path, rng)
        metric = evaluate.load(MODULE, cache_dir=folder)
        slow, expected = naive(rows, references)
        options = {"priors": str(path), "variant": "reference"}
        detail = metric.compute(predictions=rows[: NAIVE_PAIRS // 2], explain=True, **options)
        found = [each["total"] for row in detail["explanation"] for each in row]
        if not np.allclose(found, expected, rtol=0, atol=1e-6):
            raise SystemExit("the two do not score alike")
        print(f"{count} rows, {pairs} pairs, {REFERENCES} references a pair, one core")
        print(f"naive re-derivation      {slow:8.1f} us a pair")
        for variant in ("reference", "paper"):
            options["variant"] = variant
            fast = fastest(lambda: metric.compute(predictions=rows, **options), pairs)
            print(f"compute, {variant:<10}      {fast:8.1f} us a pair, {slow / fast:6.1f} times")
        plain = fastest(lambda: acp.score(rows, priors=str(path)), pairs)
        print(f"acp.score, paper         {plain:8.1f} us a pair, {slow / plain:6.1f} times")


if __name__ == "__main__":
    main()
