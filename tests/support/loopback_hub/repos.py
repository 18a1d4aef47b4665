"""Repositories and refs: made, described, changed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from support.loopback_hub.protocol import (
    REPO,
    Answer,
    Request,
    check_may_write,
    find_repo,
    role_of,
    route,
    told,
    url_of,
)
from support.loopback_hub.store import Blob, RefusedError, Repo, pointer

if TYPE_CHECKING:
    from support.loopback_hub.hub import Hub


@route("GET", "/api/whoami-v2")
def _whoami(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    role = role_of(hub, request)
    if not role:
        raise RefusedError(401, "Invalid username or password.")
    access = {"displayName": "loopback", "role": role}
    auth = {"type": "access_token", "accessToken": access}
    orgs = [{"type": "org", "name": "acp"}]
    return told(
        {"type": "user", "name": "tester", "fullname": "Tester", "orgs": orgs, "auth": auth}
    )


@route("POST", "/api/repos/create")
def _create(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    check_may_write(hub, request)
    wanted = request.json()
    kind = wanted.get("type") or "model"
    name = f"{wanted.get('organization') or 'tester'}/{wanted['name']}"
    private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
    url = {"url": url_of(hub, kind, name), "name": name}
    try:
        hub.store.create(kind, name, private=private, sdk=wanted.get("sdk", ""))
    except RefusedError as error:
        return told({**url, "error": error.message}, error.status)
    return told(url)


@route("DELETE", "/api/repos/delete")
def _delete(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    check_may_write(hub, request)
    wanted = request.json()
    name = f"{wanted.get('organization') or 'tester'}/{wanted['name']}"
    hub.store.delete(wanted.get("type") or "model", name)
    return told({})


@route("PUT", REPO + "/settings")
def _settings(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    with hub.store.lock:
        repo = find_repo(hub, request, parts, write=True)
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
    repo = find_repo(hub, request, parts)
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
    return {"rfilename": path, "size": blob.size, "blobId": blob.oid, **lfs_of(blob, "sha256")}


def lfs_of(blob: Blob, name: str) -> dict[str, Any]:
    """What the Hub tells of a file in LFS, its sha256 under `name`."""
    size = len(pointer(blob.sha256, blob.size))
    found = {name: blob.sha256, "size": blob.size, "pointerSize": size}
    return {"lfs": found} if blob.lfs else {}


@route("GET", REPO + "/refs")
def _refs(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    repo = find_repo(hub, request, parts)
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
        repo = find_repo(hub, request, parts, write=True)
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
    repo = find_repo(hub, request, parts)
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


@route("GET", REPO + "/discussions")
def _discussions(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    repo = find_repo(hub, request, parts)
    found = [
        _discussion(repo, int(ref.removeprefix("refs/pr/")))
        for ref in repo.refs
        if ref.startswith("refs/pr/")
    ]
    wanted = request.query.get("status", "all")
    found = [each for each in found if wanted in ("all", each["status"])]
    return told({"discussions": found, "count": len(found), "start": 0})


def _discussion(repo: Repo, number: int) -> dict[str, Any]:
    first = repo.commits[repo.refs[f"refs/pr/{number}"]]
    while first.parent and first.parent not in {commit.oid for commit in repo.log("main")}:
        first = repo.commits[first.parent]
    return {
        "num": number,
        "title": first.title,
        "status": "closed" if number in repo.closed else "open",
        "isPullRequest": True,
        "author": {"name": "tester"},
        "createdAt": first.date,
        "repo": {"name": repo.name, "type": repo.kind},
    }
