"""Mask: an instance mask and a tight visible box for each object of each candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from acp.backends.base import Segmenter, SegmentRequest
from acp.core.progress import Advance, silent
from acp.core.types import Candidate, Failure, Instances, Scene
from acp.pipeline.stage import map_candidates


class Mask:
    """Segments candidates, those of different scenes together."""

    name: ClassVar[str] = "mask"

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter

    def __call__(self, scenes: Sequence[Scene], advance: Advance = silent) -> list[Scene]:
        """Scenes whose candidates carry `instances` or a reject; both where no object is usable."""
        return map_candidates(scenes, self._segment, advance, self.segmenter.chunk)

    def _segment(self, pairs: Sequence[tuple[Scene, Candidate]]) -> list[Candidate]:
        requests = [
            SegmentRequest(candidate.rendering, candidate.layout.boxes_xywhn)
            for _, candidate in pairs
            if candidate.rendering is not None
        ]
        results = self.segmenter.segment(requests)
        return [
            _masked(candidate, result)
            for (_, candidate), result in zip(pairs, results, strict=True)
        ]


def _masked(candidate: Candidate, result: Instances | Failure) -> Candidate:
    if isinstance(result, Failure):
        return replace(candidate, reject=f"mask: {result.reason}")
    reasons = result.reasons
    if not reasons or not all(reasons):
        return replace(candidate, instances=result)
    # Nothing is left to be scored.
    reject = f"mask: no usable object ({max(reasons, key=reasons.count)})"
    return replace(candidate, instances=result, reject=reject, reject_objects=reasons)
