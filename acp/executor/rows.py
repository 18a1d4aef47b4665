"""The rows of a data set: one image a row, or one scene a row. The schema is fixed here alone.

A shard holds rows of `measured`, and of `scene_graphs`. At the release the thresholds of pick make
`raw` of `measured`, and `curated` of `raw`. Boxes of images are COCO pixels `[x, y, w, h]`, those
of layouts are normalised; segmentations are COCO RLE; scores are 0-100 and None where nothing could
be scored.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from acp.core.types import Candidate, Scene
from acp.core.vocabulary import categories
from acp.pipeline.pick import Measured, PickSettings, Verdict, number, pick_candidates
from acp.pipeline.recipe import CANDIDATES_PER_SCENE_ID

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features

Row = Mapping[str, Any]

CONFIGS = ("curated", "raw", "scene_graphs")
OBJECTS_PER_IMAGE_ID = 100
"""An object's id is image_id * 100 + place + 1."""


def features(config: str) -> Features:
    """The features of a configuration, or of `measured`."""
    from datasets import Features, List, Value

    if config == "scene_graphs":
        return Features(_scene_features())
    # What pick compares is rounded after it.
    found = _image_features("float64" if config == "measured" else "float32")
    if config != "curated":
        found["objects"]["reject"] = List(Value("string"))
        found |= {"kept": Value("bool"), "reject": Value("string")}
    if config == "measured":
        del found["clis"], found["kept"]
    return Features(found)


def _image_features(score: str = "float32") -> dict[str, Any]:
    from datasets import Image, List, Value

    segmentation = {"size": List(Value("int32"), length=2), "counts": Value("string")}
    return {
        "image": Image(),
        "image_id": Value("int64"),
        "width": Value("int32"),
        "height": Value("int32"),
        "caption": Value("string"),
        "objects": {
            "id": List(Value("int64")),
            "category": List(Value("string")),
            "category_id": List(Value("int32")),
            "frequency": List(Value("string")),
            "bbox": List(List(Value("float32"), length=4)),
            "area": List(Value("float32")),
            "attributes": List(Value("string")),
            "segmentation": List(segmentation),
            "visible": List(Value("float32")),
            "predicted_iou": List(Value("float32")),
            "clis_i": List(Value(score)),
        },
        "relations": _relation_features(),
        "clis_l": Value(score),
        "clis_i": Value(score),
        "clis": Value("float32"),
        "provenance": {
            "recipe": Value("string"),
            "fingerprint": Value("string"),
            "scene": Value("int64"),
            "candidate": Value("int32"),
            "seed": Value("int64"),
            "llm": Value("string"),
            "renderer": Value("string"),
            "scorer": Value("string"),
            "segmenter": Value("string"),
        },
    }


def _relation_features() -> dict[str, Any]:
    from datasets import List, Value

    return {
        "subject": List(Value("int32")),
        "predicate": List(Value("string")),
        "object": List(Value("int32")),
    }


def _scene_features() -> dict[str, Any]:
    from datasets import List, Value

    layout = {
        "source": Value("string"),
        "boxes_xywhn": List(List(Value("float32"), length=4)),
        "clis_l": Value("float32"),
        "chosen": Value("bool"),
        "reject": Value("string"),
    }
    return {
        "scene": Value("int64"),
        "seed": Value("int64"),
        "concepts": List(Value("string")),
        "caption": Value("string"),
        "setting": Value("string"),
        "objects": {
            "category": List(Value("string")),
            "category_id": List(Value("int32")),
            "frequency": List(Value("string")),
            "attributes": List(Value("string")),
        },
        "relations": _relation_features(),
        "layouts": List(layout),
        "notes": Value("string"),
        "reject": Value("string"),
        "provenance": {
            "recipe": Value("string"),
            "fingerprint": Value("string"),
            "llm": Value("string"),
        },
    }


def scene_row(scene: Scene, provenance: Mapping[str, str]) -> dict[str, Any]:
    """The row of a scene in `scene_graphs`; `provenance` has recipe, fingerprint and llm."""
    graph = scene.graph
    objects = graph.objects if graph else ()
    return {
        "scene": scene.scene_id,
        "seed": scene.seed,
        "concepts": list(scene.concepts),
        "caption": graph.caption if graph else "",
        "setting": graph.setting if graph else "",
        "objects": _columns(
            ("category", "category_id", "frequency", "attributes"),
            [(o.category, *_category(o.category), o.attributes) for o in objects],
        ),
        "relations": _relations(scene),
        "layouts": [
            {
                "source": layout.source,
                "boxes_xywhn": layout.boxes_xywhn.tolist(),
                "clis_l": layout.clis_l,
                "chosen": not layout.reason,
                "reject": layout.reason,
            }
            for layout in scene.layouts
        ],
        "notes": "; ".join(f"{stage}: {note}" for stage, note in scene.notes.items()),
        "reject": scene.reject,
        "provenance": {key: provenance[key] for key in ("recipe", "fingerprint", "llm")},
    }


def image_row(
    scene: Scene, candidate: Candidate, size_wh: tuple[int, int], provenance: Mapping[str, str]
) -> dict[str, Any]:
    """The row of a candidate in `measured`, with all its objects and what already speaks against
    them."""
    image_id = scene.scene_id * CANDIDATES_PER_SCENE_ID + candidate.index
    scores = candidate.scores
    objects = _object_rows(scene, candidate, image_id)
    return {
        "image": {"bytes": candidate.jpeg, "path": f"{image_id:012d}.jpg"}
        if candidate.jpeg
        else None,
        "image_id": image_id,
        "width": size_wh[0],
        "height": size_wh[1],
        "caption": scene.graph.caption if scene.graph else "",
        "objects": _columns((*_image_features()["objects"], "reject"), objects),
        "relations": _relations(scene if objects else None),
        "clis_l": candidate.layout.clis_l,
        "clis_i": scores.clis_i if scores else None,
        "provenance": {
            **provenance,
            "scene": scene.scene_id,
            "candidate": candidate.index,
            "seed": candidate.seed,
        },
        "reject": candidate.reject,
    }


def picked_rows(measured: Sequence[Row], limits: PickSettings) -> list[dict[str, Any]]:
    """Rows of `raw` from those of `measured`, in which a scene's candidates stand together."""
    groups = itertools.groupby(measured, key=lambda row: row["provenance"]["scene"])
    scenes = [[*group] for _, group in groups]
    verdicts = [pick_candidates([*map(_measured, scene)], limits) for scene in scenes]
    return [*map(_raw_row, itertools.chain(*scenes), itertools.chain(*verdicts))]


def _measured(row: Row) -> Measured:
    objects = row["objects"]
    boxes_xywh_px = np.array(objects["bbox"], dtype=np.float32).reshape(-1, 4)
    return Measured(
        row["reject"],
        number(row["clis_l"]),
        number(row["clis_i"]),
        objects["reject"],
        boxes_xywh_px[:, 2:].min(axis=1, initial=np.inf),
        np.array(objects["visible"], dtype=np.float32),
        np.array([number(score) for score in objects["clis_i"]]),
    )


def _raw_row(row: Row, verdict: Verdict) -> dict[str, Any]:
    objects = row["objects"]
    return {
        **row,
        "objects": {
            **objects,
            "visible": [_rounded(share, 4) for share in objects["visible"]],
            "predicted_iou": [_rounded(share, 4) for share in objects["predicted_iou"]],
            "clis_i": [_rounded(score) for score in objects["clis_i"]],
            "reject": list(verdict.reject_objects),
        },
        "clis_l": _rounded(row["clis_l"]),
        "clis_i": _rounded(row["clis_i"]),
        "clis": _rounded(verdict.clis),
        "kept": not verdict.reject,
        "reject": verdict.reject,
    }


def picked_table(measured: pa.Table, limits: PickSettings) -> pa.Table:
    """The table `raw` of a table `measured`. No image is looked at."""
    rows = picked_rows(measured.drop_columns(["image"]).to_pylist(), limits)
    return _with_images(rows, measured.column("image"), "raw")


def curated_table(raw: pa.Table) -> pa.Table:
    """The table `curated` of a table `raw`. No image is looked at."""
    kept = raw.filter(raw.column("kept"))
    rows = map(curated_row, kept.drop_columns(["image"]).to_pylist())
    return _with_images([row for row in rows if row], kept.column("image"), "curated")


def _with_images(rows: list[dict[str, Any]], images: Any, config: str) -> pa.Table:
    import pyarrow as pa

    schema = features(config).arrow_schema
    table = pa.Table.from_pylist(rows, schema.remove(schema.get_field_index("image")))
    return table.add_column(0, "image", images).cast(schema)


def curated_row(raw_row: Mapping[str, Any]) -> dict[str, Any] | None:
    """The row of `raw` as it stands in `curated`: without the objects that are not used and the
    relations that touch them; None for a candidate that was not kept."""
    if not raw_row["kept"]:
        return None
    objects = raw_row["objects"]
    keep = [place for place, reason in enumerate(objects["reject"]) if not reason]
    place_of = {old: new for new, old in enumerate(keep)}
    relations = raw_row["relations"]
    triples = [
        (place_of[s], predicate, place_of[o])
        for s, predicate, o in zip(*(relations[key] for key in _RELATION), strict=True)
        if s in place_of and o in place_of
    ]
    row = {key: value for key, value in raw_row.items() if key not in ("kept", "reject")}
    kept = {key: [values[i] for i in keep] for key, values in objects.items() if key != "reject"}
    return {**row, "objects": kept, "relations": _columns(_RELATION, triples)}


_RELATION = ("subject", "predicate", "object")


def _object_rows(scene: Scene, candidate: Candidate, image_id: int) -> list[tuple[Any, ...]]:
    """One tuple an object, in the order of the features; empty where there is no mask."""
    if scene.graph is None or candidate.instances is None:
        return []
    instances, scores = candidate.instances, candidate.scores
    segmentations, predicted = encode_masks(instances.masks), instances.predicted_iou
    reasons = candidate.reject_objects if candidate.reject else instances.reasons
    return [
        (
            image_id * OBJECTS_PER_IMAGE_ID + place + 1,
            thing.category,
            *_category(thing.category),
            instances.boxes_xywh_px[place].tolist(),
            float(instances.masks[place].sum()),
            thing.attributes,
            segmentations[place],
            float(instances.visible[place]),
            None if predicted is None else float(predicted[place]),
            scores.clis_i_instances[place] if scores else None,
            reasons[place] if reasons else "",
        )
        for place, thing in enumerate(scene.graph.objects)
    ]


def encode_masks(masks: np.ndarray) -> list[dict[str, Any]]:
    """COCO RLE of masks (N, H, W): `{"size": [height, width], "counts": str}` each."""
    from pycocotools import mask as coco_mask

    encode: Callable[[np.ndarray], dict[str, Any]] = coco_mask.encode
    codes = [encode(np.asfortranarray(mask, dtype=np.uint8)) for mask in masks]
    return [{"size": list(code["size"]), "counts": code["counts"].decode()} for code in codes]


def _category(name: str) -> tuple[int, str]:
    category = categories()[name]
    return category.id, category.frequency


def _relations(scene: Scene | None) -> dict[str, list[Any]]:
    relations = scene.graph.relations if scene and scene.graph else ()
    return _columns(_RELATION, [(r.subject, r.predicate, r.object) for r in relations])


def _columns(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> dict[str, list[Any]]:
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def _rounded(value: float | None, digits: int = 2) -> float | None:
    return None if value is None else round(value, digits)
