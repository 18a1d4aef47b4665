"""Derive the data priors in acp/data from annotation files (none of which is part of the project).

    python scripts/derive_priors.py --captions captions_val2017.json \
        --nsr1k nsr1k_spatial_train.json --instances instances.json --out acp/data

Writes `cooccurrence.tsv` (in how many images' captions two LVIS categories are both named) and
`relation_features.tsv` (features of real pairs of boxes that stand in a relation; no box position,
no image). The same input gives the same bytes. Sources and licences: acp/data/SOURCES.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from caption_words import caption_spellings, named_categories

from acp.clis.features import pair_features
from acp.clis.predicates import INVERSES, holds
from acp.errors import AcpError
from acp.vocabulary import resolve

LEAST_IMAGES = 2
LEAST_AREA = 0.002  # of the image: smaller things say little about how a pair is framed
MOST_PER_TRIPLE = 12  # of the geometric pairs, so that crowds of people do not fill the table

COCO_NAMES = {"hair drier": "hair_dryer", "sports ball": "ball", "skis": "ski"}
NSR1K_PREDICATES = {
    "left": "left of",
    "right": "right of",
    "top": "above",
    "bottom": "below",
    "next to": "next to",
}
GEOMETRIC = ("left of", "next to", "in front of", "above", "on", "inside")
"""Tested on annotated pairs; the inverse of each is written with it."""


class Pair(NamedTuple):
    """A real pair: subject and object by name and normalised `[x, y, w, h]`."""

    subject: str
    predicate: str
    object: str
    subject_box: list[float]
    object_box: list[float]


def main() -> None:
    arguments = _arguments()
    cooccurrence = count_cooccurrence(_captions_by_image(arguments.captions), caption_spellings())
    _write(arguments.out / "cooccurrence.tsv", ("a", "b", "images"), cooccurrence)
    pairs = [*nsr1k_pairs(arguments.nsr1k), *geometric_pairs(arguments.instances)]
    rows, dropped = feature_rows(pairs)
    _write(arguments.out / "relation_features.tsv", FEATURE_COLUMNS, rows)
    print(f"{len(cooccurrence)} pairs of categories; {len(rows)} relations, {dropped} dropped")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name in ("captions", "nsr1k", "instances", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    return parser.parse_args()


def _write(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    lines = ["\t".join(map(str, row)) for row in (columns, *rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _captions_by_image(path: Path) -> list[list[str]]:
    found: defaultdict[int, list[str]] = defaultdict(list)
    for annotation in json.loads(path.read_text(encoding="utf-8"))["annotations"]:
        found[annotation["image_id"]].append(annotation["caption"])
    return list(found.values())


def count_cooccurrence(
    images: Sequence[Sequence[str]], spellings: Mapping[tuple[str, ...], str | None]
) -> list[tuple[str, str, int]]:
    """Pairs (a < b) and the number of images whose captions name both, sorted."""
    pairs: Counter[tuple[str, str]] = Counter()
    for captions in images:
        named = {name for caption in captions for name in named_categories(caption, spellings)}
        pairs.update(itertools.combinations(sorted(named), 2))
    return sorted((a, b, count) for (a, b), count in pairs.items() if count >= LEAST_IMAGES)


def lvis_name(coco_name: str) -> str:
    """The LVIS name of a COCO category, or the COCO name where LVIS has no such category."""
    try:
        return resolve(COCO_NAMES.get(coco_name, coco_name)).name
    except AcpError:
        return coco_name


def nsr1k_pairs(path: Path) -> Iterator[Pair]:
    """Pairs of NSR-1K, each with its inverse; "on" besides "above" where one rests on the other."""
    for record in json.loads(path.read_text(encoding="utf-8")):
        (subject, subject_box), (object_, object_box) = record["obj1"], record["obj2"]
        predicate = NSR1K_PREDICATES[record["relation"]]
        pair = Pair(lvis_name(subject), predicate, lvis_name(object_), subject_box, object_box)
        yield from _with_inverse(pair)
        for other in ("on", "in front of", "behind"):
            if _holds(pair, other):
                yield from _with_inverse(pair._replace(predicate=other))


def geometric_pairs(path: Path) -> Iterator[Pair]:
    """Every geometric predicate that holds between two annotated instances of an image."""
    data = json.loads(path.read_text(encoding="utf-8"))
    names = {category["id"]: lvis_name(category["name"]) for category in data["categories"]}
    sizes = {image["id"]: (image["width"], image["height"]) for image in data["images"]}
    by_image: defaultdict[int, list[tuple[str, list[float]]]] = defaultdict(list)
    for instance in sorted(data["annotations"], key=lambda found: found["id"]):
        if not instance.get("iscrowd"):
            box = _normalised(instance["bbox"], sizes[instance["image_id"]])
            # What has no area goes on, to be counted among the dropped.
            if not 0 < box[2] * box[3] < LEAST_AREA:
                by_image[instance["image_id"]].append((names[instance["category_id"]], box))
    seen: Counter[tuple[str, str, str]] = Counter()
    for image in sorted(by_image):
        for (a, a_box), (b, b_box) in itertools.permutations(by_image[image], 2):
            for predicate in GEOMETRIC:
                pair = Pair(a, predicate, b, a_box, b_box)
                if seen[pair[:3]] < MOST_PER_TRIPLE and _holds(pair, predicate):
                    seen[pair[:3]] += 1
                    yield from _with_inverse(pair)


def _normalised(box: Sequence[float], size_wh: tuple[int, int]) -> list[float]:
    return [value / size for value, size in zip(box, (*size_wh, *size_wh), strict=True)]


def _holds(pair: Pair, predicate: str) -> bool:
    boxes = np.array([pair.subject_box, pair.object_box], dtype=np.float32)
    return bool(holds(predicate, boxes[:1], boxes[1:])[0])


def _with_inverse(pair: Pair) -> Iterator[Pair]:
    yield pair
    if pair.predicate in INVERSES:
        subject, predicate, object_, subject_box, object_box = pair
        yield Pair(object_, INVERSES[predicate], subject, object_box, subject_box)


FEATURE_COLUMNS = (
    "subject",
    "predicate",
    "object",
    "area_ratio",
    "iou",
    "distance",
    "dx",
    "dy",
    "subject_wh",
    "object_wh",
    "subject_area",
    "object_area",
)


def feature_rows(pairs: Sequence[Pair]) -> tuple[list[tuple[Any, ...]], int]:
    """Rows of the table, sorted, without doubles, and how many pairs had a box without area."""
    subject = np.array([pair.subject_box for pair in pairs], dtype=np.float32)
    object_ = np.array([pair.object_box for pair in pairs], dtype=np.float32)
    features = pair_features(subject, object_)
    sound = (subject[:, 2:] > 0).all(axis=1) & (object_[:, 2:] > 0).all(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        columns = (
            features.area_ratio,
            features.iou,
            features.distance,
            features.dx,
            features.dy,
            subject[:, 2] / subject[:, 3],
            object_[:, 2] / object_[:, 3],
            subject[:, 2:].prod(axis=1),
            object_[:, 2:].prod(axis=1),
        )
    rows = {
        (*pairs[row][:3], *(f"{float(column[row]):.4g}" for column in columns))
        for row in np.flatnonzero(sound).tolist()
    }
    return sorted(rows), int((~sound).sum())


if __name__ == "__main__":
    main()
