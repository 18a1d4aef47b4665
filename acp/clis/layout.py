"""CLIS-L: how much the layout of related things is like layouts of real images
(arXiv 2406.20085, Sec. 3.2, Eq. 4-8).

Of a pair of boxes, subject and object of a relation, three things are compared with each real pair
of that relation:

    A   = area of the subject / area of the object
    IoU = overlap,  RD = distance of the centres / mean of the two diagonals
    d   = centre of the object - centre of the subject

    S(a, b) = 1 - |a - b| / max(a, b) = min(a, b) / max(a, b),  1 where both are 0
    P(s)    = s from t = 0.03 on; below it, [0, t] is mapped to [-1, t]
    w       = how like the reference's categories are, 0-1

    size      = P(w S(A, A'))
    distance  = P(w (q S(IoU, IoU') + (1 - q) S(RD, RD')))   q = 0.5, 0.2 or 0.8
    direction = P(w (cos(d, d') + 1) / 2)
    total     = the mean of the three, weighted

A pair has the total with the reference at index floor(n_close / 50) in falling order (the 98th
percentile), times 100; an image the mean of its relations, weighted by evidence. That is the
variant `paper`; `reference` follows the authors' code quirk by quirk; `acp` is a ratio of densities
(`acp.clis.density`) and an image's plain mean. `docs/clis.md` has every difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from acp.clis.density import density_scores
from acp.clis.features import PairFeatures, PairGeometry, PairScores, features_of, pair_geometry
from acp.clis.predicates import canonical, sided
from acp.clis.priors import Priors, ReferenceSets, Triple
from acp.core.types import BoolArray, Float64Array, FloatArray, IntArray, Relation

VARIANTS = ("paper", "reference", "acp")

PENALTY_BELOW = 0.03
BALANCED_ABOVE = 0.95
"""Where the overlap is more alike than this, or else the distance, the other counts 0.8."""

NOTHING = 1e-9
"""`paper`: an overlap or relative distance up to this is none; without distance, no direction."""

ALIKE_BELOW = 1e-10
"""`reference`: two values whose sum is below this are alike."""

ONE_IN = 50
"""The percentile: index floor(n_close / 50) of the totals in falling order, the 98th."""

BLOCK = 1 << 14
"""So many couples of a candidate and a reference are compared at a time: they fit a cache."""

TINY, HUGE = 1e-150, 1e150


class Weights(NamedTuple):
    """What the three similarities count in a pair's total."""

    size: float
    distance: float
    direction: float

    def shares(self) -> Weights:
        """The same with a sum of 1."""
        return Weights(*(float(weight / sum(self)) for weight in self))


CODE_WEIGHTS = Weights(0.5, 1.0, 0.8)
"""Those of the authors' code, and so of `reference`."""

PAPER_WEIGHTS = Weights(3.06, 3.85, 5.27)
"""1 / deviation of the three similarities over the default priors; see `paper_weights`."""


# Pairs


class _Pairs(NamedTuple):
    """What is compared of pairs; arrays that broadcast. `x`, `y`: unit vector from the subject to
    the object, (0, 0) without a direction; |x| where left and right are the same."""

    area_ratio: Float64Array
    overlap: Float64Array
    distance: Float64Array
    x: Float64Array
    y: Float64Array

    @classmethod
    def of(cls, features: PairFeatures, mirrored: BoolArray, variant: str) -> _Pairs:
        overlap, distance = features.iou, features.distance
        length = np.hypot(features.dx, features.dy)
        if variant == "paper":
            overlap = np.where(overlap > NOTHING, overlap, 0.0)
            distance = np.where(distance > NOTHING, distance, 0.0)
            length = np.where(distance > 0, length, 0.0)
        inverse = np.divide(1.0, length, out=np.zeros_like(length), where=length > 1e-300)
        x = features.dx * inverse
        area_ratio, overlap, distance = (
            np.clip(each, TINY, HUGE) for each in (features.area_ratio, overlap, distance)
        )
        x = np.where(mirrored, np.abs(x), x)
        return cls(area_ratio, overlap, distance, x, features.dy * inverse)

    def at(self, index: Any) -> _Pairs:
        return _Pairs(*(each[index] for each in self))

    @property
    def rests(self) -> BoolArray:
        """Where there is no direction."""
        return np.asarray((self.x == 0) & (self.y == 0))


def _alike(a: Float64Array, b: Float64Array) -> Float64Array:
    return np.asarray(np.minimum(a, b) / np.maximum(a, b))


def penalised(similarity: Float64Array) -> Float64Array:
    """Values below t = 0.03 are mapped linearly from [0, t] to [-1, t].

    >>> penalised(np.array([0.0, 0.03, 0.5])).tolist()
    [-1.0, 0.03, 0.5]
    """
    slope = (1 + PENALTY_BELOW) / PENALTY_BELOW
    return np.asarray(np.minimum(similarity, similarity * slope - 1))


Three = tuple[Float64Array, Float64Array, Float64Array]
"""Size, distance and direction."""


def _paper(c: _Pairs, r: _Pairs, weights: Float64Array, rests: bool) -> Three:
    size = penalised(_alike(c.area_ratio, r.area_ratio) * weights)
    overlap, apart = _alike(c.overlap, r.overlap), _alike(c.distance, r.distance)
    share = np.where(apart > BALANCED_ABOVE, 0.8, 0.5)
    share[overlap > BALANCED_ABOVE] = 0.2
    distance = penalised((share * (overlap - apart) + apart) * weights)
    towards = (c.x * r.x + c.y * r.y + 1) * (weights / 2)
    if rests:
        both, one = c.rests & r.rests, c.rests ^ r.rests
        towards = np.where(both, weights, np.where(one, 0.0, towards))
    return size, distance, penalised(towards)


def _reference(c: _Pairs, r: _Pairs, weights: Float64Array, rests: bool) -> Three:
    def alike(a: Float64Array, b: Float64Array) -> Float64Array:
        return np.where(a + b < ALIKE_BELOW, 1.0, _alike(a, b)) * weights

    size, overlap = penalised(alike(c.area_ratio, r.area_ratio)), alike(c.overlap, r.overlap)
    overlap = penalised(overlap)  # the relative distance never counts; half is penalised twice
    distance = (overlap + penalised(overlap)) / 2
    towards = penalised((c.x * r.x + c.y * r.y + 1) * (weights / 2))
    if rests:  # neither weighed nor penalised
        towards = np.where(c.rests & r.rests, 1.0, np.where(c.rests ^ r.rests, 0.0, towards))
    return size, distance, towards


_FORMULAS = {"paper": _paper, "reference": _reference}


def pair_similarities(
    candidates: PairFeatures,
    references: PairFeatures,
    weights: Float64Array,
    mirrored: BoolArray,
    variant: str = "paper",
) -> Float64Array:
    """Size, distance and direction of N candidates, each against one reference.

    Args:
        candidates: shape (N,).
        references: shape (N,).
        weights: 0-1, how like the reference's categories are, (N,).
        mirrored: whether the reference may be mirrored left-right, (N,).
        variant: "paper" or "reference".

    Returns:
        Shape (3, N), -1 to 1; `reference` can push the distance down to about -18.2.
    """
    c, r = (_Pairs.of(each, mirrored, variant) for each in (candidates, references))
    return np.stack(_FORMULAS[variant](c, r, weights, True))


def score_pairs(
    candidates: PairFeatures,
    group: npt.NDArray[np.integer],
    references: PairFeatures,
    sets: ReferenceSets,
    may_mirror: BoolArray,
    variant: str = "paper",
    *,
    weights: Weights | None = None,
    over: str = "percentile",
    block: int = BLOCK,
) -> PairScores:
    """Score N candidate pairs, each against its set of references (Eq. 4-8).

    Args:
        candidates: features of shape (N,).
        group: the set of each candidate, 0 to G - 1, shape (N,).
        references: features of shape (K,): those of `sets.rows`, in their order.
        sets: G sets; see `acp.clis.priors.ReferenceSets`.
        may_mirror: of each set, whether its references count mirrored left-right too, (G,);
            `reference` always mirrors.
        variant: "paper" or "reference".
        weights: what the three similarities count, each above 0; None: what the variant has
            without priors.
        over: "percentile", or "average" over the references (`nearest` is then -1).
        block: candidates times references that are compared at a time; changes no score.

    Returns:
        Scores of shape (N,), at most 100, NaN where a set is empty.

    Raises:
        ValueError: another variant, another `over`, or a weight that is not above 0.
    """
    if variant not in _FORMULAS:
        raise ValueError(f'variant {variant!r}: score_pairs knows "paper" and "reference"')
    if over not in ("percentile", "average"):
        raise ValueError(f'over {over!r}: expected "percentile" or "average"')
    if weights is None:
        weights = CODE_WEIGHTS if variant == "reference" else PAPER_WEIGHTS
    if not min(weights) > 0:
        raise ValueError(f"weights {tuple(weights)}: expected numbers above 0")
    shares, formula = weights.shares(), _FORMULAS[variant]
    references = replace(references, area_ratio=references.area_ratio * sets.area_factor)
    mirrored = np.asarray(may_mirror, bool) | (variant == "reference")
    sizes = np.diff(sets.starts)
    c = _Pairs.of(candidates, mirrored[group], variant)
    r = _Pairs.of(references, np.repeat(mirrored, sizes), variant)
    rests = bool(c.rests.any() or r.rests.any())
    close = np.concatenate([[0], np.cumsum(sets.close)])[sets.starts]
    ranks = np.diff(close) // ONE_IN
    parts, chosen = np.full((3, len(group)), np.nan), np.full(len(group), -1, np.int64)
    for some, couples, valid in _blocks(np.asarray(group, np.int64), sets.starts, block):
        three = formula(c.at((some, None)), r.at(couples), sets.weights[couples], rests)
        if over == "average":
            count = sizes[group[some]]
            parts[:, some] = [np.where(valid, each, 0.0).sum(axis=1) / count for each in three]
            continue
        size, distance, direction = three
        total = size * shares.size + distance * shares.distance + direction * shares.direction
        if not valid.all():
            total = np.where(valid, total, -np.inf)
        place = _at_rank(total, ranks[group[some]])
        line = np.arange(len(some))
        parts[:, some] = [each[line, place] for each in three]
        chosen[some] = couples[line if len(couples) > 1 else 0, place]
    size, distance, direction = parts * 100
    total = size * shares.size + distance * shares.distance + direction * shares.direction
    nearest = np.where(chosen >= 0, np.append(sets.rows, -1)[chosen], -1)
    return PairScores(total, size, distance, direction, nearest)


def _blocks(
    group: IntArray, starts: IntArray, block: int
) -> Iterator[tuple[IntArray, IntArray, BoolArray]]:
    """Candidates n at a time, with their references (n, k), or (1, k) where all have the same, and
    which of those count (n or 1, k): sets of about the same size share a block."""
    sizes = np.diff(starts)[group]
    order = np.lexsort((group, sizes))
    order = order[sizes[order] > 0]
    ends = np.append(np.flatnonzero(np.diff(group[order])) + 1, len(order))
    begin = 0
    while begin < len(order):
        first = order[begin]
        same = int(ends[np.searchsorted(ends, begin, side="right")]) - begin
        most = max(1, block // int(sizes[first]))
        if same * sizes[first] < block // 8:  # few of this set: take others to them
            near = sizes[order[begin : begin + most]] <= sizes[first] * 1.25 + 1
            some = order[begin : begin + max(1, int(near.sum()))]
            width = np.arange(sizes[some[-1]])
            valid = width < sizes[some][:, None]
            couples = starts[group[some]][:, None] + np.where(valid, width, 0)
        else:
            some = order[begin : begin + min(same, most)]
            couples = np.arange(starts[group[first]], starts[group[first] + 1])[None]
            valid = np.ones((1, 1), bool)
        yield some, couples, valid
        begin += len(some)


def _at_rank(totals: Float64Array, ranks: IntArray) -> IntArray:
    """The place of the total at `ranks` (n,) in falling order, of equal ones the first; (n,)."""
    if not ranks.any():
        return np.asarray(totals.argmax(axis=1))
    falling = -np.sort(-totals, axis=1)
    wanted = falling[np.arange(len(totals)), ranks][:, None]
    before = ranks - (totals > wanted).sum(axis=1)
    return np.asarray(((totals == wanted).cumsum(axis=1) > before[:, None]).argmax(axis=1))


LEAST_COUPLES, MOST_COUPLES = 256, 20_000
_WEIGHTS: WeakKeyDictionary[Priors, Weights] = WeakKeyDictionary()


def paper_weights(priors: Priors) -> Weights:
    """1 / deviation of size, distance and direction over couples of real pairs of one triple.

    The paper (Appx. 7.2) normalises the three by their mean and deviation over the data set and
    adds them. With the sum mapped to 0-100 by one line, so that three times 1 is 100 and three
    times 0 is 0, the means drop out: what is left is a mean with weights 1 / deviation.

    A couple is two neighbours in the file among the pairs of a triple; at most 20,000, evenly
    spaced; with fewer than 256 the weights are those of the default priors.
    """
    if priors not in _WEIGHTS:
        _WEIGHTS[priors] = _weights(priors)
    return _WEIGHTS[priors]


def _weights(priors: Priors) -> Weights:
    table = priors.table
    order = np.lexsort((table.object, table.subject, table.predicate))
    a, b = order[:-1], order[1:]
    same = [column[a] == column[b] for column in (table.predicate, table.subject, table.object)]
    couples = np.flatnonzero(np.logical_and.reduce(same))
    if len(couples) < LEAST_COUPLES:
        return PAPER_WEIGHTS
    if len(couples) > MOST_COUPLES:
        couples = couples[np.linspace(0, len(couples) - 1, MOST_COUPLES).astype(np.int64)]
    a, b = a[couples], b[couples]
    unsided = np.array([not sided(canonical(predicate)) for predicate in table.predicates])
    features, ones = priors.features, np.ones(len(a))
    mirrored = unsided[table.predicate[a]]
    deviations = pair_similarities(features.take(a), features.take(b), ones, mirrored).std(axis=1)
    if not (deviations > 0).all():
        return PAPER_WEIGHTS
    return Weights(*(1 / deviations).tolist())


# What real layouts get

FOLDS, LEAST_REAL, ENOUGH_REAL = 5, 100, 1000
"""Parts that are held out in turn; real pairs below which they tell nothing, and that suffice."""
_REAL: WeakKeyDictionary[Priors, dict[str, Float64Array]] = WeakKeyDictionary()


def real_scores(priors: Priors, variant: str) -> Float64Array:
    """CLIS-L of real pairs, rising, (M,): what to compare a score with.

    The pairs are those of the priors that were stated (all, where hardly any were), each scored
    without itself; none where fewer than 100 have a score.

    >>> from acp.clis.priors import default_priors
    >>> bool(80 < np.median(real_scores(default_priors(), "paper")) < 90)
    True
    """
    known = _REAL.setdefault(priors, {})
    if variant not in known:
        found, count = [np.zeros(0)], 0
        for rows, others in held_out(priors):
            triples, group = distinct([priors.triple(row) for row in rows.tolist()])
            sets = others.reference_sets(triples, strict=variant == "reference")
            pairs = priors.geometry.take(rows)
            found.append(score_geometry(pairs, group, triples, sets, others, variant).total)
            count += len(rows)
            if count >= ENOUGH_REAL:
                break
        scores = np.concatenate(found)
        scores = np.sort(scores[np.isfinite(scores)])
        known[variant] = scores if len(scores) >= LEAST_REAL else scores[:0]
    return known[variant]


def held_out(priors: Priors) -> Iterator[tuple[IntArray, Priors]]:
    """Real pairs, the rows (M,) of a fifth of them, and priors that hold nothing of their boxes."""
    table, pairs = priors.table, priors.geometry
    areas = np.stack([pairs.subject_w * pairs.subject_h, pairs.object_w * pairs.object_h], axis=1)
    areas = np.sort(areas, axis=1).round(9)  # two boxes are several rows: either way round
    fold = np.unique(areas, axis=0, return_inverse=True)[1].ravel() % FOLDS
    asked = table.stated if table.stated.sum() >= LEAST_REAL else np.ones(len(table), bool)
    for number in range(FOLDS):
        rows = np.flatnonzero(asked & (fold == number))
        rows = rows[:: -(-len(rows) // ENOUGH_REAL) or 1]
        if len(rows) < len(table) and (fold != number).any():
            yield rows, Priors(table.take(np.flatnonzero(fold != number)))


def distinct(triples: Sequence[Triple]) -> tuple[list[Triple], IntArray]:
    """The different ones of N triples, and which is each, (N,)."""
    numbers = {triple: place for place, triple in enumerate(dict.fromkeys(triples))}
    return list(numbers), np.array([numbers[triple] for triple in triples], np.int64)


# Images

TRIPLES = 512
"""So many different triples are scored at a time: their references are held in memory."""

PARTS = ("total", "size", "distance", "direction")

NO_RELATIONS = "no relations"
MOST = 1e6
"""A box with a coordinate beyond so many image sides is no box."""
LEAST = 1e-100
"""A side below it is none: ratios of areas would leave the range of floats."""


@dataclass(frozen=True, slots=True)
class LayoutBatch:
    """I images with B boxes and R relations in all.

    `names`: categories; `category` (B,) indexes them. `predicates`; `predicate` (R,) indexes them.
    `boxes_xywhn` (B, 4) float64; those of image i are `box_starts[i]` to `box_starts[i + 1]`,
    `box_starts` (I + 1,). `subject`, `object` (R,) index the boxes. `relation_image` (R,): the
    image of each relation, rising.
    """

    names: tuple[str, ...]
    predicates: tuple[str, ...]
    boxes_xywhn: Float64Array
    category: IntArray
    box_starts: IntArray
    subject: IntArray
    object: IntArray
    predicate: IntArray
    relation_image: IntArray


@dataclass(frozen=True, slots=True)
class LayoutResults:
    """CLIS-L of R relations in I images.

    Of each relation, (R,): `total`, `size`, `distance`, `direction`, at most 100, by the penalty
    also below 0, NaN where it is not scored; `evidence`, how many references there are, each by
    how alike its categories are; `weight`, its share of its image's score, 0-1; `references`, their
    plain number; `nearest`, the row of the priors that the percentile chose, -1 for none; `level`,
    what answered (see `acp.clis.priors`); `reason`, empty or why it is not scored. Of each image,
    (I,), with the prefix `image_`: weighted means of its relations, and the least evidence, with
    the level, the number of references and the nearest one of the relation that has it (the first
    of several); "", 0 and -1 without relations.
    """

    total: Float64Array
    size: Float64Array
    distance: Float64Array
    direction: Float64Array
    evidence: Float64Array
    weight: Float64Array
    references: IntArray
    nearest: IntArray
    level: tuple[str, ...]
    reason: tuple[str, ...]
    image_total: Float64Array
    image_size: Float64Array
    image_distance: Float64Array
    image_direction: Float64Array
    image_evidence: Float64Array
    image_level: tuple[str, ...]
    image_references: IntArray
    image_nearest: IntArray
    image_reason: tuple[str, ...]


def score_batch(
    batch: LayoutBatch, priors: Priors, variant: str = "paper", min_similarity: float = 0.8
) -> LayoutResults:
    """CLIS-L of every relation and image of a batch.

    An image with a relation that cannot be scored, or with none, is not scored; in `reference` it
    scores 0 unless a box was refused. Other images in the batch change nothing.

    Args:
        batch: what to score.
        priors: the real pairs.
        variant: "paper", "reference" or "acp"; see `docs/clis.md`.
        min_similarity: of both categories, for a reference to count.

    Raises:
        ValueError: another variant.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant!r}: expected one of {', '.join(VARIANTS)}")
    triples, group = _triples(batch)
    no_box = refusals(batch)
    refused = no_box[batch.subject] | no_box[batch.object]
    relations, boxes = _unscored(len(group)), cast(FloatArray, batch.boxes_xywhn)
    order = np.argsort(group, kind="stable")
    for first in range(0, len(triples), TRIPLES):
        some = triples[first : first + TRIPLES]
        begin, end = np.searchsorted(group[order], [first, first + len(some)])
        which = order[begin:end]
        sets = priors.reference_sets(
            some, strict=variant == "reference", min_similarity=min_similarity
        )
        _describe(relations, which, group[which] - first, sets)
        which = which[~refused[which]]
        geometry = pair_geometry(boxes[batch.subject[which]], boxes[batch.object[which]])
        scores = score_geometry(geometry, group[which] - first, some, sets, priors, variant)
        for name in (*PARTS, "nearest"):
            relations[name][which] = getattr(scores, name)
    for place in np.flatnonzero(refused):
        subject, object_ = batch.subject[place], batch.object[place]
        relations["reason"][place] = _refusal(batch, int(subject if no_box[subject] else object_))
    images = _images(batch, relations, refused, variant)
    for name in ("level", "reason"):
        relations[name] = tuple(relations[name].tolist())
    return LayoutResults(**relations, **images)


def _triples(batch: LayoutBatch) -> tuple[list[tuple[str, str, str]], IntArray]:
    """The different triples of a batch, and which is that of each relation, (R,)."""
    names, predicates = max(1, len(batch.names)), max(1, len(batch.predicates))
    subject, object_ = batch.category[batch.subject], batch.category[batch.object]
    key = (subject * predicates + batch.predicate) * names + object_
    unique, group = np.unique(key, return_inverse=True)
    rest, o = np.divmod(unique, names)
    codes = zip(*(each.tolist() for each in (*np.divmod(rest, predicates), o)), strict=True)
    return [(batch.names[s], batch.predicates[p], batch.names[o]) for s, p, o in codes], group


def _unscored(count: int) -> dict[str, Any]:
    columns: dict[str, Any] = {name: np.full(count, np.nan) for name in PARTS}
    return columns | {
        "nearest": np.full(count, -1, np.int64),
        "evidence": np.zeros(count),
        "references": np.zeros(count, np.int64),
        "level": np.full(count, "", dtype=object),
        "reason": np.full(count, "", dtype=object),
    }


def _describe(
    relations: dict[str, Any], which: IntArray, group: IntArray, sets: ReferenceSets
) -> None:
    """Writes what the priors say of relations: `which` of the batch, `group` of the sets."""
    relations["evidence"][which] = sets.evidence[group]
    relations["references"][which] = np.diff(sets.starts)[group]
    for name in ("level", "reason"):
        relations[name][which] = np.array(getattr(sets, name), dtype=object)[group]


def score_geometry(
    geometry: PairGeometry,
    group: IntArray,
    triples: Sequence[tuple[str, str, str]],
    sets: ReferenceSets,
    priors: Priors,
    variant: str,
) -> PairScores:
    """Scores of N pairs by a variant; `group` (N,) indexes the triples and their sets."""
    if variant == "acp":
        return density_scores(geometry, group, triples, priors, sets)
    may_mirror = np.array([not sided(canonical(predicate)) for _, predicate, _ in triples], bool)
    return score_pairs(
        features_of(geometry),
        group,
        priors.features.take(sets.rows),
        sets,
        may_mirror,
        variant,
        weights=paper_weights(priors) if variant == "paper" else None,
    )


def refusals(batch: LayoutBatch) -> BoolArray:
    """Which boxes are none, (B,): not finite, far out of all bounds, or without a side."""
    boxes = batch.boxes_xywhn
    return np.asarray(~((np.abs(boxes) <= MOST).all(axis=1) & (boxes[:, 2:] >= LEAST).all(axis=1)))


def _refusal(batch: LayoutBatch, box: int) -> str:
    image = int(np.searchsorted(batch.box_starts, box, side="right")) - 1
    values, name = batch.boxes_xywhn[box], batch.names[batch.category[box]]
    if not np.isfinite(values).all():
        what = "is not finite"
    elif (values[2:] < LEAST).any():
        what = "has no area"
    else:
        what = "is out of all bounds"
    return f"the box of object {box - int(batch.box_starts[image])} ({name}) {what}"


def _images(
    batch: LayoutBatch, relations: dict[str, Any], refused: BoolArray, variant: str
) -> dict[str, Any]:
    """Means over relations, weighted by evidence (in `acp` plain ones), and the least evidence."""
    count, of = len(batch.box_starts) - 1, batch.relation_image
    evidence = relations["evidence"]
    weight = np.ones(len(of)) if variant == "acp" else evidence
    whole = np.bincount(of, weight, minlength=count)
    relations["weight"] = share = weight / np.where(whole > 0, whole, 1.0)[of]
    found = {
        name: np.bincount(of, relations[name] * share, minlength=count).astype(np.float64)
        for name in PARTS
    }
    found["evidence"] = np.full(count, np.inf)
    np.minimum.at(found["evidence"], of, evidence)
    images = _of_the_weakest(relations, of, count)
    reason = np.full(count, "", dtype=object)
    reason[np.bincount(of, minlength=count) == 0] = NO_RELATIONS
    # The last of them that is written is the first: a box that was refused, else no references.
    for which in (~refused, refused):
        given = np.flatnonzero(which & relations["reason"].astype(bool))[::-1]
        reason[of[given]] = relations["reason"][given]
    for values in found.values():
        values[reason.astype(bool)] = 0.0 if variant == "reference" else np.nan
        values[of[refused]] = np.nan
    images |= {f"image_{name}": values for name, values in found.items()}
    return images | {"image_reason": tuple(reason.tolist())}


def _of_the_weakest(relations: dict[str, Any], of: IntArray, count: int) -> dict[str, Any]:
    """What answered for the relation of least evidence of each image."""
    order = np.lexsort((relations["evidence"], of))  # stable: the first of several
    having, first = np.unique(of[order], return_index=True)
    weakest = order[first]
    level = np.full(count, "", dtype=object)
    level[having] = relations["level"][weakest]
    references, nearest = np.zeros(count, np.int64), np.full(count, -1, np.int64)
    references[having], nearest[having] = (
        relations["references"][weakest],
        relations["nearest"][weakest],
    )
    return {
        "image_level": tuple(level.tolist()),
        "image_references": references,
        "image_nearest": nearest,
    }


# Layouts of one scene graph


@dataclass(frozen=True, slots=True)
class LayoutScores:
    """CLIS-L of P layouts with R >= 1 relations.

    `total` has shape (P,); `relation`, `size`, `distance` and `direction` have shape (P, R); all
    are at most 100, by the penalty also below 0, and NaN for a layout with a box without area (the
    parts: for its relations). `evidence` (R,) and `level` (R of them) are those of the priors.
    """

    total: Float64Array
    relation: Float64Array
    size: Float64Array
    distance: Float64Array
    direction: Float64Array
    evidence: Float64Array
    level: tuple[str, ...]


def score_layouts(
    relations: Sequence[Relation],
    names: Sequence[str],
    boxes_xywhn: FloatArray,
    priors: Priors,
    variant: str = "paper",
) -> LayoutScores | None:
    """CLIS-L of every layout of a scene graph; None if the graph has no relation to score.

    Args:
        relations: of the graph, R of them; subject and object index `names`.
        names: categories of the objects, N of them.
        boxes_xywhn: P layouts, shape (P, N, 4).
        priors: where the references come from.
        variant: "paper", "reference" or "acp"; see `docs/clis.md`.

    Raises:
        ValueError: boxes of another shape, or not finite; another variant.
    """
    boxes = np.asarray(boxes_xywhn, np.float64)
    if boxes.ndim != 3 or boxes.shape[1:] != (len(names), 4):
        raise ValueError(f"expected boxes of shape (P, {len(names)}, 4), got {boxes.shape}")
    if not np.isfinite(boxes).all():
        raise ValueError("expected finite boxes")
    if not relations:
        return None
    found = score_batch(_batch(relations, names, boxes), priors, variant)
    shape = len(boxes), len(relations)
    triples = [(names[each.subject], each.predicate, names[each.object]) for each in relations]
    sets = priors.reference_sets(triples, strict=variant == "reference")
    return LayoutScores(
        total=found.image_total,
        relation=found.total.reshape(shape),
        size=found.size.reshape(shape),
        distance=found.distance.reshape(shape),
        direction=found.direction.reshape(shape),
        evidence=sets.evidence,
        level=sets.level,
    )


def _batch(relations: Sequence[Relation], names: Sequence[str], boxes: Float64Array) -> LayoutBatch:
    """Layouts (P, N, 4) as P images."""
    layouts, objects = boxes.shape[:2]
    known = sorted({relation.predicate for relation in relations})
    first = np.arange(layouts)[:, None] * objects
    return LayoutBatch(
        names=tuple(names),
        predicates=tuple(known),
        boxes_xywhn=boxes.reshape(-1, 4),
        category=np.tile(np.arange(objects), layouts),
        box_starts=np.arange(layouts + 1) * objects,
        subject=(first + [relation.subject for relation in relations]).ravel(),
        object=(first + [relation.object for relation in relations]).ravel(),
        predicate=np.tile([known.index(relation.predicate) for relation in relations], layouts),
        relation_image=np.repeat(np.arange(layouts), len(relations)),
    )
