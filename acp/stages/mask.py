"""Mask: an instance mask and a tight visible box for each object of each candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from acp.backends.base import Segmenter, SegmentRequest
from acp.stages.base import Advance, map_candidates, silent
from acp.types import Candidate, Failure, Scene


class Mask:
    """Segments candidates, those of different scenes together."""

    name: ClassVar[str] = "mask"

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter

    def __call__(self, scenes: Sequence[Scene], advance: Advance = silent) -> list[Scene]:
        """Scenes whose candidates carry `instances` or a reject."""
        return map_candidates(scenes, self._segment, advance, self.segmenter.chunk)

    def _segment(self, pairs: Sequence[tuple[Scene, Candidate]]) -> list[Candidate]:
        requests = [
            SegmentRequest(candidate.rendering, candidate.layout.boxes_xywhn)
            for _, candidate in pairs
            if candidate.rendering is not None
        ]
        results = self.segmenter.segment(requests)
        return [
            replace(candidate, reject=f"mask: {result.reason}")
            if isinstance(result, Failure)
            else replace(candidate, instances=result)
            for (_, candidate), result in zip(pairs, results, strict=True)
        ]
