"""What goes together in a picture: seen together, of a kind, and of comparable size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from acp.clis.priors import Priors
from acp.core.types import Float64Array
from acp.core.vocabulary import Category

THEMES: Mapping[str, tuple[str, ...]] = {
    "animals": ("animal_farm", "animal_pet", "animal_wild", "bird", "insect", "sea_life"),
    "meals": ("food_dish", "food_fruit", "food_sweet", "food_vegetable", "drink", "kitchen"),
    "traffic": ("vehicle", "street", "aircraft", "boat", "building_part"),
    "rooms": ("furniture", "bedroom", "bathroom", "decoration", "electronics", "office", "music"),
    "people": ("person", "clothing", "accessory", "sport", "toy"),
    "work": ("tool", "container", "garden_plant", "medical", "weapon", "office"),
}
"""Groups of the vocabulary whose things go together."""

SAME_GROUP, SAME_THEME, UNRELATED = 4.0, 1.5, 0.005
SEEN_TOGETHER = 12.0
"""The weight of a pair of categories is one of the first three, and this times their association:
the images they share over the geometric mean of what each shares with anything, 0-1."""
CLEARLY_ASSOCIATED = 0.05


class Plausibility:
    """How well each of a pool of categories goes with one of them."""

    def __init__(self, pool: Sequence[Category], priors: Priors, largest_size_ratio: float) -> None:
        """Nothing goes with what is really `largest_size_ratio` times longer or shorter, or with
        twice that if the two are clearly seen together."""
        self._pool, self._priors, self._ratio = pool, priors, largest_size_ratio
        self._log_cm = np.log([category.longest_cm for category in pool])
        self._shared = np.array([1.0 + _total(priors, category) for category in pool])
        self._cache: dict[int, Float64Array] = {}

    def partners(self, index: int) -> Float64Array:
        """A weight, 0 or more, for each of the pool beside `pool[index]`, shape (pool,)."""
        if index not in self._cache:
            self._cache[index] = self._partners(index)
        return self._cache[index]

    def _partners(self, index: int) -> Float64Array:
        kinship = np.array([_kinship(self._pool[index].group, other.group) for other in self._pool])
        associated = self._association(index)
        apart = np.abs(self._log_cm - self._log_cm[index])
        limit = self._ratio * np.where(associated > CLEARLY_ASSOCIATED, 2, 1)
        near = np.exp(-((apart / 1.5) ** 2)) * (apart <= np.log(limit) + 1e-9)
        return np.asarray((kinship + SEEN_TOGETHER * associated) * near)

    def _association(self, index: int) -> Float64Array:
        partners = self._priors.cooccurrence(self._pool[index].name)
        shared = np.array([partners.get(category.name, 0.0) for category in self._pool])
        return np.asarray(shared / np.sqrt(self._shared[index] * self._shared))


def _total(priors: Priors, category: Category) -> float:
    return sum(priors.cooccurrence(category.name).values())


def _kinship(a: str, b: str) -> float:
    if a == b:
        return SAME_GROUP
    shared = any(a in groups and b in groups for groups in THEMES.values())
    return SAME_THEME if shared else UNRELATED
