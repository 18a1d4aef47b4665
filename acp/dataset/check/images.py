"""Images, decoded to the last pixel as a reader does."""

from __future__ import annotations

import io
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TURNED = (5, 6, 7, 8)
"""Values of EXIF's orientation that swap width and height; readers turn such images."""


class BrokenImageError(ValueError):
    """Told in a few words: why an image cannot be shown."""


@dataclass(frozen=True, slots=True)
class Size:
    """Of an image in pixels. `turned`: EXIF says to turn it by 90 degrees."""

    width: int
    height: int
    turned: bool = False

    def is_as(self, width: float, height: float) -> bool:
        """Whether a row says the size of this image, turned or not."""
        own = (self.width, self.height)
        return (width, height) == own or (self.turned and (height, width) == own)


def content_of(value: Any, root: Path) -> bytes | None:
    """The bytes of an image as stored: `{"bytes", "path"}` or bytes; None for no image.

    Raises:
        BrokenImageError: it is a path to a file that is not there, or not of the data set.
    """
    if isinstance(value, dict):
        content, path = value.get("bytes"), value.get("path")
        if content is None and path:
            return _read(str(path), root)
    else:
        content = value
    if content is not None and not isinstance(content, bytes):
        raise BrokenImageError("is no content of a file")
    return content


def _read(path: str, root: Path) -> bytes:
    archive = path.rpartition("::")[2] if "::" in path else path
    if "://" in archive or not _inside(archive, root):
        raise BrokenImageError("is a path out of the data set")
    try:
        if archive != path:  # as `datasets` names what is in an archive
            from datasets.utils.file_utils import xopen

            with xopen(path, "rb") as file:
                content: bytes = file.read()
                return content
        return (root / path).read_bytes()
    except (OSError, ValueError, KeyError):
        raise BrokenImageError("is a path to no file") from None


def _inside(path: str, root: Path) -> bool:
    """By name alone: files of the cache are links to elsewhere."""
    full = os.path.normpath(Path(root.absolute(), path))
    bases = {os.path.normpath(root.absolute()), str(root.resolve())}
    return any(Path(full).is_relative_to(base) for base in bases)


def decode(content: bytes, *, whole: bool = True) -> Size:
    """The size of an image, all of which was decoded, or the header alone if not `whole`.

    Raises:
        BrokenImageError: it is empty, of no known format, cut off or damaged.
    """
    from PIL import Image, UnidentifiedImageError

    if not content:
        raise BrokenImageError("has no bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as image:
                if whole:
                    image.load()
                turned = image.getexif().get(0x0112) in _TURNED
                return Size(image.width, image.height, turned)
    except UnidentifiedImageError:
        raise BrokenImageError("is of no known image format") from None
    except Image.DecompressionBombError:
        raise BrokenImageError("has more pixels than PIL opens") from None
    except Exception as error:  # each of PIL's formats has its own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BrokenImageError(f"does not decode ({reason})") from None
