"""Pastes pieces into a photograph from back to front, with exact masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from acp.backends.cutpaste.imaging import blurred, luminance
from acp.backends.cutpaste.pieces import Piece, Scenery, lowest_rows, overlap
from acp.backends.cutpaste.shadows import cast_shadow
from acp.backends.cutpaste.tone import Tone
from acp.core.seeds import rng as seeded
from acp.core.types import FloatArray, ImageArray, MaskArray

_GRAIN = 1.6
_GRAIN_SPARE = 256


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

    >>> from acp.backends.cutpaste.imaging import Sprite
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
