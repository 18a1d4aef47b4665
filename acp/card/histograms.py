"""How scores are distributed, as a table with bars of text: the same bytes on every machine."""

from __future__ import annotations

import math
import statistics

import numpy as np

from acp.card.markdown import NOTHING, number, table
from acp.card.statistics import SCORES, Raw

TITLES = {"clis_l": "CLIS-L", "clis_i": "CLIS-I", "clis": "CLIS"}
WIDTH = 8
"""Characters of the longest bar."""
_EIGHTHS = " ▏▎▍▌▋▊▉█"
BIN = 10
BINS = 100 // BIN


def histograms(raw: Raw) -> str:
    """A row for each ten points, and a column for each score of all candidates and of the kept."""
    columns = [values for name in SCORES for values in raw.scores[name]]
    head = [f"{TITLES[name]}, {who}" for name in SCORES for who in ("candidates", "kept")]
    counts = [count(values) for values in columns]
    used = sorted({place for found in counts for place, each in enumerate(found) if each})
    shown = range(max(used), min(used) - 1, -1) if used else ()
    rows = [
        [_interval(place), *(_bar(found[place], max(found)) for found in counts)] for place in shown
    ]
    rows.append(["no score", *(number(int(np.isnan(values).sum())) for values in columns)])
    rows.append(["median", *(_median(values) for values in columns)])
    return table(["score", *head], rows)


def count(values: np.ndarray) -> list[int]:
    """How many scores are below 0, and how many in each ten from 0 to 100 (100 is in the last).

    >>> count(np.array([-3.0, 0.0, 9.9, 100.0, np.nan]))
    [1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    """
    found = values[~np.isnan(values)]
    places = np.clip(np.floor(found / BIN).astype(int) + 1, 0, BINS)
    return [int(each) for each in np.bincount(places, minlength=BINS + 1)]


def _interval(place: int) -> str:
    return "below 0" if not place else f"{(place - 1) * BIN} to {place * BIN}"


def _bar(value: int, largest: int) -> str:
    return f"{bar(value, largest)} {number(value)}" if value else "0"


def bar(value: int, largest: int) -> str:
    """A bar of block characters; what is there at all is seen.

    >>> bar(1, 2), bar(1, 1000)
    ('████', '▏')
    """
    eighths = max(1, math.floor(8 * WIDTH * value / largest + 0.5))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _median(values: np.ndarray) -> str:
    found = values[~np.isnan(values)].tolist()
    return f"{statistics.median(found):.1f}" if found else NOTHING
