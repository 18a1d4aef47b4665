"""The Hub's answers: routes are matched on the raw path, in which names are still quoted."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from fnmatch import fnmatch
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from support.loopback_hub.hub import Hub
from support.loopback_hub.repos import Blob, Commit, RefusedError, Repo, is_lfs, pointer

KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}
REPO = r"/api/(?P<kind>models|datasets|spaces)/(?P<name>[^/]+/[^/]+)"
FILE = r"/(?:(?P<kind>datasets|spaces)/)?(?P<name>[^/]+/[^/]+)"
DATE = "2026-01-01T00:00:00.000Z"


@dataclass(frozen=True)
class Answer:
    """What goes back to the client."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Request:
    """What came from it, and the repository that it is about; `path` is raw and has the query."""

    method: str
    path: str
    headers: Message
    body: bytes

    def query(self, name: str) -> str:
        return parse_qs(urlsplit(self.path).query).get(name, [""])[-1]

    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


Route = Callable[[Hub, Request, dict[str, str]], Answer]
ROUTES: list[tuple[str, re.Pattern[str], Route]] = []


def route(method: str, pattern: str) -> Callable[[Route], Route]:
    """The answer to these requests."""

    def add(function: Route) -> Route:
        ROUTES.append((method, re.compile(pattern), function))
        return function

    return add


def answer(hub: Hub, request: Request) -> Answer:
    """The Hub's answer to a request."""
    method = "GET" if request.method == "HEAD" else request.method
    path = urlsplit(request.path).path
    for wanted, pattern, function in ROUTES:
        found = pattern.fullmatch(path)
        if wanted == method and found:
            parts = {name: unquote(text or "") for name, text in found.groupdict().items()}
            parts["kind"] = KINDS.get(parts.get("kind", ""), "model")
            try:
                if _role(hub, request) == "unknown":
                    raise RefusedError(401, "Invalid credentials in Authorization header")
                with hub.lock:
                    return function(hub, request, parts)
            except RefusedError as error:
                headers = {"X-Error-Message": error.message, **error.headers}
                if error.code:
                    headers["X-Error-Code"] = error.code
                return _json({"error": error.message}, error.status, **headers)
    return _json({"error": f"no route for {method} {path}"}, 404)


def _json(value: Any, status: int = 200, **headers: str) -> Answer:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Answer(status, named, json.dumps(value).encode())


# Who may ask for what.


def _role(hub: Hub, request: Request) -> str:
    """ "write", "read", or "" of one who sends no token."""
    token = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
    return hub.tokens.get(token, "unknown") if token else ""


def _check_may_write(hub: Hub, request: Request) -> None:
    role = _role(hub, request)
    if not role:
        raise RefusedError(401, "Invalid username or password.")
    if role != "write":
        raise RefusedError(403, "You don't have the rights to write: the token has the role read")


def _repo(hub: Hub, request: Request, parts: Mapping[str, str], *, write: bool = False) -> Repo:
    """The repository of a request; who may not see it is told what he would be told of none."""
    found = hub.repos.get((parts["kind"], parts["name"]))
    if (found is None or found.private) and not _role(hub, request):
        raise RefusedError(401, "Invalid username or password.", "RepoNotFound")
    if write:
        _check_may_write(hub, request)
    return hub.repo(parts["name"], parts["kind"])


# Repositories and refs.


@route("POST", "/api/repos/create")
def _create(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    _check_may_write(hub, request)
    wanted = request.json()
    kind = wanted.get("type") or "model"
    name = f"{wanted.get('organization') or 'tester'}/{wanted['name']}"
    private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
    url = {"url": _page(hub, kind, name), "name": name}
    try:
        hub.create(name, kind, private=private, sdk=wanted.get("sdk", ""))
    except RefusedError as error:
        return _json({**url, "error": error.message}, error.status)
    return _json(url)


def _page(hub: Hub, kind: str, name: str) -> str:
    return f"{hub.address}/{'' if kind == 'model' else kind + 's/'}{name}"


@route("POST", "/api/validate-yaml")
def _validate(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    try:
        _card(request.json()["content"])
    except yaml.YAMLError as error:
        return _json({"errors": [{"message": f"YAML: {error}"}], "warnings": []}, 400)
    return _json({"errors": [], "warnings": []})


def _card(text: str) -> dict[str, Any]:
    found = re.match(r"---\r?\n(.*?)\r?\n---", text, re.DOTALL)
    return yaml.safe_load(found[1]) or {} if found else {}


@route("GET", REPO + "(?:/revision/(?P<revision>[^/]+))?")
def _info(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    repo = _repo(hub, request, parts)
    commit = repo.head(parts["revision"] or "main")
    card = repo.card
    if card is None and (blob := commit.files.get("README.md")):
        card = _card(hub.contents.stored[blob.sha256].decode())
    card = dict(card or {})
    blobs = request.query("blobs").lower() in ("1", "true")
    value = {
        "_id": "0" * 24,
        "id": repo.name,
        "sha": commit.oid,
        "lastModified": DATE,
        "private": repo.private,
        "gated": repo.gated and "manual",
        "downloads": 0,
        "likes": 0,
        "tags": card.get("tags", []),
        "cardData": card,
        "siblings": [
            {"rfilename": path, **(_of_blob(blob, "blobId", "sha256") if blobs else {})}
            for path, blob in commit.files.items()
        ],
    }
    return _json({**value, "sdk": card.get("sdk", repo.sdk)} if repo.kind == "space" else value)


def _of_blob(blob: Blob, git: str, lfs: str) -> dict[str, Any]:
    """Size and sums of a file; the Hub has two names for each."""
    value: dict[str, Any] = {"size": blob.size, git: blob.oid}
    if blob.lfs:
        size = len(pointer(blob.sha256, blob.size))
        value["lfs"] = {lfs: blob.sha256, "size": blob.size, "pointerSize": size}
    return value


@route("GET", REPO + "/refs")
def _refs(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    refs = _repo(hub, request, parts).refs
    kinds = {"branches": "refs/heads/", "tags": "refs/tags/", "pullRequests": "refs/pr/"}
    value: dict[str, Any] = {
        kind: [
            {"name": ref.removeprefix(start), "ref": ref, "targetCommit": oid}
            for ref, oid in refs.items()
            if ref.startswith(start)
        ]
        for kind, start in kinds.items()
    }
    return _json({**value, "converts": []})


@route("POST", REPO + "/(?P<sort>branch|tag)/(?P<named>[^/]+)")
def _new_ref(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    """A branch is named in the path, a tag in the body."""
    repo, wanted = _repo(hub, request, parts, write=True), request.json()
    if parts["sort"] == "branch":
        ref, start = f"refs/heads/{parts['named']}", wanted.get("startingPoint", "main")
    else:
        ref, start = f"refs/tags/{wanted['tag']}", parts["named"]
    if ref in repo.refs:
        raise RefusedError(409, f"Reference already exists: {ref}")
    repo.refs[ref] = repo.head(start).oid
    return _json({})


@route("GET", REPO + "/commits/(?P<revision>[^/]+)")
def _commits(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    commits = _repo(hub, request, parts).log(parts["revision"])
    more = {"message": "", "date": DATE, "authors": [{"user": "tester"}]}
    return _json([{"id": each.oid, "title": each.title, **more} for each in commits])


@route("GET", REPO + "/discussions")
def _discussions(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    repo = _repo(hub, request, parts)
    more: dict[str, Any] = {"isPullRequest": True, "author": {"name": "tester"}, "createdAt": DATE}
    more["repo"] = {"name": repo.name, "type": repo.kind}
    found = [
        {"num": int(ref[8:]), "title": _first(repo, ref).title, "status": "open", **more}
        for ref in repo.refs
        if ref.startswith("refs/pr/") and int(ref[8:]) not in repo.closed
    ]
    return _json({"discussions": found, "count": len(found), "start": 0})


def _first(repo: Repo, ref: str) -> Commit:
    """The commit with which a pull request began."""
    of_main = {commit.oid for commit in repo.log("main")}
    return [each for each in repo.log(ref) if each.oid not in of_main][-1]


# Trees and files of a revision.


@route("GET", REPO + "/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?")
def _tree(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    commit = _repo(hub, request, parts).head(parts["revision"])
    entries, start = _entries(commit), parts["path"].strip("/")
    if start and start not in entries:
        raise RefusedError(404, f"{start} does not exist", "EntryNotFound")
    below = f"{start}/" if start else ""
    deep = request.query("recursive").lower() in ("1", "true")
    found = [
        entry
        for path, entry in sorted(entries.items())
        if path.startswith(below) and (deep or "/" not in path[len(below) :])
    ]
    return _json(found)


def _entries(commit: Commit) -> dict[str, dict[str, Any]]:
    """Files and folders by path."""
    last = {"id": commit.oid, "title": commit.title, "date": DATE}
    found: dict[str, dict[str, Any]] = {}
    for path, blob in commit.files.items():
        for depth in range(1, path.count("/") + 1):
            folder = "/".join(path.split("/")[:depth])
            oid = hashlib.sha1(folder.encode(), usedforsecurity=False).hexdigest()
            found[folder] = {"type": "directory", "path": folder, "size": 0, "oid": oid}
        sums = _of_blob(blob, "oid", "oid")
        found[path] = {"type": "file", "path": path, **sums, "lastCommit": last}
    return found


@route("POST", REPO + "/paths-info/(?P<revision>[^/]+)")
def _paths_info(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    entries = _entries(_repo(hub, request, parts).head(parts["revision"]))
    paths = parse_qs(request.body.decode()).get("paths", [])
    return _json([entries[path] for path in paths if path in entries])


@route("GET", FILE + "/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
def _resolve(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    repo = _repo(hub, request, parts)
    commit = repo.head(parts["revision"])
    if repo.gated:
        message = f"Access to {repo.kind} {repo.name} is restricted."
        raise RefusedError(403, message, "GatedRepo", X_Repo_Commit=commit.oid)
    blob = commit.files.get(parts["path"])
    if blob is None:
        raise RefusedError(404, "Entry not found", "EntryNotFound", X_Repo_Commit=commit.oid)
    headers = {
        "X-Repo-Commit": commit.oid,
        "Accept-Ranges": "bytes",
        "ETag": f'"{blob.sha256 if blob.lfs else blob.oid}"',
        "Content-Type": "application/octet-stream",
    }
    if request.method == "HEAD":
        return Answer(200, {**headers, "Content-Length": str(blob.size)})
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
    data = hub.contents.stored[blob.sha256]
    if wanted is None:
        return Answer(200, headers, data)
    first, last = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
    headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
    return Answer(206, headers, data[first : last + 1])


# What comes in: objects by LFS and Xet, and the commits that show them.


@route("POST", REPO + "/preupload/(?P<revision>[^/]+)")
def _preupload(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    files = _repo(hub, request, parts, write=True).head(parts["revision"]).files
    ignored = request.json().get("gitIgnore")
    if ignored is None and ".gitignore" in files:
        ignored = hub.contents.stored[files[".gitignore"].sha256].decode()
    names = [line.rstrip("/") for line in (ignored or "").splitlines() if line.strip("# ")]
    answers = []
    for wanted in request.json()["files"]:
        path, blob = wanted["path"], files.get(wanted["path"])
        lfs = is_lfs(path, wanted["size"], base64.b64decode(wanted["sample"]))
        ignore = any(fnmatch(path, name) or fnmatch(path, f"{name}/*") for name in names)
        oid = {"oid": blob.sha256 if blob.lfs else blob.oid} if blob else {}
        mode = "lfs" if lfs else "regular"
        answers.append({"path": path, "uploadMode": mode, "shouldIgnore": ignore, **oid})
    return _json({"files": answers})


@route("POST", FILE + r"\.git/info/lfs/objects/batch")
def _batch(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    _repo(hub, request, parts, write=True)
    objects = []
    for wanted in request.json()["objects"]:
        entry = {"oid": wanted["oid"], "size": wanted["size"]}
        if wanted["oid"] not in hub.contents.stored:
            entry["actions"] = {"upload": {"href": f"{hub.address}/lfs/{wanted['oid']}"}}
        objects.append(entry)
    return _json({"transfer": "basic", "objects": objects})


@route("PUT", "/lfs/(?P<oid>[0-9a-f]{64})")
def _put(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    if hub.contents.regular(request.body).sha256 != parts["oid"]:
        raise RefusedError(400, "The bytes are not those of the object")
    hub.received.append((parts["oid"], len(request.body)))
    return Answer(200, {})


@route("GET", REPO + "/xet-write-token/(?P<revision>[^/]+)")
def _xet_token(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    _repo(hub, request, parts, write=True)
    url = hub.contents.xet.url
    headers = {"X-Xet-Cas-Url": url, "X-Xet-Access-Token": "local"}
    headers["X-Xet-Token-Expiration"] = str(1 << 40)
    body = {"casUrl": url, "accessToken": "local", "exp": 1 << 40}
    return Answer(200, headers, json.dumps(body).encode())


@route("POST", REPO + "/commit/(?P<revision>[^/]+)")
def _commit(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    repo = _repo(hub, request, parts, write=True)
    lines = [json.loads(line) for line in request.body.splitlines() if line.strip()]
    changes = [(line["key"], line["value"]) for line in lines]
    create_pr = request.query("create_pr").lower() in ("1", "true")
    commit, number = hub.contents.commit(repo, parts["revision"], changes, create_pr)
    url = _page(hub, repo.kind, repo.name)
    value = {"success": True, "commitOid": commit.oid, "commitUrl": f"{url}/commit/{commit.oid}"}
    return _json({**value, "pullRequestUrl": f"{url}/discussions/{number}"} if number else value)
