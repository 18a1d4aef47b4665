"""Folders to publish, clients that do so, and what the Hub on loopback must then hold."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acp.hub import errors
from acp.hub.publish import Published, Release, publish
from acp.hub.target import Target
from support.loopback_hub import TOKEN, Hub

SMALL = "size_wh=[64,64]"


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


def made(folder: Path, scenes: int) -> Path:
    """A data set of `scenes` scenes, as acp build writes it."""
    from acp.builder.release import release
    from support.synthetic_scenes import finish_build

    release(finish_build(folder / "tiny.work", scenes, [SMALL]), folder / "tiny")
    return folder / "tiny"


def use(hub: Hub, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Make this process a client of `hub`, by LFS."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    files = f"{hub.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(errors, "PAUSES", (0.01,) * 5)
    for name in ("huggingface_hub", "httpx", "httpx2"):  # acp push puts its own ones there
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])
    monkeypatch.setenv("HF_TOKEN", TOKEN)


def published(
    folder: Path, *, stale: Collection[str] = (), dry_run: bool = False, **target: Any
) -> Published:
    """Publish the files of a folder as `acp/a`."""
    files = {name: folder / name for name in contents(folder)}
    release = Release(files, "A release", lambda there, read: {*stale} & {*there})
    return publish(release, Target("acp/a", **target), dry_run=dry_run)


CLIENT = """
import json, sys
from pathlib import Path
import huggingface_hub.utils._xet_progress_reporting as reporting
from acp.hub import publish
from support.publishing import published

moved = []

class Reporter:
    def __init__(self):
        moved.append(0)
    def update_progress(self, group, items):
        moved[-1] = group.total_transfer_bytes
    def close(self, *_):
        pass

reporting.XetUploadProgressReporter = Reporter
publish.BATCH_BYTES = int(sys.argv[2])
done = published(Path(sys.argv[1]), tag="v1")
print(json.dumps([done.commit, sum(moved)]))
"""
"""Publishes a folder; prints the commit and the bytes that went by Xet."""


def sent_anew(
    hub: Hub, folder: Path, cache: Path, batch_bytes: int = 64_000_000
) -> tuple[str, int]:
    """Publish in a process of its own: the commit, and the bytes that went by Xet."""
    ran = hub.run(CLIENT, cache, str(folder), str(batch_bytes))
    assert ran.returncode == 0, ran.stderr
    commit, moved = json.loads(ran.stdout)
    return commit, moved


def killed(hub: Hub, at: tuple[str, str, int], arguments: list[str], cache: Path) -> None:
    """Run a client that is killed at the nth such request, which is not handled; files that went
    before it have arrived by then."""
    method, pattern, count = at
    started: list[subprocess.Popen[str]] = []
    asked: list[int] = []

    def kill() -> object:
        asked.append(1)
        if len(asked) < count:
            return None
        for _ in range(2000 if method == "PUT" else 0):  # files go at the same time
            if len(hub.received) >= count - 1:
                break
            time.sleep(0.01)
        os.kill(started[0].pid, signal.SIGKILL)
        return "drop"

    hub.when(method, pattern, kill, times=count)
    client = subprocess.Popen(
        [sys.executable, *arguments],
        env=hub.env(cache),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    started.append(client)
    _, said = client.communicate()
    assert client.returncode == -signal.SIGKILL, said


def holds(hub: Hub, folder: Path, revision: str = "main") -> bool:
    """Whether the repository holds the folder, and nothing but what the Hub itself put there."""
    files = hub.files("acp/a", revision)
    files.pop(".gitattributes")
    return files == contents(folder)


def once_each(hub: Hub) -> bool:
    """Whether no large file came twice."""
    sums = [sha256 for sha256, _ in hub.received]
    return len(sums) == len(set(sums))


def releases(hub: Hub, revision: str = "main") -> int:
    """How many commits there are beside the Hub's own."""
    return len(hub.log("acp/a", revision)) - 1


def writes(hub: Hub) -> list[str]:
    """The paths of the requests that may have changed something."""
    return [path for method, path, _ in hub.requests if method in ("PUT", "POST", "DELETE")]
