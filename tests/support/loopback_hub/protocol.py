"""Requests, answers and routes, and who may ask for what."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from support.loopback_hub.store import RefusedError, Repo

if TYPE_CHECKING:
    from support.loopback_hub.hub import Hub


PLURALS = {"models": "model", "datasets": "dataset", "spaces": "space"}


@dataclass(frozen=True)
class Answer:
    """What goes back to the client."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Request:
    """What came from it; `path` is raw and has the query."""

    method: str
    path: str
    headers: Message
    body: bytes

    @property
    def query(self) -> dict[str, str]:
        return {key: values[-1] for key, values in parse_qs(urlsplit(self.path).query).items()}

    def flag(self, name: str) -> bool:
        return self.query.get(name, "").lower() in ("1", "true")

    def json(self) -> dict[str, Any]:
        found = json.loads(self.body)
        return dict(found)


Route = Callable[["Hub", Request, dict[str, str]], Answer]
ROUTES: list[tuple[str, re.Pattern[str], Route]] = []
REPO = r"/api/(?P<kind>models|datasets|spaces)/(?P<name>[^/]+/[^/]+)"
FILE = r"/(?:(?P<kind>datasets|spaces)/)?(?P<name>[^/]+/[^/]+)"


def route(method: str, pattern: str) -> Callable[[Route], Route]:
    """The answer to these requests."""

    def add(function: Route) -> Route:
        ROUTES.append((method, re.compile(pattern), function))
        return function

    return add


def told(value: Any, status: int = 200, **headers: str) -> Answer:
    """An answer in JSON; `_` in names of headers stand for `-`."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Answer(status, named, json.dumps(value).encode())


def role_of(hub: Hub, request: Request) -> str:
    """ "write", "read", or "" of one who sends no token."""
    token = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
    return hub.tokens.get(token, "unknown") if token else ""


def check_token(hub: Hub, request: Request) -> None:
    """Refuse a token that is not one of this Hub."""
    if role_of(hub, request) == "unknown":
        raise RefusedError(401, "Invalid credentials in Authorization header")


def check_may_write(hub: Hub, request: Request) -> None:
    """Refuse who may only read."""
    role = role_of(hub, request)
    if not role:
        raise RefusedError(401, "Invalid username or password.")
    if role != "write":
        message = "You don't have the rights to write here: the token has the role read"
        raise RefusedError(403, message)


def find_repo(hub: Hub, request: Request, parts: Mapping[str, str], *, write: bool = False) -> Repo:
    """The repository of a request; who may not see it is told what he would be told of none."""
    role = role_of(hub, request)
    try:
        repo = hub.store.repo(parts["kind"], parts["name"])
    except RefusedError:
        if role:
            raise
        raise RefusedError(401, "Invalid username or password.", "RepoNotFound") from None
    if repo.private and not role:
        raise RefusedError(401, "Invalid username or password.", "RepoNotFound")
    if write:
        check_may_write(hub, request)
    return repo


def url_of(hub: Hub, kind: str, name: str) -> str:
    """The page of a repository."""
    return f"{hub.address}/{'' if kind == 'model' else kind + 's/'}{name}"
