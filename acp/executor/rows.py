"""The published rows: one image a row, or one scene a row. The schema is fixed here alone.

Boxes of images are COCO pixels `[x, y, w, h]`, those of layouts are normalised; segmentations are
COCO RLE; scores are 0-100 and None where nothing could be scored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from acp.core.types import Candidate, Instances, Scene
from acp.core.vocabulary import categories
from acp.pipeline.recipe import CANDIDATES_PER_SCENE_ID

if TYPE_CHECKING:
    from datasets import Features

CONFIGS = ("curated", "raw", "scene_graphs")
OBJECTS_PER_IMAGE_ID = 100
"""An object's id is image_id * 100 + place + 1."""


def features(config: str) -> Features:
    """The features of a configuration: "curated", "raw" or "scene_graphs"."""
    from datasets import Features

    if config == "scene_graphs":
        return Features(_scene_features())
    curated = _image_features()
    if config == "curated":
        return Features(curated)
    from datasets import List, Value

    raw_objects = {**curated["objects"], "reject": List(Value("string"))}
    return Features(
        {**curated, "objects": raw_objects, "kept": Value("bool"), "reject": Value("string")}
    )


def _image_features() -> dict[str, Any]:
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
            "clis_i": List(Value("float32")),
        },
        "relations": _relation_features(),
        "clis_l": Value("float32"),
        "clis_i": Value("float32"),
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
        "relations": _relations(scene, range(len(objects))),
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
    """The row of a candidate in `raw`, with all its objects and the reasons against them."""
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
        "relations": _relations(scene, range(len(objects))),
        "clis_l": _rounded(candidate.layout.clis_l),
        "clis_i": _rounded(scores.clis_i if scores else None),
        "clis": _rounded(candidate.clis),
        "provenance": {
            **provenance,
            "scene": scene.scene_id,
            "candidate": candidate.index,
            "seed": candidate.seed,
        },
        "kept": not candidate.reject,
        "reject": candidate.reject,
    }


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
    segmentations = encode_masks(instances.masks)
    return [
        (
            image_id * OBJECTS_PER_IMAGE_ID + place + 1,
            thing.category,
            *_category(thing.category),
            instances.boxes_xywh_px[place].tolist(),
            float(instances.masks[place].sum()),
            thing.attributes,
            segmentations[place],
            round(float(instances.visible[place]), 4),
            _predicted_iou(instances, place),
            _rounded(scores.clis_i_instances[place] if scores else None),
            candidate.reject_objects[place] if candidate.reject_objects else "",
        )
        for place, thing in enumerate(scene.graph.objects)
    ]


def _predicted_iou(instances: Instances, place: int) -> float | None:
    predicted = instances.predicted_iou
    return None if predicted is None else round(float(predicted[place]), 4)


def encode_masks(masks: np.ndarray) -> list[dict[str, Any]]:
    """COCO RLE of masks (N, H, W): `{"size": [height, width], "counts": str}` each."""
    from pycocotools import mask as coco_mask

    encode: Callable[[np.ndarray], dict[str, Any]] = coco_mask.encode
    codes = [encode(np.asfortranarray(mask, dtype=np.uint8)) for mask in masks]
    return [{"size": list(code["size"]), "counts": code["counts"].decode()} for code in codes]


def _category(name: str) -> tuple[int, str]:
    category = categories()[name]
    return category.id, category.frequency


def _relations(scene: Scene, places: Sequence[int]) -> dict[str, list[Any]]:
    relations = scene.graph.relations if scene.graph and len(places) else ()
    return _columns(_RELATION, [(r.subject, r.predicate, r.object) for r in relations])


def _columns(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> dict[str, list[Any]]:
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(float(score), 2)
