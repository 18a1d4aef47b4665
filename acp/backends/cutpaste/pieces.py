"""What is pasted, and into what."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from acp.backends.cutpaste.imaging import Sprite
from acp.core.types import FloatArray


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
