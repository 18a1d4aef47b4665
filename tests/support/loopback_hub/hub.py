"""The Hub as tests see it: clients of it, what it holds and was asked, and what is to go wrong."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.loopback_hub.store import Commit, RefusedError, Store

TESTS = Path(__file__).resolve().parents[2]
TOKEN = "hf_loopback"  # noqa: S105
READ_TOKEN = "hf_reader"  # noqa: S105


@dataclass
class Rule:
    """Something that happens to the next `times` requests of this kind."""

    method: str
    pattern: str
    times: int
    answer: int | str | None = None
    callback: Callable[[], object] | None = None


class Hub:
    """A Hub whose state lies under `root`; with `xet`, clients send and fetch by Xet.

    `requests` lists (method, raw path with its query, bytes of the body); `received` the LFS
    objects that came, (sha256, bytes) each time one came.
    """

    def __init__(self, root: Path, xet: bool = False) -> None:
        self.store = Store(root)
        self.xet = xet
        self.address = ""
        self.page = 1000
        self.tokens = {TOKEN: "write", READ_TOKEN: "read"}
        self.requests: list[tuple[str, str, int]] = []
        self.errors: list[str] = []
        self._rules: list[Rule] = []

    # Clients.

    def env(self, cache: Path, token: str | None = TOKEN) -> dict[str, str]:
        """The environment of a client process whose home of Hugging Face is `cache`."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        path = [str(TESTS), os.environ.get("PYTHONPATH", "")]
        environment = {
            **kept,
            "HF_ENDPOINT": self.address,
            "HF_HOME": str(cache),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(part for part in path if part),
        }
        if token:
            environment["HF_TOKEN"] = token
        if not self.xet:
            environment["HF_HUB_DISABLE_XET"] = "1"
        return environment

    def run(
        self, code: str, cache: Path, *arguments: str, token: str | None = TOKEN, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Python code in a process of its own for which this is the Hub."""
        return self._process(["-c", code, *arguments], cache, token, more)

    def acp(
        self, arguments: list[str], cache: Path, token: str | None = TOKEN, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """`acp` with these arguments in a process of its own for which this is the Hub."""
        return self._process(["-m", "acp", *arguments], cache, token, more)

    def _process(
        self, arguments: list[str], cache: Path, token: str | None, more: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            env={**self.env(cache, token), **more},
            capture_output=True,
            text=True,
            check=False,
        )

    # What is to go wrong.

    def fail(self, method: str, pattern: str, status: int | str = 503, times: int = 2) -> None:
        """The next `times` requests whose path matches fail: with a status, by "drop" (closed
        without an answer), or by "answer lost" (handled, then closed)."""
        self._rules.append(Rule(method, pattern, times, answer=status))

    def when(
        self, method: str, pattern: str, callback: Callable[[], object], times: int = 1
    ) -> None:
        """Call `callback` before such a request is handled, and before its body is read; if it
        returns "drop", the request is not handled at all."""
        self._rules.append(Rule(method, pattern, times, callback=callback))

    def due(self, method: str, path: str, *, callbacks: bool) -> Rule | None:
        """The rule that this request meets, which is thereby used up once."""
        with self.store.lock:
            for rule in self._rules:
                fits = rule.method == method and re.search(rule.pattern, path)
                if fits and rule.times and (rule.callback is not None) == callbacks:
                    rule.times -= 1
                    return rule
        return None

    # What it holds.

    @property
    def received(self) -> list[tuple[str, int]]:
        return self.store.received

    def xet_bytes(self) -> int:
        """Bytes that clients stored by Xet."""
        return self.store.xet.size()

    def commit(
        self,
        repo: str,
        files: Mapping[str, bytes | None],
        repo_type: str = "dataset",
        revision: str = "main",
        title: str = "by another",
    ) -> str:
        """A commit that adds files and, for None, deletes them; its id."""
        operations: list[tuple[str, Mapping[str, Any]]] = [("header", {"summary": title})]
        for path, data in files.items():
            if data is None:
                operations.append(("deletedFile", {"path": path}))
            elif self.store.is_lfs(path, len(data), data[:512]):
                sha256 = self.store.put(data, lfs=True)
                operations.append(("lfsFile", {"path": path, "oid": sha256, "size": len(data)}))
            else:
                content = base64.b64encode(data).decode()
                operations.append(("file", {"path": path, "content": content}))
        return self.store.commit(repo_type, repo, revision, operations)[0].oid

    def put_folder(
        self,
        repo: str,
        folder: Path,
        repo_type: str = "dataset",
        *,
        gated: bool = False,
        private: bool = False,
        card: Mapping[str, Any] | None = None,
    ) -> str:
        """Serve the files of a folder as a repository, made if need be; the commit's id. `card`
        is what the Hub tells of the card in place of the head of README.md; of what is `gated`
        nobody gets the files."""
        try:
            self.store.repo(repo_type, repo)
        except RefusedError:
            settings = {"private": private, "gated": gated, "card": dict(card) if card else None}
            self.store.create(repo_type, repo, **settings)
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        data = {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}
        return self.commit(repo, data, repo_type, title="a folder")

    def files(
        self, repo: str, revision: str = "main", repo_type: str = "dataset"
    ) -> dict[str, bytes]:
        """The files of a revision."""
        found = self.store.repo(repo_type, repo).head(revision).files
        return {path: self.store.read(blob) for path, blob in found.items()}

    def log(self, repo: str, revision: str = "main", repo_type: str = "dataset") -> list[Commit]:
        """The commits of a revision, newest first."""
        return self.store.repo(repo_type, repo).log(revision)

    def head(self, repo: str, revision: str = "main", repo_type: str = "dataset") -> str:
        """The id of the newest commit of a revision."""
        return self.store.repo(repo_type, repo).head(revision).oid

    def refs(self, repo: str, repo_type: str = "dataset") -> dict[str, str]:
        """Commits by ref: `refs/heads/main`, `refs/tags/v1.0`, `refs/pr/1`."""
        return dict(self.store.repo(repo_type, repo).refs)

    def close(self, repo: str, number: int, repo_type: str = "dataset") -> None:
        """Close a pull request, as its owner would on its page."""
        with self.store.lock:
            found = self.store.repo(repo_type, repo)
            found.closed.append(number)
            self.store.save(found)
