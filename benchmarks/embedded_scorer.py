"""How well the embedded scorer tells right from wrong, and how long it takes.

    python benchmarks/embedded_scorer.py --coco FOLDER --stamps FOLDER --backgrounds FOLDER

`--coco` holds `instances.json` and `images/` of COCO; `--stamps` is the `stamps` folder of Debian's
`tuxpaint-stamps-default`; `--backgrounds` holds JPEG photographs. Cases for each object whose
category ImageNet covers:

- right: its box, with its own category;
- wrong: the same box, with the category of another object, of another group;
- covered: 60 % of the box hidden by another picture, its own category;
- background: a box without the object, its own category.

Pictures are split in two halves by a hash of their names. The threshold of the scorer was fitted
on half 0, its formula was chosen on both: half 1 is somewhat optimistic too. The table gives the
AUC of right against each of the others, and the share of cases at 60 or above. With
`captions.json` in the folder of COCO, the global score of each photograph with its own objects and
caption is set against those of another one.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from acp.backends.base import ScoreRequest
from acp.backends.models.efficientnet import (
    Classifier,
    crop_to_input,
    evidence,
    knowable,
    probabilities,
)
from acp.backends.score_embedded import Embedded, crop_xyxy, instance_score
from acp.core.errors import AcpError
from acp.core.types import Failure, FloatArray, ImageArray, SceneGraph, SceneObject
from acp.core.vocabulary import categories, resolve

CANVAS = 512
LEAST_SIDE_PX = 24
COVERED_SHARE = 0.6
COCO_NAMES = {
    "sports ball": "ball",
    "skis": "ski",
    "cell phone": "cellular_telephone",
    "tv": "television_set",
    "train": "train_(railroad_vehicle)",
    "car": "car_(automobile)",
    "mouse": "mouse_(computer_equipment)",
    "keyboard": "computer_keyboard",
    "bus": "bus_(vehicle)",
    "orange": "orange_(fruit)",
    "tie": "necktie",
    "laptop": "laptop_computer",
    "potted plant": "flowerpot",
}


@dataclass(frozen=True)
class Case:
    """A box (pixels) of an image, the category that belongs to it, and what was done to it."""

    source: str
    half: int
    category: str
    kind: str
    image_rgb: ImageArray
    box_xywh_px: FloatArray


def half_of(name: str) -> int:
    return hashlib.sha256(name.encode()).digest()[-1] % 2


def coco_cases(folder: Path) -> Iterator[Case]:
    data = json.loads((folder / "instances.json").read_text(encoding="utf-8"))
    names = {each["id"]: lvis_name(each["name"]) for each in data["categories"]}
    images = {
        each["id"]: rgb(Image.open(folder / "images" / each["file_name"]))
        for each in data["images"]
    }
    numbers = np.random.default_rng(0)
    for image_id, image in images.items():
        objects = [each for each in data["annotations"] if each["image_id"] == image_id]
        boxes = np.array([each["bbox"] for each in objects], dtype=np.float32).reshape(-1, 4)
        other = images[int(numbers.choice([each for each in images if each != image_id]))]
        for each, box in zip(objects, boxes, strict=True):
            category = names[each["category_id"]]
            if each["iscrowd"] or box[2:].min() < LEAST_SIDE_PX or not knowable(category):
                continue
            half = half_of(str(image_id))
            covered = cover(image, box, Image.fromarray(other), numbers)
            free = free_box(image, box, boxes, numbers)
            yield Case("photo", half, category, "right", image, box)
            yield Case("photo", half, category, "covered", covered, box)
            if free is not None:
                yield Case("photo", half, category, "background", image, free)


def lvis_name(coco_name: str) -> str:
    """The LVIS name of a COCO category, or COCO's own where there is none."""
    try:
        return resolve(COCO_NAMES.get(coco_name, coco_name)).name
    except AcpError:
        return coco_name


def free_box(
    image: ImageArray, box: FloatArray, taken: FloatArray, numbers: np.random.Generator
) -> FloatArray | None:
    """A box of about the same size that hardly touches any object."""
    size_wh = np.array(image.shape[1::-1])
    sides = np.minimum(box[2:], size_wh / 2)
    for _ in range(40):
        corner = numbers.uniform(0, size_wh - sides)
        shared = np.minimum(corner + sides, taken[:, :2] + taken[:, 2:])
        shared = np.clip(shared - np.maximum(corner, taken[:, :2]), 0, None).prod(axis=1)
        if (shared < 0.1 * sides.prod()).all():
            return np.concatenate([corner, sides]).astype(np.float32)
    return None


def stamp_cases(stamps: Path, backgrounds: Path, looks: int) -> Iterator[Case]:
    table = files("acp.data").joinpath("stamps.tsv").read_text(encoding="utf-8")
    rows = [
        row for row in csv.DictReader(table.splitlines(), delimiter="\t") if row["quality"] != "0"
    ]
    places = [landscape(path) for path in sorted(backgrounds.glob("*.jpg"))]
    numbers = np.random.default_rng(1)
    for row in rows:
        stamp = cut_out(stamps / row["file"])
        for _ in range(looks):
            place = places[numbers.integers(len(places))]
            empty, image, box = pasted(stamp, place, numbers)
            if not knowable(row["category"]):
                continue
            half = half_of(row["file"])
            over = cut_out(stamps / rows[numbers.integers(len(rows))]["file"])
            hidden = cover(image, box, over, numbers)
            yield Case("cut-out", half, row["category"], "right", image, box)
            yield Case("cut-out", half, row["category"], "covered", hidden, box)
            yield Case("cut-out", half, row["category"], "background", empty, box)


def landscape(path: Path) -> Image.Image:
    image = Image.open(path).convert("RGB")
    return image.resize((round(image.width * 900 / image.height), 900))


def cut_out(path: Path) -> Image.Image:
    stamp = Image.open(path).convert("RGBA")
    return stamp.crop(stamp.getchannel("A").point(lambda alpha: 255 * (alpha > 20)).getbbox())


def pasted(
    stamp: Image.Image, place: Image.Image, numbers: np.random.Generator
) -> tuple[ImageArray, ImageArray, FloatArray]:
    """A square of `place`, the same with the stamp on it, and the stamp's box."""
    left, top = (int(numbers.integers(side - CANVAS)) for side in place.size)
    image = place.crop((left, top, left + CANVAS, top + CANVAS))
    empty = rgb(image)
    factor = numbers.uniform(70, 300) / max(stamp.size)
    look = stamp.resize((max(8, int(stamp.width * factor)), max(8, int(stamp.height * factor))))
    if numbers.random() < 0.5:
        look = look.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    corner = (
        int(numbers.integers(CANVAS - look.width + 1)),
        int(numbers.integers(CANVAS - look.height + 1)),
    )
    image.paste(look, corner, look)
    return empty, rgb(image), np.array([*corner, *look.size], dtype=np.float32)


def cover(
    image: ImageArray, box: FloatArray, over: Image.Image, numbers: np.random.Generator
) -> ImageArray:
    """60 % of the box hidden behind `over`, from a random side."""
    x, y, width, height = (float(value) for value in box)
    side = int(numbers.integers(4))
    part_w, part_h = (COVERED_SHARE, 1.0) if side < 2 else (1.0, COVERED_SHARE)
    size = (max(2, round(width * part_w)), max(2, round(height * part_h)))
    corner = (
        round(x + (width - size[0] if side == 1 else 0)),
        round(y + (height - size[1] if side == 3 else 0)),
    )
    result = Image.fromarray(image)
    patch = over.resize(size)
    result.paste(patch, corner, patch if patch.mode == "RGBA" else None)
    return rgb(result)


def rgb(image: Image.Image) -> ImageArray:
    return np.asarray(image.convert("RGB"))


def scores_of(cases: list[Case], classifier: Classifier) -> tuple[list[dict[str, Any]], float]:
    """A row per case and per wrong category, and CPU milliseconds per crop."""
    crops = [
        crop_to_input(image, crop)
        for case in cases
        if (image := Image.fromarray(case.image_rgb))
        and (crop := crop_xyxy(case.box_xywh_px, image.size))
    ]
    start = time.process_time()
    shares = probabilities(classifier.logits(crops))
    ms = 1000 * (time.process_time() - start) / len(crops)
    numbers = np.random.default_rng(2)
    rows = []
    for case, share in zip(cases, shares, strict=True):
        rows.append(row_of(case, case.kind, evidence(share[None], case.category)))
        if case.kind == "right":
            wrong = other_category(case, cases, numbers)
            rows.append(row_of(case, "wrong", evidence(share[None], wrong)))
    return rows, ms


def row_of(case: Case, kind: str, found: float) -> dict[str, Any]:
    return {
        "source": case.source,
        "half": case.half,
        "kind": kind,
        "evidence": found,
        "score": instance_score(found),
    }


def other_category(case: Case, cases: list[Case], numbers: np.random.Generator) -> str:
    known = categories()
    group = known[case.category].group
    names = {each.category for each in cases if each.source == case.source}
    return str(numbers.choice(sorted(name for name in names if known[name].group != group)))


def auc(right: FloatArray, wrong: FloatArray) -> float:
    """The chance that a right case scores above a wrong one; ties count half."""
    above = (right[:, None] > wrong[None]).mean()
    return float(above + 0.5 * (right[:, None] == wrong[None]).mean())


def table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "| pictures | half | right cases | AUC wrong | AUC covered | AUC background |" + (
        " right >= 60 | wrong >= 60 | covered >= 60 | background >= 60 |"
    )
    yield "| --- " * 10 + "|"
    for source in ("cut-out", "photo"):
        for half in (0, 1):
            kinds = {
                kind: np.array(
                    [
                        row["score"]
                        for row in rows
                        if (row["source"], row["half"], row["kind"]) == (source, half, kind)
                    ]
                )
                for kind in ("right", "wrong", "covered", "background")
            }
            if any(scores.size == 0 for scores in kinds.values()):
                continue
            right = kinds.pop("right")
            cells = [source, str(half), str(len(right))]
            cells += [f"{auc(right, scores):.3f}" for scores in kinds.values()]
            cells += [f"{(scores >= 60).mean():.0%}" for scores in (right, *kinds.values())]
            yield f"| {' | '.join(cells)} |"


def global_scores(folder: Path, scorer: Embedded) -> Iterator[str]:
    """The global score with a photograph's own graph, and with that of the next photograph."""
    data = json.loads((folder / "instances.json").read_text(encoding="utf-8"))
    captions = json.loads((folder / "captions.json").read_text(encoding="utf-8"))["annotations"]
    names = {each["id"]: lvis_name(each["name"]) for each in data["categories"]}
    graphs, images = [], []
    for image in data["images"]:
        objects = {
            names[each["category_id"]]
            for each in data["annotations"]
            if each["image_id"] == image["id"]
        }
        caption = next(each["caption"] for each in captions if each["image_id"] == image["id"])
        graphs.append(SceneGraph(tuple(map(SceneObject, sorted(objects))), (), caption))
        images.append(rgb(Image.open(folder / "images" / image["file_name"])))
    start = time.process_time()
    right, wrong = (
        np.array([global_score(scorer, *pair) for pair in zip(images, paired, strict=True)])
        for paired in (graphs, graphs[1:] + graphs[:1])
    )
    ms = 1000 * (time.process_time() - start) / (2 * len(images))
    yield (
        f"global, {len(images)} photographs: AUC {auc(right, wrong):.3f}; at 60 or above: "
        f"{(right >= 60).mean():.0%} of right, {(wrong >= 60).mean():.0%} of wrong"
    )
    yield f"{ms:.0f} ms of CPU for the global score of an image"


def global_score(scorer: Embedded, image_rgb: ImageArray, graph: SceneGraph) -> float:
    boxes = np.zeros((len(graph.objects), 4), dtype=np.float32)
    result = scorer.score([ScoreRequest(image_rgb, graph, boxes)])[0]
    if isinstance(result, Failure) or result.clis_i_global is None:
        raise ValueError(f"no global score: {result}")
    return result.clis_i_global


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--coco", type=Path)
    parser.add_argument("--stamps", type=Path)
    parser.add_argument("--backgrounds", type=Path)
    parser.add_argument("--looks", type=int, default=2, help="pastes of each cut-out")
    parser.add_argument("--limit", type=int, help="use at most so many cases of each source")
    arguments = parser.parse_args()
    cases: list[Case] = []
    if arguments.coco:
        cases += list(coco_cases(arguments.coco))[: arguments.limit]
    if arguments.stamps and arguments.backgrounds:
        found = stamp_cases(arguments.stamps, arguments.backgrounds, arguments.looks)
        cases += list(found)[: arguments.limit]
    if not cases:
        parser.error("give --coco, or --stamps with --backgrounds")
    rows, ms = scores_of(cases, Classifier.load())
    print("\n".join(table(rows)))
    print(f"\n{ms:.1f} ms of CPU to classify a crop, {len(cases)} crops")
    if arguments.coco and (arguments.coco / "captions.json").is_file():
        scorer = Embedded()
        scorer.load()
        print("\n".join(global_scores(arguments.coco, scorer)))


if __name__ == "__main__":
    main()
