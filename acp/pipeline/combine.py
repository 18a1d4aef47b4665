"""Combine: which objects a scene has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from acp.clis.priors import Priors
from acp.core.config import Settings
from acp.core.errors import AcpError
from acp.core.progress import Advance, silent
from acp.core.seeds import derive_seed, rng
from acp.core.types import Float64Array, Inventory, Scene
from acp.core.vocabulary import Category, categories, nearest, resolve

Indices = npt.NDArray[np.int_]
Frequency = Literal["r", "c", "f"]

GOLDEN = (5**0.5 - 1) / 2
"""Steps of this length, modulo 1, cover the unit interval evenly however many are taken."""

PLACES: Mapping[str, frozenset[str]] = {
    "outdoors": frozenset({"ground", "air", "water"}),
    "indoors": frozenset({"ground", "surface", "wall", "worn"}),
}
"""What is found together where no inventory says so."""


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


class CombineSettings(Settings):
    """Which concepts, how many of them, and how often."""

    concepts: tuple[str, ...] | None = Field(
        None, description="LVIS categories to use, about equally often; null: all that can be drawn"
    )
    leave_out: tuple[str, ...] = Field((), description="LVIS categories not to use")
    objects_per_scene: dict[int, float] = Field(
        {1: 1.0, 2: 4.0, 3: 3.0, 4: 1.5, 5: 0.5, 6: 0.25},
        description="weight of each number of objects, 1 to 6",
    )
    frequency_weights: dict[Frequency, float] = Field(
        {"r": 1.0, "c": 1.0, "f": 1.0},
        description="how often a scene starts from a rare, common, frequent category",
    )
    looks_weight: float = Field(
        0.5, ge=0, le=2, description="n looks of a category weigh n to this power in its class"
    )
    largest_size_ratio: float = Field(
        8.0, ge=1, description="of the real lengths of two things; twice it if often seen together"
    )
    repeat_chance: float = Field(
        0.1, ge=0, le=1, description="chance that a further object is of a category already there"
    )

    @field_validator("concepts")
    @classmethod
    def _some_concept(cls, concepts: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if concepts is not None and not concepts:
            raise ValueError("the list of concepts is empty; leave it out to use all")
        return concepts

    @field_validator("objects_per_scene", "frequency_weights")
    @classmethod
    def _weights(cls, weights: dict[Any, float]) -> dict[Any, float]:
        numbers = weights.keys() - {"r", "c", "f"}
        if not all(1 <= count <= 6 for count in numbers):
            raise ValueError("a scene has 1 to 6 objects")
        if not any(weights.values()) or not all(0 <= w < float("inf") for w in weights.values()):
            raise ValueError("weights must be 0 or more, and one of them more than 0")
        return weights


class Combine:
    """Gives every scene its seed and its concepts: one to start from, and plausible partners.

    The first concept walks evenly through the categories, each as often as its weight says.
    Partners are drawn by how often they are seen with those already there, by kind and by real
    size; a scene stays smaller than drawn where nothing more fits.
    """

    name: ClassVar[str] = "combine"

    def __init__(
        self,
        settings: CombineSettings,
        inventory: Inventory | None,
        priors: Priors,
        recipe_seed: int,
    ) -> None:
        """Raises AcpError for a concept that is unknown or that the renderer cannot draw."""
        self.settings = settings
        self.recipe_seed = recipe_seed
        self._pool = _pool(settings, inventory)
        self._names = [category.name for category in self._pool]
        self._places = (inventory.settings if inventory else PLACES).values()
        self._habitats = [
            inventory.habitats[each.name] if inventory else each.habitat for each in self._pool
        ]
        self._looks = [len(inventory.looks[name]) if inventory else 2 for name in self._names]
        self._walk = self._walk_order()
        self._log_cm = np.log([category.longest_cm for category in self._pool])
        self._seen_with = [priors.cooccurrence(name) for name in self._names]
        self._shared = np.array([1.0 + sum(each.values()) for each in self._seen_with])
        self._partners = cache(self._partner_weights)
        self._balance = np.ones(len(self._pool))
        if settings.concepts is not None:
            self._balance = self._balancing()

    def __call__(self, scenes: Sequence[Scene], advance: Advance = silent) -> list[Scene]:
        """Scenes with `seed` and `concepts`."""
        done = [scene if scene.reject else self._combine(scene) for scene in scenes]
        advance(len(done))
        return done

    def _combine(self, scene: Scene) -> Scene:
        draw = rng(self.recipe_seed, "combine", scene.scene_id)
        counts, weights = zip(*sorted(self.settings.objects_per_scene.items()), strict=True)
        count = int(draw.choice(counts, p=_normalised(weights)))
        chosen = [self._first(scene.scene_id)]
        while len(chosen) < count:
            index = self._next(chosen, draw)
            if index is None:
                break
            chosen.append(index)
        seed = derive_seed(self.recipe_seed, "scene", scene.scene_id)
        return replace(scene, seed=seed, concepts=tuple(self._names[i] for i in chosen))

    def _walk_order(self) -> tuple[Indices, Float64Array]:
        """The pool in shuffled order and the cumulative weight up to each, ending with 1."""
        weights = np.ones(len(self._pool))
        if self.settings.concepts is None:
            classes = np.array([category.frequency for category in self._pool])
            weights[:] = 0
            for frequency, weight in self.settings.frequency_weights.items():
                at = classes == frequency
                looks = np.array(self._looks, dtype=np.float64)[at] ** self.settings.looks_weight
                weights[at] = weight * looks / max(looks.sum(), 1e-12)
        if not weights.any():
            raise AcpError(
                "combine.frequency_weights: no category of the weighted classes can be drawn"
            )
        order: Indices = rng(self.recipe_seed, "combine").permutation(len(weights))
        return order, np.cumsum(_normalised(weights[order]))

    def _first(self, scene_id: int) -> int:
        order, cumulative = self._walk
        place = int(np.searchsorted(cumulative, (0.5 + scene_id * GOLDEN) % 1.0, side="right"))
        return int(order[min(place, len(order) - 1)])

    def _next(self, chosen: Sequence[int], draw: np.random.Generator) -> int | None:
        repeatable = [index for index in chosen if self._looks[index] > 1]
        if draw.random() < self.settings.repeat_chance and repeatable:
            return int(draw.choice(repeatable))
        weights = np.prod([self._partners(index) for index in chosen], axis=0)
        weights = weights ** (1 / len(chosen)) * self._fits(chosen) * self._balance
        weights[list(chosen)] = 0
        if not weights.any():
            return None
        return int(draw.choice(len(weights), p=_normalised(weights)))

    def _partner_weights(self, index: int) -> Float64Array:
        """How well each of the pool goes with `pool[index]`: 0 or more, shape (pool,).

        Nothing goes with what is really `largest_size_ratio` times longer or shorter, or with twice
        that if the two are clearly seen together.
        """
        group, seen_with = self._pool[index].group, self._seen_with[index]
        kinship = np.array([_kinship(group, other.group) for other in self._pool])
        shared = np.array([seen_with.get(name, 0.0) for name in self._names])
        associated = shared / np.sqrt(self._shared[index] * self._shared)
        apart = np.abs(self._log_cm - self._log_cm[index])
        limit = self.settings.largest_size_ratio * np.where(associated > CLEARLY_ASSOCIATED, 2, 1)
        near = np.exp(-((apart / 1.5) ** 2)) * (apart <= np.log(limit) + 1e-9)
        return np.asarray((kinship + SEEN_TOGETHER * associated) * near)

    def _balancing(self) -> Float64Array:
        """Factors by which all of the pool are partners about equally often, shape (pool,).

        Rows and columns of the affinities are scaled in turn until all have the same sum.
        """
        indices = range(len(self._pool))
        pairs = np.stack([self._partners(i) * self._fits([i]) for i in indices])
        np.fill_diagonal(pairs, 0)
        factors = np.ones(len(pairs))
        for _ in range(30):
            rows = np.maximum((pairs * factors).sum(axis=1, keepdims=True), 1e-12)
            factors /= np.maximum((pairs * factors / rows).sum(axis=0), 1e-3)
        return np.asarray(factors / factors.max())

    def _fits(self, chosen: Iterable[int]) -> Float64Array:
        """1 where some place has room for a category beside those chosen, else 0."""
        needed = {self._habitats[index] for index in chosen}
        together = frozenset().union(*(place for place in self._places if needed <= place))
        return np.array([float(habitat in together) for habitat in self._habitats])


def _normalised(weights: Sequence[float] | Float64Array) -> Float64Array:
    array = np.asarray(weights, dtype=np.float64)
    return np.asarray(array / array.sum())


def _kinship(a: str, b: str) -> float:
    if a == b:
        return SAME_GROUP
    shared = any(a in groups and b in groups for groups in THEMES.values())
    return SAME_THEME if shared else UNRELATED


def _pool(settings: CombineSettings, inventory: Inventory | None) -> list[Category]:
    """The categories to draw from, in the order of their ids."""
    left_out = {_resolve(concept, "leave_out").name for concept in settings.leave_out}
    drawable = {k: v for k, v in _drawable(inventory).items() if k not in left_out}
    if settings.concepts is None:
        if not drawable:
            raise AcpError("combine: the renderer has nothing to draw; its bank is empty")
        return list(drawable.values())
    found = (_resolve(concept, "concepts") for concept in settings.concepts)
    wanted = {category.name: category for category in found}
    lacking = [name for name in wanted if name not in drawable]
    if lacking:
        near = {name for wish in lacking for name in nearest(wish, 20) if name in drawable}
        hint = f"; it has {', '.join(sorted(near))}" if near else ""
        raise AcpError(
            f"combine.concepts: the renderer has no {', '.join(lacking)}{hint}; `acp cutouts list` "
            "shows what the cut-outs cover, `--set renderer.cutouts=FOLDER` takes your own"
        )
    return sorted(wanted.values(), key=lambda category: category.id)


def _resolve(concept: str, key: str) -> Category:
    try:
        return resolve(concept)
    except AcpError as error:
        raise AcpError(f"combine.{key}: {error}") from None


def _drawable(inventory: Inventory | None) -> dict[str, Category]:
    if inventory is None:
        return dict(categories())
    offered = frozenset().union(*inventory.settings.values())
    return {
        name: category
        for name, category in categories().items()
        if inventory.looks.get(name) and inventory.habitats.get(name) in offered
    }
