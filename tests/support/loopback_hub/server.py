"""HTTP around the Hub: connections kept open, bodies of both kinds, and what is to go wrong."""

from __future__ import annotations

import json
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from support.loopback_hub.hub import Hub
from support.loopback_hub.routes import Answer, Request, answer


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    hub: Hub

    def _do(self) -> None:
        try:
            self._handle()
        except (ConnectionError, TimeoutError):
            self.close_connection = True  # the client is gone

    def _handle(self) -> None:
        fault = self.hub.fault(self.command, self.path)
        body = None if fault == "drop" else self._body()
        if body is None:
            self.close_connection = True
            return
        self.hub.requests.append((self.command, self.path, len(body)))
        if isinstance(fault, int):
            self._send(Answer(fault, {}, b'{"error": "out of order"}'))
            return
        told = self._answer(body)
        if fault == "answer lost":
            self.close_connection = True
        else:
            self._send(told)

    def _answer(self, body: bytes) -> Answer:
        try:
            return answer(self.hub, Request(self.command, self.path, self.headers, body))
        except Exception:
            self.hub.errors.append(traceback.format_exc())
            sys.stderr.write(f"{self.command} {self.path}\n{self.hub.errors[-1]}")
            return Answer(500, {}, json.dumps({"error": "a fault of the server"}).encode())

    def _body(self) -> bytes | None:
        """The whole body, or None if the client went away before its end."""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            return self._chunks()
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        return body if len(body) == length else None

    def _chunks(self) -> bytes | None:
        parts: list[bytes] = []
        while line := self.rfile.readline():
            size = int(line.split(b";")[0], 16)
            part = self.rfile.read(size + 2)
            if len(part) < size + 2:
                return None
            if not size:
                return b"".join(parts)
            parts.append(part[:-2])
        return None

    def _send(self, told: Answer) -> None:
        self.send_response(told.status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(told.body))}
        for name, value in {**headers, **told.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(told.body)
        self.wfile.flush()

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _do  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """`hub` at its `address`."""
    handler = type("OfThisHub", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    hub.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
