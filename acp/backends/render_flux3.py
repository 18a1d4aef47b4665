"""FLUX 3 Image Klein: layouts as boxes in the caption, drawn in sixteen steps.

The caption has the form of the model's own prompt upsampler (system prompt `t2i_bbox` in diffusers'
`modular_pipelines/flux3/prompt_upsampler.py`): a paragraph that cites each element as `<id>` where
it first names it, one space, and a JSON table of id, box on a canvas of 0-1000, and description.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from acp.backends.base import BackendOptions, Renderer, RenderRequest
from acp.backends.models.batches import Batches, in_groups
from acp.backends.models.diffusion import PACKAGES, SPEED_ONLY, filled, generators, to_rendering
from acp.backends.models.flux3 import WHO, Flux3Options, Phases, flux3_info, load_phases
from acp.core.boxes import xywh_to_xyxy
from acp.core.errors import AcpError
from acp.core.types import Failure, FloatArray, ModelInfo, Rendering, SceneGraph, SceneObject
from acp.core.vocabulary import categories
from acp.core.wording import Named, join_and, with_article

OUT_OF_MEMORY = "use offload: model, caption: graph, vae_tiling: true or smaller images"
LONGEST = 8192
"""Tokens of a caption that the pipeline reads; it would drop the rest without a word."""
Box = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A request with its caption as embeddings, (1, tokens, channels), on the CPU."""

    request: RenderRequest
    embeddings: Mapping[str, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Requests may share a forward if these are equal: the padding is not masked."""
        return (*self.request.size_wh, int(self.embeddings["prompt_embeds"].shape[1]))


class Flux3(Renderer):
    """Captions one by one, each once, then images of equally long captions in one batch."""

    name = "flux3"
    summary = "FLUX 3 Image Klein with boxes; gated, mostly non-commercial"
    modules = PACKAGES
    speed_only = SPEED_ONLY
    options_type: ClassVar[type[BackendOptions]] = Flux3Options
    options: Flux3Options

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self._batches = Batches(self.options.batch_size, WHO, OUT_OF_MEMORY)
        self._singly = Batches(1, WHO, OUT_OF_MEMORY)

    def load(self) -> None:
        _ = self._phases

    def info(self) -> ModelInfo:
        return flux3_info(self.options)

    def render(self, requests: Sequence[RenderRequest]) -> list[Rendering | Failure]:
        """Raises AcpError for a size that the model cannot draw."""
        for request in requests:
            self._check_size(request.size_wh)
        rows = self._encoded(requests)
        return in_groups(
            rows, lambda row: row.shape, lambda group: self._batches.run(group, self._draw)
        )

    def caption(self, request: RenderRequest) -> str | Failure:
        """What the model is told of a request: of its graph and boxes alone, not of its seed."""
        boxes = layout_boxes(request.graph, request.boxes_xywhn)
        if self._phases.upsample is None:
            text = graph_caption(request.graph, boxes)
        else:
            text = self._phases.upsample(
                prompt=request.graph.caption,
                boxes=boxes or None,
                max_new_tokens=self.options.max_new_tokens,
                output="prompt",
            )
        length = self._phases.tokens(text)
        if length > LONGEST:
            return Failure(f"the caption has {length} tokens, of which {LONGEST} would be read")
        return text

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

    def _encoded(self, requests: Sequence[RenderRequest]) -> list[_Encoded | Failure]:
        """Candidates of one layout share a caption. All captions come before all embeddings: two
        large models need not trade places for each."""
        keys = [(each.graph, each.boxes_xywhn.tobytes()) for each in requests]
        firsts = dict(zip(reversed(keys), reversed(requests), strict=True))
        captions = self._singly.run([*firsts.values()], lambda batch: [*map(self.caption, batch)])
        embeddings = in_groups(
            captions, lambda text: None, lambda texts: self._singly.run(texts, self._embeddings)
        )
        of_key = dict(zip(firsts, embeddings, strict=True))
        return [
            found if isinstance(found := of_key[key], Failure) else _Encoded(request, found)
            for request, key in zip(requests, keys, strict=True)
        ]

    def _embeddings(self, texts: Sequence[str]) -> list[Mapping[str, Any] | Failure]:
        names, more = ["prompt_embeds"], dict[str, str]()
        if self._phases.guided:
            names.append("negative_prompt_embeds")
            if self.options.guidance > 1:
                more["negative_prompt"] = self.options.negative_prompt
        outputs = [self._phases.encode(prompt=text, output=names, **more) for text in texts]
        return [
            {name: value.cpu() for name, value in each.items() if value is not None}
            for each in outputs
        ]

    def _draw(self, batch: Sequence[_Encoded]) -> list[Rendering | Failure]:
        import torch

        rows = filled(batch, min(self.options.batch_size, self._batches.size), self.options)
        width, height = batch[0].request.size_wh
        device = self._phases.draw._execution_device
        images = self._phases.draw(
            **{
                name: torch.cat([row.embeddings[name] for row in rows]).to(device)
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


def layout_boxes(graph: SceneGraph, boxes_xywhn: FloatArray) -> list[Box]:
    """What the pipeline takes as `boxes`: id, description, and `[y_min, x_min, y_max, x_max]`, 0-1.

    The ids are the class noun and a number within the class, from left to right, then top to
    bottom. `boxes_xywhn`, (N, 4), are in the order of the objects.

    >>> graph = SceneGraph((SceneObject("cat", "black"), SceneObject("cat")), (), "Two cats.")
    >>> boxes = np.array([[0.5, 0.25, 0.25, 0.5], [0, 0.5, 0.25, 0.25]], dtype=np.float32)
    >>> layout_boxes(graph, boxes)[0]
    {'id': 'cat_2', 'desc': 'a black cat', 'bbox': [0.25, 0.5, 0.75, 0.75]}
    """
    corners = xywh_to_xyxy(boxes_xywhn)[:, [1, 0, 3, 2]].tolist()
    return [
        {"id": name, "desc": with_article(_phrase(item)), "bbox": corner}
        for name, item, corner in zip(_ids(graph, boxes_xywhn), graph.objects, corners, strict=True)
    ]


def graph_caption(graph: SceneGraph, boxes: Sequence[Box]) -> str:
    """The caption of the scene graph in the upsampler's form, table of boxes and all."""
    from diffusers.modular_pipelines.flux3.prompt_upsampler import boxes_to_canvas, reconcile_boxes

    caption = " ".join(graph.caption.split())
    cited = cite(caption, graph.objects, [str(box["id"]) for box in boxes])
    text: str = reconcile_boxes(cited, boxes_to_canvas([*boxes])) if boxes else cited
    return text


def cite(caption: str, objects: Sequence[SceneObject], names: Sequence[str]) -> str:
    """The caption with `<id>` after the words that first name each object.

    Objects that it does not name one by one ("two dogs") are listed in a sentence of their own.

    >>> pair = (SceneObject("dog", "brown"), SceneObject("dog", "black"))
    >>> cite("A brown dog beside a black dog.", pair, ["dog_2", "dog_1"])
    'A brown dog <dog_2> beside a black dog <dog_1>.'
    >>> cite("Two dogs.", pair, ["dog_2", "dog_1"])
    'Two dogs. In the picture are a brown dog <dog_2> and a black dog <dog_1>.'
    """
    ends: dict[int, int] = {}
    taken: list[tuple[int, int]] = []
    # Longest words first, so that "dog" is not found in "brown dog" or in "hot dog".
    for index, wording in sorted(_wordings(objects), key=lambda pair: -len(pair[1])):
        if index in ends:
            continue
        for match in re.finditer(rf"\b{re.escape(wording)}\b", caption, re.IGNORECASE):
            if all(match.end() <= start or end <= match.start() for start, end in taken):
                ends[index] = match.end()
                taken.append(match.span())
                break
    cited = caption
    for index, end in sorted(ends.items(), key=lambda pair: -pair[1]):
        cited = f"{cited[:end]} <{names[index]}>{cited[end:]}"
    rest = [
        f"{with_article(_phrase(item))} <{name}>"
        for index, (item, name) in enumerate(zip(objects, names, strict=True))
        if index not in ends
    ]
    verb = "is" if len(rest) == 1 else "are"
    return f"{cited} In the picture {verb} {join_and(rest)}." if rest else cited


def _ids(graph: SceneGraph, boxes_xywhn: FloatArray) -> list[str]:
    """An id for each object, in their order: letters, digits and underscores, a letter first."""
    nouns = [re.sub(r"[^A-Za-z0-9]+", "_", _noun(item)).strip("_") for item in graph.objects]
    nouns = [name if name[:1].isalpha() else f"object_{name}".strip("_") for name in nouns]
    names = [""] * len(nouns)
    counts: dict[str, int] = {}
    for index in np.lexsort((boxes_xywhn[:, 1], boxes_xywhn[:, 0])):
        counts[nouns[index]] = counts.get(nouns[index], 0) + 1
        names[index] = f"{nouns[index]}_{counts[nouns[index]]}"
    return names


def _noun(item: SceneObject) -> str:
    known = categories().get(item.category)
    return known.noun if known else item.category.replace("_", " ")


def _phrase(item: SceneObject) -> str:
    """The object with its attributes, without an article: "grazing brown horse"."""
    return Named.of(_noun(item), item.attributes).phrase(with_pose=True)


def _wordings(objects: Sequence[SceneObject]) -> list[tuple[int, str]]:
    """What a caption may call each object."""
    wordings = []
    for index, item in enumerate(objects):
        named = Named.of(_noun(item), item.attributes)
        plain = f"{item.attributes} {_noun(item)}".strip()
        words = {plain, named.phrase(with_pose=False), named.phrase(with_pose=True), named.noun}
        wordings += [(index, wording) for wording in sorted(words)]
    return wordings
