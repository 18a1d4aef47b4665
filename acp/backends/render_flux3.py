"""FLUX 3 Image Klein: layouts as boxes in the caption, drawn in sixteen steps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from acp.backends.base import BackendOptions, Renderer, RenderRequest
from acp.backends.models import diffusion as _diffusion
from acp.backends.models.batches import Batches
from acp.backends.models.diffusion import MEND, filled, generators, to_rendering
from acp.backends.models.flux3_caption import Box, graph_caption, layout_boxes
from acp.backends.models.flux3_loading import Phases, load_phases
from acp.backends.models.flux3_options import WHO, Flux3Options, flux3_info, guidance
from acp.core.errors import AcpError
from acp.core.types import Failure, ModelInfo, Rendering

OUT_OF_MEMORY = "use offload: model, caption: graph, vae_tiling: true or smaller images"
LONGEST = 8192
"""Tokens of a caption that the pipeline reads; it would drop the rest without a word."""


@dataclass(frozen=True, slots=True)
class _Told:
    """A request with its caption as embeddings, (1, tokens, channels), on the CPU."""

    request: RenderRequest
    embeddings: Mapping[str, Any]

    @property
    def alike(self) -> tuple[int, ...]:
        """Requests may share a forward if these are equal: the padding is not masked."""
        return (*self.request.size_wh, int(self.embeddings["prompt_embeds"].shape[1]))


class Flux3(Renderer):
    """Captions one by one, each once, then images of equally long captions in one batch."""

    name = "flux3"
    summary = "FLUX 3 Image Klein with boxes; gated, mostly non-commercial"
    modules: ClassVar = {"accelerate": MEND, "diffusers": MEND, "torch": MEND, "transformers": MEND}
    speed_only = _diffusion.SPEED_ONLY
    options_type: ClassVar[type[BackendOptions]] = Flux3Options
    options: Flux3Options

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self._batches = Batches(self.options.batch_size, WHO, OUT_OF_MEMORY)
        self._singly = Batches(1, WHO, OUT_OF_MEMORY)

    def load(self) -> None:
        """Bring the pipeline into memory; without the upsampler for `caption: graph`."""
        _ = self._phases

    def info(self) -> ModelInfo:
        """Id, commit or checksum, and licence; asks the Hub unless the model is a folder.

        Raises:
            AcpError: no such model, or no access to it.
        """
        return flux3_info(self.options)

    def render(self, requests: Sequence[RenderRequest]) -> list[Rendering | Failure]:
        """Raises AcpError for a size that the model cannot draw."""
        for request in requests:
            self._check_size(request.size_wh)
        done: list[Rendering | Failure | None] = [None] * len(requests)
        waiting: dict[tuple[int, ...], list[tuple[int, _Told]]] = {}
        for index, told in enumerate(self._tell(requests)):
            if isinstance(told, Failure):
                done[index] = told
            else:
                waiting.setdefault(told.alike, []).append((index, told))
        for _, group in sorted(waiting.items()):
            drawn = self._batches.run([told for _, told in group], self._draw)
            for (index, _), result in zip(group, drawn, strict=True):
                done[index] = result
        return [result or Failure("nothing was drawn") for result in done]

    def caption(self, request: RenderRequest) -> str | Failure:
        """What the model is told of a request."""
        return self._captions([request])[0]

    @cached_property
    def _phases(self) -> Phases:
        return load_phases(self.options)

    def _check_size(self, size_wh: tuple[int, int]) -> None:
        multiple = self._phases.multiple
        if any(side % multiple for side in size_wh):
            width, height = (max(multiple, round(side / multiple) * multiple) for side in size_wh)
            raise AcpError(
                f"{WHO}: size_wh: sides must be multiples of {multiple}, got "
                f"{list(size_wh)}; use [{width}, {height}]"
            )

    def _captions(self, requests: Sequence[RenderRequest]) -> list[str | Failure]:
        """Candidates of one layout share a caption: the upsampler decodes greedily."""
        boxes = [layout_boxes(request.graph, request.boxes_xywhn) for request in requests]
        pairs = list(zip(requests, boxes, strict=True))
        keys = [json.dumps([request.graph.caption, found]) for request, found in pairs]
        firsts = dict(zip(reversed(keys), reversed(pairs), strict=True))
        answers = self._singly.run([*firsts.values()], self._write)
        written = dict(zip(firsts, answers, strict=True))
        return [written[key] for key in keys]

    def _write(self, pairs: Sequence[tuple[RenderRequest, list[Box]]]) -> list[str | Failure]:
        return [self._caption(request, boxes) for request, boxes in pairs]

    def _caption(self, request: RenderRequest, boxes: list[Box]) -> str | Failure:
        phases = self._phases
        if phases.upsample is None:
            text = graph_caption(request.graph, boxes)
        else:
            text = phases.upsample(
                prompt=request.graph.caption,
                boxes=boxes or None,
                max_new_tokens=self.options.max_new_tokens,
                output="prompt",
            )
        length = phases.tokens(text)
        if length > LONGEST:
            return Failure(f"the caption has {length} tokens, of which {LONGEST} would be read")
        return text

    def _tell(self, requests: Sequence[RenderRequest]) -> list[_Told | Failure]:
        captions = self._captions(requests)
        texts = [*dict.fromkeys(text for text in captions if isinstance(text, str))]
        encoded = dict(zip(texts, self._singly.run(texts, self._encode), strict=True))
        told: list[_Told | Failure] = []
        for request, caption in zip(requests, captions, strict=True):
            found = caption if isinstance(caption, Failure) else encoded[caption]
            told.append(found if isinstance(found, Failure) else _Told(request, found))
        return told

    def _encode(self, texts: Sequence[str]) -> list[Mapping[str, Any] | Failure]:
        names = ["prompt_embeds"]
        more: dict[str, Any] = {}
        if self._phases.guided:
            names.append("negative_prompt_embeds")
            if guidance(self.options) > 1:
                more["negative_prompt"] = self.options.negative_prompt
        found = [self._phases.encode(prompt=text, output=names, **more) for text in texts]
        return [
            {name: value.cpu() for name, value in each.items() if value is not None}
            for each in found
        ]

    def _draw(self, batch: Sequence[_Told]) -> list[Rendering | Failure]:
        import torch

        size = self.options.batch_size
        rows = filled(batch, min(size, self._batches.size), self.options)
        width, height = batch[0].request.size_wh
        images = self._phases.draw(
            **{
                name: torch.cat([row.embeddings[name] for row in rows]).to(self._phases.device)
                for name in batch[0].embeddings
            },
            generator=generators([row.request.seed for row in rows]),
            num_inference_steps=self.options.steps,
            width=width,
            height=height,
            output_type="np",
            output="images",
        )
        return [to_rendering(np.asarray(image), (width, height)) for image in images[: len(batch)]]
