"""The shadow of a piece: a dark line where it touches the ground, and its silhouette laid flat."""

from __future__ import annotations

import numpy as np

from acp.backends.cutpaste.imaging import Sprite, blurred, resized
from acp.backends.cutpaste.pieces import Piece, lowest_rows, overlap
from acp.core.types import FloatArray

_THROWN = {
    # Height over that of the thing, darkness, blur over its longest side.
    "soft": (0.10, 0.46, 0.035),
    "back": (0.22, 0.45, 0.030),
    "left": (0.16, 0.50, 0.022),
    "right": (0.16, 0.50, 0.022),
}


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
