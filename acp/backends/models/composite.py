"""What scorers made of other backends share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from acp.backends.base import Backend, Scorer, ScoreRequest
from acp.clis.questions import ImageRequest, instance_text
from acp.core.boxes import xywh_px_to_xywhn
from acp.core.errors import Missing


class Composite(Scorer):
    """A scorer whose options name other backends, under the keys of `parts`."""

    parts: Mapping[str, Backend]

    def missing(self) -> list[Missing]:
        return list(dict.fromkeys(each for part in self.parts.values() for each in part.missing()))

    def content_options(self) -> dict[str, Any]:
        nested = {
            key: {"backend": part.reference, **part.content_options()}
            for key, part in self.parts.items()
        }
        return {**super().content_options(), **nested}

    def load(self) -> None:
        for part in self.parts.values():
            part.load()

    def unload(self) -> None:
        super().unload()
        for part in self.parts.values():
            part.unload()

    def model_keys(self) -> frozenset[str]:
        return frozenset[str]().union(*(part.model_keys() for part in self.parts.values()))


def image_request(request: ScoreRequest) -> ImageRequest:
    """What a scene graph says of its image: the caption, and "brown dog" for each object."""
    height, width = request.image_rgb.shape[:2]
    return ImageRequest(
        request.image_rgb,
        request.graph.caption,
        tuple(instance_text(each.category, each.attributes) for each in request.graph.objects),
        xywh_px_to_xywhn(request.boxes_xywh_px, (width, height)),
    )
