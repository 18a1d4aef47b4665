"""The Space: pushed to a Hub on loopback, started from there as a Hub starts it, used by a client
and by a browser."""

from __future__ import annotations

import ast
import base64
import json
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

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


def test_a_layout_as_json_is_scored(space: str) -> None:
    import acp

    found = client(space).predict(json.dumps(ROW), "paper", api_name="/score_json")
    assert found["clis_l"] == pytest.approx(acp.score([ROW])["clis_l"])
    assert found["explanation"][0][0]["nearest"]["predicate"] == "next to"


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


def test_a_pasted_path_of_an_image_is_not_opened(space: str, tmp_path: Path) -> None:
    Image.new("RGB", (640, 480)).save(tmp_path / "image.png")
    row = {key: value for key, value in ROW.items() if key not in ("width", "height")}
    row["image"] = str(tmp_path / "image.png")
    errors = pytest.importorskip("gradio_client.exceptions")
    with pytest.raises(errors.AppError, match="expected width and height beside boxes in pixels"):
        client(space).predict(json.dumps(row), "paper", api_name="/score_json")


START = """
import os, sys
pipes = [os.dup2(int(fd), 100 + place) for place, fd in enumerate(sys.argv[1:3])]
os.dup2(100, 3), os.dup2(101, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """Chromium, driven through the two pipes of its debugging protocol."""

    def __init__(self, program: str, folder: Path) -> None:
        commands_out, self._commands = os.pipe()
        self._answers, answers_in = os.pipe()
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        flags += ["--remote-debugging-pipe", "--window-size=1400,1700", f"--user-data-dir={folder}"]
        pipes = (str(commands_out), str(answers_in))
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, *pipes, program, *flags],
            pass_fds=(commands_out, answers_in),
            stderr=subprocess.DEVNULL,
        )
        os.close(commands_out)
        os.close(answers_in)
        self._buffer, self._count = b"", 0
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]

    _session: str | None = None

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._buffer:
                assert select.select([self._answers], [], [], 60)[0], f"no answer to {method}"
                more = os.read(self._answers, 1 << 16)
                assert more, "the browser stopped"
                self._buffer += more
            text, _, self._buffer = self._buffer.partition(b"\0")
            answer = json.loads(text)
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def run(self, script: str) -> Any:
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        return found["result"].get("value")

    def wait(self, script: str, seconds: float = 90) -> Any:
        end = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < end, f"never came true: {script}\n{self.text()}"
            time.sleep(0.2)
        return value

    def text(self) -> str:
        return str(self.run("document.body ? document.body.innerText : ''"))

    def click(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def place(self, element: str) -> list[float]:
        """x, y, width and height of an element once it has come to rest."""
        script = PLACE.replace("ELEMENT", element)
        found, before = self.wait(script), None
        while found != before:
            time.sleep(0.5)
            found, before = self.run(script), found
        return list(found)

    def picture(self, path: Path) -> None:
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)
        os.close(self._commands)
        os.close(self._answers)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("chromium is not installed")
    found = Browser(program, tmp_path)
    yield found
    found.close()


PLACE = """
(() => {
  const box = ELEMENT.getBoundingClientRect();
  return [box.x, box.y, box.width, box.height];
})()
"""
BUTTON = "[...document.querySelectorAll('button')].find(b => b.innerText.trim() === 'Score')"


def test_a_browser_draws_a_box_and_scores_the_layout(
    space: str, pushed: Path, browser: Browser
) -> None:
    import acp

    (example,) = re.findall(r"^EXAMPLE = (\{.*?^\})", (pushed / "app.py").read_text(), re.M | re.S)
    browser.send("Page.navigate", url=space)
    browser.wait(f"!!({BUTTON}) && document.querySelectorAll('img').length > 0")
    browser.wait("document.body.innerText.includes('skateboard')")
    layout = "document.querySelector('[data-testid=detailed-image] img, .image-frame img')"
    for across, down in ((0.7, 0.05), (0.95, 0.3)):
        x, y, width, height = browser.place(layout)
        side = min(width, height)
        before = browser.run(f"{layout}.src")
        left, top = x + (width - side) / 2, y + (height - side) / 2
        browser.click(left + across * side, top + down * side)
        browser.wait(f"{layout}.src !== {json.dumps(before)}")
    browser.wait("document.body.innerText.includes('0.25')")
    x, y, width, height = browser.place(BUTTON)
    browser.click(x + width / 2, y + height / 2)
    shown = browser.wait("(document.body.innerText.match(/CLIS-L (-?[0-9.]+)/) || [])[1]")
    expected = acp.score([ast.literal_eval(example)])["clis_l"][0]
    assert shown == f"{expected:.1f}"
    browser.wait("document.body.innerText.includes('here | reference')")
    folder = os.environ.get("ACP_SCREENSHOTS")
    if folder:
        browser.picture(Path(folder) / "space.png")
