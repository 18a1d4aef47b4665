"""What is asked of a language model for one scene, and how its answer becomes a scene graph.

A `FilledPlan` is for renderers that can draw certain things: every slot is a choice, so whatever
the model answers is true of the picture to come. A `FreePlan` is for those that can draw anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from acp.clis.predicates import PREDICATES, canonical
from acp.core.types import Inventory, Relation, SceneGraph, SceneObject
from acp.core.vocabulary import Category
from acp.core.wording import Named, compose, names
from acp.pipeline.planning.llm_schemas import Schema, labels, one_of, parse, record, text

PLACEHOLDERS = frozenset({"objects", "relations"})
MOST_RELATIONS = 6
"""That a model may choose."""


def told(relations: Sequence[Relation], names: Sequence[str]) -> str:
    """Relations as a prompt tells them.

    >>> told([Relation(0, "left of", 1)], ["dog", "cow"])
    'dog left of cow'
    """
    lines = [f"{names[r.subject]} {r.predicate} {names[r.object]}" for r in relations]
    return "; ".join(lines) or "none"


@dataclass(frozen=True)
class _Plan:
    """A scene to be described; `relations` is None where the model chooses them."""

    categories: tuple[Category, ...]
    relations: tuple[Relation, ...] | None

    @property
    def names(self) -> tuple[str, ...]:
        """What the objects are called towards a language model."""
        return labels([category.noun for category in self.categories])

    def values(self) -> Mapping[str, str]:
        """For the placeholders of the prompt."""
        if self.relations is not None:
            asked = told(self.relations, self.names)
        else:
            count = len(self.names) - 1
            asked = f"choose {count}; each object is in at least one" if count else "none"
        return {"objects": ", ".join(self.names), "relations": asked}

    def _graph(
        self, attributes: Sequence[str], relations: Sequence[Relation], caption: str, place: str
    ) -> SceneGraph:
        pairs = zip(self.categories, attributes, strict=True)
        objects = tuple(SceneObject(category.name, phrase) for category, phrase in pairs)
        return SceneGraph(objects, tuple(relations), caption, place)


@dataclass(frozen=True)
class FilledPlan(_Plan):
    """Slots that are choices; the caption is put together from them."""

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
        """Every slot a choice: what can be shown, and how to say it."""
        looks = zip(self.names, self.looks, strict=True)
        slots: dict[str, Schema] = {"place": one_of(self.places)}
        slots["looks"] = record({name: one_of(phrases) for name, phrases in looks})
        if self.relations:
            wordings = [PREDICATES.get(r.predicate, (r.predicate,)) for r in self.relations]
            pairs = zip(self._slots(), wordings, strict=True)
            slots["relations"] = record({slot: one_of(choices) for slot, choices in pairs})
        return record({**slots, "caption": one_of(self.openings)})

    def read(self, answer: str) -> SceneGraph:
        """The scene graph that the answer means. Raises ValueError with the reason if none."""
        filled = parse(answer, self.schema())
        looks = [filled["looks"][name] for name in self.names]
        worded = [filled["relations"][slot] for slot in self._slots()]
        named = [Named.of(c.noun, look) for c, look in zip(self.categories, looks, strict=True)]
        caption = compose(filled["caption"], filled["place"], named, self.relations, worded)
        return self._graph(looks, self.relations, caption, filled["place"])

    def _slots(self) -> list[str]:
        """The keys of the wordings of the relations, such as "cow ... dog"."""
        names = self.names
        return [f"{names[r.subject]} ... {names[r.object]}" for r in self.relations]


@dataclass(frozen=True)
class FreePlan(_Plan):
    """Slots of free text."""

    longest_caption: int

    def schema(self) -> Schema:
        """Attributes, place and caption as free text; relations too where the model chooses."""
        slots: dict[str, Schema] = {"attributes": record({name: text(60) for name in self.names})}
        if self.relations is None:
            end, several = one_of(self.names), len(self.names) > 1
            slots["relations"] = {
                "type": "array",
                "items": record({"subject": end, "predicate": text(30), "object": end}),
                "minItems": int(several),
                "maxItems": MOST_RELATIONS * several,
            }
        return record({**slots, "place": text(60), "caption": text(self.longest_caption, 10)})

    def read(self, answer: str) -> SceneGraph:
        """The scene graph that the answer means. Raises ValueError with the reason if none."""
        filled = parse(answer, self.schema())
        attributes = [_clean(filled["attributes"][name], "an attribute") for name in self.names]
        relations = self.relations
        if relations is None:
            relations = _chosen(filled["relations"], self.names)
        caption = _clean(filled["caption"], "the caption")
        place = _clean(filled["place"], "the place")
        if not all(_is_named(category, caption) for category in self.categories):
            raise ValueError("the caption does not name every object")
        return self._graph(attributes, relations, caption, place)


Plan = FilledPlan | FreePlan


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
    all_names = [category.name for category in categories]
    decks: dict[str, list[str]] = {}
    for name in dict.fromkeys(all_names):
        phrases = sorted({look.attributes for look in inventory.looks.get(name, ())})
        if not phrases:
            raise ValueError(f"the renderer has no {name!r}")
        decks[name] = [phrases[index] for index in rng.permutation(len(phrases))]
    looks = []
    for index, name in enumerate(all_names):
        share = decks[name][all_names[:index].count(name) :: all_names.count(name)]
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
