"""Fifty images of COCO with their objects as people publish them."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, Features, Image, List, Value
from pycocotools import mask as coco_mask

Row = dict[str, Any]


def coco_rows(folder: Path) -> list[Row]:
    """A row an image: image, image_id, width, height and `objects`, a list of annotations."""
    content = json.loads((folder / "coco_tiny" / "instances.json").read_bytes())
    places = {category["id"]: k for k, category in enumerate(content["categories"])}
    by_image: dict[int, list[Row]] = {}
    for each in content["annotations"]:
        kept = {key: each[key] for key in ("id", "bbox", "area", "segmentation", "iscrowd")}
        by_image.setdefault(each["image_id"], []).append(
            {**kept, "category": places[each["category_id"]]}
        )
    return [
        {
            "image": stored(folder / "coco_tiny" / "images" / image["file_name"]),
            "image_id": image["id"],
            "width": image["width"],
            "height": image["height"],
            "objects": by_image.get(image["id"], []),
        }
        for image in content["images"]
    ]


def stored(path: Path) -> dict[str, Any]:
    return {"bytes": path.read_bytes(), "path": path.name}


def names_of(folder: Path) -> list[str]:
    content = json.loads((folder / "coco_tiny" / "instances.json").read_bytes())
    return [category["name"] for category in content["categories"]]


def columns(objects: list[Row], *keys: str) -> dict[str, list[Any]]:
    """A struct of lists of a list of structs."""
    return {key: [each[key] for each in objects] for key in keys}


def polygons(objects: list[Row]) -> list[Row]:
    """Without the crowds, whose masks are run lengths."""
    return [each for each in objects if isinstance(each["segmentation"], list)]


def rle(row: Row, each: Row, *, compressed: bool = True) -> dict[str, Any]:
    height, width, shape = row["height"], row["width"], each["segmentation"]
    code = coco_mask.frPyObjects(shape, height, width)
    merged = coco_mask.merge(code) if isinstance(code, list) else code
    if compressed:
        return {"size": [height, width], "counts": merged["counts"].decode()}
    flat = coco_mask.decode(merged).reshape(-1, order="F")
    counts, last, run = [], 0, 0
    for value in flat.tolist():
        if value != last:
            counts.append(run)
            last, run = value, 0
        run += 1
    return {"size": [height, width], "counts": [*counts, run]}


def normalised_centre(row: Row, box: list[float]) -> list[float]:
    x, y, w, h = box
    width, height = row["width"], row["height"]
    return [(x + w / 2) / width, (y + h / 2) / height, w / width, h / height]


def xyxy(box: list[float]) -> list[float]:
    x, y, w, h = box
    return [x, y, x + w, y + h]


def with_boxes(rows: list[Row], change: Callable[[Row, list[float]], list[float]]) -> list[Row]:
    """Rows of a struct of lists, whose boxes are changed."""
    return [
        {
            **{key: row[key] for key in ("image", "image_id", "width", "height")},
            "objects": {
                "id": [each["id"] for each in row["objects"]],
                "bbox": [change(row, each["bbox"]) for each in row["objects"]],
                "category": [each["category"] for each in row["objects"]],
            },
        }
        for row in rows
    ]


# Each layout writes a data set into a folder.


def struct_of_lists(data: Path, out: Path) -> None:
    """As most detection sets on the Hub: `objects` of lists, classes, a card by push_to_hub."""
    rows = with_boxes(coco_rows(data), lambda row, box: box)
    features = Features(
        {
            "image": Image(),
            "image_id": Value("int64"),
            "width": Value("int32"),
            "height": Value("int32"),
            "objects": {
                "id": List(Value("int64")),
                "bbox": List(List(Value("float32"), length=4)),
                "category": List(ClassLabel(names=names_of(data))),
            },
        }
    )
    _two_shards(Dataset.from_list(rows, features=features), out)


def list_of_structs(data: Path, out: Path) -> None:
    """A list of structs of another name with polygons, corners, and no width and height."""
    rows = [
        {
            "image": row["image"],
            "annotations": [
                {"bbox": xyxy(e["bbox"]), "label": e["category"], "segmentation": e["segmentation"]}
                for e in polygons(row["objects"])
            ],
        }
        for row in coco_rows(data)
    ]
    _two_shards(Dataset.from_list(rows).cast_column("image", Image()), out)


def normalised_centres(data: Path, out: Path) -> None:
    """YOLO's boxes, in lists at the top."""
    rows = [
        {
            "image": row["image"],
            "bboxes": [normalised_centre(row, e["bbox"]) for e in row["objects"]],
            "labels": [e["category"] for e in row["objects"]],
        }
        for row in coco_rows(data)
    ]
    _two_shards(Dataset.from_list(rows).cast_column("image", Image()), out)


def compressed_masks(data: Path, out: Path) -> None:
    _masks(data, out, compressed=True)


def uncompressed_masks(data: Path, out: Path) -> None:
    _masks(data, out, compressed=False)


def _masks(data: Path, out: Path, *, compressed: bool) -> None:
    rows = [
        {
            **{key: row[key] for key in ("image", "image_id", "width", "height")},
            "objects": [
                {
                    **{key: each[key] for key in ("id", "bbox", "area", "category")},
                    "segmentation": rle(row, each, compressed=compressed),
                }
                for each in row["objects"]
            ],
        }
        for row in coco_rows(data)
    ]
    _two_shards(Dataset.from_list(rows).cast_column("image", Image()), out)


def _two_shards(data: Dataset, out: Path) -> None:
    (out / "data").mkdir(parents=True)
    for index in range(2):
        path = out / "data" / f"train-{index:05d}-of-00002.parquet"
        data.shard(2, index, contiguous=True).to_parquet(str(path))


def image_folder(data: Path, out: Path) -> None:
    """`metadata.jsonl` beside the images."""
    (out / "train").mkdir(parents=True)
    lines = []
    for row in coco_rows(data):
        name = row["image"]["path"]
        (out / "train" / name).write_bytes(row["image"]["bytes"])
        objects = columns(row["objects"], "bbox", "category", "area")
        lines.append(json.dumps({"file_name": name, "objects": objects}))
    (out / "train" / "metadata.jsonl").write_text("\n".join(lines))


def json_lines(data: Path, out: Path) -> None:
    """No images at all."""
    out.mkdir(parents=True)
    rows = [
        {
            **{key: row[key] for key in ("image_id", "width", "height")},
            "objects": columns(row["objects"], "id", "bbox", "category"),
        }
        for row in coco_rows(data)
    ]
    (out / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))


def web_dataset(data: Path, out: Path) -> None:
    out.mkdir(parents=True)
    with tarfile.open(out / "train-0000.tar", "w") as archive:
        for row in coco_rows(data):
            objects = columns(row["objects"], "bbox", "category")
            told = {"width": row["width"], "height": row["height"], "objects": objects}
            key = f"{row['image_id']:012d}"
            for suffix, content in (
                ("jpg", row["image"]["bytes"]),
                ("json", json.dumps(told).encode()),
            ):
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


LAYOUTS: dict[str, tuple[Callable[[Path, Path], None], str, dict[str, str]]] = {
    "struct_of_lists": (struct_of_lists, "xywh", {}),
    "list_of_structs": (
        list_of_structs,
        "xyxy",
        {"bbox": "annotations.bbox", "segmentation": "annotations.segmentation"},
    ),
    "normalised_centres": (normalised_centres, "cxcywhn", {"bbox": "bboxes"}),
    "compressed_masks": (compressed_masks, "xywh", {}),
    "uncompressed_masks": (uncompressed_masks, "xywh", {}),
    "image_folder": (image_folder, "xywh", {}),
    "json_lines": (json_lines, "xywh", {}),
    "web_dataset": (
        web_dataset,
        "xywh",
        {
            "image": "jpg",
            "bbox": "json.objects.bbox",
            "width": "json.width",
            "height": "json.height",
        },
    ),
}
"""By name, what writes it, and what `acp check` has to be told: the format of the boxes, and where
they are."""
