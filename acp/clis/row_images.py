"""The images of rows: a PIL image, an array, a path, or `{"bytes", "path"}` as data sets store."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from acp.core.errors import one_line
from acp.core.types import Failure, ImageArray

LONGEST_PATH = 200
"""Longer ones are cut off in messages."""

EXPECTED = 'a PIL image, an array (H, W, 3) of uint8, a path, {"bytes", "path"} or None'


def is_image(value: Any) -> bool:
    """Whether a value is an image in one of the ways above (its pixels are not looked at)."""
    if isinstance(value, np.ndarray):
        return value.dtype == np.uint8 and (value.ndim == 2 or value.shape[2:] in ((3,), (4,)))
    if isinstance(value, Mapping):
        content, path = value.get("bytes"), value.get("path")
        return isinstance(content, bytes) or (content is None and isinstance(path, str | Path))
    return isinstance(value, str | Path | Image.Image)


def open_image(value: Any) -> Image.Image:
    """The image of a row, not yet decoded.

    Raises:
        OSError: no such file, or no image in it, or one too large to be opened.
    """
    if isinstance(value, Image.Image):
        return value
    if isinstance(value, np.ndarray):
        return Image.fromarray(value)
    if isinstance(value, Mapping):
        value = value["path"] if value.get("bytes") is None else io.BytesIO(value["bytes"])
    try:
        return Image.open(value)
    except (Image.DecompressionBombError, ValueError) as error:
        raise OSError(str(error)) from None
    except OSError as error:
        if error.strerror is None:
            raise
        raise OSError(f"{error.strerror}: {_short(str(value))}") from None


def _short(text: str) -> str:
    """Of what was meant to be a path, and may be a whole image in base64."""
    return repr(text if len(text) <= LONGEST_PATH else f"{text[:40]}...")


def image_rgb(value: Any) -> ImageArray | Failure:
    """The pixels of a row's image, (H, W, 3) uint8, or why it cannot be read."""
    try:
        with_profile = open_image(value)
        return np.asarray(with_profile.convert("RGB"), dtype=np.uint8)
    except UnidentifiedImageError:
        return Failure("the image is in no known format")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return Failure(f"the image cannot be read: {one_line(error)}")


def stored_image(value: Any) -> dict[str, Any] | None:
    """The image as `datasets.Image` stores it, pixel for pixel.

    A PIL image that was changed or made in memory, and an array, become a PNG; a file on disk is
    read, since another process may score it.
    """
    if value is None:
        return None
    if isinstance(value, Mapping):
        if value.get("bytes") is not None:
            return {"bytes": value["bytes"], "path": value.get("path")}
        value = value["path"]
    if isinstance(value, str | Path):
        return {"bytes": _content(Path(value)), "path": str(value)}
    buffer = io.BytesIO()
    open_image(value).save(buffer, format="PNG", compress_level=1)
    return {"bytes": buffer.getvalue(), "path": None}


def _content(path: Path) -> bytes | None:
    """None where nothing can be read: scoring tells why."""
    try:
        return path.read_bytes()
    except (OSError, ValueError):
        return None
