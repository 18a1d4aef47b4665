"""The sample row of a card: chosen by the data alone, drawn, and shortened to JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from acp.core.images import decoded
from acp.dataset.card.markdown import SAMPLE, UNSEEN, one_line
from acp.dataset.card.statistics import batches, row
from acp.dataset.pictures import annotate

MOST_W = 1600
GAP = 8
LONGEST = 48
"""Characters of a text that are shown of masks' codes."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands: configuration, and index in it."""

    config: str
    index: int


def choose(folder: Path) -> Place | None:
    """The pick of median CLIS among those with several objects, of all picks if there is none such.

    If nothing was picked, a candidate of `raw` with an image, in the same way; None without any.

    Raises:
        AcpError: a file cannot be read.
    """
    for config in ("curated", "raw"):
        ranked = sorted(_rank(folder, config))
        several = [each for each in ranked if each[0]] or ranked
        if several:
            return Place(config, several[len(several) // 2][-1])
    return None


def _rank(folder: Path, config: str) -> list[tuple[bool, float, int, int]]:
    """Of each row with an image: whether it has several objects, its CLIS, image id and index."""
    ranked = []
    columns = ["image_id", "clis", "objects.id", "image.path"]
    index = 0
    for batch in batches(folder, config, columns):
        counts = batch.column("objects").field("id").value_lengths().to_pylist()
        values = (batch.column(name).to_pylist() for name in ("image_id", "clis", "image"))
        for count, image_id, clis, image in zip(counts, *values, strict=True):
            if image is not None and count is not None:
                ranked.append((count > 1, -1.0 if clis is None else clis, image_id, index))
            index += 1
    return ranked


def write_sample(folder: Path) -> None:
    """Write the picture of the sample row into the folder, or remove it if there is no row.

    Raises:
        AcpError: a file cannot be read.
    """
    place = choose(folder)
    if place is None:
        (folder / SAMPLE).unlink(missing_ok=True)
        return
    draw(row(folder, place.config, place.index)).save(folder / SAMPLE, quality=90)


def draw(image_row: Mapping[str, Any]) -> Image.Image:
    """The image of a row as it is, and beside it with boxes, masks and scores."""
    plain = decoded(image_row["image"])
    width, height = plain.size
    both = Image.new("RGB", (2 * width + GAP, height), "white")
    both.paste(plain, (0, 0))
    objects = image_row["objects"]
    labels = [one_line(name) for name in objects["category"]]
    labelled = {**image_row, "objects": {**objects, "category": labels}}
    both.paste(annotate(labelled), (width + GAP, 0))
    if both.width > MOST_W:
        both = both.resize((MOST_W, round(both.height * MOST_W / both.width)))
    return both


def as_json(image_row: Mapping[str, Any]) -> str:
    """The row as JSON for people: a line a column, codes of masks and the image cut short."""
    lines = []
    for key, value in image_row.items():
        if isinstance(value, Mapping) and key != "image":
            inner = ",\n".join(f"    {_json(k)}: {_json(_short(v, k))}" for k, v in value.items())
            lines.append(f"  {_json(key)}: {{\n{inner}\n  }}")
        else:
            lines.append(f"  {_json(key)}: {_json(_short(value, key))}")
    return "{\n" + ",\n".join(lines) + "\n}"


def _json(value: Any) -> str:
    told = json.dumps(value, ensure_ascii=False)
    return UNSEEN.sub(lambda found: "".join(f"\\u{ord(one):04x}" for one in found[0]), told)


def _short(value: Any, key: str = "") -> Any:
    if isinstance(value, Mapping):
        return {inner: _short(each, inner) for inner, each in value.items()}
    if isinstance(value, list):
        return [_short(each, key) for each in value]
    if isinstance(value, bytes):
        return f"… {len(value):,} bytes of JPEG"
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if key == "counts" and len(value) > LONGEST:
        return f"{value[:LONGEST]}…"
    return value
