"""Render: several candidates a layout, each from its own seed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from PIL import Image
from pydantic import Field

from acp.backends.base import Renderer, RenderRequest
from acp.core.boxes import inside
from acp.core.config import Settings
from acp.core.images import decoded_rgb
from acp.core.progress import Advance, silent
from acp.core.seeds import derive_seed
from acp.core.types import Candidate, Failure, ImageArray, Rendering, Scene
from acp.pipeline.stage import map_candidates


class RenderSettings(Settings):
    """How many candidates, and how they are stored."""

    candidates: int = Field(4, ge=1, le=1000, description="images for each layout that goes on")
    jpeg_quality: int = Field(92, ge=50, le=100, description="quality of the stored JPEG")


class Render:
    """Draws every chosen layout of every scene `candidates` times.

    What goes on is the decoded JPEG, so that the scores are those of the published pixels.
    """

    name: ClassVar[str] = "render"

    def __init__(
        self,
        renderer: Renderer,
        settings: RenderSettings,
        recipe_seed: int,
        size_wh: tuple[int, int],
    ) -> None:
        self.renderer = renderer
        self.settings = settings
        self.recipe_seed = recipe_seed
        self.size_wh = size_wh

    def __call__(self, scenes: Sequence[Scene], advance: Advance = silent) -> list[Scene]:
        """Scenes with their candidates, each with an image or a reason why it has none."""
        planned = [
            scene if scene.reject else replace(scene, candidates=self._plan(scene))
            for scene in scenes
        ]
        return map_candidates(planned, self._render, advance, self.renderer.chunk)

    def _render(self, pairs: Sequence[tuple[Scene, Candidate]]) -> list[Candidate]:
        requests = [
            RenderRequest(scene.graph, candidate.layout.boxes_xywhn, self.size_wh, candidate.seed)
            for scene, candidate in pairs
            if scene.graph is not None
        ]
        results = self.renderer.render(requests)
        return [
            self._finish(candidate, result)
            for (_, candidate), result in zip(pairs, results, strict=True)
        ]

    def _plan(self, scene: Scene) -> tuple[Candidate, ...]:
        chosen = [layout for layout in scene.layouts if not layout.reason]
        layouts = [layout for layout in chosen for _ in range(self.settings.candidates)]
        return tuple(
            Candidate(
                index=i,
                seed=derive_seed(self.recipe_seed, "candidate", scene.scene_id, i),
                layout=layout,
                reject="" if inside(layout.boxes_xywhn).all() else "render: box outside the image",
            )
            for i, layout in enumerate(layouts)
        )

    def _finish(self, candidate: Candidate, result: Rendering | Failure) -> Candidate:
        if isinstance(result, Failure):
            return replace(candidate, reject=f"render: {result.reason}")
        jpeg = encode_jpeg(result.image_rgb, self.settings.jpeg_quality)
        published = replace(result, image_rgb=decoded_rgb(jpeg))
        return replace(candidate, jpeg=jpeg, rendering=published)


def encode_jpeg(image_rgb: ImageArray, quality: int) -> bytes:
    """JPEG bytes of an image (H, W, 3), without metadata."""
    buffer = io.BytesIO()
    Image.fromarray(image_rgb).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()
