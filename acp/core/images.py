"""Pictures of anybody: the one place that opens them, and what they look like in 8-bit RGB."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from acp.core.errors import one_line
from acp.core.types import ImageArray

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
"""Others of Pillow's start programs (EPS) or are no pictures of a data set."""
MOST_PIXELS = 178_956_970
"""A picture of more is refused before it is decoded: Pillow's own limit."""
_ORIENTATION = 0x0112
_TURNED = {5, 6, 7, 8}


class BrokenImageError(ValueError):
    """What is wrong with a picture, in words that follow its name: "has no bytes"."""


def open_image(value: Any) -> Image.Image:
    """A picture whose header has been read and whose pixels have not.

    Args:
        value: a path, its bytes, `{"bytes", "path"}` as `datasets` stores it, an array of uint8
            (H, W), (H, W, 3) or (H, W, 4), or a `PIL.Image.Image`.

    Raises:
        BrokenImageError: there is no such file, it is empty, of none of `FORMATS`, or too large.
    """
    if isinstance(value, Image.Image):
        return value
    if isinstance(value, np.ndarray):
        return Image.fromarray(value)
    if isinstance(value, Mapping):
        value = value["path"] if value.get("bytes") is None else value["bytes"]
    if isinstance(value, str | Path):
        try:
            value = Path(value).open("rb")  # noqa: SIM115 - closed with the picture
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise BrokenImageError(f"cannot be opened: {one_line(reason).lower()}") from None
        start = value.read(64)
        value.seek(0)
    else:
        value, start = io.BytesIO(value), value[:64]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(value, formats=FORMATS)
    except UnidentifiedImageError:
        value.close()
        raise BrokenImageError(_no_image(start)) from None
    except Image.DecompressionBombError:
        value.close()
        raise BrokenImageError(f"has more than {MOST_PIXELS:,} pixels") from None
    except Exception as error:  # each format has its own
        value.close()
        raise BrokenImageError(_does_not_decode(error)) from None
    return image


def size_as_shown(image: Image.Image) -> tuple[int, int]:
    """Width and height of an opened picture, turned as its EXIF orientation says."""
    width, height = image.size
    return (height, width) if image.getexif().get(_ORIENTATION) in _TURNED else (width, height)


def is_turned(image: Image.Image) -> bool:
    """Whether EXIF says that it is shown turned by 90 degrees."""
    return image.getexif().get(_ORIENTATION) in _TURNED


def decoded(value: Any, mode: str = "RGB") -> Image.Image:
    """A picture as it is shown: turned as EXIF says, in 8 bits.

    Pictures of 16 bits are scaled to 8, those of floats from 0 to 1 or from their least to their
    greatest value.

    Args:
        value: as `open_image` takes it.
        mode: "RGB", or "RGBA" to keep what is transparent.

    Raises:
        BrokenImageError: as `open_image`, or cut off, or damaged.
    """
    opened = open_image(value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shown = ImageOps.exif_transpose(opened)
            image = _eight_bit(shown).convert(mode)
    except Exception as error:  # each format has its own
        raise BrokenImageError(_does_not_decode(error)) from None
    finally:
        if opened is not value:
            opened.close()
    return image


def decoded_rgb(value: Any) -> ImageArray:
    """Pixels (H, W, 3), uint8, of a picture as it is shown; see `decoded`."""
    return np.array(decoded(value))


def _eight_bit(image: Image.Image) -> Image.Image:
    if image.mode[0] not in "IF":
        return image
    values = np.asarray(image, np.float64)
    finite = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(finite.min(initial=0)), float(finite.max(initial=0))
    full = 65535.0 if image.mode[0] == "I" else 255.0 if high > 1 else 1.0
    if low < 0 or high > full:
        finite, full = finite - low, max(high - low, 1e-300)
    return Image.fromarray((finite * (255 / full)).round().astype(np.uint8))


def _no_image(start: bytes) -> str:
    if not start:
        return "has no bytes"
    if start.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not the picture: run git lfs pull"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "is a page of HTML, not a picture"
    return "is of no known image format"


def _does_not_decode(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f"has more than {MOST_PIXELS:,} pixels"
    return f"does not decode ({one_line(error, 120) or type(error).__name__})"
