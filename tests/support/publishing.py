"""A client process that publishes a folder, and what the Hub on loopback must then hold."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from acp.builder.release import release
from support.loopback_hub import TOKEN, Hub
from support.synthetic_scenes import finish_build

SMALL = "size_wh=[64,64]"
WRITES = ("PUT", "POST", "DELETE")
CLIENT = """
import json, sys
from pathlib import Path
import huggingface_hub.utils._xet_progress_reporting as reporting
from acp.core.errors import AcpError
from acp.hub import commit, upload
from acp.hub.publish import publish
from acp.hub.target import Target

folder, options = Path(sys.argv[1]), json.loads(sys.argv[2])
dry_run = options.pop("dry_run", False)
upload.BATCH_BYTES = options.pop("batch_bytes", upload.BATCH_BYTES)
commit.PAUSES = options.pop("pauses", commit.PAUSES)
stale = set(options.pop("stale", []))
moved = []

class Reporter:
    def __init__(self):
        moved.append(0)
    def update_progress(self, group, items):
        moved[-1] = group.total_transfer_bytes
    def close(self, *_):
        pass

if options.pop("measure", False):
    reporting.XetUploadProgressReporter = Reporter
    upload.no_bars = lambda **_: open("/dev/null")
files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
try:
    done = publish(files, Target("acp/a", **options), stale=lambda there: stale & set(there),
                   message="A release", dry_run=dry_run,
                   tell=lambda line: print(line, file=sys.stderr))
except AcpError as error:
    sys.exit(f"error: {error}")
print(json.dumps({"commit": done.commit, "proposal": done.proposal, "held": done.held,
                  "sent": done.sent, "created": done.created, "moved": moved,
                  "new": sorted(done.changes.new), "replaced": sorted(done.changes.replaced),
                  "removed": sorted(done.changes.removed),
                  "unchanged": sorted(done.changes.unchanged)}))
"""
"""Publishes the folder of its first argument as the JSON of the second says."""


def random_folder(folder: Path, files: int = 4, size: int = 100_000, seed: int = 0) -> Path:
    """Files of noise, which nothing makes smaller, and a small card."""
    random = np.random.default_rng(seed)
    (folder / "data").mkdir(parents=True)
    for index in range(files):
        (folder / "data" / f"{index}.bin").write_bytes(random.bytes(size + index))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A\n", encoding="utf-8")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder by path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def publish(
    hub: Hub, folder: Path, cache: Path, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Publish in a process of its own."""
    return hub.run(CLIENT, cache, str(folder), json.dumps(options))


def published(hub: Hub, folder: Path, cache: Path, **options: Any) -> dict[str, Any]:
    """Publish, and what came of it."""
    ran = publish(hub, folder, cache, **options)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def holds(hub: Hub, folder: Path, revision: str = "main") -> bool:
    """Whether the repository holds the folder, and nothing but what the Hub itself put there."""
    files = hub.files("acp/a", revision)
    files.pop(".gitattributes")
    return files == contents(folder)


def once_each(hub: Hub) -> bool:
    """Whether no large file came twice."""
    sums = [sha256 for sha256, _ in hub.received]
    return len(sums) == len(set(sums))


def made(folder: Path, scenes: int) -> Path:
    release(finish_build(folder / "tiny.work", scenes, [SMALL]), folder / "tiny")
    return folder / "tiny"


def push(
    hub: Hub,
    folder: Path,
    *options: str,
    repo: str = "acp/a",
    token: str | None = TOKEN,
    **env: str,
) -> subprocess.CompletedProcess[str]:
    home = folder.parent / "home"  # one with nothing in it is made if need be
    return hub.acp(["push", str(folder), "--repo", repo, *options], home, token, **env)


def pushed(hub: Hub, folder: Path, *options: str) -> str:
    ran = push(hub, folder, *options)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def refused(ran: subprocess.CompletedProcess[str]) -> str:
    """The one line of an error."""
    assert ran.returncode == 1, ran.stdout
    assert "Traceback" not in ran.stderr
    lines = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert ran.stderr.splitlines()[-1] == lines[0]
    return lines[0]


def writes(hub: Hub) -> list[str]:
    return [path for method, path, _ in hub.requests if method in ("PUT", "POST", "DELETE")]


def releases(hub: Hub, revision: str = "main") -> int:
    """How many commits there are beside the Hub's own."""
    return len(hub.log("acp/a", revision)) - 1


def asked(hub: Hub, *methods: str) -> list[str]:
    """The paths of the requests with these methods."""
    return [path for method, path, _ in hub.requests if method in methods]


def nth(count: int, action: Callable[[], object]) -> Callable[[], object]:
    """An action of which nothing is seen until it is called for the nth time."""
    calls: list[int] = []

    def call() -> object:
        calls.append(1)
        return action() if len(calls) == count else None

    return call


def killed(
    hub: Hub,
    method: str,
    pattern: str,
    count: int,
    arguments: list[str],
    cache: Path,
) -> None:
    """Run a client that is killed at the `count`th such request, which is not handled; files that
    went before it have arrived by then."""
    started: list[subprocess.Popen[str]] = []

    def kill() -> str:
        for _ in range(2000 if method == "PUT" else 0):  # files go at the same time
            if len(hub.received) >= count - 1:
                break
            time.sleep(0.01)
        os.kill(started[0].pid, signal.SIGKILL)
        return "drop"

    hub.when(method, pattern, nth(count, kill), times=count)
    client = subprocess.Popen(
        [sys.executable, *arguments],
        env=hub.env(cache),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    started.append(client)
    _, errors = client.communicate()
    assert client.returncode == -signal.SIGKILL, errors


def publish_killed(
    hub: Hub, at: tuple[str, str, int], folder: Path, cache: Path, **options: Any
) -> None:
    """Publish, killed at a request."""
    killed(hub, *at, ["-c", CLIENT, str(folder), json.dumps(options)], cache)
