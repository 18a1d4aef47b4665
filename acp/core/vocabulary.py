"""The 1,203 categories of LVIS v1 and what a pipeline has to know of each.

The table is `acp/data/categories.tsv`: one line a category, tab-separated, no quoting.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from acp.core.errors import AcpError, closest

HABITATS = ("ground", "surface", "water", "air", "wall", "worn")


@dataclass(frozen=True, slots=True)
class Category:
    """An LVIS category.

    `id` and `name` are LVIS's own; `frequency` is "r", "c" or "f" (rare, common, frequent);
    the counts are those of LVIS v1 train. `noun` reads in a caption, `article` goes before it.
    `longest_cm` is the typical longest side of the real thing. `habitat` is where it is found, one
    of `HABITATS`; `group` gathers categories of a kind ("animal_farm").
    """

    id: int
    name: str
    synonyms: tuple[str, ...]
    frequency: str
    image_count: int
    instance_count: int
    noun: str
    article: str
    longest_cm: float
    habitat: str
    group: str


@cache
def categories() -> Mapping[str, Category]:
    """Every category by its LVIS name, in the order of the ids.

    >>> len(categories())
    1203
    >>> categories()["zebra"].frequency
    'f'
    """
    text = files("acp.data").joinpath("categories.tsv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    return MappingProxyType({row["name"]: _category(row) for row in rows})


def _category(row: Mapping[str, str]) -> Category:
    return Category(
        id=int(row["id"]),
        name=row["name"],
        synonyms=tuple(filter(None, row["synonyms"].split("|"))),
        frequency=row["frequency"],
        image_count=int(row["image_count"]),
        instance_count=int(row["instance_count"]),
        noun=row["noun"],
        article=row["article"],
        longest_cm=float(row["longest_cm"]),
        habitat=row["habitat"],
        group=row["group"],
    )


def plain(concept: str) -> str:
    """Lower case, underscores as spaces, single spaces: what two spellings are compared by.

    >>> plain(" Teddy_Bear ")
    'teddy bear'
    """
    return " ".join(concept.replace("_", " ").lower().split())


def resolve(concept: str) -> Category:
    """The category meant by an LVIS name, a noun, or a synonym or bare name that only one has.

    Case, underscores and spaces do not matter. Names come before nouns, nouns before synonyms,
    synonyms before names without their parenthesis.

    Raises:
        AcpError: nothing or more than one category fits; the message names the nearest.

    >>> resolve("Aeroplane").name, resolve("bus (vehicle)").name
    ('airplane', 'bus_(vehicle)')
    """
    wanted = plain(concept)
    for spellings in _spellings():
        found = spellings.get(wanted, ())
        if len(found) == 1:
            return categories()[found[0]]
        if found:
            raise AcpError(f"concept {concept!r} is ambiguous: write one of {', '.join(found)}")
    near = nearest(wanted)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise AcpError(f"concept {concept!r} is not an LVIS category{hint}")


def nearest(concept: str, count: int = 3) -> list[str]:
    """The LVIS names spelled most like `concept`, best first; may be empty.

    >>> nearest("zebraa")[0]
    'zebra'
    """
    known: dict[str, tuple[str, ...]] = {}
    for spellings in reversed(_spellings()):
        known.update(spellings)
    close = closest(plain(concept), known, 3 * count, cutoff=0.7)
    return list(dict.fromkeys(name for spelling in close for name in known[spelling]))[:count]


@cache
def _spellings() -> tuple[dict[str, tuple[str, ...]], ...]:
    """Spelling to the names of the categories it may mean, the safest kind of spelling first."""
    kinds = (
        lambda category: (category.name,),
        lambda category: (category.noun,),
        lambda category: category.synonyms,
        lambda category: (_bare(category.name), *map(_bare, category.synonyms)),
    )
    tables = []
    for kind in kinds:
        table: defaultdict[str, dict[str, None]] = defaultdict(dict)
        for category in categories().values():
            for spelling in kind(category):
                table[plain(spelling)][category.name] = None
        tables.append({spelling: tuple(names) for spelling, names in table.items()})
    return tuple(tables)


def _bare(name: str) -> str:
    """Without the parenthesis that LVIS adds to tell two senses apart."""
    return re.sub(r"[_ ]*\(.*?\)", "", name)
