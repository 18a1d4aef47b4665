"""Names of colours as a person would give them."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from PIL import Image

from acp.core.types import FloatArray

# Hue angles in CIE LCh, in degrees, where one name ends and the next begins.
_HUES = (
    (18, "pink"), (43, "red"), (77, "orange"), (107, "yellow"), (170, "green"),
    (215, "turquoise"), (305, "blue"), (335, "purple"), (360, "pink"),
)  # fmt: skip
_MAIN_SHARE = 0.72
_SECOND_SHARE = 0.22


def color_phrase(image: Image.Image) -> str:
    """One colour, or two joined by "and", of the opaque part of an RGBA image.

    >>> color_phrase(Image.new("RGBA", (8, 8), (200, 20, 20, 255)))
    'red'
    """
    small = image.convert("RGBA")
    small.thumbnail((96, 96))
    rgba = np.asarray(small, dtype=np.float32).reshape(-1, 4)
    opaque = rgba[rgba[:, 3] > 200, :3]
    shares = color_shares(opaque if len(opaque) else rgba[:, :3])
    ranked = sorted(shares, key=lambda name: (-shares[name], name))
    if len(ranked) == 1 or shares[ranked[0]] >= _MAIN_SHARE or shares[ranked[1]] < _SECOND_SHARE:
        return ranked[0]
    return f"{ranked[0]} and {ranked[1]}"


def color_shares(rgb: FloatArray) -> dict[str, float]:
    """The share of the colours (N, 3), 0-255, that has each name."""
    # Names change slowly with the colour: a coarse palette of what is there is enough.
    palette, counts = np.unique(rgb.astype(np.uint8) // 8 * 8 + 4, axis=0, return_counts=True)
    lightness, chroma, hue = _lch(palette.astype(np.float32))
    shares: dict[str, float] = defaultdict(float)
    for key, count in zip(zip(lightness, chroma, hue, strict=True), counts, strict=True):
        shares[_name(*key)] += float(count) / len(rgb)
    return dict(shares)


def _name(lightness: float, chroma: float, hue: float) -> str:
    warm = 25 < hue < 100
    if lightness < (12 if warm and chroma > 7 else 18) or (lightness < 30 and chroma < 7):
        return "black"
    # A bluish grey passes for grey longer than a brownish one; very light colours for white.
    if chroma < (8 if warm else 14) or (lightness > 82 and chroma < 16):
        return "white" if lightness > 74 else "grey"
    name = next(name for limit, name in _HUES if hue < limit)
    if name in {"orange", "yellow"} or (name == "red" and chroma < 35):
        return _warm(name, lightness, chroma)
    return "pink" if name == "red" and lightness > 68 else name


def _warm(name: str, lightness: float, chroma: float) -> str:
    if name == "yellow" and lightness > 55 and chroma > 45:
        return "yellow"
    if name == "orange" and lightness > 48 and chroma > 45:
        return "orange"
    if lightness > 64:
        return "pink" if name == "red" else "beige"
    return "brown"


def _lch(rgb: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """CIE lightness (0-100), chroma and hue (degrees) of sRGB colours (N, 3), 0-255."""
    unit = rgb.astype(np.float64) / 255
    linear = np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)
    matrix = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = linear @ matrix.T / np.array([0.9505, 1.0, 1.089])
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    a, b = 500 * (root[:, 0] - root[:, 1]), 200 * (root[:, 1] - root[:, 2])
    hue = np.degrees(np.arctan2(b, a)) % 360
    return 116 * root[:, 1] - 16, np.hypot(a, b), hue
