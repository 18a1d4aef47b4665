"""Backends from outside: by "module:Class", and as entry points of a package that is installed."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from acp.backends.base import Renderer, RenderRequest
from acp.backends.registry import backend_class, backend_names, make_backend
from acp.core.errors import AcpError
from acp.core.types import Rendering, SceneGraph, SceneObject
from acp.pipeline.pipeline import Pipeline
from acp.pipeline.recipe import load_recipe
from support.doc_blocks import blocks

PLAIN = """
import numpy as np
from acp.backends.base import BackendOptions, Renderer
from acp.core.boxes import round_half_up, xywhn_to_xywh_px
from acp.core.types import Inventory, Look, ModelInfo, Rendering
from pydantic import Field

class PlainOptions(BackendOptions):
    grey: int = Field(200, ge=0, le=255, description="background")

class Plain(Renderer):
    name, summary, options_type = "plain", "a grey rectangle for each object", PlainOptions
    def load(self): ...
    def info(self): return ModelInfo("plain", "1", "apache-2.0")
    def inventory(self):
        looks = {name: (Look("grey", 1.0),) for name in ("dog", "cow", "sheep")}
        return Inventory(looks, {"in a hall": {"ground"}}, dict.fromkeys(looks, "ground"))
    def render(self, requests): return [self.draw(request) for request in requests]
    def draw(self, request):
        width, height = request.size_wh
        boxes = xywhn_to_xywh_px(request.boxes_xywhn, request.size_wh)
        image = np.full((height, width, 3), self.options.grey, dtype=np.uint8)
        masks = np.zeros((len(boxes), height, width), dtype=bool)
        for place, (x, y, w, h) in enumerate(map(round_half_up, boxes)):
            masks[:place, y : y + h, x : x + w] = False
            masks[place, y : y + h, x : x + w] = True
            image[y : y + h, x : x + w] = 40 * place + 40
        return Rendering(image, masks, np.ones(len(boxes), dtype=np.float32))
"""
PROJECT = """
[project]
name = "acp-plain"
version = "1"
[project.entry-points."acp.backends"]
"renderer.plain" = "acp_plain:Plain"
"renderer.cutpaste" = "acp_plain:Plain"
[tool.setuptools]
py-modules = ["acp_plain"]
"""
ANY_SCORE = {"scorer": {"backend": "random"}, "pick.min_clis_i_instance": 0}


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "acp_plain.py").write_text(PLAIN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "acp_plain", raising=False)
    return tmp_path


@pytest.mark.usefixtures("module")
def test_a_class_that_can_be_imported_is_a_backend() -> None:
    recipe = load_recipe(
        "tiny", {"renderer": {"backend": "acp_plain:Plain", "grey": 7}, "scenes": 1, **ANY_SCORE}
    )
    written = recipe.resolved()
    assert written["renderer"] == {"backend": "acp_plain:Plain", "grey": 7}
    pipeline = Pipeline(load_recipe(written))
    (scene,) = pipeline.run([0])
    assert set(scene.concepts) <= {"dog", "cow", "sheep"}
    assert [candidate.reject for candidate in scene.candidates].count("") == 1
    assert pipeline.backends["renderer"].reference == "acp_plain:Plain"


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    ("renderer", "message"),
    [
        ({"backend": "no_such_module:Plain"}, "cannot import no_such_module (ModuleNotFoundError"),
        ({"backend": "acp_plain:Plane"}, "acp_plain has no Plane; did you mean 'Plain'?"),
        ({"backend": "acp_plain:np"}, "is no subclass of acp.backends.base.Renderer"),
        ({"backend": "acp.backends.llm_sampler:Sampler"}, "is no subclass of acp.backends.base.R"),
        ({"backend": "acp.backends.base:Renderer"}, "lacks info, load, name, render"),
        ({"backend": "acp_plain:Plain", "gray": 1}, "did you mean 'renderer.grey'?"),
        ({"backend": "acp_plain:Plain", "grey": 300}, "renderer.grey: input should be less than"),
    ],
)
def test_what_is_no_backend_is_told_in_one_line(renderer: dict[str, object], message: str) -> None:
    with pytest.raises(AcpError) as caught:
        load_recipe("tiny", {"renderer": renderer})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_an_installed_package_plugs_in(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (module / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    site, out = module / "site", module / "built"
    install = ["-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target"]
    subprocess.run([sys.executable, *install, str(site), str(module)], check=True)
    monkeypatch.syspath_prepend(site)
    assert backend_names("renderer") == ["cutpaste", "flux3", "gligen", "plain"]
    assert backend_class("renderer", "cutpaste").__module__.startswith("acp.")  # ours stay ours
    changes = ["renderer={backend: plain, grey: 9}", "scorer={backend: random}", "scenes=1"]
    command = [sys.executable, "-m", "acp", "build", "tiny", "--out", str(out)]
    for change in [*changes, "pick.min_clis_i_instance=0"]:
        command += ["--set", change]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    subprocess.run(command, check=True, cwd=module, env=environment)
    receipt = (out / "recipe.yaml").read_text(encoding="utf-8")
    assert "backend: plain\n  grey: 9" in receipt


def test_the_example_of_the_documentation_wraps_a_pipeline_of_diffusers(module: Path) -> None:
    pytest.importorskip("diffusers")
    from support.painting_pipelines import COLOURS, save_painting

    (code,) = [block for block in blocks("docs/renderers.md", "python") if "load_pipeline" in block]
    (module / "my_renderer.py").write_text(code, encoding="utf-8")
    (module / "layouts.py").write_text("from support.painting_pipelines import Painting")
    importlib.invalidate_caches()
    made = make_backend(
        "renderer",
        {"backend": "my_renderer:Mine", "model": str(save_painting(module / "model")), "steps": 2},
    )
    assert isinstance(made, Renderer)
    graph = SceneGraph((SceneObject("dog", "brown"), SceneObject("cow")), (), "a brown dog, a cow")
    boxes = np.array([[0.125, 0.25, 0.25, 0.5], [0.5, 0.5, 0.375, 0.25]], dtype=np.float32)
    requests = [RenderRequest(graph, boxes, (96, 64), seed) for seed in (1, 2)]
    for drawn in made.render(requests):
        assert isinstance(drawn, Rendering)
        for colour, corners in zip(COLOURS, ([12, 16, 36, 48], [48, 32, 84, 48]), strict=False):
            rows, columns = np.nonzero((drawn.image_rgb == colour).all(axis=-1))
            found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert found == corners
    assert str(made.info()).startswith("model@sha256-")
