"""The Hub's answers: routes are matched on the raw path, in which names are still quoted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from support.loopback_hub import files, repos, uploads
from support.loopback_hub.protocol import PLURALS, ROUTES, Answer, Request, check_token, told
from support.loopback_hub.store import RefusedError

if TYPE_CHECKING:
    from support.loopback_hub.hub import Hub

__all__ = ["answer", "files", "repos", "uploads"]


def answer(hub: Hub, request: Request) -> Answer:
    """The Hub's answer to a request."""
    method = "GET" if request.method == "HEAD" else request.method
    path = urlsplit(request.path).path
    for wanted, pattern, function in ROUTES:
        found = pattern.fullmatch(path)
        if wanted == method and found:
            parts = {name: unquote(text or "") for name, text in found.groupdict().items()}
            parts["kind"] = PLURALS.get(parts.get("kind", ""), "model")
            try:
                check_token(hub, request)
                return function(hub, request, parts)
            except RefusedError as error:
                return _refused(error)
    return told({"error": f"no route for {method} {path}"}, 404)


def _refused(error: RefusedError) -> Answer:
    headers = {"X-Error-Message": error.message}
    if error.code:
        headers["X-Error-Code"] = error.code
    headers.update({name.replace("_", "-"): text for name, text in error.headers.items()})
    return Answer(error.status, headers, json.dumps({"error": error.message}).encode())
