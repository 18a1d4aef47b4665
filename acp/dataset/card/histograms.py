"""How scores are distributed, as bars of text: the same bytes on every machine."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator

import numpy as np

from acp.dataset.card.markdown import NOTHING, block, number
from acp.dataset.card.statistics import SCORES, Raw

TITLES = {"clis_l": "CLIS-L", "clis_i": "CLIS-I", "clis": "CLIS"}
WIDTH = 20
"""Characters of the longest bar."""
_EIGHTHS = " ▏▎▍▌▋▊▉█"
BIN = 5
BINS = 100 // BIN


def histograms(raw: Raw) -> str:
    """A block for each score: a line for each five points, all candidates and beside them the
    kept."""
    return "\n\n".join(block("\n".join(_lines(raw, name)), "text") for name in SCORES)


def _lines(raw: Raw, name: str) -> Iterator[str]:
    columns = raw.scores[name]
    counts = [count(values) for values in columns]
    yield _line(TITLES[name], *zip(("candidates", "kept"), ("", ""), strict=True))
    used = [place for place, each in enumerate(counts[0]) if each]
    for place in range(max(used, default=-1), min(used, default=0) - 1, -1):
        bars = ((number(found[place]), bar(found[place], max(found))) for found in counts)
        yield _line(_interval(place), *bars)
    yield _line("no score", *((number(int(np.isnan(values).sum())), "") for values in columns))
    yield _line("median", *((_median(values), "") for values in columns))


def _line(title: str, *cells: tuple[str, str]) -> str:
    told = (f"{value:>12}  {drawn:<{WIDTH}}" for value, drawn in cells)
    return f"{title:<9}{''.join(told)}".rstrip()


def count(values: np.ndarray) -> list[int]:
    """How many scores are below 0, and how many in each five from 0 to 100 (100 is in the
    last).

    >>> found = count(np.array([-3.0, 0.0, 4.9, 100.0, np.nan]))
    >>> found[0], found[1], found[20], sum(found)
    (1, 2, 1, 4)
    """
    found = values[~np.isnan(values)]
    places = np.clip(np.floor(found / BIN).astype(int) + 1, 0, BINS)
    return [int(each) for each in np.bincount(places, minlength=BINS + 1)]


def _interval(place: int) -> str:
    return "below 0" if not place else f"{(place - 1) * BIN} to {place * BIN}"


def bar(value: int, largest: int) -> str:
    """A bar of block characters; what is there at all is seen.

    >>> bar(1, 2), bar(1, 1000)
    ('██████████', '▏')
    """
    if not value:
        return ""
    eighths = max(1, math.floor(8 * WIDTH * value / largest + 0.5))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _median(values: np.ndarray) -> str:
    found = values[~np.isnan(values)].tolist()
    return f"{statistics.median(found):.1f}" if found else NOTHING
