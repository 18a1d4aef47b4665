"""How well CLIS-L tells real layouts from wrong ones, cross-validated on NSR-1K's real layouts.

    python benchmarks/clis_l_quality.py --nsr1k nsr1k_spatial_train.json [--folds 5] [--seed 0]
    python benchmarks/clis_l_quality.py --nsr1k nsr1k_spatial_train.json --ablations
    python benchmarks/clis_l_quality.py --nsr1k nsr1k_spatial_train.json --coco instances.json

References and test layouts come from different images. Every column scores the same layouts:

- swapped: the same layout with its two boxes swapped; the share of pairs whose real layout scores
  more, a tie counting half (the paper's check).
- AUC of the real layouts against wrong ones, over all pairs of a predicate and over all pairs:
  - jittered: each centre moved by a normal deviate of a quarter of the box's sides, each side
    times exp of a normal deviate of a quarter.
  - shuffled: the two boxes of a pair with another predicate and other categories.
  - broken: left / right mirrored; above / below turned upside down; next to, by turns, moved apart
    by the sum of both widths more, or with the same centre.
- AUC anywhere: the pair's two boxes, sides times exp of a normal deviate of 0.2, placed anywhere in
  the image: a draw in which the relation holds (centres within 45 degrees of the direction said;
  next to: of either side) against one in which it does not.

A pair that a column has no references for scores 0, as the authors' code does, and loses the swap
check; in brackets, the figures over the pairs that `reference` covers.

`--ablations` compares parts of `paper` instead; `--coco` keeps NSR-1K as references and tests other
pairs: those of annotated boxes of two categories, with each of the predicates that holds of them.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from pathlib import Path

import numpy as np
import numpy.typing as npt

from acp.clis.features import features_of, pair_geometry
from acp.clis.layout import Weights, paper_weights, score_geometry, score_pairs
from acp.clis.predicates import holds as holds_of
from acp.clis.predicates import sided
from acp.clis.priors import Priors, priors_of_records
from acp.core.seeds import rng

Array = npt.NDArray[np.float64]
Triple = tuple[str, str, str]

PREDICATES = {
    "left": "left of",
    "right": "right of",
    "top": "above",
    "bottom": "below",
    "next to": "next to",
}
JITTER, RESIZE = 0.25, 0.2
LEAST_AREA = 0.002
LITTLE = dict.fromkeys(("size", "distance", "direction"), 1e-6)


@dataclass(frozen=True)
class Pairs:
    """N pairs of boxes [x, y, w, h], (N, 4) each, and what is said of them."""

    triples: tuple[Triple, ...]
    subject: Array
    object: Array

    def take(self, at: npt.NDArray[np.intp]) -> Pairs:
        return Pairs(tuple(self.triples[i] for i in at), self.subject[at], self.object[at])

    def placed(self, subject: Array, object_: Array) -> Pairs:
        return Pairs(self.triples, subject, object_)

    @property
    def predicates(self) -> npt.NDArray[np.str_]:
        return np.array([predicate for _, predicate, _ in self.triples])


Scorer = Callable[[Pairs], Array]
"""Scores (N,), NaN where there are no references."""


def load(path: Path) -> tuple[Pairs, npt.NDArray[np.int64]]:
    """The real layouts, and the image of each."""
    records = json.loads(path.read_text(encoding="utf-8"))
    records = [r for r in records if min(*r["obj1"][1][2:], *r["obj2"][1][2:]) > 0]
    triples = [(r["obj1"][0], PREDICATES[r["relation"]], r["obj2"][0]) for r in records]
    boxes = [np.array([r[key][1] for r in records], dtype=np.float64) for key in ("obj1", "obj2")]
    return Pairs(tuple(triples), *boxes), np.array([r["image_id"] for r in records])


def load_coco(path: Path) -> Pairs:
    """Pairs of annotated boxes of different categories, with every predicate that they fit."""
    data = json.loads(path.read_text(encoding="utf-8"))
    names = {each["id"]: each["name"] for each in data["categories"]}
    sizes = {each["id"]: np.array([each["width"], each["height"]] * 2) for each in data["images"]}
    of_image: defaultdict[int, list[tuple[str, Array]]] = defaultdict(list)
    for each in data["annotations"]:
        box = np.array(each["bbox"]) / sizes[each["image_id"]]
        if not each.get("iscrowd") and box[2:].prod() >= LEAST_AREA:
            of_image[each["image_id"]].append((names[each["category_id"]], box))
    both = [
        (a, b) for boxes in of_image.values() for a, b in permutations(boxes, 2) if a[0] != b[0]
    ]
    subject, object_ = (np.stack([pair[place][1] for pair in both]) for place in (0, 1))
    found = []
    for word in PREDICATES.values():
        at = np.flatnonzero(holds_of(word, *(b.astype(np.float32) for b in (subject, object_))))
        found += [((both[i][0][0], word, both[i][1][0]), subject[i], object_[i]) for i in at]
    triples, *boxes = zip(*found, strict=True)
    return Pairs(triples, *(np.stack(each) for each in boxes))


# Layouts to tell apart ------------------------------------------------------------------------


def centre(boxes: Array) -> Array:
    return np.asarray(boxes[:, :2] + boxes[:, 2:] / 2)


def boxes_at(centres: Array, sides: Array) -> Array:
    return np.concatenate([centres - sides / 2, sides], axis=1)


def jittered(pairs: Pairs, seed: int) -> Pairs:
    chance = rng(seed, "jittered")

    def moved(boxes: Array) -> Array:
        shift, stretch = chance.normal(0, JITTER, (2, len(boxes), 2))
        return boxes_at(centre(boxes) + shift * boxes[:, 2:], boxes[:, 2:] * np.exp(stretch))

    return pairs.placed(moved(pairs.subject), moved(pairs.object))


def shuffled(pairs: Pairs, seed: int) -> Pairs:
    chance, predicates = rng(seed, "shuffled"), pairs.predicates
    names = np.array([(s, o) for s, _, o in pairs.triples])
    shared = (names[:, None, :, None] == names[None, :, None, :]).any(axis=(2, 3))
    other = (predicates[:, None] != predicates[None]) & ~shared
    at = np.array([chance.choice(np.flatnonzero(row)) for row in other])
    return pairs.placed(pairs.subject[at], pairs.object[at])


def broken(pairs: Pairs) -> Pairs:
    subject, object_, predicates = pairs.subject.copy(), pairs.object.copy(), pairs.predicates
    for axis, words in ((0, ("left of", "right of")), (1, ("above", "below"))):
        turned = np.isin(predicates, words)
        for boxes in (subject, object_):
            boxes[turned, axis] = 1 - boxes[turned, axis] - boxes[turned, axis + 2]
    near = np.flatnonzero(predicates == "next to")
    apart, together = near[::2], near[1::2]
    side = np.sign(centre(object_)[apart, 0] - centre(subject)[apart, 0] + 1e-12)
    object_[apart, 0] += side * (subject[apart, 2] + object_[apart, 2])
    object_[together, :2] = centre(subject)[together] - object_[together, 2:] / 2
    return pairs.placed(subject, object_)


def anywhere(pairs: Pairs, seed: int) -> tuple[Pairs, Pairs]:
    """Layouts placed at random that keep the relation, and such that break it."""
    chance = rng(seed, "anywhere")
    found = [pairs.placed(pairs.subject.copy(), pairs.object.copy()) for _ in range(2)]
    left = np.ones((2, len(pairs.triples)), dtype=bool)
    while left.any():
        drawn = pairs.placed(*(_dropped(b, chance) for b in (pairs.subject, pairs.object)))
        kept = holds(drawn)
        for target, waiting, fits in zip(found, left, (kept, ~kept), strict=True):
            now = waiting & fits
            target.subject[now], target.object[now] = drawn.subject[now], drawn.object[now]
            waiting &= ~now
    return found[0], found[1]


def _dropped(boxes: Array, chance: np.random.Generator) -> Array:
    sides = np.minimum(boxes[:, 2:] * np.exp(chance.normal(0, RESIZE, (len(boxes), 2))), 0.95)
    return np.concatenate([chance.uniform(0, 1, sides.shape) * (1 - sides), sides], axis=1)


def holds(pairs: Pairs) -> npt.NDArray[np.bool_]:
    """Whether the object's centre lies where the relation says, within 45 degrees."""
    dx, dy = (centre(pairs.object) - centre(pairs.subject)).T
    flat, steep = np.abs(dx) > np.abs(dy), np.abs(dy) > np.abs(dx)
    rules = {
        "left of": flat & (dx > 0),
        "right of": flat & (dx < 0),
        "above": steep & (dy > 0),
        "below": steep & (dy < 0),
        "next to": flat,
    }
    said = [pairs.predicates == word for word in rules]
    return np.select(said, list(rules.values()), default=False)


# Columns --------------------------------------------------------------------------------------


def priors_of(known: Pairs) -> Priors:
    """These layouts as references."""
    names = ("subject", "predicate", "object")
    boxes = (known.subject.tolist(), known.object.tolist())
    return priors_of_records(
        [
            {**dict(zip(names, triple, strict=True)), "subject_box": a, "object_box": b}
            for triple, a, b in zip(known.triples, *boxes, strict=True)
        ]
    )


def columns(known: Pairs) -> dict[str, Scorer]:
    """What is compared, with these layouts as references."""
    priors = priors_of(known)
    return {
        "paper": lambda pairs: clis_l(pairs, priors, "paper"),
        "reference": lambda pairs: clis_l(pairs, priors, "reference"),
        "paper, average": lambda pairs: plain(pairs, priors),
        "Max-IoU": lambda pairs: max_iou(pairs, priors, known),
        "acp": lambda pairs: clis_l(pairs, priors, "acp"),
    }


def ablations(known: Pairs) -> dict[str, Scorer]:
    """`paper` and what it is without something; `reference` says what it covers."""
    priors = priors_of(known)
    only = {name: Weights(**{**LITTLE, name: 1.0}) for name in LITTLE}
    return {
        "paper": lambda pairs: plain(pairs, priors, over="percentile"),
        "reference": lambda pairs: clis_l(pairs, priors, "reference"),
        "average": lambda pairs: plain(pairs, priors),
        "average of the predicate": lambda pairs: plain(pairs, priors, any_categories=True),
        **{
            f"{part} alone": partial(plain, priors=priors, weights=weights, over="percentile")
            for part, weights in only.items()
        },
    }


def groups(pairs: Pairs) -> tuple[list[Triple], npt.NDArray[np.int64]]:
    numbers = {triple: n for n, triple in enumerate(dict.fromkeys(pairs.triples))}
    return list(numbers), np.array([numbers[t] for t in pairs.triples], dtype=np.int64)


def clis_l(pairs: Pairs, priors: Priors, variant: str) -> Array:
    triples, group = groups(pairs)
    sets = priors.reference_sets(triples, strict=variant == "reference")
    geometry = pair_geometry(pairs.subject, pairs.object)
    return score_geometry(geometry, group, triples, sets, priors, variant).total


def plain(
    pairs: Pairs,
    priors: Priors,
    weights: Weights | None = None,
    over: str = "average",
    any_categories: bool = False,
) -> Array:
    """`paper`, with other weights, the mean over references, or those of any categories."""
    triples, group = groups(pairs)
    asked = [
        ("", predicate, "") if any_categories else (s, predicate, o) for s, predicate, o in triples
    ]
    sets = priors.reference_sets(asked)
    return score_pairs(
        features_of(pair_geometry(pairs.subject, pairs.object)),
        group,
        priors.features.take(sets.rows),
        sets,
        np.array([not sided(predicate) for _, predicate, _ in triples]),
        "paper",
        weights=weights or paper_weights(priors),
        over=over,
    ).total


def max_iou(pairs: Pairs, priors: Priors, known: Pairs) -> Array:
    """The mean overlap of the two boxes, where they are, with those of the best reference."""
    triples, group = groups(pairs)
    sets = priors.reference_sets(triples)
    found = np.empty(len(group))
    for at, (g, subject, object_) in enumerate(
        zip(group, pairs.subject, pairs.object, strict=True)
    ):
        rows = sets.rows[sets.starts[g] : sets.starts[g + 1]]
        both = overlap(subject, known.subject[rows]) + overlap(object_, known.object[rows])
        found[at] = both.max() / 2
    return found


def overlap(box: Array, others: Array) -> Array:
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[:2] + box[2:], others[:, :2] + others[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    return np.asarray(shared / (box[2:].prod() + others[:, 2:].prod(axis=1) - shared))


# Figures --------------------------------------------------------------------------------------


Columns = Callable[[Pairs], dict[str, Scorer]]
Scores = dict[str, dict[str, Array]]
"""Scores (N,) by column and by kind of layout."""


def kinds_of(pairs: Pairs, seed: int) -> dict[str, Pairs]:
    """Real layouts and what is to be told from them."""
    kinds = {
        "real": pairs,
        "swapped": pairs.placed(pairs.object, pairs.subject),
        "jittered": jittered(pairs, seed),
        "shuffled": shuffled(pairs, seed),
        "broken": broken(pairs),
    }
    kinds["kept anywhere"], kinds["broken anywhere"] = anywhere(pairs, seed)
    return kinds


def cross_validated(
    pairs: Pairs, images: npt.NDArray[np.int64], compared: Columns, folds: int, seed: int
) -> Scores:
    """Scores from references of other images."""
    kinds, unique = kinds_of(pairs, seed), np.unique(images)
    fold = rng(seed, "folds").permutation(len(unique))[np.searchsorted(unique, images)] % folds
    scores: Scores = {}
    for number in range(folds):
        test = np.flatnonzero(fold == number)
        for name, scorer in compared(pairs.take(np.flatnonzero(fold != number))).items():
            for kind, layouts in kinds.items():
                of_column = scores.setdefault(name, {})
                of_column.setdefault(kind, np.empty(len(fold)))[test] = scorer(layouts.take(test))
    return scores


def tested(known: Pairs, pairs: Pairs, compared: Columns, seed: int) -> Scores:
    """Scores of other pairs, from all references."""
    kinds = kinds_of(pairs, seed)
    return {
        name: {kind: scorer(layouts) for kind, layouts in kinds.items()}
        for name, scorer in compared(known).items()
    }


def share_above(real: Array, wrong: Array) -> float:
    """Of pairs, ties half; pairs without a score lose."""
    return float(((real > wrong) + 0.5 * (real == wrong)).mean())


def auc(real: Array, wrong: Array) -> float:
    """The chance that a real layout scores more than a wrong one, ties half."""
    real, wrong = np.nan_to_num(real), np.sort(np.nan_to_num(wrong))
    below = np.searchsorted(wrong, real) + np.searchsorted(wrong, real, side="right")
    return float(below.mean() / 2 / len(wrong))


ROWS = {
    "swapped": (share_above, "real", "swapped"),
    "AUC jittered": (auc, "real", "jittered"),
    "AUC shuffled": (auc, "real", "shuffled"),
    "AUC broken": (auc, "real", "broken"),
    "AUC anywhere": (auc, "kept anywhere", "broken anywhere"),
}


def report(
    scores: Mapping[str, Mapping[str, Array]], predicates: npt.NDArray[np.str_]
) -> Sequence[str]:
    """The table, in Markdown."""
    covered = np.isfinite(scores["reference"]["real"])
    lines = [f"| check | pairs | covered by `reference` | {' | '.join(scores)} |"]
    lines.append("| --- |" + " ---: |" * (len(scores) + 2))
    for check, (figure, real, wrong) in ROWS.items():
        for word in ("all", *sorted(set(predicates))):
            here = (predicates == word) | (word == "all")
            cells = []
            for column in scores.values():
                whole = figure(column[real][here], column[wrong][here])
                part = figure(column[real][here & covered], column[wrong][here & covered])
                cells.append(f"{whole:.3f} ({part:.3f})")
            share = f"{here.sum()} | {covered[here].mean():.0%}"
            lines.append(f"| {check}, {word} | {share} | {' | '.join(cells)} |")
    return lines


def kept_at_50(scores: Scores) -> str:
    """What a threshold of 50 on `acp` keeps."""
    shares = {kind: f"{(of >= 50).mean():.0%}" for kind, of in scores["acp"].items()}
    return "at 50, acp keeps " + ", ".join(f"{share} {kind}" for kind, share in shares.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nsr1k", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of folds and of wrong layouts")
    parser.add_argument("--ablations", action="store_true", help="compare parts of paper")
    parser.add_argument("--coco", type=Path, help="test pairs of this file instead")
    arguments = parser.parse_args()
    known, images = load(arguments.nsr1k)
    compared = ablations if arguments.ablations else columns
    if arguments.coco:
        pairs = load_coco(arguments.coco)
        scores = tested(known, pairs, compared, arguments.seed)
    else:
        pairs = known
        scores = cross_validated(known, images, compared, arguments.folds, arguments.seed)
    print("\n".join(report(scores, pairs.predicates)))
    if "acp" in scores:
        print(f"\n{kept_at_50(scores)}")


if __name__ == "__main__":
    main()
