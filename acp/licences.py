"""Which licence a data set must carry: the strictest of everything that made it."""

from __future__ import annotations

from collections.abc import Iterable

# From the freest to the strictest, by the identifiers of the Hub. A rough order of obligations, to
# choose the identifier of the card; the card lists every source with its own licence.
ORDER = (
    "cc0-1.0",
    "unlicense",
    "mit",
    "bsd-3-clause",
    "apache-2.0",
    "cc-by-4.0",
    "openrail",
    "openrail++",
    "creativeml-openrail-m",
    "cc-by-sa-3.0",
    "cc-by-sa-4.0",
    "gpl-2.0",
    "gpl-3.0",
    "cc-by-nc-4.0",
    "other",
)


def strictest(licences: Iterable[str]) -> str:
    """The strictest identifier; "other" if one of them is not known.

    >>> strictest(["apache-2.0", "gpl-2.0", "mit"])
    'gpl-2.0'
    >>> strictest(["apache-2.0", "house rules"])
    'other'
    """
    ranks = [ORDER.index(each) if each in ORDER else len(ORDER) - 1 for each in licences]
    return ORDER[max(ranks, default=0)]
