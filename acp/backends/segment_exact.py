"""Masks of renderers that know them exactly, such as `cutpaste`."""

from __future__ import annotations

from collections.abc import Sequence

from acp.backends.base import Segmenter, SegmentRequest
from acp.core.boxes import masks_to_xywh_px
from acp.core.types import Failure, Instances, ModelInfo
from acp.core.version import __version__


class Exact(Segmenter):
    """Hands on the visible masks that the renderer drew."""

    name = "exact"
    summary = "the renderer's own masks, exact under occlusion"

    def load(self) -> None:
        """Nothing to load."""

    def info(self) -> ModelInfo:
        return ModelInfo("exact", __version__, "apache-2.0")

    def segment(self, requests: Sequence[SegmentRequest]) -> list[Instances | Failure]:
        return [_instances(request) for request in requests]


def _instances(request: SegmentRequest) -> Instances | Failure:
    masks, visible = request.rendering.masks, request.rendering.visible
    if masks is None or visible is None:
        return Failure("the renderer gives no masks; choose another segmenter")
    return Instances(masks, masks_to_xywh_px(masks), visible)
