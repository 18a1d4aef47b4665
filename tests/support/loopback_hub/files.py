"""Trees and files of a revision."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from support.loopback_hub.protocol import FILE, REPO, Answer, Request, find_repo, route, told
from support.loopback_hub.repos import lfs_of
from support.loopback_hub.store import Blob, Commit, RefusedError

if TYPE_CHECKING:
    from support.loopback_hub.hub import Hub


def _entry(path: str, blob: Blob, commit: Commit) -> dict[str, Any]:
    entry = {
        "type": "file",
        "path": path,
        "size": blob.size,
        "oid": blob.oid,
        **lfs_of(blob, "oid"),
    }
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
    commit = find_repo(hub, request, parts).head(parts["revision"])
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
    commit = find_repo(hub, request, parts).head(parts["revision"])
    if "json" in request.headers.get("Content-Type", ""):
        paths = request.json()["paths"]
    else:
        paths = parse_qs(request.body.decode()).get("paths", [])
    folders = set(_folders(commit))
    entries = [_entry(path, commit.files[path], commit) for path in paths if path in commit.files]
    return told(entries + [_folder(path, commit) for path in paths if path in folders])


@route("GET", FILE + "/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
def _resolve(hub: Hub, request: Request, parts: dict[str, str]) -> Answer:
    repo = find_repo(hub, request, parts)
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
