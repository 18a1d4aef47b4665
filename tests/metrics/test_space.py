"""The Space: pushed to a Hub on loopback, started from there as a Hub starts it, used by a
client."""

from __future__ import annotations

import json
import os
import runpy
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

import acp
from acp.cli.metric import metric_folder
from support.loopback_hub import Hub, serving

pytest.importorskip("gradio", reason="gradio is not installed")

ROW = {
    "width": 640,
    "height": 480,
    "objects": {"category": ["dog", "cat"], "bbox": [[64, 192, 192, 192], [384, 240, 128, 144]]},
    "relations": {"subject": [0], "predicate": ["next to"], "object": [1]},
}


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new folder with the files of the repository, and no more."""
    folder = tmp_path_factory.mktemp("space")
    with serving(Hub(tmp_path_factory.mktemp("hub"))) as hub:
        ran = hub.acp(["metric", "push", "--repo", "acp/clis"], tmp_path_factory.mktemp("hf"))
        assert ran.returncode == 0, ran.stderr
        for name, content in hub.files("acp/clis", repo_type="space").items():
            (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def space(pushed: Path) -> Iterator[str]:
    """The address of a running Space, which ends with the tests."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "GRADIO_SERVER_PORT": str(port), "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen([sys.executable, "app.py"], cwd=pushed, env=environment)
    address = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(240):
            assert process.poll() is None, "the Space stopped"
            try:
                urllib.request.urlopen(address, timeout=5).close()
                break
            except OSError:
                time.sleep(0.25)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


def client(space: str) -> Any:
    gradio_client = pytest.importorskip("gradio_client")
    return gradio_client.Client(space, verbose=False, analytics_enabled=False)


@pytest.mark.slow
def test_a_layout_as_json_is_scored(space: str) -> None:
    found = client(space).predict(json.dumps(ROW), "paper", api_name="/score_json")
    assert found["clis_l"] == pytest.approx(acp.score([ROW])["clis_l"])
    assert found["explanation"][0][0]["nearest"]["predicate"] == "next to"


@pytest.mark.slow
def test_the_tables_are_scored(space: str) -> None:
    objects = [["dog", 0.1, 0.4, 0.3, 0.4], ["cat", 0.6, 0.5, 0.2, 0.3], ["", None, None, "", ""]]
    relations = [[0, "next to", 1], ["1", "left of", "0"]]
    summary, detail, gallery, everything = client(space).predict(
        {"headers": ["category", "x", "y", "w", "h"], "data": objects},
        {"headers": ["subject", "predicate", "object"], "data": relations},
        None,
        "",
        "paper",
        False,
        api_name="/score",
    )
    assert summary.startswith("**CLIS-L ")
    said = [["dog", "next to", "cat"], ["cat", "left of", "dog"]]
    assert [line[:3] for line in detail["data"]] == said
    assert detail["data"][0][3] > detail["data"][1][3]
    assert len(gallery) == 2
    assert everything["unscored_clis_l"] == 0


@pytest.mark.slow
def test_an_image_is_scored_too(space: str, tmp_path: Path) -> None:
    from acp.backends.scoring import backends
    from acp.core.errors import AcpError

    try:
        backends("embedded", "embedded")
    except AcpError as error:
        pytest.skip(str(error))
    path = tmp_path / "image.png"
    Image.new("RGB", (96, 64), "green").save(path)
    gradio_client = pytest.importorskip("gradio_client")
    headers = {"headers": ["category", "x", "y", "w", "h"]}
    summary, *_, everything = client(space).predict(
        {**headers, "data": [["dog", 0.1, 0.4, 0.3, 0.4]]},
        {"headers": ["subject", "predicate", "object"], "data": []},
        gradio_client.handle_file(str(path)),
        "a dog",
        "paper",
        True,
        api_name="/score",
    )
    assert "CLIS-L: none" in summary
    assert "CLIS-I" in summary
    assert everything["judge"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"objects": {"category": ["dog"], "bbox": [[0, 0, 1]]}}', "expected 4 numbers"),
        ("{", "Expecting property name"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_wrong_is_told(space: str, row: str, message: str) -> None:
    errors = pytest.importorskip("gradio_client.exceptions")
    with pytest.raises(errors.AppError, match=message):
        client(space).predict(row, "paper", api_name="/score_json")


HOSTILE = "<img src=x><b>![a](http://127.0.0.1:9/a.png)"


@pytest.mark.slow
def test_names_do_not_become_html_or_links(space: str) -> None:
    objects = [[HOSTILE, 0.1, 0.4, 0, 0.4], ["cat", 0.6, 0.5, 0.2, 0.3]]
    summary, *_, everything = client(space).predict(
        {"headers": ["category", "x", "y", "w", "h"], "data": objects},
        {"headers": ["subject", "predicate", "object"], "data": [[0, "on", 1]]},
        None,
        "",
        "paper",
        False,
        api_name="/score",
    )
    assert everything["clis_l_reason"] == [f"the box of object 0 ({HOSTILE}) has no area"]
    assert r"\<img src\=x\>\<b\>\!\[a\]\(http" in summary
    errors = pytest.importorskip("gradio_client.exceptions")
    row = {"objects": {"category": ["<b>x</b>"], "bbox": ["<b>y</b>"]}}
    with pytest.raises(errors.AppError, match="got str '&lt;b&gt;y&lt;/b&gt;'"):
        client(space).predict(json.dumps(row), "paper", api_name="/score_json")


@pytest.mark.slow
def test_a_pasted_path_of_an_image_is_not_opened(space: str, tmp_path: Path) -> None:
    Image.new("RGB", (640, 480)).save(tmp_path / "image.png")
    row = {key: value for key, value in ROW.items() if key not in ("width", "height")}
    row["image"] = str(tmp_path / "image.png")
    errors = pytest.importorskip("gradio_client.exceptions")
    with pytest.raises(errors.AppError, match="expected width and height beside boxes in pixels"):
        client(space).predict(json.dumps(row), "paper", api_name="/score_json")


def test_two_clicks_draw_a_box() -> None:
    app = runpy.run_path(str(metric_folder() / "app.py"))
    objects, relations, caption = app["read_json"](json.dumps(app["EXAMPLE"]))
    side = app["SIDE"]

    def click(lines: Any, corner: Any, across: float, down: float) -> Any:
        place = SimpleNamespace(index=(across * side, down * side))
        return app["click"](lines, None, "dog", corner, place)

    lines, corner, marked = click(objects, None, 0.95, 0.3)
    assert lines == objects
    lines, corner, picture = click(lines, corner, 0.7, 0.05)
    assert lines[-1] == ["dog", 0.7, 0.05, 0.25, 0.25]
    assert corner is None
    assert marked.tobytes() != picture.tobytes()
    summary, *_ = app["score"](lines, relations, None, caption, "paper", False)
    expected = acp.score([app["EXAMPLE"]])["clis_l"][0]
    assert summary.startswith(f"**CLIS-L {expected:.1f}**")
