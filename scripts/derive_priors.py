"""Derive the data priors in acp/data from annotation files (none of which is part of the project).

    python scripts/derive_priors.py --captions captions_val2017.json \
        --nsr1k nsr1k_spatial_train.json --instances instances.json \
        --instance-captions captions.json --out acp/data

Writes `cooccurrence.tsv` (in how many images' captions two LVIS categories are both named),
`priors.parquet` (sides and offsets of real pairs of boxes that stand in a relation, as
`acp priors build` finds them; no box position, no image) and `category_vectors.npz` (embeddings of
the names of categories). The same input gives the same bytes. Sources: acp/data/SOURCES.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from caption_words import caption_spellings, named_categories

from acp.annotations.build import BuildOptions, build_priors
from acp.backends.models.embedding import SentenceEmbedder
from acp.clis.features import PairGeometry
from acp.clis.predicates import INVERSES, holds
from acp.clis.priors_file import GEOMETRIC, GEOMETRY, PriorsTable, read_priors, write_priors
from acp.clis.similarity import VECTORS, fold_name, packed, vocabulary_texts
from acp.core.errors import AcpError
from acp.core.vocabulary import resolve

LEAST_IMAGES = 2
LEAST_AREA = 0.002  # of the image: smaller things say little about how a pair is framed
MOST_GEOMETRIC = 24  # of a triple, so that crowds of people do not fill the file

LVIS_NAMES = {
    "hair drier": "hair_dryer",
    "microwave": "microwave_oven",
    "remote": "remote_control",
    "skis": "ski",
    "sports ball": "ball",
}
"""COCO's names for things that LVIS names otherwise."""

COCO_ONLY = ("hair drier", "hot dog", "microwave", "potted plant", "remote", "skis", "sports ball")
"""COCO's names that are no LVIS names or synonyms; they get a vector of their own."""

NSR1K_PREDICATES = {
    "left": "left of",
    "right": "right of",
    "top": "above",
    "bottom": "below",
    "next to": "next to",
}
FURTHER = ("on", "in front of", "behind")
"""Predicates of scene graphs besides those that `acp priors build` reads off boxes."""

Columns = Mapping[str, Any]


def main() -> None:
    arguments = _arguments()
    cooccurrence = count_cooccurrence(_captions_by_image(arguments.captions), caption_spellings())
    _write(arguments.out / "cooccurrence.tsv", ("a", "b", "images"), cooccurrence)
    with tempfile.TemporaryDirectory() as folder:
        tables = [
            _built("relations", nsr1k_relations(arguments.nsr1k), Path(folder) / "nsr1k"),
            _built("coco", _instances(arguments), Path(folder) / "coco"),
        ]
    batches = [columns for table in tables for columns in (_columns(table), further(table))]
    info = {"sources": ["NSR-1K, spatial, train", "50 images of COCO train2017"]}
    rows = write_priors(arguments.out / "priors.parquet", batches, info, compact=True)
    write_vectors(arguments.out / VECTORS)
    print(f"{len(cooccurrence)} pairs of categories; {rows} relations")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name in ("captions", "nsr1k", "instances", "instance-captions", "out"):
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
        return resolve(LVIS_NAMES.get(coco_name, coco_name)).name
    except AcpError:
        return coco_name


def nsr1k_relations(path: Path) -> list[Any]:
    """NSR-1K as a file of relations, each with its inverse; its boxes are shares of the image."""
    found = []
    for record in json.loads(path.read_text(encoding="utf-8")):
        (subject, subject_box), (object_, object_box) = record["obj1"], record["obj2"]
        predicate = NSR1K_PREDICATES[record["relation"]]
        image = {"image_id": record["image_id"], "width": 1, "height": 1}
        found.append(_relation(image, subject, predicate, object_, subject_box, object_box))
        inverse = INVERSES[predicate]
        found.append(_relation(image, object_, inverse, subject, object_box, subject_box))
    return [found]


def _relation(
    image: Mapping[str, Any],
    subject: str,
    predicate: str,
    object_: str,
    subject_box: Sequence[float],
    object_box: Sequence[float],
) -> dict[str, Any]:
    return {
        **image,
        "subject": lvis_name(subject),
        "predicate": predicate,
        "object": lvis_name(object_),
        "subject_box": subject_box,
        "object_box": object_box,
    }


def _instances(arguments: argparse.Namespace) -> list[Any]:
    """COCO instances under LVIS names, without the tiny ones, and their captions."""
    data = json.loads(arguments.instances.read_text(encoding="utf-8"))
    areas = {image["id"]: image["width"] * image["height"] for image in data["images"]}
    for category in data["categories"]:
        category["name"] = lvis_name(category["name"])
    data["annotations"] = [
        each
        for each in data["annotations"]
        if each["bbox"][2] * each["bbox"][3] >= LEAST_AREA * areas[each["image_id"]]
    ]
    return [data, json.loads(arguments.instance_captions.read_text(encoding="utf-8"))]


def _built(file_format: str, contents: Sequence[Any], folder: Path) -> PriorsTable:
    """What `acp priors build` makes of files with these contents."""
    folder.mkdir()
    paths = [folder / f"{place}.json" for place in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_text(json.dumps(content), encoding="utf-8")
    out = folder / "priors.parquet"
    report = build_priors(file_format, paths, out, BuildOptions(max_geometric=MOST_GEOMETRIC))
    print(f"{file_format}: {report.rows} relations", *report.left_out, sep="\n  ")
    return read_priors(out)


def _columns(table: PriorsTable) -> Columns:
    """The rows of a table as they are written."""
    return {
        "subject": [table.names[code] for code in table.subject],
        "predicate": [table.predicates[code] for code in table.predicate],
        "object": [table.names[code] for code in table.object],
        **{name: getattr(table.geometry, name) for name in GEOMETRY},
        "source": ["stated" if stated else GEOMETRIC for stated in table.stated],
    }


def further(table: PriorsTable) -> Columns:
    """Rows of `FURTHER` predicates for the pairs of a table that they hold of."""
    pairs = np.unique(np.stack(_numbers(table), axis=1), axis=0)
    geometry = PairGeometry(*pairs[:, 2:].T)
    columns: defaultdict[str, list[Any]] = defaultdict(list)
    for predicate in FURTHER:
        rows = np.flatnonzero(holds(predicate, *_boxes(geometry)))
        seen: Counter[tuple[float, float]] = Counter()
        for row in rows.tolist():
            subject, object_ = pairs[row, :2]
            seen[subject, object_] += 1
            if seen[subject, object_] <= MOST_GEOMETRIC:
                columns["subject"].append(table.names[int(subject)])
                columns["predicate"].append(predicate)
                columns["object"].append(table.names[int(object_)])
                for name in GEOMETRY:
                    columns[name].append(float(getattr(geometry, name)[row]))
                columns["source"].append(GEOMETRIC)
    return columns


def _numbers(table: PriorsTable) -> list[Any]:
    return [table.subject, table.object, *(getattr(table.geometry, name) for name in GEOMETRY)]


def _boxes(pairs: PairGeometry) -> Iterator[Any]:
    """Boxes (N, 4) of the pairs, the subject's corner at the origin."""
    zeros = np.zeros(len(pairs.dx))
    subject = (zeros, zeros, pairs.subject_w, pairs.subject_h)
    x = pairs.dx + (pairs.subject_w - pairs.object_w) / 2
    y = pairs.dy + (pairs.subject_h - pairs.object_h) / 2
    yield np.stack(subject, axis=1).astype(np.float32)
    yield np.stack((x, y, pairs.object_w, pairs.object_h), axis=1).astype(np.float32)


def write_vectors(path: Path) -> None:
    """Embeddings of the LVIS names, by their nouns, and of COCO's own."""
    texts = vocabulary_texts() | {fold_name(name): name for name in COCO_ONLY}
    vectors = SentenceEmbedder.load().encode(list(texts.values()))
    path.write_bytes(packed(list(texts), vectors))


if __name__ == "__main__":
    main()
