"""Draw relations that one arrangement of the objects fulfils together.

Every draw first arranges the objects, in columns from left to right, each with one object or two
behind each other, and what flies or hangs above one of them; then it reads the relations off that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
    arranging = _Arranging(names, weights, rng)
    columns = arranging.columns(lower or upper, may_overlap=bool(lower))
    edges = [Relation(each[0], "in front of", each[1]) for each in columns if len(each) == 2]
    edges += [arranging.beside(left, right) for left, right in pairwise(columns)]
    if lower:
        edges += [Relation(index, "above", int(rng.choice(lower))) for index in upper]
    return _told_from(0, [_perhaps_inverted(edge, rng) for edge in edges])


@dataclass(frozen=True, slots=True)
class _Arranging:
    names: Sequence[str]
    weights: Weights
    rng: np.random.Generator

    def columns(self, order: Sequence[int], may_overlap: bool) -> list[list[int]]:
        """Objects from left to right; a column of two has the front one first."""
        columns: list[list[int]] = []
        for index in order:
            behind = columns[-1] if columns else []
            if may_overlap and len(behind) == 1 and self._one_in_front(index, *behind):
                columns[-1] = self._front_first(index, *behind)
            else:
                columns.append([index])
        return columns

    def _one_in_front(self, a: int, b: int) -> bool:
        """By how common "in front of" or "behind" is against beside each other."""
        weight = self.weights(self.names[a], self.names[b])
        depth = weight["in front of"] + weight["behind"]
        beside = weight["left of"] + weight["right of"] + weight["next to"]
        return self.rng.random() < depth / (depth + beside)

    def _front_first(self, a: int, b: int) -> list[int]:
        """The smaller thing stands in front more often, and always where it is half as large."""
        size_a, size_b = (categories()[self.names[index]].longest_cm for index in (a, b))
        a_in_front = self.rng.random() < 0.5 - log(size_a / size_b) / (2 * log(2))
        return [a, b] if a_in_front else [b, a]

    def beside(self, left: Sequence[int], right: Sequence[int]) -> Relation:
        """A relation of two neighbouring columns."""
        a, b = int(self.rng.choice(left)), int(self.rng.choice(right))
        weight = self.weights(self.names[a], self.names[b])
        sided = weight["left of"]
        beside = weight["next to"] if len(left) == len(right) == 1 else 0.0
        near = self.rng.random() * (sided + beside) >= sided
        return Relation(a, "next to" if near else "left of", b)


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
