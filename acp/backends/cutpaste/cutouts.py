"""The bank of cut-outs: photographed objects on a transparent ground, and which of them suits.

A bank is the packaged table of stamps, or any folder `FOLDER/<category>/*.png` (or .webp) with an
optional table `cutouts.tsv` of the same columns.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from acp.backends.cutpaste.assets import asset_dir
from acp.backends.cutpaste.color_names import color_phrase
from acp.backends.cutpaste.imaging import Sprite, clean_sprite, read_cutout
from acp.backends.cutpaste.tables import (
    content_digest,
    inside_folder,
    number,
    one_of,
    pictures_in,
    read_rows,
    table_text,
)
from acp.core.errors import AcpError
from acp.core.vocabulary import categories, resolve

STAMPS = "tuxpaint-stamps-default"
TABLE = "cutouts.tsv"
SUFFIXES = (".png", ".webp")
COLUMNS = ("file", "category", "colors", "pose", "support", "view", "facing", "quality")
SUPPORTS = ("ground", "water", "air", "perch")
VIEWS = ("level", "top", "portrait")
FACINGS = ("left", "right", "front", "back")
QUALITIES = (1, 2, 3)
# Above this enlargement a photograph looks soft beside its background.
LARGEST_ENLARGEMENT = 1.5
# Pixels of the longest side that is kept in memory.
LARGEST_KEPT = 720
# A thing photographed from above lies flat when it is seen from the side.
FORESHORTENING = 0.72


@dataclass(frozen=True)
class CutOut:
    """A picture of one object and what is known of it.

    `colors` and `pose` are true of the pixels ("brown", "standing"); `support` is what it rests on,
    `view` how it is seen, `facing` which way it looks, `quality` 1 to 3.
    """

    path: Path
    category: str
    colors: str
    pose: str
    support: str
    view: str
    facing: str
    quality: int

    @property
    def attributes(self) -> str:
        """The colours and, after a comma, the pose: "brown, standing"."""
        return ", ".join(filter(None, (self.colors, self.pose)))

    @cached_property
    def size_wh(self) -> tuple[int, int]:
        """Pixels of what is not transparent."""
        return read_cutout(self.path).size

    @property
    def largest_side_px(self) -> float:
        """The longest side it may be drawn at."""
        return LARGEST_ENLARGEMENT * max(self.size_wh)

    def sprite(self) -> Sprite:
        """Colours and alpha, cropped, without fringe.

        Raises:
            AcpError: the file is not a readable RGBA image.
        """
        return _decoded(self.path)


@lru_cache(maxsize=256)
def _decoded(path: Path) -> Sprite:
    image = read_cutout(path)
    image.thumbnail((LARGEST_KEPT, LARGEST_KEPT))
    return clean_sprite(image)


@dataclass(frozen=True)
class CutoutBank:
    """Cut-outs by LVIS category; `version` changes with the table and the pictures. `left_out` has
    what a folder holds besides and why it is no cut-out."""

    version: str
    cutouts: tuple[CutOut, ...]
    left_out: tuple[str, ...] = ()

    @cached_property
    def by_category(self) -> Mapping[str, list[CutOut]]:
        """The cut-outs of every category there is."""
        index: dict[str, list[CutOut]] = defaultdict(list)
        for cutout in self.cutouts:
            index[cutout.category].append(cutout)
        return dict(index)


def stamps_bank(version: str) -> CutoutBank:
    """The bank of the packaged table; files that this version of the package lacks are left out.

    Raises:
        MissingRequirementError: the stamps have not been fetched.
    """
    folder = asset_dir(STAMPS)
    text = files("acp.data").joinpath("stamps.tsv").read_text(encoding="utf-8")
    listed = _from_table(text, folder, "stamps.tsv", [])
    present = tuple(cutout for cutout in listed if cutout.path.is_file())
    if not present:
        raise AcpError(f"none of the {len(listed)} listed stamps is in {folder}: fetch them again")
    return CutoutBank(f"{version}-{_digest([text])}", present)


def folder_bank(folder: Path) -> CutoutBank:
    """The bank in a user's folder. Names that are no category and pictures that are no cut-outs are
    left out.

    Raises:
        AcpError: no such folder, no cut-outs, or a row of the table that is wrong.
    """
    if not folder.is_dir():
        raise AcpError(f"cut-out bank {folder}: no such folder")
    table, left_out = folder / TABLE, list[str]()
    if table.is_file():
        cutouts = _from_table(table_text(table), folder, str(table), left_out)
        absent = [cutout.path for cutout in cutouts if not cutout.path.is_file()]
        if absent:
            raise AcpError(f"{table}: {absent[0]} is not there ({len(absent)} files missing)")
    else:
        cutouts = tuple(_from_folders(folder, left_out))
    if not cutouts:
        why = "; ".join(left_out[:3]) or f"no <category>/*{' or *'.join(SUFFIXES)} in it"
        raise AcpError(f"cut-out bank {folder}: {why}")
    rows = [f"{repr(c).replace(str(folder), '')} {content_digest(c.path)}" for c in cutouts]
    return CutoutBank(_digest(rows), cutouts, tuple(left_out))


def _from_table(text: str, folder: Path, where: str, left_out: list[str]) -> tuple[CutOut, ...]:
    found = []
    for place, row in read_rows(text, COLUMNS, where):
        cutout = CutOut(
            path=inside_folder(folder, row["file"], place),
            category=_one_category(row["category"], place, left_out),
            colors=row["colors"],
            pose=row["pose"],
            support=one_of(row, "support", place, SUPPORTS),
            view=one_of(row, "view", place, VIEWS),
            facing=one_of(row, "facing", place, FACINGS),
            quality=int(number(row, "quality", place, QUALITIES[0], QUALITIES[-1])),
        )
        if cutout.category:
            found.append(cutout)
    return tuple(found)


def _from_folders(folder: Path, left_out: list[str]) -> Iterator[CutOut]:
    children = (path for path in folder.iterdir() if not path.name.startswith((".", "__")))
    for child in sorted(path for path in children if path.is_dir()):
        category = _one_category(child.name, str(child), left_out)
        for path in pictures_in(child, SUFFIXES) if category else ():
            try:
                colors = color_phrase(read_cutout(path))
            except AcpError as error:
                left_out.append(str(error))
                continue
            support = usual_support(category)
            yield CutOut(path, category, colors, "", support, "level", "left", 2)


def table_row(cutout: CutOut, folder: Path) -> tuple[str, ...]:
    """The values of `COLUMNS` of a cut-out of a folder's bank."""
    values = [getattr(cutout, column) for column in COLUMNS[1:]]
    return (cutout.path.relative_to(folder).as_posix(), *map(str, values))


def _one_category(name: str, place: str, left_out: list[str]) -> str:
    """The LVIS name of a category, or "" where there is none, which is noted."""
    try:
        return name if name in categories() else resolve(name).name
    except AcpError as error:
        left_out.append(f"{place}: {error}")
        return ""


def usual_support(category: str) -> str:
    """Where the things of a category are found, as a `support`."""
    habitat = categories()[category].habitat
    return habitat if habitat in {"water", "air"} else "ground"


def _digest(parts: Iterable[str]) -> str:
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=4).hexdigest()


def usable_cutouts(category: str, cutouts: Sequence[CutOut], min_quality: int) -> list[CutOut]:
    """Those that can be drawn, all of one support and, where there are such, seen from the side."""
    good = [
        cutout
        for cutout in cutouts
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


def with_attributes(cutouts: Sequence[CutOut], attributes: str) -> list[CutOut]:
    """The cut-outs that are what the phrase says; all of them where it says nothing."""
    wanted = attributes.strip().lower()
    if not wanted:
        return list(cutouts)
    for matches in (
        lambda cutout: cutout.attributes.lower() == wanted,
        lambda cutout: cutout.colors.lower() == wanted,
        lambda cutout: _words(wanted) <= _words(cutout.attributes),
    ):
        if matching := [cutout for cutout in cutouts if matches(cutout)]:
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
