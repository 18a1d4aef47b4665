"""Draw relations that one arrangement of the objects fulfils together.

Every draw first arranges the objects, in columns from left to right, each with one object or two
behind each other, and what flies or hangs above one of them; then it reads the relations off that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import log

import numpy as np

from acp.clis.predicates import INVERSES
from acp.core.types import Relation
from acp.core.vocabulary import categories

UPPER = frozenset({"air", "wall"})
"""Habitats whose things are seen above those that stand, lie or swim."""

Weights = Callable[[str, str], Mapping[str, float]]


def draw_relations(
    names: Sequence[str], habitats: Sequence[str], weights: Weights, rng: np.random.Generator
) -> tuple[Relation, ...]:
    """Relations that connect all objects as a tree: N - 1 of them, none for one object.

    Only predicates that can be true of the habitats, and only such as one layout can fulfil
    together. The first relation has object 0; each later one has an object named before.

    Args:
        names: LVIS names, shape (N,), N >= 1.
        habitats: where each is found, of `acp.core.vocabulary.HABITATS`.
        weights: how common each predicate is between two names; each above 0.
        rng: the only source of chance.
    """
    order = rng.permutation(len(names)).tolist()
    lower = [index for index in order if habitats[index] not in UPPER]
    upper = [index for index in order if habitats[index] in UPPER]
    columns = _columns(lower or upper, names, bool(lower), weights, rng)
    edges = [*_within(columns), *_between(columns, names, weights, rng)]
    if lower:
        edges += [Relation(index, "above", int(rng.choice(lower))) for index in upper]
    return _told_from(0, [_perhaps_inverted(edge, rng) for edge in edges])


def _columns(
    order: Sequence[int],
    names: Sequence[str],
    may_overlap: bool,
    weights: Weights,
    rng: np.random.Generator,
) -> list[list[int]]:
    """Objects from left to right; a column of two has the front one first."""
    columns: list[list[int]] = []
    for index in order:
        if may_overlap and columns and len(columns[-1]) == 1:
            behind = columns[-1][0]
            if rng.random() < _depth_chance(names[index], names[behind], weights):
                columns[-1] = _front_first(index, behind, names, rng)
                continue
        columns.append([index])
    return columns


def _depth_chance(a: str, b: str, weights: Weights) -> float:
    """Of "in front of" or "behind" against beside each other."""
    weight = weights(a, b)
    depth = weight["in front of"] + weight["behind"]
    return depth / (depth + weight["left of"] + weight["right of"] + weight["next to"])


def _front_first(a: int, b: int, names: Sequence[str], rng: np.random.Generator) -> list[int]:
    """The smaller thing stands in front more often, and always where it is half as large."""
    size_a, size_b = (categories()[names[index]].longest_cm for index in (a, b))
    a_in_front = rng.random() < 0.5 - log(size_a / size_b) / (2 * log(2))
    return [a, b] if a_in_front else [b, a]


def _within(columns: Sequence[Sequence[int]]) -> list[Relation]:
    return [Relation(c[0], "in front of", c[1]) for c in columns if len(c) == 2]


def _between(
    columns: Sequence[Sequence[int]],
    names: Sequence[str],
    weights: Weights,
    rng: np.random.Generator,
) -> list[Relation]:
    """One relation for each two neighbouring columns."""
    edges = []
    for left, right in pairwise(columns):
        a, b = int(rng.choice(left)), int(rng.choice(right))
        weight = weights(names[a], names[b])
        sided = weight["left of"]
        beside = weight["next to"] if len(left) == len(right) == 1 else 0.0
        near = rng.random() * (sided + beside) >= sided
        edges.append(Relation(a, "next to" if near else "left of", b))
    return edges


def _perhaps_inverted(relation: Relation, rng: np.random.Generator) -> Relation:
    """The same said from the other object, half the time; "above" mostly stays."""
    if rng.random() < (0.85 if relation.predicate == "above" else 0.5):
        return relation
    return Relation(relation.object, INVERSES[relation.predicate], relation.subject)


def _told_from(first: int, edges: Sequence[Relation]) -> tuple[Relation, ...]:
    """In an order in which each relation has an object that was named before."""
    known, left, told = {first}, list(edges), []
    while left:
        at = next(i for i, edge in enumerate(left) if {edge.subject, edge.object} & known)
        told.append(left.pop(at))
        known |= {told[-1].subject, told[-1].object}
    return tuple(told)
