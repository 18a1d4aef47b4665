"""A picture of reference layouts: the most typical ones, and all of them laid over each other."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from acp.annotations.showing import Shown, lines
from acp.clis.features import Float64Array
from acp.core.errors import AcpError

FRAME_WH, GAP, CAPTION, HEADER = (172, 129), 10, 20, 58
COLUMNS, ROWS = 5, 4
OVERLAY_WH = (FRAME_WH[0] * 3, FRAME_WH[1] * 3)
ASPECT = 4 / 3
"""Width / height of the images that priors are drawn as: the files hold no image sizes."""

MOST_ZOOM = 4.0
MOST_LAID_OVER = 300
SUBJECT, OBJECT = (67, 99, 216), (230, 25, 75)
INK, SOFT, PAPER, EDGE = "#1f2328", "#59636e", "#ffffff", "#d1d9e0"


def write_picture(shown: Shown, path: Path) -> int:
    """Draw the references of a relation into a .png or .jpg; returns how many frames it has.

    Raises:
        AcpError: the name has another suffix.
    """
    check_name(path)
    subject, object_ = _boxes(shown)
    order = _most_typical(subject, object_)
    frames = order[: COLUMNS * ROWS]
    left = OVERLAY_WH[0] + 2 * GAP
    cell_w, cell_h = FRAME_WH[0] + GAP, FRAME_WH[1] + CAPTION + GAP
    size = left + COLUMNS * cell_w, HEADER + ROWS * cell_h + GAP
    picture = Image.new("RGB", size, PAPER)
    _title(picture, shown)
    picture.paste(_overlay(subject, object_, order), (GAP, HEADER))
    _notes(picture, shown)
    for place, index in enumerate(frames):
        at = left + place % COLUMNS * cell_w, HEADER + place // COLUMNS * cell_h
        picture.paste(_frame(subject[index], object_[index]), at)
        name = " ".join(shown.priors.triple(int(shown.rows[index])))
        _text(picture, (at[0], at[1] + FRAME_WH[1] + 2), _fit(name, FRAME_WH[0], 12), 12)
    picture.save(path, quality=90)
    return len(frames)


def check_name(path: Path) -> None:
    """Raises AcpError unless the file can be a picture."""
    if path.suffix.lower() not in {".png", ".jpg", ".jpeg"}:
        raise AcpError(f"{path}: the picture is a .png or a .jpg")


def _boxes(shown: Shown) -> tuple[Float64Array, Float64Array]:
    """Subjects and objects (K, 4) as x_min, y_min, x_max, y_max; the object's centre is 0, 0."""
    geometry = shown.priors.geometry
    rows = shown.rows
    dx, dy = geometry.dx[rows], geometry.dy[rows]
    half_s = np.stack([geometry.subject_w[rows], geometry.subject_h[rows]], axis=1) / 2
    half_o = np.stack([geometry.object_w[rows], geometry.object_h[rows]], axis=1) / 2
    centre = -np.stack([dx, dy], axis=1)
    subject = np.concatenate([centre - half_s, centre + half_s], axis=1)
    return subject, np.concatenate([-half_o, half_o], axis=1)


def _most_typical(subject: Float64Array, object_: Float64Array) -> npt.NDArray[np.intp]:
    """The references from the nearest to the median to the farthest."""
    sides = [box[:, 2:] - box[:, :2] for box in (subject, object_)]
    centre = (subject[:, :2] + subject[:, 2:]) / 2
    features = np.concatenate([centre, np.log(sides[0]), np.log(sides[1])], axis=1)
    away = np.abs(features - np.median(features, axis=0))
    spread = np.maximum(np.median(away, axis=0), 1e-3)
    return np.argsort((away / spread).sum(axis=1), kind="stable")


def _frame(subject: Float64Array, object_: Float64Array) -> Image.Image:
    """One pair in the middle of a frame, as large as fits."""
    frame = Image.new("RGB", FRAME_WH, PAPER)
    pen = ImageDraw.Draw(frame, "RGBA")
    pen.rectangle((0, 0, FRAME_WH[0] - 1, FRAME_WH[1] - 1), outline=EDGE)
    low, high = np.minimum(subject[:2], object_[:2]), np.maximum(subject[2:], object_[2:])
    zoom = min(MOST_ZOOM, float(0.9 / (high - low).max()))
    for box, colour in ((object_, OBJECT), (subject, SUBJECT)):
        _draw(pen, box - np.tile((low + high) / 2, 2), zoom, FRAME_WH, colour, 70, 2)
    return frame


def _overlay(
    subject: Float64Array, object_: Float64Array, order: npt.NDArray[np.intp]
) -> Image.Image:
    frame = Image.new("RGB", OVERLAY_WH, PAPER)
    pen = ImageDraw.Draw(frame, "RGBA")
    reach = np.abs(np.concatenate([subject, object_])).max(axis=1)
    zoom = 0.48 / float(np.quantile(reach, 0.95))
    chosen = order[np.linspace(0, len(order) - 1, min(len(order), MOST_LAID_OVER)).astype(int)]
    fill = max(2, min(40, 400 // len(chosen)))
    for index in chosen:
        _draw(pen, object_[index], zoom, OVERLAY_WH, OBJECT, fill, 1)
        _draw(pen, subject[index], zoom, OVERLAY_WH, SUBJECT, fill, 1)
    for boxes, colour in ((object_, OBJECT), (subject, SUBJECT)):
        _draw(pen, boxes[order[0]], zoom, OVERLAY_WH, colour, 0, 4)
    pen.rectangle((0, 0, OVERLAY_WH[0] - 1, OVERLAY_WH[1] - 1), outline=EDGE)
    return frame


def _draw(
    pen: ImageDraw.ImageDraw,
    box: Float64Array,
    zoom: float,
    size_wh: tuple[int, int],
    colour: tuple[int, int, int],
    fill: int,
    width: int,
) -> None:
    """A box around the middle of a frame; one unit is the frame's side, times `zoom`."""
    scale = np.tile(size_wh, 2) * zoom
    corners = (box * scale + np.tile(size_wh, 2) / 2).tolist()
    outline = (*colour, 255 if width > 1 else max(40, 4 * fill))
    pen.rectangle(corners, fill=(*colour, fill) if fill else None, outline=outline, width=width)


def _title(picture: Image.Image, shown: Shown) -> None:
    subject, predicate, object_ = (_fit(text, 400, 22) for text in shown.triple)
    pen, left = ImageDraw.Draw(picture), GAP
    for text, colour in ((subject, SUBJECT), (predicate, INK), (object_, OBJECT)):
        pen.text((left, 6), text, colour, _font(22))
        left += int(pen.textlength(text, _font(22))) + 8
    count = f"answered by {shown.answer}: {len(shown.rows)}, the nearest to the median first"
    _text(picture, (GAP, 36), count, 14)


def _notes(picture: Image.Image, shown: Shown) -> None:
    """The counts of `lines`, below the overlay, in two columns."""
    top, size = HEADER + OVERLAY_WH[1] + 6, 13
    _text(
        picture, (GAP, top), "all of them, the object in the middle; thick: the most typical", size
    )
    for place, note in enumerate(lines(shown), 2):
        for left, text in ((GAP, note[:11].strip()), (GAP + 90, note[12:])):
            width = OVERLAY_WH[0] + GAP - left
            _text(picture, (left, top + 17 * place), _fit(text, width, size), size)


def _text(picture: Image.Image, at: tuple[int, int], text: str, size: int) -> None:
    ImageDraw.Draw(picture).text(at, text, SOFT, _font(size))


def _fit(text: str, width_px: int, size: int) -> str:
    return textwrap.shorten(text, width=int(width_px / (0.5 * size)), placeholder=" …")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
