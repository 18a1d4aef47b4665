"""What comes in: objects by LFS and Xet, and the commits that show them."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Mapping
from fnmatch import fnmatch
from typing import TYPE_CHECKING

from support.loopback_hub.protocol import (
    FILE,
    REPO,
    Answer,
    Request,
    find_repo,
    route,
    told,
    url_of,
)
from support.loopback_hub.store import Blob, RefusedError

if TYPE_CHECKING:
    from support.loopback_hub.hub import Hub


@route("POST", REPO + "/preupload/(?P<revision>[^/]+)")
def _preupload(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    files = find_repo(hub, request, parts, write=True).head(parts["revision"]).files
    answers = []
    ignored = _patterns(hub, request, files)
    for wanted in request.json()["files"]:
        path, blob = wanted["path"], files.get(wanted["path"])
        lfs = hub.store.is_lfs(path, wanted["size"], base64.b64decode(wanted["sample"]))
        mode = "lfs" if lfs else "regular"
        ignore = any(fnmatch(path, each) for each in ignored)
        entry = {"path": path, "uploadMode": mode, "shouldIgnore": ignore}
        if blob is not None:
            entry["oid"] = blob.sha256 if blob.lfs else blob.oid
        answers.append(entry)
    return told({"files": answers})


def _patterns(hub: Hub, request: Request, files: Mapping[str, Blob]) -> list[str]:
    """Of the `.gitignore` that the client tells, else of that in the repository."""
    told_by_client = request.json().get("gitIgnore")
    if told_by_client is None and ".gitignore" in files:
        told_by_client = hub.store.read(files[".gitignore"]).decode()
    lines = (told_by_client or "").splitlines()
    names = [line.rstrip("/") for line in lines if line.strip() and not line.startswith("#")]
    return [pattern for name in names for pattern in (name, f"{name}/*")]


@route("POST", FILE + r"\.git/info/lfs/objects/batch")
def _batch(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    find_repo(hub, request, parts, write=True)
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
    find_repo(hub, request, parts, write=parts["role"] == "write")
    url = hub.store.xet.url if parts["role"] == "write" else hub.store.xet.view()
    until = int(time.time()) + 3600
    headers = {
        "X-Xet-Cas-Url": url,
        "X-Xet-Access-Token": "local",
        "X-Xet-Token-Expiration": str(until),
    }
    body = {"casUrl": url, "accessToken": "local", "exp": until}
    return Answer(200, headers, json.dumps(body).encode())


@route("POST", REPO + "/commit/(?P<revision>[^/]+)")
def _commit(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    find_repo(hub, request, parts, write=True)
    lines = [json.loads(line) for line in request.body.splitlines() if line.strip()]
    operations = [(line["key"], line["value"]) for line in lines]
    kind, name, create_pr = parts["kind"], parts["name"], request.flag("create_pr")
    commit, number = hub.store.commit(
        kind, name, parts["revision"], operations, create_pr=create_pr
    )
    url = url_of(hub, kind, name)
    value = {"success": True, "commitOid": commit.oid, "commitUrl": f"{url}/commit/{commit.oid}"}
    if number:
        value["pullRequestUrl"] = f"{url}/discussions/{number}"
    return told({**value, "hookOutput": ""})
