"""Layouts that a language model proposes: a box per object, written as whole numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from acp.backends.base import LLM, CompletionRequest
from acp.core.boxes import as_boxes, inside
from acp.core.prompts import load_prompt
from acp.core.seeds import derive_seed
from acp.core.types import Failure, Layout, SceneGraph
from acp.core.vocabulary import resolve
from acp.pipeline.planning.llm_schemas import CANVAS, labels, layout_schema, parse
from acp.pipeline.planning.scene_plans import PLACEHOLDERS, told

SOURCE = "llm"
TALL, WIDE = 0.75, 1.33
"""Width / height below and above which the prompt says that an object is tall or wide."""

_TOKENS_PER_OBJECT = 40


def propose(
    graphs: Sequence[SceneGraph],
    llm: LLM,
    proposals: int,
    seeds: Sequence[int],
    aspects_wh: Sequence[Sequence[float]] | None = None,
    prompt: str | None = None,
) -> list[list[Layout | Failure]]:
    """`proposals` layouts for each graph, in its order; one that is out of bounds is a Failure.

    Args:
        graphs: each has at least one object.
        llm: is asked for all of them at once, in chunks.
        proposals: how many for each graph, 0 or more.
        seeds: one a graph; a proposal's own seed derives from it.
        aspects_wh: for each graph width / height of its objects in pixels, where known.
        prompt: path of a prompt file in place of `acp/data/prompts/lay_out.md`.

    Raises:
        AcpError: the prompt file is wrong.
    """
    chat = load_prompt(prompt or "lay_out", PLACEHOLDERS)
    requests = []
    for index, (graph, seed) in enumerate(zip(graphs, seeds, strict=True)):
        names = _names(graph)
        objects = _hinted(names, aspects_wh[index]) if aspects_wh else names
        messages = chat.messages(objects=", ".join(objects), relations=told(graph.relations, names))
        schema, limit = layout_schema(names), _TOKENS_PER_OBJECT * len(names) + 16
        requests += [
            CompletionRequest(messages, schema, derive_seed(seed, "llm layout", proposal), limit)
            for proposal in range(proposals)
        ]
    answers: list[str | Failure] = []
    for start in range(0, len(requests), llm.chunk):
        answers += llm.complete(requests[start : start + llm.chunk])
    layouts = iter(answers)
    return [[read_layout(next(layouts), graph) for _ in range(proposals)] for graph in graphs]


def read_layout(answer: str | Failure, graph: SceneGraph) -> Layout | Failure:
    """The layout that an answer means; boxes out of bounds or without area are not mended."""
    if isinstance(answer, Failure):
        return answer
    names = _names(graph)
    try:
        filled = parse(answer, layout_schema(names))
    except ValueError as error:
        return Failure(str(error))
    boxes = as_boxes(np.array([filled[name] for name in names]) / CANVAS)
    if not inside(boxes).all():
        return Failure("a box is outside the image or has no area")
    return Layout(boxes, SOURCE)


def _names(graph: SceneGraph) -> tuple[str, ...]:
    return labels([resolve(each.category).noun for each in graph.objects])


def _hinted(names: Sequence[str], aspects_wh: Sequence[float]) -> list[str]:
    """Names with what is known of their shape."""
    return [
        f"{name} (tall)" if wh < TALL else f"{name} (wide)" if wh > WIDE else name
        for name, wh in zip(names, aspects_wh, strict=True)
    ]
