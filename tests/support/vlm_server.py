"""A small server that speaks OpenAI's protocol, on loopback, with faults on demand."""

from __future__ import annotations

import base64
import contextlib
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
    (half of the body), "empty" (no choices), "page" (no JSON at all), "drop" (no reply) or "refuse"
    (no field that vLLM alone knows). `fault_of` says so for a request; after `last` answers nobody
    listens any more."""

    daemon_threads = True

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port = self.server_address[1]
        self.answer = answer
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.faults: list[int | str] = []
        self.always: int | str | None = None
        self.fault_of: Callable[[dict[str, Any]], int | str | None] = lambda body: None
        self.last: int | None = None
        self.answered = 0
        self.slow_s = 1.0
        self.under_way = self.most_under_way = 0
        self.lock = threading.Lock()
        self.retry_counts: list[int] = []

    def go_away(self) -> None:
        """Listen no longer, as a server that was ended."""
        with contextlib.suppress(OSError):
            self.socket.close()

    @property
    def url(self) -> str:
        """For `base_url`."""
        return f"http://127.0.0.1:{self.port}/v1"

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
            key = self.headers.get("Authorization", "")
            server.keys.append(key)
            server.under_way += 1
            server.most_under_way = max(server.most_under_way, server.under_way)
            fault = server.always
            if "temperature" in body:  # not the first question, for the model's name
                retries = int(self.headers.get("x-stainless-retry-count", 0))
                server.retry_counts.append(retries)
                fault = server.faults.pop(0) if server.faults else server.fault_of(body) or fault
                if server.last is not None and server.answered >= server.last:
                    fault = "drop"
                server.answered += fault is None
        try:
            if fault == "drop":
                self.close_connection = True
            else:
                self._reply(body, fault)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client gave up waiting
        finally:
            with server.lock:
                server.under_way -= 1
            if server.last is not None and server.answered >= server.last:
                server.go_away()

    def _reply(self, body: dict[str, Any], fault: int | str | None) -> None:
        if isinstance(fault, int):
            told = f"fault {fault} for {self.headers.get('Authorization')}"
            self._send(fault, json.dumps({"error": {"message": told}}).encode())
            return
        if fault == "refuse" and "chat_template_kwargs" in body:
            told = "Unrecognized request argument supplied: chat_template_kwargs"
            self._send(400, json.dumps({"error": {"message": told}}).encode())
            return
        if fault == "page":
            self._send(200, b"<html>It works!</html>", "text/html")
            return
        if fault == "slow":
            time.sleep(self.server.slow_s)
        message = {"role": "assistant", "content": self.server.answer(body)}
        choices = [] if fault == "empty" else [{"index": 0, "message": message}]
        reply = {"id": "1", "object": "chat.completion", "created": 0, "choices": choices}
        text = json.dumps({**reply, "model": "served-model-2026-01"}).encode()
        self._send(200, text[: len(text) // 2] if fault == "cut" else text)

    def _send(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Retry-After", "0.01")
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
