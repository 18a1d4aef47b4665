"""Scene graphs as FLUX 3 is told of them: boxes with ids, and the caption that cites them.

The form is that of the model's own prompt upsampler (system prompt `t2i_bbox` in diffusers'
`modular_pipelines/flux3/prompt_upsampler.py`): a paragraph that cites each element as `<id>` where
it first names it, one space, and a JSON table of id, box on a canvas of 0-1000, and description.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from acp.core.boxes import xywh_to_xyxy
from acp.core.types import FloatArray, SceneGraph, SceneObject
from acp.core.vocabulary import categories
from acp.core.wording import Named, join_and, with_article

Box = Mapping[str, Any]


def layout_boxes(graph: SceneGraph, boxes_xywhn: FloatArray) -> list[Box]:
    """What the pipeline takes as `boxes`: id, description, and `[y_min, x_min, y_max, x_max]`, 0-1.

    The ids are the class noun and a number within the class, from left to right, then top to
    bottom.

    Args:
        graph: the objects.
        boxes_xywhn: (N, 4), in their order.

    >>> graph = SceneGraph((SceneObject("cat", "black"), SceneObject("cat")), (), "Two cats.")
    >>> boxes = np.array([[0.5, 0.25, 0.25, 0.5], [0, 0.5, 0.25, 0.25]], dtype=np.float32)
    >>> layout_boxes(graph, boxes)[0]
    {'id': 'cat_2', 'desc': 'a black cat', 'bbox': [0.25, 0.5, 0.75, 0.75]}
    """
    corners = xywh_to_xyxy(boxes_xywhn)[:, [1, 0, 3, 2]].tolist()
    return [
        {"id": name, "desc": with_article(phrase(item)), "bbox": corner}
        for name, item, corner in zip(ids(graph, boxes_xywhn), graph.objects, corners, strict=True)
    ]


def ids(graph: SceneGraph, boxes_xywhn: FloatArray) -> list[str]:
    """An id for each object, in their order."""
    nouns = [_identifier(noun(item)) for item in graph.objects]
    names = [""] * len(nouns)
    counts: dict[str, int] = {}
    for index in np.lexsort((boxes_xywhn[:, 1], boxes_xywhn[:, 0])):
        counts[nouns[index]] = counts.get(nouns[index], 0) + 1
        names[index] = f"{nouns[index]}_{counts[nouns[index]]}"
    return names


def noun(item: SceneObject) -> str:
    """How the category reads in a caption."""
    known = categories().get(item.category)
    return known.noun if known else item.category.replace("_", " ")


def phrase(item: SceneObject) -> str:
    """The object with its attributes, without an article.

    >>> phrase(SceneObject("horse", "brown, grazing"))
    'grazing brown horse'
    """
    return Named.of(noun(item), item.attributes).phrase(with_pose=True)


def graph_caption(graph: SceneGraph, boxes: Sequence[Box]) -> str:
    """The caption of the scene graph in the upsampler's form, table of boxes and all.

    >>> graph = SceneGraph((SceneObject("cat", "black"),), (), "A photo of a black cat on a sofa.")
    >>> graph_caption(graph, layout_boxes(graph, np.array([[0, 0, 0.5, 1]], dtype=np.float32)))
    ... # doctest: +SKIP
    'A photo of a black cat <cat_1> on a sofa. [{"id": "cat_1", "bbox": [0, 0, 1000, 500], "desc": "a black cat"}]'
    """  # noqa: E501
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
        f"{with_article(phrase(item))} <{name}>"
        for index, (item, name) in enumerate(zip(objects, names, strict=True))
        if index not in ends
    ]
    verb = "is" if len(rest) == 1 else "are"
    return f"{cited} In the picture {verb} {join_and(rest)}." if rest else cited


def _wordings(objects: Sequence[SceneObject]) -> list[tuple[int, str]]:
    found = []
    for index, item in enumerate(objects):
        named = Named.of(noun(item), item.attributes)
        plain = f"{item.attributes} {noun(item)}".strip()
        words = {plain, named.phrase(with_pose=False), named.phrase(with_pose=True), named.noun}
        found += [(index, wording) for wording in sorted(words)]
    return found


def _identifier(words: str) -> str:
    """Letters, digits and underscores, a letter first, as the pipeline asks for."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", words).strip("_")
    return name if name[:1].isalpha() else f"object_{name}".strip("_")
