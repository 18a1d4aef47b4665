"""A picture of a data set: the candidates of a scene in a row, with boxes, masks, scores, the pick
marked and each reject with its reason."""

from __future__ import annotations

import io
import itertools
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFilter, ImageFont

from acp.core.boxes import round_half_up
from acp.core.errors import AcpError, one_line
from acp.core.types import ImageArray, MaskArray

Row = Mapping[str, Any]
THUMBNAIL_W = 320
MARGIN = 8
HEADER = 46
FOOTER = 38
NEEDED = {"image", "objects", "caption", "provenance", "clis"}
PICKED, REJECTED, INK, PAPER = "#1a7f37", "#b42318", "#1f2328", "#ffffff"
COLOURS = ("#e6194b", "#4363d8", "#3cb44b", "#f58231", "#911eb4", "#008080")


class NothingToShowError(AcpError):
    """A data set without a single image."""


def write_contact_sheet(rows: Iterable[Row], path: Path, scenes: int = 12) -> int:
    """Draw up to `scenes` scenes of `raw` or `curated` rows into a JPEG or PNG.

    Returns the number of scenes drawn.

    Raises:
        NothingToShowError: there is no row with an image.
        AcpError: the rows are not ours, or the name has another suffix.
    """
    _check_name(path)
    groups = list(itertools.islice(_by_scene(rows), scenes))
    if not groups:
        raise NothingToShowError("the data set holds no image: nothing to show")
    strips = [_strip(group) for group in groups]
    width = max(strip.width for strip in strips)
    sheet = Image.new("RGB", (width, sum(strip.height for strip in strips)), PAPER)
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    sheet.save(path, quality=88)
    return len(groups)


def show_data_set(name: str, path: Path, scenes: int) -> int:
    """`write_contact_sheet` of a folder or a Hub data set.

    Raises:
        AcpError: it cannot be opened, or as above.
    """
    _check_name(path)
    return write_contact_sheet(rows_of_data_set(name), path, scenes)


def _check_name(path: Path) -> None:
    if path.suffix.lower() not in {".jpg", ".jpeg", ".png"}:
        raise AcpError(f"{path}: a contact sheet is a .jpg or a .png")


def rows_of_data_set(name: str) -> Iterable[Row]:
    """Rows of a folder or a Hub data set: its `raw` configuration, or else its default one.

    Raises:
        AcpError: it cannot be opened.
    """
    import logging

    from datasets import Image as ImageFeature
    from datasets import get_dataset_config_names, load_dataset

    if name.startswith((".", "/", "~")) and not Path(name).expanduser().is_dir():
        raise AcpError(f"{name}: no such folder")
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries are not news here
    try:
        config = "raw" if "raw" in get_dataset_config_names(name) else None
        rows = load_dataset(name, config, split="train", streaming=True)
        lacking = NEEDED - set(rows.column_names or ())
        if lacking:
            raise AcpError(f"{name}: not a data set of acp build, it lacks {', '.join(lacking)}")
        undecoded: Iterable[Row] = rows.cast_column("image", ImageFeature(decode=False))
        return undecoded
    except (OSError, ValueError, KeyError) as error:
        reason = one_line(error)
        raise AcpError(f"{name}: cannot be opened as a data set: {reason}") from None


def _by_scene(rows: Iterable[Row]) -> Iterator[list[Row]]:
    with_image = (row for row in rows if row["image"] is not None)
    for _, group in itertools.groupby(with_image, key=lambda row: row["provenance"]["scene"]):
        yield list(group)


def _strip(rows: Sequence[Row]) -> Image.Image:
    cells = [draw_row(row) for row in rows]
    width = MARGIN + sum(cell.width + MARGIN for cell in cells)
    strip = Image.new("RGB", (width, HEADER + cells[0].height), PAPER)
    title = f"Scene {rows[0]['provenance']['scene']}. {rows[0]['caption']}"
    lines = textwrap.wrap(title, width=max(20, (width - 2 * MARGIN) // 8))[:2]
    ImageDraw.Draw(strip).multiline_text((MARGIN, 6), "\n".join(lines), INK, _font(15))
    left = MARGIN
    for cell in cells:
        strip.paste(cell, (left, HEADER))
        left += cell.width + MARGIN
    return strip


def draw_row(row: Row) -> Image.Image:
    """One image with its masks, boxes and labels, framed in green if it was kept, and its scores
    (and the reason against it) below."""
    picture = annotate(row).resize(_thumbnail_size(row), Image.Resampling.LANCZOS)
    kept = row.get("kept", True)
    colour = PICKED if kept else REJECTED
    cell = Image.new("RGB", (picture.width, picture.height + FOOTER), PAPER)
    cell.paste(picture)
    pen = ImageDraw.Draw(cell)
    if kept:
        pen.rectangle((0, 0, picture.width - 1, picture.height - 1), outline=colour, width=5)
    verdict = "PICK" if kept else row["reject"].removeprefix("pick: ")
    pen.text((2, picture.height + 2), _scores(row), INK, _font(12))
    pen.text((2, picture.height + 18), _fit(verdict, picture.width), colour, _font(12))
    return cell


def annotate(row: Row) -> Image.Image:
    """The image of a row at full size with masks tinted and boxes labelled."""
    pixels = np.array(_open(row["image"]).convert("RGB"))
    objects = row["objects"]
    for place, code in enumerate(objects["segmentation"]):
        _draw_mask(pixels, _decode(code), ImageColor.getrgb(_colour(place)))
    image = Image.fromarray(pixels)
    pen = ImageDraw.Draw(image)
    for place, box in enumerate(objects["bbox"]):
        _draw_box(
            pen, box, _label(objects, place), _colour(place), used=not _reason(objects, place)
        )
    return image


def _draw_mask(pixels: ImageArray, mask: MaskArray, rgb: Sequence[int]) -> None:
    """A light tint, so that the picture stays what it is, and a clear outline."""
    tint = np.array(rgb[:3])
    pixels[mask] = (0.88 * pixels[mask] + 0.12 * tint).astype(np.uint8)
    solid = Image.fromarray(mask)
    outline = mask & ~np.array(solid.convert("L").filter(ImageFilter.MinFilter(5)), dtype=bool)
    pixels[outline] = tint


def _draw_box(
    pen: ImageDraw.ImageDraw, box_xywh_px: Sequence[float], label: str, colour: str, used: bool
) -> None:
    x, y, w, h = round_half_up(box_xywh_px)
    if w <= 0 or h <= 0:
        return
    pen.rectangle((x, y, x + w - 1, y + h - 1), outline=colour, width=3 if used else 1)
    font = _font(18)
    start = max(3, min(x + 3, pen.im.size[0] - int(pen.textlength(label, font)) - 4))
    left, top, right, bottom = pen.textbbox((start, max(0, y - 22)), label, font)
    pen.rectangle((left - 3, top - 2, right + 3, bottom + 2), fill=colour)
    pen.text((start, max(0, y - 22)), label, "white", font)


def _label(objects: Row, place: int) -> str:
    score = objects["clis_i"][place]
    text = objects["category"][place].replace("_", " ")
    label = f"{text} {score:.0f}" if score is not None else f"{text} -"
    return f"{label} (unused)" if _reason(objects, place) else label


def _reason(objects: Row, place: int) -> str:
    return objects["reject"][place] if "reject" in objects else ""


def _scores(row: Row) -> str:
    proxy = " (proxy)" if "proxy" in row["provenance"]["scorer"] else ""
    parts = [
        f"{name} {row[key]:.0f}" if row[key] is not None else f"{name} -"
        for name, key in (("CLIS-L", "clis_l"), (f"CLIS-I{proxy}", "clis_i"), ("CLIS", "clis"))
    ]
    return "  ".join(parts)


def _open(image: Any) -> Image.Image:
    return Image.open(io.BytesIO(image["bytes"])) if isinstance(image, Mapping) else image


def _decode(segmentation: Mapping[str, Any]) -> MaskArray:
    from pycocotools import mask as coco_mask

    mask: MaskArray = coco_mask.decode(dict(segmentation)).astype(bool)
    return mask


def _thumbnail_size(row: Row) -> tuple[int, int]:
    return THUMBNAIL_W, round(THUMBNAIL_W * row["height"] / row["width"])


def _fit(text: str, width_px: int) -> str:
    return textwrap.shorten(text, width=width_px // 6, placeholder=" …")


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
