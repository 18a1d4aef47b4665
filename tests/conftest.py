"""Fixtures that several rooms share."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acp.backends.models.torch_tools import torch_threads
from support.loopback_hub import Hub, serving


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tiny models are tenfold slower with more threads than free cores."""
    with torch_threads(1):
        yield


class NoVideos(dict[str, Any]):
    """Stands where a processor of videos would be; all its settings are None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


@pytest.fixture(scope="session")
def without_videos() -> Iterator[None]:
    """Lets processors of Qwen's kind load where there is no torchvision, which the part of theirs
    needs that reads videos; pictures are prepared by Pillow."""
    from transformers import ProcessorMixin
    from transformers.models.auto.video_processing_auto import AutoVideoProcessor

    check = ProcessorMixin.check_argument_for_proper_class

    def checked(self: Any, name: str, argument: Any) -> Any:
        return NoVideos if name == "video_processor" else check(self, name, argument)

    with pytest.MonkeyPatch.context() as patch:
        if importlib.util.find_spec("torchvision") is None:
            patch.setattr(AutoVideoProcessor, "from_pretrained", lambda *_, **__: NoVideos())
            patch.setattr(ProcessorMixin, "check_argument_for_proper_class", checked)
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
