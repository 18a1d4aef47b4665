"""Which licence a data set must carry: the strictest of everything that made it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

OTHER = "other"
UNKNOWN = "unknown"
_FREE: frozenset[str] = frozenset()
_NAMED = frozenset({"name"})  # whose work it is must be told
_USE = frozenset({"use"})  # some uses are forbidden
_ALIKE = frozenset({"name", "alike"})  # what is made of it is shared in the same way
_UNPAID = frozenset({"name", "unpaid"})  # nothing commercial
OBLIGATIONS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "cc0-1.0": _FREE,
        "unlicense": _FREE,
        "mit": _FREE,
        "bsd-2-clause": _FREE,
        "bsd-3-clause": _FREE,
        "apache-2.0": _FREE,
        "cc-by-3.0": _NAMED,
        "cc-by-4.0": _NAMED,
        "openrail": _USE,
        "openrail++": _USE,
        "bigscience-openrail-m": _USE,
        "bigcode-openrail-m": _USE,
        "creativeml-openrail-m": _USE,
        "gemma": _USE | {"gemma"},
        "llama2": _USE | {"llama"},
        "llama3": _USE | {"llama"},
        "llama3.1": _USE | {"llama"},
        "llama3.2": _USE | {"llama"},
        "llama3.3": _USE | {"llama"},
        "llama4": _USE | {"llama"},
        "cc-by-sa-3.0": _ALIKE,
        "cc-by-sa-4.0": _ALIKE,
        "gpl-2.0": _ALIKE,
        "gpl-3.0": _ALIKE,
        "cc-by-nc-4.0": _UNPAID,
        "cc-by-nc-sa-4.0": _UNPAID | {"alike unpaid"},  # never for what the GPL or BY-SA covers
    }
)
"""Identifiers of the Hub from the freest to the strictest, with what they ask for. A rough order,
to choose the identifier of the card; the card lists every source with its own licence."""


def strictest(licences: Iterable[str]) -> str:
    """The strictest identifier, if it asks for all that the others ask for.

    "other" where none does, or where one is not in the table: the non-commercial licences of FLUX,
    a model without a card.

    >>> strictest(["apache-2.0", "gpl-2.0", "mit"])
    'gpl-2.0'
    >>> strictest(["apache-2.0", "CreativeML-OpenRAIL-M"])
    'creativeml-openrail-m'
    >>> strictest(["creativeml-openrail-m", "gpl-2.0"])
    'other'
    >>> strictest(["apache-2.0", "house rules"])
    'other'
    """
    order = list(OBLIGATIONS)
    found = {licence.strip().lower() for licence in licences} or {order[0]}
    if not found <= OBLIGATIONS.keys():
        return OTHER
    asked = frozenset().union(*(OBLIGATIONS[licence] for licence in found))
    enough = [licence for licence in found if OBLIGATIONS[licence] >= asked]
    return max(enough, key=order.index, default=OTHER)


@dataclass(frozen=True, slots=True)
class Licence:
    """The licence of a data set as the Hub wants it: `name` stands beside the id "other" alone."""

    id: str
    name: str | None = None


def licence_of(licences: Iterable[str]) -> Licence:
    """The licence of what was made by sources of these licences.

    Where no identifier covers all that they ask for, it is "other", named after those that bind.

    >>> licence_of(["apache-2.0", "mit"])
    Licence(id='apache-2.0', name=None)
    >>> licence_of(["apache-2.0", "flux-1-dev-non-commercial-license"]).name
    'flux-1-dev-non-commercial-license'
    >>> licence_of(["gpl-2.0", "creativeml-openrail-m", "mit"]).name
    'creativeml-openrail-m-and-gpl-2.0'
    """
    found = sorted({licence.strip().lower() for licence in licences})
    identifier = strictest(found)
    return Licence(identifier, _name(found) if identifier == OTHER else None)


def _name(licences: Iterable[str]) -> str:
    """As the Hub spells names: small letters, digits, dots and dashes."""
    names = sorted({_slug(licence) for licence in licences if OBLIGATIONS.get(licence) != _FREE})
    return "-and-".join(names) if len(names) <= MOST_NAMES else "several-licences"


def _slug(licence: str) -> str:
    spelled = licence.replace("+", "-plus")  # openrail++ is another than openrail
    return re.sub(r"[^a-z0-9.]+", "-", spelled).strip("-.")[:60] or UNKNOWN


MOST_NAMES = 3
"""More licences than these have no name of their own."""
