"""Models that take turns in memory, and blocks of parts that go through the stages together."""

from __future__ import annotations

import time
import weakref
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import pytest

from acp.backends.base import Backend, ScoreRequest
from acp.backends.score_random import Random
from acp.core.errors import AcpError
from acp.core.progress import Advance, silent
from acp.core.types import Failure, ImageScores, ModelInfo
from acp.pipeline.pipeline import Pipeline
from acp.pipeline.placement import Measures, Placement, uses_gpu
from acp.pipeline.recipe import Recipe, load_recipe


def tiny(*overrides: str) -> Recipe:
    return load_recipe("tiny", ["scorer={backend: random}", *overrides])


class _Weights:
    pass


class _Holder(Backend):
    """Holds weights in memory under some keys."""

    name = "holder"
    summary = "for tests"

    def __init__(self, *keys: str) -> None:
        super().__init__()
        self.keys = keys
        self.loads = 0

    def load(self) -> None:
        _ = self.weights

    def model_keys(self) -> frozenset[str]:
        return frozenset(self.keys)

    def info(self) -> ModelInfo:
        return ModelInfo("holder", "1", "apache-2.0")

    @cached_property
    def weights(self) -> _Weights:
        self.loads += 1
        return _Weights()


def _holders() -> dict[str, _Holder]:
    return {"llm": _Holder("a"), "renderer": _Holder("b"), "scorer": _Holder("a", "c")}


def test_one_model_at_a_time_frees_the_others() -> None:
    backends = _holders()
    placement = Placement(backends, "one")
    placement.bring("llm")
    gone = weakref.ref(backends["llm"].weights)
    placement.bring("renderer")
    assert gone() is None
    gone = weakref.ref(backends["renderer"].weights)
    placement.bring("scorer")
    assert gone() is None


def test_models_that_are_shared_stay() -> None:
    backends = _holders()
    placement = Placement(backends, "one")
    placement.bring("llm")
    placement.bring("scorer")  # needs all that the llm holds, and more
    assert "weights" in vars(backends["llm"])
    placement.bring("llm")  # needs a part of what the scorer holds
    assert "weights" not in vars(backends["scorer"])
    assert backends["llm"].loads == 1


def test_with_all_every_model_stays() -> None:
    backends = _holders()
    placement = Placement(backends, "all")
    for kind in ("llm", "renderer", "scorer", "llm"):
        placement.bring(kind)
    assert [holder.loads for holder in backends.values()] == [1, 1, 1]


def test_seconds_add_up_and_there_are_no_peaks_without_a_gpu() -> None:
    import torch

    measures = Measures()
    for _ in range(2):
        with measures.of("render"):
            time.sleep(0.01)
    assert measures.seconds["render"] >= 0.02
    assert bool(measures.peak_bytes) == torch.cuda.is_initialized()


def test_a_failing_part_of_a_block_loses_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = Pipeline(tiny("residency=one", "shards_per_block=3"))
    combine = pipeline.stages[0]
    monkeypatch.setattr(type(combine), "_combine", _failing(type(combine)._combine, 1))  # type: ignore[attr-defined]
    parts = list(pipeline.run_block([[0], [1], [2]]))
    assert [part.error is None for part in parts] == [True, False, True]
    assert "ZeroDivisionError: no" in parts[1].trace
    assert parts[1].error is not None
    assert parts[1].error.__traceback__ is None  # frames would keep what they worked on
    assert all(c.rendering is None for part in parts for s in part.scenes for c in s.candidates)


@pytest.mark.parametrize("residency", ["all", "one"])
def test_a_model_that_cannot_be_loaded_is_told_before_any_work(
    tmp_path: Path, residency: str
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    segmenter = f"segmenter={{backend: sam2, model: {tmp_path}}}"
    pipeline = Pipeline(tiny(f"residency={residency}", segmenter))
    worked: list[str] = []

    def advance_of(name: str) -> Advance:
        worked.append(name)
        return silent

    with pytest.raises(AcpError, match=r"segmenter 'sam2': .* is a 'bert'"):
        pipeline.run([0], advance_of)
    assert worked == []


class StoppedScorer(Random):
    """As a scorer whose server goes away after one shard."""

    calls = 0

    def score(self, requests: Sequence[ScoreRequest]) -> list[ImageScores | Failure]:
        self.calls += 1
        if self.calls > 1:
            raise AcpError("the server cannot be reached")
        return super().score(requests)


def test_what_was_scored_before_a_block_ends_early_is_handed_out() -> None:
    pipeline = Pipeline(tiny("residency=one", "shards_per_block=3"))
    pipeline.backends["scorer"] = StoppedScorer()
    parts = pipeline.run_block([[0], [1], [2]])
    (scene,) = next(parts).scenes
    assert [candidate.scores is not None for candidate in scene.candidates] == [True, True]
    with pytest.raises(AcpError, match="cannot be reached"):
        next(parts)


def _failing(function: object, scene_id: int) -> object:
    def wrapped(self: object, scene: object) -> object:
        if scene.scene_id == scene_id:  # type: ignore[attr-defined]
            raise ZeroDivisionError("no")
        return function(self, scene)  # type: ignore[operator]

    return wrapped


def test_only_recipes_with_models_on_a_gpu_use_one() -> None:
    assert not uses_gpu(tiny().resolved())
    assert uses_gpu(tiny("llm={backend: transformers}").resolved())
    assert not uses_gpu(tiny("llm={backend: transformers, device: cpu}").resolved())
