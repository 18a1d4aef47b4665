"""Pastes pieces into a photograph from back to front: each under the light of its scenery, with its
shadow, and with exact masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from acp.backends.cutpaste.imaging import Sprite, blurred, luminance, resized
from acp.core.seeds import rng as seeded
from acp.core.types import FloatArray, ImageArray, MaskArray

_GRAIN = 1.6
_GRAIN_SPARE = 256
_THROWN = {
    # Height over that of the thing, darkness, blur over its longest side.
    "soft": (0.10, 0.46, 0.035),
    "back": (0.22, 0.45, 0.030),
    "left": (0.16, 0.50, 0.022),
    "right": (0.16, 0.50, 0.022),
}


@dataclass(frozen=True, slots=True)
class Scenery:
    """A picture to paste into, (H, W, 3), 0-255, and what is known of it.

    `ground` is where the ground begins, 0-1; `light` is where the light comes from.
    """

    rgb: FloatArray
    ground: float
    light: str


@dataclass(frozen=True, slots=True)
class Piece:
    """A sprite at its final size with its top left corner in pixels, possibly outside the picture.

    `habitat` is what it is on; `lying` says that it is seen from above; `cover_px` is the height of
    what hides its feet.
    """

    sprite: Sprite
    x: int
    y: int
    habitat: str
    lying: bool = False
    cover_px: float = 0.0

    @property
    def bottom(self) -> int:
        return self.y + self.sprite.size_wh[1]


def overlap(
    piece: Piece, shape: tuple[int, ...]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where the piece lies in the picture, and which part of the piece that is."""
    height, width = piece.sprite.alpha.shape
    top, bottom = max(piece.y, 0), min(piece.y + height, shape[0])
    left, right = max(piece.x, 0), min(piece.x + width, shape[1])
    bottom, right = max(bottom, top), max(right, left)
    part = (slice(top - piece.y, bottom - piece.y), slice(left - piece.x, right - piece.x))
    return (slice(top, bottom), slice(left, right)), part


def lowest_rows(alpha: FloatArray) -> FloatArray:
    """For every column the row just below its lowest solid pixel, (W,); 0 for an empty column."""
    solid = alpha > 0.5
    rows = alpha.shape[0] - np.argmax(solid[::-1], axis=0)
    return np.where(solid.any(axis=0), rows, 0).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Composite:
    """The picture (H, W, 3), disjoint visible masks (N, H, W), and the visible share (N,) of each
    piece's part that lies in the picture."""

    image_rgb: ImageArray
    masks: MaskArray
    visible: FloatArray


def compose(scenery: Scenery, pieces: Sequence[Piece], rng: np.random.Generator) -> Composite:
    """Paste `pieces` from back to front; the masks come in the order given."""
    canvas = scenery.rgb.copy()
    tone = Tone.of(scenery)
    owner = np.full(canvas.shape[:2], -1, dtype=np.int16)
    whole = np.zeros(len(pieces), dtype=np.float32)
    for index in back_to_front(pieces):
        piece = pieces[index]
        alpha = piece.sprite.alpha * _uncovered(piece, scenery.rgb, rng)
        if piece.habitat in {"ground", "surface"}:
            cast_shadow(canvas, piece, scenery.light)
        rgb = tone.applied(piece, scenery)
        there, part = overlap(piece, owner.shape)
        weight = alpha[part][..., None]
        canvas[there] = canvas[there] * (1 - weight) + rgb[part] * weight
        solid = alpha[part] > 0.5
        owner[there][solid] = index
        whole[index] = solid.sum()
    masks = np.stack([owner == i for i in range(len(pieces))]) if pieces else owner[None][:0] == 0
    seen = masks.sum(axis=(1, 2)).astype(np.float32)
    visible = np.divide(seen, whole, out=np.zeros_like(seen), where=whole > 0)
    return Composite(_finished(canvas, rng), masks, visible)


def back_to_front(pieces: Sequence[Piece]) -> list[int]:
    """What flies first, then by the bottom edge.

    >>> one = Sprite(np.zeros((2, 2, 3), np.float32), np.ones((2, 2), np.float32))
    >>> back_to_front([Piece(one, 0, 9, "ground"), Piece(one, 0, 5, "ground")])
    [1, 0]
    """
    return sorted(
        range(len(pieces)), key=lambda i: (pieces[i].habitat != "air", pieces[i].bottom, i)
    )


def _uncovered(piece: Piece, scenery_rgb: FloatArray, rng: np.random.Generator) -> FloatArray:
    """What grass or water leaves of the alpha, (H, W), 0-1."""
    alpha = piece.sprite.alpha
    height, width = alpha.shape
    if piece.cover_px <= 0:
        return np.ones_like(alpha)
    lowest = lowest_rows(alpha)
    # Feet further back stand higher up, and each sinks in; a belly does not.
    lowest = np.where(lowest > 0.7 * height, lowest, height)
    above = lowest[None, :] - np.arange(height, dtype=np.float32)[:, None]
    blades = blurred(rng.random((1, width), dtype=np.float32), 1.0)
    level = 0.5 + 1.2 * (blades - blades.mean()) + 0.45 * _relief(piece, scenery_rgb)
    softness = max(0.8, 0.12 * piece.cover_px)
    hidden = piece.cover_px * np.clip(level, 0.05, 1.6)
    return blurred(np.clip((above - hidden) / softness + 0.5, 0, 1).astype(np.float32), 0.6)


def _relief(piece: Piece, scenery_rgb: FloatArray) -> FloatArray:
    """Where the scenery under the piece is brighter than around, (H, W): blades, stones, foam."""
    relief = np.zeros(piece.sprite.alpha.shape, dtype=np.float32)
    there, part = overlap(piece, scenery_rgb.shape)
    bright = (luminance(scenery_rgb[there]) / 255).astype(np.float32)
    if bright.size:
        detail = blurred(bright, 0.8) - blurred(bright, 6.0)
        relief[part] = np.clip(detail / (float(detail.std()) + 1e-3), -1.5, 2.5)
    return relief


def _finished(canvas: FloatArray, rng: np.random.Generator) -> ImageArray:
    """With the grain of one sensor over all, rounded to bytes."""
    height, width = canvas.shape[:2]
    x, y = rng.integers(0, _GRAIN_SPARE, 2)
    grain = _grain(height, width)[y : y + height, x : x + width]
    finished: ImageArray = np.clip(canvas + grain[..., None], 0, 255).astype(np.uint8)
    return finished


@lru_cache(maxsize=2)
def _grain(height: int, width: int) -> FloatArray:
    # Noise is slow to draw: one sheet serves every picture, each takes another part of it.
    shape = (height + _GRAIN_SPARE, width + _GRAIN_SPARE)
    sheet = seeded("grain").standard_normal(shape, dtype=np.float32)
    return (sheet * _GRAIN + 0.5).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Tone:
    """How a scenery is lit: the colour of its light, its brightness and its range of tones."""

    cast: FloatArray
    key: float
    black: float
    white: float
    saturation: float

    @classmethod
    def of(cls, scenery: Scenery) -> Tone:
        """Measured from every fourth pixel."""
        small = scenery.rgb[::4, ::4].reshape(-1, 3)
        # A high power mean leans to the highlights, which show the colour of the light.
        light = np.power(np.mean((small / 255) ** 5, axis=0), 1 / 5)
        # Daylight is bluer or yellower; green comes from what it falls on.
        light[1] = (light[0] + light[2]) / 2
        bright = luminance(small)
        spread = small.max(axis=1) - small.min(axis=1)
        return cls(
            cast=(light / light.mean()).astype(np.float32),
            key=float(bright.mean()) / 255,
            black=float(np.percentile(bright, 2)),
            white=float(np.percentile(bright, 98)),
            saturation=float(np.mean(spread / np.maximum(small.max(axis=1), 30))),
        )

    def applied(self, piece: Piece, scenery: Scenery) -> FloatArray:
        """The piece's colours under this light, (H, W, 3), 0-255."""
        rgb = piece.sprite.rgb
        grey = luminance(rgb)[..., None]
        rgb = grey + (rgb - grey) * float(np.clip(0.72 + 0.45 * self.saturation, 0.75, 1.0))
        gain = float(np.clip((self.key / 0.42) ** 0.4, 0.62, 1.08))
        if scenery.light == "back":
            gain *= 0.62
        rgb = rgb * gain * np.clip(self.cast**0.4, 0.88, 1.12)
        low, high = 0.3 * self.black, 255 - 0.3 * (255 - self.white)
        rgb = low + rgb * (high - low) / 255
        if piece.habitat in {"ground", "surface"}:
            rgb = rgb * self._bounce(piece, scenery)
        lit: FloatArray = np.clip(rgb, 0, 255).astype(np.float32)
        return lit

    def _bounce(self, piece: Piece, scenery: Scenery) -> FloatArray:
        """Light from the ground on the lower half, and less of all light near it."""
        height = piece.sprite.alpha.shape[0]
        rows = scenery.rgb[max(piece.bottom - 20, 0) : piece.bottom + 10 : 3, ::6].reshape(-1, 3)
        ground = rows.mean(axis=0) if len(rows) else np.full(3, 128.0)
        tint = np.clip(ground / max(float(ground.mean()), 1.0), 0.6, 1.4) - 1
        depth = np.clip(np.linspace(-0.6, 1, height, dtype=np.float32), 0, 1) ** 1.5
        factors = 1 + depth[:, None, None] * (0.12 * tint - 0.16)
        return factors.astype(np.float32)


def cast_shadow(canvas: FloatArray, piece: Piece, light: str) -> None:
    """Darken `canvas` (H, W, 3) where the piece touches the ground and where it keeps light off."""
    alpha = piece.sprite.alpha
    height, width = alpha.shape
    pad = int(0.3 * height) + 8
    # Nothing of a shadow reaches above the lower part of what stands.
    start = 0 if piece.lying else int(0.7 * height)
    plate = np.zeros((height - start + 2 * pad, width + 2 * pad), dtype=np.float32)
    if piece.lying:
        _lay(plate, alpha, pad + _sideways(light, 3), pad + 2, 0.55)
        plate = blurred(plate, 2.0)
    else:
        _lay(plate, _contact(alpha)[start:], pad, pad, 0.8)
        touch = blurred(plate, max(1.4, 0.016 * max(width, height)))
        thrown = np.zeros_like(plate)
        _throw(thrown, alpha, (pad, pad + height - start), light)
        plate = np.maximum(touch, thrown)
    offset = Piece(Sprite(canvas, plate), piece.x - pad, piece.y + start - pad, piece.habitat)
    there, part = overlap(offset, canvas.shape)
    # Light from the sky keeps shadows a little blue.
    tint = np.array([1.0, 0.97, 0.9], dtype=np.float32)
    depth = plate[part] * (1.15 if piece.habitat == "surface" else 1.0)
    canvas[there] *= 1 - np.clip(depth, 0, 0.85)[..., None] * tint


def _contact(alpha: FloatArray) -> FloatArray:
    """A strip along the lowest edge, where that is near the ground."""
    height = alpha.shape[0]
    lowest = lowest_rows(alpha)
    near = np.clip(1 - (height - lowest) / (0.14 * height + 2), 0, 1) * (lowest > 0)
    thickness = 0.02 * height + 1.5
    rows = np.arange(height + 4, dtype=np.float32)[:, None]
    strip = np.clip(thickness - np.abs(rows - lowest[None, :]), 0, 1)
    result: FloatArray = (strip * near[None, :]).astype(np.float32)
    return result


def _throw(plate: FloatArray, alpha: FloatArray, foot_xy: tuple[int, int], light: str) -> None:
    """Lay the silhouette flat on the ground; `foot_xy` is its lower left corner on the plate."""
    if light not in _THROWN:
        return
    share, strength, softness = _THROWN[light]
    height, width = alpha.shape
    rows = max(2, round(share * height))
    flat, top = resized(alpha, (width, rows)), foot_xy[1] - rows + 1
    if light == "back":
        flat, top = flat[::-1], foot_xy[1] - rows // 5
    elif light == "soft":
        top += round(0.35 * rows)
    reach = _sideways(light, round(0.22 * height))
    for row in range(rows):
        away = row / rows if light == "back" else 1 - row / rows
        x = foot_xy[0] + round(reach * away)
        _lay(plate, flat[row : row + 1], x, top + row, strength * (1 - 0.45 * away))
    plate[:] = blurred(plate, max(1.5, softness * max(width, height)))


def _sideways(light: str, pixels: int) -> int:
    return {"left": pixels, "right": -pixels}.get(light, 0)


def _lay(plate: FloatArray, layer: FloatArray, x: int, y: int, strength: float) -> None:
    height, width = layer.shape
    rows = plate[max(y, 0) : y + height, max(x, 0) : x + width]
    shown = layer[max(-y, 0) :, max(-x, 0) :][: rows.shape[0], : rows.shape[1]]
    np.maximum(rows, shown * strength, out=rows)
