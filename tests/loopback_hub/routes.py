"""The Hub's answers: routes are matched on the raw path, in which names are still quoted."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from loopback_hub.store import Blob, Commit, RefusedError, Repo, pointer

if TYPE_CHECKING:
    from loopback_hub.hub import Hub

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
                _check_token(hub, request)
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


# Who asks.


def _role(hub: Hub, request: Request) -> str:
    """ "write", "read", or "" of one who sends no token."""
    token = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
    return hub.tokens.get(token, "unknown") if token else ""


def _check_token(hub: Hub, request: Request) -> None:
    if _role(hub, request) == "unknown":
        raise RefusedError(401, "Invalid credentials in Authorization header")


def _may_write(hub: Hub, request: Request) -> None:
    role = _role(hub, request)
    if not role:
        raise RefusedError(401, "Invalid username or password.")
    if role != "write":
        message = "You don't have the rights to write here: the token has the role read"
        raise RefusedError(403, message)


def _repo(hub: Hub, request: Request, parts: Mapping[str, str], *, write: bool = False) -> Repo:
    """The repository of a request; who may not see it is told what he would be told of none."""
    role = _role(hub, request)
    try:
        repo = hub.store.repo(parts["kind"], parts["name"])
    except RefusedError:
        if role:
            raise
        raise RefusedError(401, "Invalid username or password.", "RepoNotFound") from None
    if repo.private and not role:
        raise RefusedError(401, "Invalid username or password.", "RepoNotFound")
    if write:
        _may_write(hub, request)
    return repo


@route("GET", "/api/whoami-v2")
def _whoami(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    role = _role(hub, request)
    if not role:
        raise RefusedError(401, "Invalid username or password.")
    access = {"displayName": "loopback", "role": role}
    auth = {"type": "access_token", "accessToken": access}
    orgs = [{"type": "org", "name": "acp"}]
    return told(
        {"type": "user", "name": "tester", "fullname": "Tester", "orgs": orgs, "auth": auth}
    )


# Repositories.


def _url(hub: Hub, kind: str, name: str) -> str:
    return f"{hub.address}/{'' if kind == 'model' else kind + 's/'}{name}"


@route("POST", "/api/repos/create")
def _create(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    _may_write(hub, request)
    wanted = request.json()
    kind = wanted.get("type") or "model"
    name = f"{wanted.get('organization') or 'tester'}/{wanted['name']}"
    private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
    url = {"url": _url(hub, kind, name), "name": name}
    try:
        hub.store.create(kind, name, private=private, sdk=wanted.get("sdk", ""))
    except RefusedError as error:
        return told({**url, "error": error.message}, error.status)
    return told(url)


@route("DELETE", "/api/repos/delete")
def _delete(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    _may_write(hub, request)
    wanted = request.json()
    name = f"{wanted.get('organization') or 'tester'}/{wanted['name']}"
    hub.store.delete(wanted.get("type") or "model", name)
    return told({})


@route("PUT", REPO + "/settings")
def _settings(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    with hub.store.lock:
        repo = _repo(hub, request, parts, write=True)
        wanted = request.json()
        if "visibility" in wanted:
            repo.private = wanted["visibility"] == "private"
        repo.gated = bool(wanted.get("gated", repo.gated))
        hub.store.save(repo)
    return told({})


@route("POST", "/api/validate-yaml")
def _validate(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    errors = []
    try:
        _card(request.json()["content"])
    except yaml.YAMLError as error:
        errors.append({"message": f"YAML: {error}"})
    return told({"errors": errors, "warnings": []}, 400 if errors else 200)


def _card(text: str) -> dict[str, Any]:
    found = re.match(r"---\r?\n(.*?)\r?\n---", text, re.DOTALL)
    return yaml.safe_load(found[1]) or {} if found else {}


@route("GET", REPO + "(?:/revision/(?P<revision>[^/]+))?")
def _info(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    repo = _repo(hub, request, parts)
    commit = repo.head(parts["revision"] or "main")
    card = repo.card
    if card is None and "README.md" in commit.files:
        card = _card(hub.store.read(commit.files["README.md"]).decode())
    siblings = [_sibling(path, blob, request) for path, blob in commit.files.items()]
    value = {
        "_id": "0" * 24,
        "id": repo.name,
        "author": repo.name.partition("/")[0],
        "sha": commit.oid,
        "createdAt": repo.log("main")[-1].date,
        "lastModified": commit.date,
        "private": repo.private,
        "gated": repo.gated and "manual",
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": (card or {}).get("tags", []),
        "cardData": card or {},
        "siblings": siblings,
    }
    if repo.kind == "space":
        value["sdk"] = (card or {}).get("sdk", repo.sdk)
    return told(value)


def _sibling(path: str, blob: Blob, request: Request) -> dict[str, Any]:
    if not request.flag("blobs"):
        return {"rfilename": path}
    return {"rfilename": path, "size": blob.size, "blobId": blob.oid, **_lfs(blob, "sha256")}


def _lfs(blob: Blob, name: str) -> dict[str, Any]:
    size = len(pointer(blob.sha256, blob.size))
    found = {name: blob.sha256, "size": blob.size, "pointerSize": size}
    return {"lfs": found} if blob.lfs else {}


# Refs.


@route("GET", REPO + "/refs")
def _refs(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    repo = _repo(hub, request, parts)
    kinds = {"branches": "refs/heads/", "tags": "refs/tags/", "pullRequests": "refs/pr/"}
    value: dict[str, Any] = {
        kind: [
            {"name": ref.removeprefix(start), "ref": ref, "targetCommit": oid}
            for ref, oid in repo.refs.items()
            if ref.startswith(start)
        ]
        for kind, start in kinds.items()
    }
    return told({**value, "converts": []})


def _change_ref(
    hub: Hub, request: Request, parts: dict[str, str], ref: str, revision: str
) -> Answer:
    """Make a ref at a revision, or take it away."""
    with hub.store.lock:
        repo = _repo(hub, request, parts, write=True)
        if request.method == "DELETE":
            if repo.refs.pop(ref, None) is None:
                raise RefusedError(404, f"Invalid rev id: {ref}", "RevisionNotFound")
        elif ref in repo.refs:
            raise RefusedError(409, f"Reference already exists: {ref}")
        else:
            repo.refs[ref] = repo.head(revision).oid
        hub.store.save(repo)
    return told({})


@route("POST", REPO + "/branch/(?P<branch>[^/]+)")
def _branch(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    start = request.json().get("startingPoint", "main")
    return _change_ref(hub, request, parts, f"refs/heads/{parts['branch']}", start)


@route("DELETE", REPO + "/branch/(?P<branch>[^/]+)")
def _delete_branch(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    return _change_ref(hub, request, parts, f"refs/heads/{parts['branch']}", "")


@route("POST", REPO + "/tag/(?P<revision>[^/]+)")
def _tag(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    ref = f"refs/tags/{request.json()['tag']}"
    return _change_ref(hub, request, parts, ref, parts["revision"])


@route("DELETE", REPO + "/tag/(?P<tag>[^/]+)")
def _delete_tag(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    return _change_ref(hub, request, parts, f"refs/tags/{parts['tag']}", "")


@route("GET", REPO + "/commits/(?P<revision>[^/]+)")
def _commits(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    repo = _repo(hub, request, parts)
    return told(
        [
            {
                "id": commit.oid,
                "title": commit.title,
                "message": commit.message,
                "date": commit.date,
                "authors": [{"user": "tester"}],
            }
            for commit in repo.log(parts["revision"])
        ]
    )


# Trees and files.


def _entry(path: str, blob: Blob, commit: Commit) -> dict[str, Any]:
    entry = {"type": "file", "path": path, "size": blob.size, "oid": blob.oid, **_lfs(blob, "oid")}
    entry["lastCommit"] = {"id": commit.oid, "title": commit.title, "date": commit.date}
    return {**entry, "xetHash": blob.xet} if blob.xet else entry


def _folder(path: str, commit: Commit) -> dict[str, Any]:
    oid = hashlib.sha1(f"{commit.oid} {path}".encode(), usedforsecurity=False).hexdigest()
    return {"type": "directory", "path": path, "size": 0, "oid": oid}


def _folders(commit: Commit) -> list[str]:
    found = {
        "/".join(path.split("/")[:depth])
        for path in commit.files
        for depth in range(1, path.count("/") + 1)
    }
    return sorted(found)


@route("GET", REPO + "/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?")
def _tree(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    commit = _repo(hub, request, parts).head(parts["revision"])
    folders, start = _folders(commit), parts["path"].strip("/")
    if start and start not in folders:
        raise RefusedError(404, f"{start} does not exist", "EntryNotFound")
    below = f"{start}/" if start else ""
    entries = [_folder(path, commit) for path in folders]
    entries += [_entry(path, blob, commit) for path, blob in commit.files.items()]
    entries = [entry for entry in entries if entry["path"].startswith(below)]
    if not request.flag("recursive"):
        entries = [entry for entry in entries if "/" not in entry["path"][len(below) :]]
    entries.sort(key=lambda entry: str(entry["path"]))
    first = int(request.query.get("cursor", 0))
    last = first + hub.page
    if last >= len(entries):
        return told(entries[first:])
    bare = re.sub(r"&?cursor=\d+", "", request.path)
    join = "&" if "?" in bare else "?"
    link = f'<{hub.address}{bare}{join}cursor={last}>; rel="next"'
    return told(entries[first:last], Link=link)


@route("POST", REPO + "/paths-info/(?P<revision>[^/]+)")
def _paths_info(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    commit = _repo(hub, request, parts).head(parts["revision"])
    if "json" in request.headers.get("Content-Type", ""):
        paths = request.json()["paths"]
    else:
        paths = parse_qs(request.body.decode()).get("paths", [])
    folders = set(_folders(commit))
    entries = [_entry(path, commit.files[path], commit) for path in paths if path in commit.files]
    return told(entries + [_folder(path, commit) for path in paths if path in folders])


@route("GET", FILE + "/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
def _resolve(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    repo = _repo(hub, request, parts)
    commit = repo.head(parts["revision"])
    headers = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
    if repo.gated:
        message = f"Access to {repo.kind} {repo.name} is restricted."
        raise RefusedError(403, message, "GatedRepo", X_Repo_Commit=commit.oid)
    blob = commit.files.get(parts["path"])
    if blob is None:
        raise RefusedError(404, "Entry not found", "EntryNotFound", X_Repo_Commit=commit.oid)
    headers["ETag"] = f'"{blob.sha256 if blob.lfs else blob.oid}"'
    headers["Content-Type"] = "application/octet-stream"
    if hub.xet and blob.xet:
        token = f"{hub.address}/api/{repo.kind}s/{repo.name}/xet-read-token/{commit.oid}"
        headers.update({"X-Xet-Hash": blob.xet, "X-Xet-Refresh-Route": token})
    if request.method == "HEAD":
        return Answer(200, {**headers, "Content-Length": str(blob.size)})
    return _ranged(hub.store.read(blob), request.headers.get("Range", ""), headers)


def _ranged(data: bytes, wanted: str, headers: dict[str, str]) -> Answer:
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted)
    if not found or found.groups() == ("", ""):
        return Answer(200, headers, data)
    if found[1]:
        first, last = int(found[1]), min(int(found[2] or len(data)), len(data) - 1)
    else:
        first, last = max(len(data) - int(found[2]), 0), len(data) - 1
    if first > last:
        return Answer(416, {**headers, "Content-Range": f"bytes */{len(data)}"})
    headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
    return Answer(206, headers, data[first : last + 1])


# Uploads.


@route("POST", REPO + "/preupload/(?P<revision>[^/]+)")
def _preupload(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    files = _repo(hub, request, parts, write=True).head(parts["revision"]).files
    answers = []
    for wanted in request.json()["files"]:
        path, blob = wanted["path"], files.get(wanted["path"])
        lfs = hub.store.is_lfs(path, wanted["size"], base64.b64decode(wanted["sample"]))
        entry = {"path": path, "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
        if blob is not None:
            entry["oid"] = blob.sha256 if blob.lfs else blob.oid
        answers.append(entry)
    return told({"files": answers})


@route("POST", FILE + r"\.git/info/lfs/objects/batch")
def _batch(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    _repo(hub, request, parts, write=True)
    objects = []
    for wanted in request.json()["objects"]:
        entry = {"oid": wanted["oid"], "size": wanted["size"]}
        if not hub.store.has_lfs(wanted["oid"]):
            entry["actions"] = {"upload": {"href": f"{hub.address}/lfs/{wanted['oid']}"}}
        objects.append(entry)
    return told({"transfer": "basic", "objects": objects})


@route("PUT", "/lfs/(?P<oid>[0-9a-f]{64})")
def _put(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    if hashlib.sha256(request.body).hexdigest() != parts["oid"]:
        raise RefusedError(400, "The bytes are not those of the object")
    hub.store.put(request.body, lfs=True)
    hub.store.received.append((parts["oid"], len(request.body)))
    return Answer(200, {})


@route("GET", REPO + "/xet-(?P<role>read|write)-token/(?P<revision>[^/]+)")
def _xet_token(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    _repo(hub, request, parts, write=parts["role"] == "write")
    until = int(time.time()) + 3600
    headers = {
        "X-Xet-Cas-Url": hub.store.xet.url,
        "X-Xet-Access-Token": "local",
        "X-Xet-Token-Expiration": str(until),
    }
    body = {"casUrl": hub.store.xet.url, "accessToken": "local", "exp": until}
    return Answer(200, headers, json.dumps(body).encode())


@route("POST", REPO + "/commit/(?P<revision>[^/]+)")
def _commit(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    _repo(hub, request, parts, write=True)
    lines = [json.loads(line) for line in request.body.splitlines() if line.strip()]
    operations = [(line["key"], line["value"]) for line in lines]
    kind, name, create_pr = parts["kind"], parts["name"], request.flag("create_pr")
    commit, number = hub.store.commit(
        kind, name, parts["revision"], operations, create_pr=create_pr
    )
    url = _url(hub, kind, name)
    value = {"success": True, "commitOid": commit.oid, "commitUrl": f"{url}/commit/{commit.oid}"}
    if number:
        value["pullRequestUrl"] = f"{url}/discussions/{number}"
    return told({**value, "hookOutput": ""})
