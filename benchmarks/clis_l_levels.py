"""What real, swapped, far apart, upside-down and random layouts get from each variant of CLIS-L.

    OMP_NUM_THREADS=1 python benchmarks/clis_l_levels.py

The real pairs are those of the packaged priors that were stated, each scored without itself
(`acp.clis.layout.held_out`); the others are the same pairs placed wrongly: swapped, "next to" a
frame's width further apart, "above" and "below" upside-down, or anything at random.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from acp.clis.features import PairGeometry
from acp.clis.layout import VARIANTS, distinct, held_out, score_geometry
from acp.clis.priors import default_priors
from acp.core.seeds import rng
from acp.core.types import BoolArray, Float64Array

Strings = npt.NDArray[np.str_]

QUANTILES = (5, 50, 95)


def kinds(real: PairGeometry, predicates: Strings) -> Iterator[tuple[str, PairGeometry, BoolArray]]:
    """What is done to the pairs, and to which of them."""
    everything = np.ones(len(predicates), bool)
    chance = rng(0, "levels")
    shuffle = chance.permutation(len(real.dx))
    x, y = chance.uniform(-0.5, 0.5, (2, len(real.dx)))
    yield "real", real, everything
    turned = PairGeometry(
        real.object_w, real.object_h, real.subject_w, real.subject_h, -real.dx, -real.dy
    )
    yield "swapped", turned, everything
    apart = replace(real, dx=real.dx + np.where(real.dx < 0, -1, 1))
    yield "far apart", apart, predicates == "next to"
    yield "upside-down", replace(real, dy=-real.dy), np.isin(predicates, ("above", "below"))
    yield "random", replace(real.take(shuffle), dx=x, dy=y), everything


def main() -> None:
    found: dict[tuple[str, str], list[Float64Array]] = {}
    priors = default_priors()
    for rows, others in held_out(priors):
        triples, group = distinct([priors.triple(row) for row in rows.tolist()])
        for variant in VARIANTS:
            sets = others.reference_sets(triples, strict=variant == "reference")
            predicates = np.array([triple[1] for triple in triples])[group]
            for kind, pairs, some in kinds(priors.geometry.take(rows), predicates):
                total = score_geometry(pairs, group, triples, sets, others, variant).total
                found.setdefault((variant, kind), []).append(np.nan_to_num(total)[some])
    heads = ["variant", "layouts", "mean", *(f"{each} %" for each in QUANTILES), "50 or more"]
    print(f"| {' | '.join(heads)} |\n| --- | --- |{' ---: |' * (len(heads) - 2)}")
    for (variant, kind), parts in found.items():
        scores = np.concatenate(parts)
        numbers = [scores.mean(), *np.percentile(scores, QUANTILES)]
        cells = [
            variant,
            kind,
            *(f"{each:.0f}" for each in numbers),
            f"{(scores >= 50).mean():.0%}",
        ]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
