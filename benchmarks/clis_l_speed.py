"""How fast CLIS-L scores pairs of boxes, on one core, against the slow re-derivation of the tests.

    OMP_NUM_THREADS=1 python benchmarks/clis_l_speed.py

Candidates' boxes go in and scores come out; of the references, our side has the features, as priors
hold them, and the other the boxes. The re-derivation is measured twice: as it is, in plain Python,
and with its vectors as numpy arrays, as in the authors' code. All rates are the best of several
runs of a part of the work, taken in turns, so that a busy moment hits all alike.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from acp.clis.features import PairFeatures, PairScores, pair_features
from acp.clis.layout import PAPER_WEIGHTS, score_pairs
from acp.clis.references import ReferenceSets
from acp.core.types import Float64Array

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support import clis_rederivation as slow

VARIANTS = ("paper", "reference")
RUNS = 25


@dataclass(frozen=True)
class Work:
    """Candidates (N, 2, 4) with their sets, and the references (K, 2, 4)."""

    name: str
    candidates: Float64Array
    group: Any
    references: Float64Array
    sets: ReferenceSets

    @cached_property
    def features(self) -> PairFeatures:
        """Of the references: priors hold them."""
        return pair_features(self.references[:, 0], self.references[:, 1])

    @cached_property
    def real(self) -> list[slow.Reference]:
        return [slow.Reference((*a,), (*b,)) for a, b in self.references.tolist()]

    def score(self, variant: str) -> PairScores:
        found = pair_features(self.candidates[:, 0], self.candidates[:, 1])
        may_mirror = np.ones(len(self.sets), bool)
        args = found, self.group, self.features, self.sets, may_mirror, variant
        return score_pairs(*args)

    def score_slowly(self, variant: str, place: int) -> slow.Score:
        start, end = self.sets.starts[self.group[place]], self.sets.starts[self.group[place] + 1]
        subject, object_ = map(tuple, self.candidates[place].tolist())
        weights = PAPER_WEIGHTS if variant == "paper" else slow.CODE_WEIGHTS
        return slow.pair_score(subject, object_, self.real[start:end], variant, weights)


def boxes(count: int, draw: np.random.Generator) -> Float64Array:
    """Pairs of boxes inside an image, (count, 2, 4)."""
    sides = 0.05 + 0.5 * draw.random((count, 2, 2)) ** 2
    return np.concatenate([draw.random((count, 2, 2)) * (1 - sides), sides], axis=2)


def work(name: str, pairs: int, relations: int, references: int) -> Work:
    draw, total = np.random.default_rng(0), relations * references
    ones = np.ones(total)
    sets = ReferenceSets(
        rows=np.arange(total),
        starts=np.arange(relations + 1) * references,
        weights=ones,
        close=ones > 0,
        area_factor=ones,
        level=("triple",) * relations,
        evidence=np.full(relations, float(references)),
        reason=("",) * relations,
    )
    group = np.sort(np.arange(pairs) % relations)
    return Work(name, boxes(pairs, draw), group, boxes(total, draw), sets)


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return float(time.perf_counter() - start)


def numpy_cosine(a: tuple[float, float], b: tuple[float, float]) -> float:
    x, y = np.array(a), np.array(b)
    return float(np.dot(x, y) / (np.linalg.norm(x) * np.linalg.norm(y)))


def slow_rate(each: Work, variant: str, count: int, *, arrays: bool) -> float:
    plain = slow.cosine
    slow.cosine = numpy_cosine if arrays else plain
    try:
        return count / seconds(lambda: [each.score_slowly(variant, i) for i in range(count)])
    finally:
        slow.cosine = plain


def check(each: Work, variant: str) -> float:
    """The largest difference from the re-derivation over some pairs."""
    found = each.score(variant).total
    return float(max(abs(found[i] - each.score_slowly(variant, i).total) for i in range(3)))


def peak_memory(each: Work, variant: str) -> int:
    tracemalloc.start()
    each.score(variant)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def rates(each: Work, variant: str, few: int) -> tuple[float, float, float]:
    """Pairs a second: ours, of the re-derivation, and of it with numpy vectors."""
    ours, plain, arrays = [], [], []
    for _ in range(RUNS):
        ours.append(len(each.candidates) / seconds(lambda: each.score(variant)))
        plain.append(slow_rate(each, variant, few, arrays=False))
        arrays.append(slow_rate(each, variant, max(1, few // 4), arrays=True))
    return max(ours), max(plain), max(arrays)


def row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def compare(cases: list[Work]) -> None:
    print(row(["case", "variant", "pairs / s", "plain Python", "times", "numpy vectors", "times",
               "peak memory", "difference"]))  # fmt: skip
    print(row(["---", "---"] + ["---:"] * 7))
    for each in cases:
        few = max(1, 300 // int(np.diff(each.sets.starts)[0]))
        for variant in VARIANTS:
            ours, plain, arrays = rates(each, variant, few)
            cells = [f"{ours:,.0f}", f"{plain:,.1f}", f"{ours / plain:,.0f}", f"{arrays:,.1f}"]
            cells += [f"{ours / arrays:,.0f}", f"{peak_memory(each, variant) / 1e6:.0f} MB"]
            print(row([each.name, variant, *cells, f"{check(each, variant):.0e}"]), flush=True)


def main() -> None:
    cases = [
        work("38 references, one relation", 8_000, 1, 38),
        work("38 references, 200 relations", 8_000, 200, 38),
        work("38 references, each pair its own", 512, 512, 38),
        work("10,000 references, one relation", 40, 1, 10_000),
    ]
    compare(cases)


if __name__ == "__main__":
    main()
