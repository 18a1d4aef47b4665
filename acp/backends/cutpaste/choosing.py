"""Which cut-outs can stand for an object, and which of them suits a box."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from acp.backends.cutpaste.cutouts import CutOut, usual_support
from acp.core.vocabulary import categories

# A thing photographed from above lies flat when it is seen from the side.
FORESHORTENING = 0.72


def usable_cutouts(category: str, found: Sequence[CutOut], min_quality: int) -> list[CutOut]:
    """Those that can be drawn, all of one support and, where there are such, seen from the side."""
    good = [
        cutout
        for cutout in found
        if cutout.quality >= min_quality
        and cutout.view in {"level", "top"}
        and cutout.support != "perch"
        # Seen under water, where no background is.
        and cutout.pose != "swimming"
    ]
    if not good:
        return []
    usual = usual_support(category)
    supports = [cutout.support for cutout in good]
    support = max(sorted(set(supports)), key=lambda name: (supports.count(name), name == usual))
    good = [cutout for cutout in good if cutout.support == support]
    return [cutout for cutout in good if cutout.view == "level"] or good


def habitat_of(category: str, support: str) -> str:
    """The habitat of `acp.core.types.Inventory` for a category drawn on a support.

    >>> habitat_of("lemon", "ground"), habitat_of("zebra", "ground")
    ('surface', 'ground')
    """
    if support in {"air", "water"}:
        return support
    known = categories()[category]
    limit = {"surface": 70, "worn": 40, "wall": 40}.get(known.habitat, 0)
    return "surface" if known.longest_cm < limit else "ground"


def with_attributes(found: Sequence[CutOut], attributes: str) -> list[CutOut]:
    """The cut-outs that are what the phrase says; all of them where it says nothing."""
    wanted = attributes.strip().lower()
    if not wanted:
        return list(found)
    for matches in (
        lambda cutout: cutout.attributes.lower() == wanted,
        lambda cutout: cutout.colors.lower() == wanted,
        lambda cutout: _words(wanted) <= _words(cutout.attributes),
    ):
        if matching := [cutout for cutout in found if matches(cutout)]:
            return matching
    return []


def _words(phrase: str) -> set[str]:
    return set(phrase.lower().replace(",", " ").split()) - {"and"}


def drawn_aspect(cutout: CutOut) -> float:
    """Width / height as it is drawn."""
    width, height = cutout.size_wh
    return width / height / (FORESHORTENING if cutout.view == "top" else 1)


def suitability(cutout: CutOut, size_px: tuple[float, float]) -> float:
    """A weight: by quality, by how well it fills a box of this size, by its own size in pixels."""
    misfit = abs(np.log(drawn_aspect(cutout) * size_px[1] / size_px[0]))
    small = min(1.0, cutout.largest_side_px / max(size_px))
    return float(max(cutout.quality**1.5 * np.exp(-2.5 * misfit) * small**3, 1e-9))
