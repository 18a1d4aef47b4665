"""Brings the colours of a piece under the light of its scenery."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from acp.backends.cutpaste.imaging import luminance
from acp.backends.cutpaste.pieces import Piece, Scenery
from acp.core.types import FloatArray


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
