"""Small image operations on NumPy arrays, done by Pillow where it can.

Colours are float32 RGB in 0-255, shape (H, W, 3); alpha is float32 in 0-1, shape (H, W).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from acp.core.errors import AcpError
from acp.core.images import BrokenImageError, decoded, open_image
from acp.core.types import FloatArray

# Cut-outs carry faint dust in their transparent part; it is not the object.
VISIBLE_ALPHA = 24


@dataclass(frozen=True, slots=True)
class Sprite:
    """Colours (H, W, 3), 0-255, and alpha (H, W), 0-1, of one object."""

    rgb: FloatArray
    alpha: FloatArray

    @property
    def size_wh(self) -> tuple[int, int]:
        return self.alpha.shape[1], self.alpha.shape[0]


def read_cutout(path: Path) -> Image.Image:
    """An RGBA image cropped to what is not transparent.

    Raises:
        AcpError: not readable, without transparency, or nothing but transparency.
    """
    try:
        with open_image(path) as image:
            if "A" not in image.getbands() and "transparency" not in image.info:
                raise AcpError(
                    f"{path}: a cut-out must be RGBA, this is {image.mode} without transparency"
                )
            rgba = decoded(image, "RGBA")
    except BrokenImageError as error:
        raise AcpError(f"{path}: {error}") from None
    alpha = rgba.getchannel("A")
    if alpha.getextrema()[0] == 255:
        raise AcpError(f"{path}: a cut-out must have transparent pixels, all of this is opaque")
    box = alpha.point(lambda value: 255 if value >= VISIBLE_ALPHA else 0).getbbox()
    if box is None:
        raise AcpError(f"{path}: nothing but transparency")
    cropped: Image.Image = rgba.crop(box)
    return cropped


def clean_sprite(image: Image.Image) -> Sprite:
    """The colours and the alpha of a cut-out without the fringe of its old background.

    The alpha is drawn in by about half a pixel, and the colours near the edge are replaced by
    those from further inside.
    """
    rgba = np.asarray(image, dtype=np.float32)
    rgb, alpha = rgba[..., :3], rgba[..., 3] / np.float32(255)
    inner = _shrunk(alpha)
    radius = 1.5 if min(alpha.shape) > 60 else 1.0
    weight = blurred(inner, radius)[..., None]
    channels = [blurred(rgb[..., c] / np.float32(255) * inner, radius) for c in range(3)]
    spread = np.stack(channels, -1) * 255 / np.maximum(weight, 1e-3)
    known = np.clip(weight * 8, 0, 1)
    replaced = spread * known + rgb * (1 - known)
    keep = inner[..., None]
    rgb = np.clip(rgb * keep + replaced * (1 - keep), 0, 255)
    return Sprite(rgb, np.clip((alpha - 0.3) / 0.6, 0, 1))


def _shrunk(alpha: FloatArray) -> FloatArray:
    eroded = Image.fromarray((alpha * 255).astype(np.uint8)).filter(ImageFilter.MinFilter(3))
    return np.clip((np.asarray(eroded, dtype=np.float32) / 255 - 0.5) * 2, 0, 1)


def blurred(array: FloatArray, radius: float) -> FloatArray:
    """Gaussian blur of (H, W), values 0-1, with the edge repeated outwards.

    >>> float(blurred(np.ones((4, 4), dtype=np.float32), 2.0).min())
    1.0
    """
    image = Image.fromarray((np.clip(array, 0, 1) * 255 + 0.5).astype(np.uint8))
    smooth = np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), dtype=np.float32)
    result: FloatArray = smooth / np.float32(255)
    return result


def resized(array: FloatArray, size_wh: tuple[int, int]) -> FloatArray:
    """(H, W), values 0-1, at another size, antialiased."""
    image = Image.fromarray((np.clip(array, 0, 1) * 255 + 0.5).astype(np.uint8))
    small = np.asarray(image.resize(size_wh, Image.Resampling.BICUBIC), dtype=np.float32)
    result: FloatArray = small / np.float32(255)
    return result


def resized_sprite(sprite: Sprite, size_wh: tuple[int, int]) -> Sprite:
    """A sprite at another size."""
    image = Image.fromarray((sprite.rgb + 0.5).astype(np.uint8))
    rgb = np.asarray(image.resize(size_wh, Image.Resampling.BICUBIC), dtype=np.float32)
    return Sprite(rgb, resized(sprite.alpha, size_wh))


def luminance(rgb: FloatArray) -> FloatArray:
    """Brightness of (..., 3) colours, 0-255."""
    weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)
    result: FloatArray = (rgb @ weights).astype(np.float32)
    return result
