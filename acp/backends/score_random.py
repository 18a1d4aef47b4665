"""Scores by chance, to compare other selectors with."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from acp.backends.base import BackendOptions, Scorer, ScoreRequest
from acp.clis.questions import image_hash
from acp.core.seeds import rng
from acp.core.types import Failure, ImageScores, ModelInfo


class RandomOptions(BackendOptions):
    """Options of the scorer `random`."""

    seed: int = Field(0, ge=0, description="another one, other scores")


class Random(Scorer):
    """Draws 0-100 for each image and object, from the seed, the image and the caption."""

    name = "random"
    summary = "scores by chance, the baseline of a comparison"
    is_proxy = True
    options_type = RandomOptions
    options: RandomOptions

    def load(self) -> None:
        """Nothing to load."""

    def info(self) -> ModelInfo:
        return ModelInfo("random (proxy)", "1", "cc0-1.0", "scores by chance")

    def score(self, requests: Sequence[ScoreRequest]) -> list[ImageScores | Failure]:
        return [self._one(request) for request in requests]

    def _one(self, request: ScoreRequest) -> ImageScores:
        identity = (image_hash(request.image_rgb), request.graph.caption)
        draws = rng(self.options.seed, "random scores", *identity)
        whole, *parts = draws.uniform(0, 100, 1 + len(request.graph.objects)).round(4).tolist()
        mean = sum(parts) / len(parts) if parts else whole
        return ImageScores(
            round((whole + mean) / 2, 4), whole, tuple(parts), made_by=str(self.info())
        )
