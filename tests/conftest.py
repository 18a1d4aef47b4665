"""Fixtures that several rooms share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from acp.backends.models.torch_tools import torch_threads
from support.loopback_hub import Hub, serving
from support.videos import leave_out_videos


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tiny models are tenfold slower with more threads than free cores."""
    with torch_threads(1):
        yield


@pytest.fixture(scope="session")
def without_videos() -> Iterator[None]:
    """Processors of Qwen's kind load also where there is no torchvision."""
    with pytest.MonkeyPatch.context() as patch:
        leave_out_videos(patch.setattr)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; its tests skip where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the folder ../shared/data is not there")
    return folder


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """An empty Hub on loopback; a test ends without a fault of its own."""
    with serving(Hub(tmp_path / "hub")) as found:
        yield found
    assert found.errors == []


@pytest.fixture(scope="session")
def six(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of six scenes, quickly made; nothing may change it."""
    from support.publishing import made

    return made(tmp_path_factory.mktemp("six"), 6)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe `tiny` with four scenes in four shards, made by one process."""
    from acp.cli.build import build_recipe
    from acp.pipeline.recipe import load_recipe

    out = tmp_path_factory.mktemp("built") / "acp" / "tiny"
    summary = list(build_recipe(load_recipe("tiny", ["scenes=4"]), out, 1))
    assert any("candidates  8" in line for line in summary), summary
    return out
