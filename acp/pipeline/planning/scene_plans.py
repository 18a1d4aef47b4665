"""What is asked of a language model for one scene, and how its answer becomes a scene graph.

A `FilledPlan` is for renderers that can draw certain things: every slot is a choice, so whatever
the model answers is true of the picture to come. A `FreePlan` is for those that can draw anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from acp.clis.predicates import PREDICATES, canonical
from acp.core.types import Inventory, Relation, SceneGraph, SceneObject
from acp.core.vocabulary import Category
from acp.core.wording import Named, compose, names
from acp.pipeline.planning.llm_schemas import (
    Schema,
    filled_scene_schema,
    free_scene_schema,
    labels,
    parse,
    relation_label,
)

PLACEHOLDERS = frozenset({"objects", "relations"})


class Plan(Protocol):
    """A scene to be described."""

    def schema(self) -> Schema: ...

    def values(self) -> Mapping[str, str]:
        """For the placeholders of the prompt."""

    def read(self, answer: str) -> SceneGraph:
        """The scene graph that the answer means. Raises ValueError with the reason if none."""


def name_all(categories: Sequence[Category]) -> tuple[str, ...]:
    """The names of a scene's objects towards a language model."""
    return labels([category.noun for category in categories])


def told(relations: Sequence[Relation], names: Sequence[str]) -> str:
    """Relations as a prompt tells them.

    >>> told([Relation(0, "left of", 1)], ["dog", "cow"])
    'dog left of cow'
    """
    lines = [f"{names[r.subject]} {r.predicate} {names[r.object]}" for r in relations]
    return "; ".join(lines) or "none"


@dataclass(frozen=True, slots=True)
class FilledPlan:
    """Slots that are choices; the caption is put together from them."""

    categories: tuple[Category, ...]
    relations: tuple[Relation, ...]
    looks: tuple[tuple[str, ...], ...]
    places: tuple[str, ...]
    openings: tuple[str, ...]

    @classmethod
    def make(
        cls,
        categories: tuple[Category, ...],
        relations: tuple[Relation, ...],
        inventory: Inventory,
        openings: tuple[str, ...],
        most_places: int,
        rng: np.random.Generator,
    ) -> FilledPlan:
        """Offer what the inventory has; of the places that fit, up to `most_places` by chance.

        Raises:
            ValueError: it has no look of a category, or no place for all of them.
        """
        looks = _looks(categories, inventory, rng)
        places = rng.permutation(places_for(categories, inventory)).tolist()
        return cls(categories, relations, looks, tuple(places[:most_places]), openings)

    def schema(self) -> Schema:
        wordings = [PREDICATES.get(r.predicate, (r.predicate,)) for r in self.relations]
        names = name_all(self.categories)
        return filled_scene_schema(
            names, self.looks, self.relations, wordings, self.places, self.openings
        )

    def values(self) -> Mapping[str, str]:
        names = name_all(self.categories)
        return {"objects": ", ".join(names), "relations": told(self.relations, names)}

    def read(self, answer: str) -> SceneGraph:
        filled = parse(answer, self.schema())
        names = name_all(self.categories)
        looks = [filled["looks"][name] for name in names]
        worded = [filled["relations"][relation_label(r, names)] for r in self.relations]
        named = [Named.of(c.noun, look) for c, look in zip(self.categories, looks, strict=True)]
        caption = compose(filled["caption"], filled["place"], named, self.relations, worded)
        return _graph(self.categories, looks, self.relations, caption, filled["place"])


@dataclass(frozen=True, slots=True)
class FreePlan:
    """Slots of free text; `relations` is None where the model chooses them."""

    categories: tuple[Category, ...]
    relations: tuple[Relation, ...] | None
    longest_caption: int

    def schema(self) -> Schema:
        names = name_all(self.categories)
        return free_scene_schema(names, self.longest_caption, self.relations is None)

    def values(self) -> Mapping[str, str]:
        names = name_all(self.categories)
        if self.relations is not None:
            return {"objects": ", ".join(names), "relations": told(self.relations, names)}
        count = len(names) - 1
        asked = f"choose {count}; each object is in at least one" if count else "none"
        return {"objects": ", ".join(names), "relations": asked}

    def read(self, answer: str) -> SceneGraph:
        filled = parse(answer, self.schema())
        names = name_all(self.categories)
        attributes = [_clean(filled["attributes"][name], "an attribute") for name in names]
        relations = self.relations
        if relations is None:
            relations = _chosen(filled["relations"], names)
        caption, place = (
            _clean(filled["caption"], "the caption"),
            _clean(filled["place"], "the place"),
        )
        if not all(_is_named(category, caption) for category in self.categories):
            raise ValueError("the caption does not name every object")
        return _graph(self.categories, attributes, relations, caption, place)


def places_for(categories: Sequence[Category], inventory: Inventory) -> tuple[str, ...]:
    """The settings that offer every habitat that the categories need, in a fixed order.

    Raises:
        ValueError: there is none.
    """
    needed = {inventory.habitats.get(c.name, c.habitat) for c in categories}
    places = [place for place, offered in inventory.settings.items() if needed <= offered]
    if not places:
        raise ValueError(f"no place offers {' and '.join(sorted(needed))}")
    return tuple(sorted(places))


def _looks(
    categories: Sequence[Category], inventory: Inventory, rng: np.random.Generator
) -> tuple[tuple[str, ...], ...]:
    """The attribute phrases of each; objects of one category share them out, so as to differ."""
    decks: dict[str, list[str]] = {}
    for name in dict.fromkeys(category.name for category in categories):
        phrases = sorted({look.attributes for look in inventory.looks.get(name, ())})
        if not phrases:
            raise ValueError(f"the renderer has no {name!r}")
        decks[name] = [phrases[index] for index in rng.permutation(len(phrases))]
    total = [category.name for category in categories]
    looks = []
    for index, name in enumerate(total):
        share = decks[name][total[:index].count(name) :: total.count(name)]
        looks.append(tuple(sorted(share or decks[name])))
    return tuple(looks)


def _chosen(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> tuple[Relation, ...]:
    relations = [
        Relation(
            names.index(row["subject"]),
            canonical(_clean(row["predicate"], "a predicate")),
            names.index(row["object"]),
        )
        for row in rows
    ]
    pairs = [frozenset({relation.subject, relation.object}) for relation in relations]
    if any(len(pair) < 2 for pair in pairs):
        raise ValueError("an object is related to itself")
    if len(set(pairs)) < len(pairs):
        raise ValueError("two objects are related twice")
    return tuple(relations)


def _is_named(category: Category, caption: str) -> bool:
    bare = re.sub(r"_?\(.*?\)", "", category.name)
    return names(caption, (category.noun, bare, *category.synonyms))


def _clean(text: str, what: str) -> str:
    """Single spaces, no control characters; free text that says nothing is an error."""
    clean = " ".join(text.split())
    if not re.search(r"\w", clean) or not clean.isprintable():
        raise ValueError(f"{what} is empty or not plain text")
    return clean


def _graph(
    categories: Sequence[Category],
    attributes: Sequence[str],
    relations: tuple[Relation, ...],
    caption: str,
    place: str,
) -> SceneGraph:
    pairs = zip(categories, attributes, strict=True)
    objects = tuple(SceneObject(category.name, phrase) for category, phrase in pairs)
    return SceneGraph(objects, relations, caption, place)
