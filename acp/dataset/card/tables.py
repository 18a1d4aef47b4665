"""Tables of a card: what was kept and what not, categories, scores as bars of text."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator

import numpy as np

from acp.core.vocabulary import categories
from acp.dataset.card.markdown import NOTHING, block, code, counted, folded, number, share, table
from acp.dataset.card.statistics import SCORES, Curated, Raw, Statistics

FREQUENCIES = {"r": "rare", "c": "common", "f": "frequent"}
MOST_REASONS = 20
MOST_FOLDED = 200
MOST_CATEGORIES = 20


def outcome_table(found: Statistics) -> str:
    """How many scenes, candidates and objects were used and how many not."""
    scenes, raw = found.scene_graphs, found.raw
    objects, lost = found.curated.total, raw.object_rejects.total()
    levels = {
        "scenes": (scenes.rows, scenes.rows - scenes.rejects.total()),
        "candidates": (raw.rows, raw.kept),
        "objects of the kept images": (objects + lost, objects),
    }
    rows = [
        [name, number(made), number(used), number(made - used), share(used, made)]
        for name, (made, used) in levels.items()
    ]
    return table(["level", "made", "used", "not used", "share used"], rows, range(1, 5))


def reasons_table(found: Statistics) -> str:
    """Everything that was not used by level and reason, the rare reasons folded; or nothing."""
    rejects = found.rejects()
    rows = [[level, code(reason), number(n)] for (level, reason), n in rejects.items()]
    if not rows:
        return ""
    shown, rest = rows[:MOST_REASONS], rows[MOST_REASONS:]
    parts = [_reasons(shown)]
    if rest:
        others = [*rejects.values()][MOST_REASONS + MOST_FOLDED :]
        last = [["any", f"{number(len(others))} others", number(sum(others))]] if others else []
        told = _reasons([*rest[:MOST_FOLDED], *last])
        parts.append(folded(counted(len(rest), "rarer reason"), told))
    return "\n\n".join(parts)


def _reasons(rows: list[list[str]]) -> str:
    return table(["level", "reason", "count"], rows, (2,))


def frequencies_table(curated: Curated) -> str:
    """Categories, images and objects by the frequency that LVIS gives to a category."""
    of_lvis = [category.frequency for category in categories().values()]
    rows = []
    for letter, word in FREQUENCIES.items():
        names = [name for name, found in curated.frequency.items() if found == letter]
        objects = sum(curated.objects[name] for name in names)
        rows.append(
            [
                f"{letter} ({word})",
                f"{number(len(names))} of {number(of_lvis.count(letter))}",
                number(curated.images_of_frequency[letter]),
                number(objects),
                share(objects, curated.total),
            ]
        )
    head = ["frequency", "categories", "images", "objects", "share of objects"]
    return table(head, rows, range(1, 5))


def categories_table(curated: Curated) -> str:
    """The categories with most objects, and the others folded; or nothing."""
    ranked = sorted(curated.objects, key=lambda name: (-curated.objects[name], name))
    if not ranked:
        return ""
    shown, rest = ranked[:MOST_CATEGORIES], ranked[MOST_CATEGORIES:]
    rows = [
        [code(name), curated.frequency[name], number(curated.images[name]), number(n)]
        for name in shown
        if (n := curated.objects[name])
    ]
    parts = [table(["category", "frequency", "images", "objects"], rows, (2, 3))]
    if rest:
        summary = f"The other {counted(len(rest), 'category', 'categories')}, with their objects"
        parts.append(folded(summary, "\n\n".join(_tail(curated, rest))))
    return "\n\n".join(parts)


def _tail(curated: Curated, names: list[str]) -> Iterator[str]:
    for letter, word in FREQUENCIES.items():
        told = [
            f"{code(name)} {number(curated.objects[name])}"
            for name in names
            if curated.frequency[name] == letter
        ]
        if told:
            yield f"**{word.capitalize()}**: {', '.join(told)}"


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
