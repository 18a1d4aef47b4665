"""Score: CLIS-I of each candidate, whole image and instances, by the recipe's scorer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from acp.backends.base import Scorer, ScoreRequest
from acp.core.progress import Advance, silent
from acp.core.types import Candidate, Failure, Scene
from acp.pipeline.stage import map_candidates


class Score:
    """Scores candidates, those of different scenes together."""

    name: ClassVar[str] = "score"

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    def __call__(self, scenes: Sequence[Scene], advance: Advance = silent) -> list[Scene]:
        """Scenes whose candidates carry `scores` or a reject."""
        return map_candidates(scenes, self._score, advance, self.scorer.chunk)

    def _score(self, pairs: Sequence[tuple[Scene, Candidate]]) -> list[Candidate]:
        requests = [
            ScoreRequest(
                candidate.rendering.image_rgb, scene.graph, candidate.instances.boxes_xywh_px
            )
            for scene, candidate in pairs
            if scene.graph and candidate.rendering and candidate.instances
        ]
        results = self.scorer.score(requests)
        return [
            replace(candidate, reject=f"score: {result.reason}")
            if isinstance(result, Failure)
            else replace(candidate, scores=result)
            for (_, candidate), result in zip(pairs, results, strict=True)
        ]
