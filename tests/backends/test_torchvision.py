"""Models that work without torchvision also work beside one that is broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from acp.backends.models.processors import load_processor
from acp.backends.models.torch_tools import torch_threads
from acp.backends.models.torchvision import advice, install_command, torchvision
from acp.core.errors import AcpError
from support.tiny_models import save_clip, save_llm
from support.tiny_vision import save_qwen3_vl, save_sam, save_sam2

REASON = "operator torchvision::nms does not exist"
USE = """
import json, sys
import numpy as np
from acp.backends.base import CaptionRequest, CompletionRequest, ScoreRequest, SegmentRequest
from acp.backends.registry import make_backend
from acp.core.types import Rendering, SceneGraph, SceneObject

folder = sys.argv[1]
image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
boxes = np.array([[0.1, 0.1, 0.5, 0.5]], dtype=np.float32)
chat = ({"role": "user", "content": "a dog?"},)
schema = {"type": "object", "properties": {"a": {"enum": ["b", "c"]}}, "required": ["a"],
          "additionalProperties": False}
graph = SceneGraph((SceneObject("dog"),), (), "a dog")


def made(kind, backend, name):
    return make_backend(kind, {"backend": backend, "model": f"{folder}/{name}", "device": "cpu"})


found = {}
for kind in ("sam2", "sam"):
    (answer,) = made("segmenter", kind, kind).segment([SegmentRequest(Rendering(image), boxes)])
    found[kind] = int(answer.masks.sum())
request = CompletionRequest(chat, schema, 0, 30)
found["llm"] = made("llm", "transformers", "llm").complete([request])
found["vlm"] = made("captioner", "transformers", "vlm").caption([CaptionRequest(image, chat, 0, 8)])
(scores,) = made("scorer", "clip", "clip").score([ScoreRequest(image, graph, boxes * 50)])
found["clip"] = scores.clis_i
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a torchvision that is installed and cannot be imported."""
    folder = tmp_path_factory.mktemp("site")
    package, info = folder / "torchvision", folder / "torchvision-0.28.0.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").write_text(f"raise RuntimeError({REASON!r})\n", encoding="utf-8")
    metadata = "Metadata-Version: 2.1\nName: torchvision\nVersion: 0.28.0\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_sam2(folder / "sam2")
    save_sam(folder / "sam")
    save_llm(folder / "llm")
    save_qwen3_vl(folder / "vlm")
    save_clip(folder / "clip")
    return folder


def run(code: str, *arguments: str, beside: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if beside:
        environment["PYTHONPATH"] = str(beside)
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_everything_that_needs_none_works_beside_a_broken_one(
    broken: Path,
    models: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stumbles = run("from transformers import Sam2Model", beside=broken)
    assert stumbles.returncode  # what would happen otherwise
    beside = run(USE, str(models), beside=broken)
    assert not beside.returncode, beside.stderr
    found = json.loads(beside.stdout.splitlines()[-1])
    assert found.keys() == {"sam2", "sam", "llm", "vlm", "clip"}
    if torchvision().works:
        return
    monkeypatch.setattr(sys, "argv", ["", str(models)])
    with torch_threads(1):
        exec(USE, {"__name__": "without"})  # noqa: S102
    assert found == json.loads(capsys.readouterr().out.splitlines()[-1])


def test_doctor_tells_how_to_mend_it(broken: Path) -> None:
    code = "from acp.cli.doctor import report; print(*report(), sep='\\n')"
    (line,) = (each for each in run(code, beside=broken).stdout.splitlines() if "torchv" in each)
    assert "0.28.0 cannot be imported" in line
    assert "pip install --force-reinstall --no-deps 'torchvision==0." in line


def test_the_advice_is_one_line_with_the_reason_and_the_command(broken: Path) -> None:
    code = "from acp.backends.models.torchvision import advice; print(advice())"
    said = run(code, beside=broken).stdout
    assert said.startswith(f"torchvision 0.28.0 is broken ({REASON}); install the one built for")
    assert said.count("\n") == 1
    for index in ("cpu", "cu130"):
        command = install_command(f"2.13.1+{index}", None if index == "cpu" else "13.0")
        assert command.endswith(f"(the build for {index})")
        assert "'torchvision==0.28.*'" in command


@pytest.mark.skipif(torchvision().works, reason="torchvision works here")
def test_a_processor_that_cannot_do_without_it_says_so(models: Path) -> None:
    config = {"processor_class": "Sam2Processor", "image_processor_type": "Sam2ImageProcessorFast"}
    (models / "sam2" / "preprocessor_config.json").write_text(json.dumps(config), encoding="utf-8")
    where = {"pretrained_model_name_or_path": str(models / "sam2"), "local_files_only": True}
    with pytest.raises(AcpError, match="captioner 'x': a/b needs torchvision: ") as caught:
        load_processor(where, "a/b", "captioner 'x'")
    assert advice() in str(caught.value)
    assert "\n" not in str(caught.value)
