"""What the stages hand to each other. Every type is immutable; a stage returns new ones.

Boxes are `[x, y, w, h]` normalised to the image, float32, shape (N, 4), named `boxes_xywhn`.
Images are uint8 RGB arrays of shape (height, width, 3); masks are bool, shape (N, height, width).
Scores are on the paper's 0-100 scale.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
ImageArray = npt.NDArray[np.uint8]
MaskArray = npt.NDArray[np.bool_]
BoxConvention = Literal["xyxy_1000", "xyxy_px", "xyxy_norm", "yxyx_1000"]
"""How a multimodal model is told of a box: the order of its sides, and their unit."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is recorded with the data about a model or a tool that made it."""

    id: str
    revision: str
    licence: str
    note: str = ""

    def __str__(self) -> str:
        return f"{self.id}@{self.revision}"


@dataclass(frozen=True, slots=True)
class Failure:
    """What a backend returns in place of a result: the item is rejected for this reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One object of a scene graph: an LVIS category and an attribute phrase such as "brown"."""

    category: str
    attributes: str = ""


@dataclass(frozen=True, slots=True)
class Relation:
    """`objects[subject] predicate objects[object]`; subject and object are indices."""

    subject: int
    predicate: str
    object: int


@dataclass(frozen=True, slots=True)
class SceneGraph:
    """What is to be seen: objects with attributes, relations, a place, and a caption naming all.

    `predicate` of a relation is what the layout is scored by ("left of"); `caption` may word it
    otherwise ("standing to the left of").
    """

    objects: tuple[SceneObject, ...]
    relations: tuple[Relation, ...]
    caption: str
    setting: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """A box per object of the graph, in its order, who proposed it, and what it scored."""

    boxes_xywhn: FloatArray
    source: str
    clis_l: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """One way a category can appear: an attribute phrase true of the pixels, width / height, and
    how long its longer side can be drawn without a blur."""

    attributes: str
    aspect_wh: float
    max_side_px: float = math.inf


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a renderer can draw; `None` in place of an inventory means "anything".

    `looks` maps an LVIS category to its looks. `settings` maps a place phrase that fits after
    "in" or "on" (with its preposition: "on a meadow") to the habitats it offers: any of
    "ground", "water", "air", "surface". `habitats` maps a category to the habitat it needs.
    """

    looks: Mapping[str, tuple[Look, ...]]
    settings: Mapping[str, frozenset[str]]
    habitats: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Rendering:
    """An image; renderers that know them add exact visible masks (N, H, W) and the share of each
    object that is visible, (N,), 0-1."""

    image_rgb: ImageArray
    masks: MaskArray | None = None
    visible: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class Instances:
    """Visible masks (N, H, W), tight boxes of them in pixels (N, 4), visible share (N,) 0-1.

    An object without a single visible pixel has an empty mask and a box of zeros. Models that find
    masks say how well they think each fits: `predicted_iou`, (N,) 0-1. `reasons`, of length N or
    empty, says why an object is not to be used, "" where nothing speaks against it.
    """

    masks: MaskArray
    boxes_xywh_px: FloatArray
    visible: FloatArray
    predicted_iou: FloatArray | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageScores:
    """CLIS-I, or a proxy of it: the whole image, and each object (None: could not be scored).

    `reason` and `instance_reasons` say what is missing from a score and why; `made_by` names the
    models and prompts: scores made by others are not comparable.
    """

    clis_i: float | None
    clis_i_global: float | None
    clis_i_instances: tuple[float | None, ...]
    reason: str = ""
    instance_reasons: tuple[str, ...] = ()
    made_by: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One image of a layout on its way through render, mask, score and pick.

    `reject` is empty or says why the image is not used; `reject_objects` says the same for each
    object of the graph.
    """

    index: int
    seed: int
    layout: Layout
    jpeg: bytes = b""
    rendering: Rendering | None = None
    instances: Instances | None = None
    scores: ImageScores | None = None
    clis: float | None = None
    reject: str = ""
    reject_objects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scene:
    """The unit of work: one combination of concepts and everything made from it so far."""

    scene_id: int
    seed: int
    concepts: tuple[str, ...] = ()
    graph: SceneGraph | None = None
    layouts: tuple[Layout, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    reject: str = ""
    notes: Mapping[str, str] = field(default_factory=dict)
