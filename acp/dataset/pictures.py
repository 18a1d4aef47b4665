"""Pictures of data sets: contact sheets, plots of scores, layouts and their real counterparts."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor, ImageDraw, ImageFilter, ImageFont

from acp.annotations.showing import Shown, lines
from acp.core.boxes import round_half_up
from acp.core.errors import AcpError, MissingRequirementError, one_line
from acp.core.images import decoded_rgb
from acp.core.masks import BrokenMaskError, decode_rle
from acp.core.types import Float64Array, ImageArray, MaskArray

Row = Mapping[str, Any]
INK, SOFT, PAPER, EDGE = "#1f2328", "#59636e", "#ffffff", "#d1d9e0"
PICKED, REJECTED = "#1a7f37", "#b42318"
COLOURS = ("#e6194b", "#4363d8", "#3cb44b", "#f58231", "#911eb4", "#008080")
PICTURES = {".jpg", ".jpeg", ".png"}


def check_picture(path: Path) -> None:
    """Raises AcpError unless a file of this name can be a picture."""
    if path.suffix.lower() not in PICTURES:
        raise AcpError(f"{path}: a picture is a .jpg or a .png")


# A contact sheet: the candidates of a scene in a row, the pick marked, each reject with its reason.

THUMBNAIL_W, MARGIN, HEADER, FOOTER = 320, 8, 46, 38
NEEDED = {"image", "objects", "caption", "provenance", "clis"}


class NothingToShowError(AcpError):
    """A data set without a single image."""


def write_contact_sheet(rows: Iterable[Row], path: Path, scenes: int = 12) -> int:
    """Draw up to `scenes` scenes of `raw` or `curated` rows into a JPEG or PNG.

    Returns the number of scenes drawn.

    Raises:
        NothingToShowError: there is no row with an image.
        AcpError: the rows are not ours, or the name has another suffix.
    """
    check_picture(path)
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
    check_picture(path)
    return write_contact_sheet(rows_of_data_set(name), path, scenes)


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
    pen.text((2, picture.height + 18), _fit(verdict, picture.width, 12), colour, _font(12))
    return cell


def annotate(row: Row) -> Image.Image:
    """The image of a row at full size with masks tinted and boxes labelled."""
    pixels = decoded_rgb(row["image"])
    objects = row["objects"]
    for place, code in enumerate(objects["segmentation"]):
        _draw_mask(pixels, _decode(code, pixels), ImageColor.getrgb(_colour(place)))
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


def _decode(segmentation: Mapping[str, Any], pixels: ImageArray) -> MaskArray:
    try:
        return decode_rle(segmentation, (pixels.shape[1], pixels.shape[0]))
    except BrokenMaskError as error:
        raise AcpError(f"a mask cannot be drawn: {error}; {error.fix}") from None


def _thumbnail_size(row: Row) -> tuple[int, int]:
    return THUMBNAIL_W, round(THUMBNAIL_W * row["height"] / row["width"])


def _fit(text: str, width_px: int, size: int) -> str:
    """The text, cut to about a width at a size of font."""
    return textwrap.shorten(text, width=int(width_px / (0.5 * size)), placeholder=" …")


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


# Layouts, as the Space shows them.

SIDE = 480
FAR = 4.0
"""Boxes are cut off at so many image sides."""


def reference_boxes(near: Mapping[str, float]) -> list[list[float]]:
    """Boxes [x, y, w, h] of a reference, which has no place of its own: in the middle."""
    boxes = [
        [-near["subject_w"] / 2, -near["subject_h"] / 2, near["subject_w"], near["subject_h"]],
        [
            near["dx"] - near["object_w"] / 2,
            near["dy"] - near["object_h"] / 2,
            near["object_w"],
            near["object_h"],
        ],
    ]
    low = [min(box[axis] for box in boxes) for axis in (0, 1)]
    high = [max(box[axis] + box[axis + 2] for box in boxes) for axis in (0, 1)]
    shift = [0.5 - (a + b) / 2 for a, b in zip(low, high, strict=True)]
    return [[box[0] + shift[0], box[1] + shift[1], *box[2:]] for box in boxes]


def draw_layout(
    names: Sequence[str],
    boxes: Sequence[Sequence[Any]],
    image: Image.Image | None = None,
    side: int = SIDE,
    mark: Sequence[float] | None = None,
) -> Image.Image:
    """Normalised boxes with their names, over the image where there is one."""
    size = (side, side)
    if image is not None:
        size = (side, max(1, round(side * image.height / image.width)))
    paper = image.convert("RGB").resize(size) if image else Image.new("RGB", size, PAPER)
    pen, font = ImageDraw.Draw(paper), ImageFont.load_default(13)
    pen.rectangle((0, 0, size[0] - 1, size[1] - 1), outline=EDGE)
    for place, (name, box) in enumerate(zip(names, boxes, strict=True)):
        colour = COLOURS[place % len(COLOURS)]
        try:
            x, y, w, h = (min(max(float(value), -FAR), FAR) for value in box)
            corners = (x * size[0], y * size[1], (x + w) * size[0], (y + h) * size[1])
            pen.rectangle(corners, outline=colour, width=3)
        except (TypeError, ValueError, OverflowError):
            continue  # not a box yet
        label = f"{place} {name}"
        at = (min(max(0, corners[0]), size[0] - 20), min(max(0, corners[1]), size[1] - 16))
        pen.rectangle(pen.textbbox(at, label, font=font), fill=colour)
        pen.text(at, label, "white", font)
    if mark:
        x, y = mark[0] * size[0], mark[1] * size[1]
        pen.ellipse((x - 4, y - 4, x + 4, y + 4), fill=INK)
    return paper


# A plot of scores: how CLIS, its two halves and their parts are distributed.

TITLES = {
    "clis": "CLIS",
    "clis_l": "CLIS-L, layout",
    "clis_l_size": "size",
    "clis_l_distance": "distance",
    "clis_l_direction": "direction",
    "clis_i": "CLIS-I, image",
    "clis_i_global": "whole image",
    "clis_i_instances": "objects",
}


COLUMNS, BINS = 3, 40


def plot_scores(scores: Mapping[str, Sequence[float | None]], path: Path, subtitle: str) -> None:
    """Write histograms of the scores there are, a panel each, as a PNG.

    Args:
        scores: by the names of `TITLES`; None is counted and told.
        path: of the picture.
        subtitle: what was scored and how.

    Raises:
        MissingRequirementError: matplotlib is not installed.
    """
    figure_type = _figure_type()
    found = {name: _numbers(scores[name]) for name in TITLES if name in scores}
    shown = {name: values for name, values in found.items() if len(values)}
    rows = max(1, -(-len(shown) // COLUMNS))
    figure = figure_type(figsize=(4 * COLUMNS, 2.6 * rows + 0.8), dpi=110, layout="constrained")
    figure.suptitle(subtitle, fontsize=11, color=INK)
    axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axis, (name, values) in zip(axes, shown.items(), strict=False):
        _panel(axis, TITLES[name], values, len(scores[name]) - len(values))
    for axis in axes[len(shown) :]:
        axis.set_axis_off()
    if not shown:
        axes[0].text(0.5, 0.5, "nothing could be scored", ha="center", color=INK)
    figure.savefig(path, format="png", metadata={"Software": None})


def _panel(axis: Any, title: str, values: np.ndarray, unscored: int) -> None:
    low = min(0.0, 10 * np.floor(values.min() / 10))
    axis.hist(values, bins=np.linspace(low, 100, BINS + 1), color=COLOURS[1])
    axis.axvline(values.mean(), color=REJECTED, linewidth=1.5)
    axis.set_xlim(low, 100)
    axis.set_title(title, fontsize=10, loc="left", color=INK)
    told = f"mean {values.mean():.1f}, n = {len(values)}"
    axis.set_title(told + (f", none {unscored}" if unscored else ""), fontsize=8, loc="right")
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)
    axis.yaxis.get_major_locator().set_params(integer=True)


def _numbers(values: Sequence[float | None]) -> np.ndarray:
    return np.array([value for value in values if value is not None], dtype=np.float64)


def _figure_type() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingRequirementError(
            "matplotlib is missing; install auto-cherry-picker[plot], or give --no-plot"
        ) from None
    return Figure


# Reference layouts: the most typical ones, and all of them laid over each other.

FRAME_WH, GAP, CAPTION, TITLE = (172, 129), 10, 20, 58
FRAMES_XY = 5, 4
OVERLAY_WH = (FRAME_WH[0] * 3, FRAME_WH[1] * 3)
MOST_ZOOM, MOST_LAID_OVER = 4.0, 300
SUBJECT, OBJECT = (67, 99, 216), (230, 25, 75)


def draw_references(shown: Shown, path: Path) -> int:
    """Draw the references of a relation into a .png or .jpg; returns how many frames it has.

    Raises:
        AcpError: the name has another suffix.
    """
    check_picture(path)
    subject, object_ = _pair_boxes(shown)
    order = _most_typical(subject, object_)
    frames = order[: FRAMES_XY[0] * FRAMES_XY[1]]
    left = OVERLAY_WH[0] + 2 * GAP
    cell_w, cell_h = FRAME_WH[0] + GAP, FRAME_WH[1] + CAPTION + GAP
    size = left + FRAMES_XY[0] * cell_w, TITLE + FRAMES_XY[1] * cell_h + GAP
    picture = Image.new("RGB", size, PAPER)
    _title(picture, shown)
    picture.paste(_overlay(subject, object_, order), (GAP, TITLE))
    _notes(picture, shown)
    for place, index in enumerate(frames):
        at = left + place % FRAMES_XY[0] * cell_w, TITLE + place // FRAMES_XY[0] * cell_h
        picture.paste(_pair_frame(subject[index], object_[index]), at)
        name = " ".join(shown.priors.triple(int(shown.rows[index])))
        _text(picture, (at[0], at[1] + FRAME_WH[1] + 2), _fit(name, FRAME_WH[0], 12), 12)
    picture.save(path, quality=90)
    return len(frames)


def _pair_boxes(shown: Shown) -> tuple[Float64Array, Float64Array]:
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


def _pair_frame(subject: Float64Array, object_: Float64Array) -> Image.Image:
    """One pair in the middle of a frame, as large as fits."""
    frame = Image.new("RGB", FRAME_WH, PAPER)
    pen = ImageDraw.Draw(frame, "RGBA")
    pen.rectangle((0, 0, FRAME_WH[0] - 1, FRAME_WH[1] - 1), outline=EDGE)
    low, high = np.minimum(subject[:2], object_[:2]), np.maximum(subject[2:], object_[2:])
    zoom = min(MOST_ZOOM, float(0.9 / (high - low).max()))
    for box, colour in ((object_, OBJECT), (subject, SUBJECT)):
        _draw_pair_box(pen, box - np.tile((low + high) / 2, 2), zoom, FRAME_WH, colour, 70, 2)
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
        _draw_pair_box(pen, object_[index], zoom, OVERLAY_WH, OBJECT, fill, 1)
        _draw_pair_box(pen, subject[index], zoom, OVERLAY_WH, SUBJECT, fill, 1)
    for boxes, colour in ((object_, OBJECT), (subject, SUBJECT)):
        _draw_pair_box(pen, boxes[order[0]], zoom, OVERLAY_WH, colour, 0, 4)
    pen.rectangle((0, 0, OVERLAY_WH[0] - 1, OVERLAY_WH[1] - 1), outline=EDGE)
    return frame


def _draw_pair_box(
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
    top, size = TITLE + OVERLAY_WH[1] + 6, 13
    _text(
        picture, (GAP, top), "all of them, the object in the middle; thick: the most typical", size
    )
    for place, note in enumerate(lines(shown), 2):
        for left, text in ((GAP, note[:11].strip()), (GAP + 90, note[12:])):
            width = OVERLAY_WH[0] + GAP - left
            _text(picture, (left, top + 17 * place), _fit(text, width, size), size)


def _text(picture: Image.Image, at: tuple[int, int], text: str, size: int) -> None:
    ImageDraw.Draw(picture).text(at, text, SOFT, _font(size))
