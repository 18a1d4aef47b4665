"""A Hub on loopback that serves folders as model repositories, and remembers what was asked."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

TESTS = Path(__file__).resolve().parent


def commit_of(model: str) -> str:
    """The commit that the server says `main` of a repository is."""
    return hashlib.sha1(model.encode(), usedforsecurity=False).hexdigest()


class Hub:
    """`repositories` maps ids to folders, `cards` to the heads of model cards; of those that are
    `gated` nobody gets the files."""

    def __init__(
        self,
        repositories: Mapping[str, Path],
        cards: Mapping[str, Mapping[str, str]] | None = None,
        gated: frozenset[str] = frozenset(),
    ) -> None:
        self.repositories = repositories
        self.cards = cards or {}
        self.gated = gated
        self.asked: list[str] = []
        self.address = ""

    def run(self, code: str, cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Python code in a process of its own for which this is the Hub."""
        environment = {
            **os.environ,
            "HF_ENDPOINT": self.address,
            "HF_HOME": str(cache),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]),
        }
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def answer(self, path: str) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body for the path of a request."""
        parts = unquote(urlsplit(path).path).strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            return self._api("/".join(parts[2:4]), parts[4:])
        return self._file("/".join(parts[:2]), parts[2:])

    def _api(self, model: str, rest: list[str]) -> tuple[int, Mapping[str, str], bytes]:
        folder = self.repositories.get(model)
        if folder is None:
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        names = [file.relative_to(folder).as_posix() for file in files]
        answer: Any = {
            "id": model,
            "sha": commit_of(model),
            "siblings": [{"rfilename": name} for name in names],
            "cardData": self.cards.get(model, {}),
        }
        if rest[:1] == ["tree"]:
            start = "/".join(rest[2:])
            answer = [
                {"type": "file", "path": name, "size": file.stat().st_size, "oid": "0" * 40}
                for name, file in zip(names, files, strict=True)
                if name.startswith(start)
            ]
        return 200, {"Content-Type": "application/json"}, json.dumps(answer).encode()

    def _file(self, model: str, rest: list[str]) -> tuple[int, Mapping[str, str], bytes]:
        headers = {"X-Repo-Commit": commit_of(model)}
        if model in self.gated:
            message = "Access to this model is restricted."
            return 403, {"X-Error-Code": "GatedRepo", "X-Error-Message": message}, b""
        file = self.repositories.get(model, Path("/nowhere")).joinpath(*rest[2:])
        if rest[:1] != ["resolve"] or not file.is_file():
            return 404, {**headers, "X-Error-Code": "EntryNotFound"}, b""
        body = file.read_bytes()
        return 200, {**headers, "ETag": f'"{hashlib.sha256(body).hexdigest()}"'}, body


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """`hub` at its `address`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hub.asked.append(self.path)
            status, headers, body = hub.answer(self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
