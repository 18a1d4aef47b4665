"""Pictures of anybody, as they are shown and in 8-bit RGB."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acp.core.images import BrokenImageError, decoded, decoded_rgb, open_image, size_as_shown

RED, BLUE = (220, 20, 20), (20, 20, 220)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def wide() -> Image.Image:
    """40 x 20: red at the left, blue at the right."""
    image = Image.new("RGB", (40, 20), RED)
    image.paste(BLUE, (20, 0, 40, 20))
    return image


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_says_how_a_picture_is_shown(orientation: int) -> None:
    turns = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90,
             8: Image.Transpose.ROTATE_270}  # fmt: skip
    stored = wide().transpose(turns[orientation]) if orientation in turns else wide()
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, "JPEG", exif=exif, quality=95)
    shown = decoded(data)
    assert shown.size == size_as_shown(open_image(data))
    if orientation in turns or orientation == 1:
        assert shown.size == (40, 20)
        assert np.abs(np.asarray(shown)[10, 5].astype(int) - RED).max() < 30


def ramp(dtype: str, full: float) -> np.ndarray:
    return np.linspace(0, full, 256).astype(dtype).reshape(16, 16)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encoded(Image.fromarray(ramp("uint16", 65535))), np.arange(256)),
        (encoded(Image.fromarray(ramp("float32", 1)), "TIFF"), np.arange(256)),
        (encoded(Image.fromarray(ramp("float32", 255)), "TIFF"), np.arange(256)),
        (encoded(Image.fromarray(ramp("float32", 9000) - 4500), "TIFF"), np.arange(256)),
        (encoded(Image.fromarray(ramp("uint8", 255))), np.arange(256)),
    ],
    ids=["16-bit", "shares", "levels", "heights", "grey"],
)
def test_pictures_of_more_than_8_bits(data: bytes, expected: np.ndarray) -> None:
    rgb = decoded_rgb(data)
    assert rgb.shape == (16, 16, 3)
    assert np.abs(rgb[..., 1].ravel().astype(int) - expected).max() <= 1


def test_cmyk_and_palette() -> None:
    for data in (
        encoded(wide().convert("CMYK"), "JPEG", quality=95),
        encoded(wide().quantize(4)),
        encoded(wide().quantize(4), "GIF"),
    ):
        pixels = decoded_rgb(data).astype(int)
        assert np.abs(pixels[10, 5] - RED).max() < 40
        assert np.abs(pixels[10, 35] - BLUE).max() < 40


def test_what_is_transparent_is_kept_where_asked() -> None:
    image = Image.new("RGBA", (4, 4), (*RED, 0))
    assert decoded(encoded(image), "RGBA").getpixel((1, 1)) == (*RED, 0)
    assert decoded(encoded(image)).mode == "RGB"


def huge_png() -> bytes:
    """A header of 100,000 x 100,000 pixels."""
    head = b"IHDR" + (100_000).to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00"
    check = zlib.crc32(head).to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + head + check + b"\0\0\0\0IEND\xaeB`\x82"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "has no bytes"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "a pointer of Git LFS"),
        (b"<!DOCTYPE html><title>404", "is a page of HTML"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n{} loop", "no known image format"),
        (b"no picture at all", "no known image format"),
        (encoded(wide(), "JPEG")[:-60], "does not decode"),
        (huge_png(), "has more than 178,956,970 pixels"),
    ],
    ids=["empty", "lfs", "html", "eps", "text", "cut off", "huge"],
)
def test_what_is_no_picture(data: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    for value in (data, path, str(path), {"bytes": data, "path": None}, {"path": str(path)}):
        with pytest.raises(BrokenImageError, match=reason):
            decoded(value)


def test_a_path_that_is_none() -> None:
    for value in ("no/such.jpg", "a" * 9000, "a\0b"):
        with pytest.raises(BrokenImageError, match="cannot be opened"):
            decoded(value)
