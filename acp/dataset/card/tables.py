"""Tables of what was kept and what was not, and of categories by frequency."""

from __future__ import annotations

from collections.abc import Iterator

from acp.core.vocabulary import categories
from acp.dataset.card.markdown import code, counted, folded, number, share, table
from acp.dataset.card.statistics import Curated, Statistics

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
