"""The bank of backgrounds: photographs of places, and where in each of them things can be.

A bank is the packaged table, or any folder of photographs with an optional table `backgrounds.tsv`
of the same columns. Places in a photograph are fractions of its width and height from the top left.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

from acp.backends.cutpaste.assets import asset_dir, asset_version
from acp.backends.cutpaste.tables import (
    Row,
    content_digest,
    inside_folder,
    number,
    one_of,
    pictures_in,
    read_rows,
    table_text,
)
from acp.core.errors import AcpError
from acp.core.images import BrokenImageError, decoded, open_image

TABLE = "backgrounds.tsv"
COLUMNS = (
    "file", "package", "setting", "habitats", "left", "top", "right", "bottom", "ground",
    "water_top", "water_bottom", "sky_bottom", "cover", "light", "gamma", "neutral",
    "camera_cm", "licence",
)  # fmt: skip
OFFERED = ("ground", "water", "air", "surface")
"""Those of `acp.core.vocabulary.HABITATS` that a photograph can offer."""
LIGHTS = ("soft", "left", "right", "back", "none")
PICTURES = (".jpg", ".jpeg", ".png", ".webp")
# Pixels: wide enough to cut a picture of 640 x 480 out of a small part of it.
LARGEST_KEPT = 2200


@dataclass(frozen=True)
class Background:
    """A photograph of a place.

    `setting` reads after the objects of a caption ("on a green meadow"). Only what lies within
    `left, top, right, bottom` is used. Things stand below `ground` (2 where there is none), float
    between `water_top` and `water_bottom`, fly above `sky_bottom`. `cover` is the height in
    centimetres of what hides their feet (grass), `camera_cm` the height it was taken from, `light`
    the side the light comes from ("none": no shadow). `gamma` brightens where below 1, `neutral`
    (0-1) takes a cast of colour out. The defaults are those of a photograph that no table lists.
    """

    path: Path
    setting: str = "outdoors"
    habitats: frozenset[str] = frozenset({"ground", "surface", "air"})
    left: float = 0
    top: float = 0
    right: float = 1
    bottom: float = 1
    ground: float = 0.67
    water_top: float = 0
    water_bottom: float = 0
    sky_bottom: float = 0.5
    cover: float = 0
    light: str = "soft"
    gamma: float = 1
    neutral: float = 0
    camera_cm: float = 150
    licence: str = "unknown"

    def photograph(self) -> Image.Image:
        """What is used of the photograph, in RGB, at most `LARGEST_KEPT` pixels wide.

        Raises:
            AcpError: not a readable image.
        """
        return _photograph(self)


@lru_cache(maxsize=12)
def _photograph(background: Background) -> Image.Image:
    try:
        with open_image(background.path) as image:
            decoded_width = round(LARGEST_KEPT / (background.right - background.left))
            image.draft("RGB", (decoded_width, round(decoded_width * image.height / image.width)))
            rgb = decoded(image)
    except BrokenImageError as error:
        raise AcpError(f"{background.path}: {error}") from None
    left, right = (round(x * rgb.width) for x in (background.left, background.right))
    top, bottom = (round(y * rgb.height) for y in (background.top, background.bottom))
    used = rgb.crop((left, top, right, bottom))
    if used.width > LARGEST_KEPT:
        size = (LARGEST_KEPT, round(used.height * LARGEST_KEPT / used.width))
        used = used.resize(size, Image.Resampling.LANCZOS, reducing_gap=3)
    toned: Image.Image = used.point(_tone_curves(used, background.gamma, background.neutral))
    return toned


def _tone_curves(image: Image.Image, gamma: float, neutral: float) -> list[int]:
    """A table for each channel: brightness by `gamma`, the mean pulled to grey by `neutral`."""
    means = np.asarray(image.resize((8, 8), Image.Resampling.BOX)).reshape(-1, 3).mean(axis=0)
    gains = (means.mean() / np.maximum(means, 1)) ** neutral
    levels = np.arange(256) / 255
    curves = [np.clip(255 * (levels**gamma) * gain + 0.5, 0, 255) for gain in gains]
    return [int(value) for curve in curves for value in curve]


@dataclass(frozen=True)
class BackgroundBank:
    """Backgrounds; `version` changes with the table and the photographs."""

    version: str
    backgrounds: tuple[Background, ...]

    @property
    def settings(self) -> Mapping[str, frozenset[str]]:
        """Each setting, in the table's order, with what all of its photographs offer."""
        offered: dict[str, frozenset[str]] = {}
        for background in self.backgrounds:
            habitats = offered.get(background.setting, background.habitats)
            offered[background.setting] = habitats & background.habitats
        return offered

    def fitting(self, setting: str, habitats: Sequence[str]) -> list[Background]:
        """The backgrounds of a setting that offer all of `habitats`; any setting where it is ""."""
        wanted = set(habitats)
        return [
            background
            for background in self.backgrounds
            if setting in {"", background.setting} and wanted <= background.habitats
        ]


def packaged_packages() -> tuple[str, ...]:
    """The Debian packages that the packaged table takes photographs from."""
    return tuple(dict.fromkeys(row["package"] for _, row in _packaged_rows()))


def packaged_bank() -> BackgroundBank:
    """The bank of the packaged table; photographs that are absent are left out.

    Raises:
        MissingRequirementError: a package has not been fetched.
    """
    listed = [_background(row, asset_dir(row["package"]), place) for place, row in _packaged_rows()]
    present = tuple(background for background in listed if background.path.is_file())
    if not present:
        raise AcpError(f"none of the {len(listed)} listed backgrounds is there: fetch them again")
    versions = [f"{package} {asset_version(package)}" for package in packaged_packages()]
    return BackgroundBank(_digest([_packaged_text(), *versions]), present)


def folder_bank(folder: Path) -> BackgroundBank:
    """The bank in a user's folder. Without a table every photograph counts as one of a place
    outdoors, with ground in its lower third and sky in its upper.

    Raises:
        AcpError: no such folder, no photographs, or a row of the table that is wrong.
    """
    if not folder.is_dir():
        raise AcpError(f"background folder {folder}: no such folder")
    table = folder / TABLE
    if table.is_file():
        rows = read_rows(table_text(table), COLUMNS, str(table))
        listed = [_background(row, folder, place) for place, row in rows]
    else:
        listed = [Background(path) for path in pictures_in(folder, PICTURES)]
    if not listed:
        raise AcpError(f"background folder {folder}: no photographs ({', '.join(PICTURES)}) in it")
    absent = [background.path for background in listed if not background.path.is_file()]
    if absent:
        raise AcpError(f"{table}: {absent[0]} is not there ({len(absent)} files missing)")
    return BackgroundBank(
        _digest([repr(b).replace(str(folder), "") + content_digest(b.path) for b in listed]),
        tuple(listed),
    )


def _packaged_text() -> str:
    return files("acp.data").joinpath(TABLE).read_text(encoding="utf-8")


def _packaged_rows() -> list[tuple[str, Row]]:
    return list(read_rows(_packaged_text(), COLUMNS, TABLE))


def _background(row: Row, folder: Path, place: str) -> Background:
    def fraction(column: str, high: float = 1) -> float:
        return number(row, column, place, 0, high)

    habitats = frozenset(filter(None, row["habitats"].split(",")))
    for habitat in sorted(habitats):
        one_of({"habitats": habitat}, "habitats", place, OFFERED)
    if fraction("left") >= fraction("right") or fraction("top") >= fraction("bottom"):
        raise AcpError(f"{place}: left, top, right, bottom must enclose an area")
    return Background(
        path=inside_folder(folder, row["file"], place),
        setting=row["setting"],
        habitats=habitats,
        left=fraction("left"),
        top=fraction("top"),
        right=fraction("right"),
        bottom=fraction("bottom"),
        ground=fraction("ground", 2),
        water_top=fraction("water_top"),
        water_bottom=fraction("water_bottom"),
        sky_bottom=fraction("sky_bottom"),
        cover=number(row, "cover", place, 0, 200),
        light=one_of(row, "light", place, LIGHTS),
        gamma=number(row, "gamma", place, 0.2, 5),
        neutral=fraction("neutral"),
        camera_cm=number(row, "camera_cm", place, 1, 10000),
        licence=row["licence"],
    )


def _digest(parts: Sequence[str]) -> str:
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=4).hexdigest()
