"""Combine: which objects a scene has."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

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
from acp.pipeline.planning.plausibility import Plausibility

Indices = npt.NDArray[np.int_]
Frequency = Literal["r", "c", "f"]

GOLDEN = (5**0.5 - 1) / 2
"""Steps of this length, modulo 1, cover the unit interval evenly however many are taken."""

PLACES: Mapping[str, frozenset[str]] = {
    "outdoors": frozenset({"ground", "air", "water"}),
    "indoors": frozenset({"ground", "surface", "wall", "worn"}),
}
"""What is found together where no inventory says so."""


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

    @field_validator("objects_per_scene")
    @classmethod
    def _counts(cls, weights: dict[int, float]) -> dict[int, float]:
        if not all(1 <= count <= 6 for count in weights):
            raise ValueError("a scene has 1 to 6 objects")
        _check_weights(weights.values())
        return weights

    @field_validator("frequency_weights")
    @classmethod
    def _classes(cls, weights: dict[Frequency, float]) -> dict[Frequency, float]:
        _check_weights(weights.values())
        return weights


def _check_weights(weights: Collection[float]) -> None:
    if any(not 0 <= weight < float("inf") for weight in weights) or not any(weights):
        raise ValueError("weights must be 0 or more, and one of them more than 0")


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
        self._places = _places(inventory)
        self._habitats = [_habitat(category, inventory) for category in self._pool]
        self._looks = [len(inventory.looks[name]) if inventory else 2 for name in self._names]
        self._walk = self._walk_order()
        self._plausible = Plausibility(self._pool, priors, settings.largest_size_ratio)
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
        weights = np.prod([self._plausible.partners(index) for index in chosen], axis=0)
        weights = weights ** (1 / len(chosen)) * self._fits(chosen) * self._balance
        weights[list(chosen)] = 0
        if not weights.any():
            return None
        return int(draw.choice(len(weights), p=_normalised(weights)))

    def _balancing(self) -> Float64Array:
        """Factors by which all of the pool are partners about equally often, shape (pool,).

        Rows and columns of the affinities are scaled in turn until all have the same sum.
        """
        indices = range(len(self._pool))
        pairs = np.stack(
            [self._plausible.partners(index) * self._fits([index]) for index in indices]
        )
        np.fill_diagonal(pairs, 0)
        factors = np.ones(len(pairs))
        for _ in range(30):
            rows = np.maximum((pairs * factors).sum(axis=1, keepdims=True), 1e-12)
            factors /= np.maximum((pairs * factors / rows).sum(axis=0), 1e-3)
        return np.asarray(factors / factors.max())

    def _fits(self, chosen: Iterable[int]) -> Float64Array:
        """1 where some place has room for a category beside those chosen, else 0."""
        needed = {self._habitats[index] for index in chosen}
        offered = set().union(*(place for place in self._places if needed <= place))
        together = {
            habitat
            for habitat in offered
            if any(needed | {habitat} <= place for place in self._places)
        }
        return np.array([float(habitat in together) for habitat in self._habitats])


def _normalised(weights: Sequence[float] | Float64Array) -> Float64Array:
    array = np.asarray(weights, dtype=np.float64)
    return np.asarray(array / array.sum())


def _places(inventory: Inventory | None) -> list[frozenset[str]]:
    return list((inventory.settings if inventory else PLACES).values())


def _habitat(category: Category, inventory: Inventory | None) -> str:
    return inventory.habitats[category.name] if inventory else category.habitat


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
