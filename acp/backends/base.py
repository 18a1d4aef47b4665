"""The kinds of backend. A backend is one file: its options, what it requires, `load()` and one
verb. It knows models and devices, and nothing of prompts, stages or shards."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from pydantic import Field

from acp.clis.questions import CaptionRequest as CaptionRequest
from acp.clis.questions import JudgeRequest as JudgeRequest
from acp.core.config import Settings
from acp.core.errors import Missing
from acp.core.types import (
    BoxConvention,
    Failure,
    FloatArray,
    ImageArray,
    ImageScores,
    Instances,
    Inventory,
    ModelInfo,
    Rendering,
    SceneGraph,
)


class BackendOptions(Settings):
    """Base of every backend's options: what a recipe writes under `llm:`, `renderer:` and so on."""

    backend: str = Field("", description="name of the backend, or module:Class of one's own")


class Backend(ABC):
    """A model or tool behind one verb.

    `modules` maps each import name it needs to the command that brings it. `speed_only` names the
    options that change the speed alone; a recipe's fingerprint leaves them out.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    modules: ClassVar[Mapping[str, str]] = {}
    speed_only: ClassVar[frozenset[str]] = frozenset()
    chunk: ClassVar[int] = 32
    """How many requests are handed over at once; the backend makes its own batches of them."""
    options_type: ClassVar[type[BackendOptions]] = BackendOptions
    weights_dtype: ClassVar[str | None] = None
    """Type of the weights in memory, where it is not what the option `dtype` says."""

    def __init__(self, options: Any = None) -> None:
        self.options = options if options is not None else self.options_type()

    @property
    def reference(self) -> str:
        """How a recipe names it: by its name, or as "module:Class"."""
        return str(self.options.backend or self.name)

    def missing(self) -> list[Missing]:
        """What this backend needs and does not find here. Imports nothing heavy."""
        return [
            Missing(f"Python package {module!r}", mend)
            for module, mend in self.modules.items()
            if importlib.util.find_spec(module) is None
        ]

    def resolved_options(self) -> dict[str, Any]:
        """All options with their defaults, as plain values, without the backend's name."""
        values: dict[str, Any] = self.options.model_dump(mode="json", exclude={"backend"})
        return values

    def content_options(self) -> dict[str, Any]:
        """The options that decide what comes out: `resolved_options` without `speed_only`."""
        resolved = self.resolved_options()
        return {key: value for key, value in resolved.items() if key not in self.speed_only}

    @abstractmethod
    def load(self) -> None:
        """Import what is heavy and bring the model into memory. Calling it again does nothing."""

    def unload(self) -> None:
        """Give the memory back that `load()` took; `load()` brings everything again."""
        for name in [*vars(self)]:
            if isinstance(getattr(type(self), name, None), cached_property):
                delattr(self, name)

    def model_keys(self) -> frozenset[str]:
        """What it holds in memory; backends with the same key share one model."""
        return frozenset({f"{type(self).__module__}:{self.resolved_options()}"})

    @abstractmethod
    def info(self) -> ModelInfo:
        """Id, revision and licence of what makes the data. Does not need `load()`."""


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """A chat (`[{"role", "content"}, ...]`) whose answer must be JSON of `json_schema`.

    `temperature` of sampling, 0 for the likeliest answer, None for what the backend is set to.
    """

    messages: tuple[Mapping[str, str], ...]
    json_schema: Mapping[str, Any]
    seed: int
    max_new_tokens: int = 256
    temperature: float | None = None


class LLM(Backend):
    """Text in, JSON text out."""

    writes_boxes: ClassVar[bool] = True
    """Whether its own layouts are worth asking for."""

    @abstractmethod
    def complete(self, requests: Sequence[CompletionRequest]) -> list[str | Failure]:
        """Answers in the order of `requests`, each JSON text that obeys its schema.

        An answer depends on its own request and seed alone, not on what shares its batch.
        """


@dataclass(frozen=True, slots=True)
class RenderRequest:
    """Draw `graph` with its objects in `boxes_xywhn`, (N, 4), at `size_wh` pixels."""

    graph: SceneGraph
    boxes_xywhn: FloatArray
    size_wh: tuple[int, int]
    seed: int


class Renderer(Backend):
    """Scene graph and layout in, image out."""

    def inventory(self) -> Inventory | None:
        """What it can draw, or None for anything. Does not need `load()`."""
        return None

    @abstractmethod
    def render(self, requests: Sequence[RenderRequest]) -> list[Rendering | Failure]:
        """Images in the order of `requests`; each depends on its own request alone."""


@dataclass(frozen=True, slots=True)
class SegmentRequest:
    """Find the object in each of `boxes_xywhn`, (N, 4)."""

    rendering: Rendering
    boxes_xywhn: FloatArray


class Segmenter(Backend):
    """Image and boxes in, masks out."""

    @abstractmethod
    def segment(self, requests: Sequence[SegmentRequest]) -> list[Instances | Failure]:
        """Masks in the order of `requests`, one for each box."""


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """Compare an image (H, W, 3) with its graph; `boxes_xywh_px`, (N, 4), are the visible boxes."""

    image_rgb: ImageArray
    graph: SceneGraph
    boxes_xywh_px: FloatArray


class Scorer(Backend):
    """Image and scene graph in, CLIS-I out."""

    is_proxy: bool = False
    """True where the scores stand in for the paper's CLIS-I; data and card say so."""

    @abstractmethod
    def score(self, requests: Sequence[ScoreRequest]) -> list[ImageScores | Failure]:
        """Scores in the order of `requests`, 0-100."""


class Captioner(Backend):
    """Image and question in, text out."""

    is_proxy: ClassVar[bool] = False
    """True where the texts are no real captions."""

    def reads_boxes_as(self, size_wh: tuple[int, int]) -> tuple[BoxConvention, tuple[int, int]]:
        """How the model was taught to read boxes, and the size at which it sees an image of
        `size_wh`, which boxes in pixels refer to. Does not need `load()`."""
        return "xyxy_1000", size_wh

    @abstractmethod
    def caption(self, requests: Sequence[CaptionRequest]) -> list[str | Failure]:
        """Answers in the order of `requests`; each depends on its own request alone."""


class Judge(Backend):
    """Expected text and caption in, agreement from 0 (none) to 5 (complete) out."""

    is_proxy: ClassVar[bool] = False
    """True where no language model reads the texts."""

    @abstractmethod
    def judge(self, requests: Sequence[JudgeRequest]) -> list[int | Failure]:
        """Integers 0-5 in the order of `requests`; each depends on its own request alone."""
