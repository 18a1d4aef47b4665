"""A small server that speaks OpenAI's protocol, on loopback, with faults on demand."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

Answer = Callable[[dict[str, Any]], str]


class Server(ThreadingHTTPServer):
    """Keeps what it was asked; `faults` are taken one a request: a status code, "slow", "cut"
    (half of the body) or "empty" (no choices)."""

    daemon_threads = True

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.faults: list[int | str] = []
        self.always: int | str | None = None
        self.slow_s = 1.0
        self.under_way = self.most_under_way = 0
        self.lock = threading.Lock()
        self.retry_counts: list[int] = []

    @property
    def url(self) -> str:
        """For `base_url`."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def chats(self) -> list[dict[str, Any]]:
        """What was asked, without the first question, which finds out the model's name."""
        return [body for body in self.bodies if "temperature" in body]


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        with server.lock:
            server.bodies.append(body)
            server.keys.append(self.headers.get("Authorization", ""))
            server.retry_counts.append(int(self.headers.get("x-stainless-retry-count", 0)))
            server.under_way += 1
            server.most_under_way = max(server.most_under_way, server.under_way)
            probe = "temperature" not in body
            fault = server.faults.pop(0) if server.faults and not probe else server.always
        try:
            self._reply(body, fault)
        except BrokenPipeError:
            pass  # the client gave up waiting
        finally:
            with server.lock:
                server.under_way -= 1

    def _reply(self, body: dict[str, Any], fault: int | str | None) -> None:
        if isinstance(fault, int):
            error = json.dumps({"error": {"message": f"fault {fault}"}}).encode()
            self._send(fault, error)
            return
        if fault == "slow":
            time.sleep(self.server.slow_s)
        message = {"role": "assistant", "content": self.server.answer(body)}
        choices = [] if fault == "empty" else [{"index": 0, "message": message}]
        reply = {"id": "1", "object": "chat.completion", "created": 0, "choices": choices}
        text = json.dumps({**reply, "model": "served-model-2026-01"}).encode()
        self._send(200, text[: len(text) // 2] if fault == "cut" else text)

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Retry-After-Ms", "10")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@contextmanager
def serving(answer: Answer) -> Iterator[Server]:
    """A server that answers every chat with `answer(body)`."""
    server = Server(answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def question_of(body: dict[str, Any]) -> str:
    """The text of the last message."""
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else str(content[-1]["text"])


def image_of(body: dict[str, Any]) -> np.ndarray | None:
    """The pixels of the last message's data URL."""
    content = body["messages"][-1]["content"]
    if isinstance(content, str):
        return None
    head, _, data = content[0]["image_url"]["url"].partition(",")
    assert head in {"data:image/jpeg;base64", "data:image/png;base64"}
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
