"""The Hub as tests see it: clients of it, what it holds and was asked, and what is to go wrong."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.loopback_hub.repos import (
    ATTRIBUTES,
    SPACE_CARD,
    Commit,
    Contents,
    RefusedError,
    Repo,
    is_lfs,
)
from support.loopback_hub.xet import XetFolder

TESTS = Path(__file__).resolve().parents[2]
TOKEN = "hf_loopback"  # noqa: S105
READ_TOKEN = "hf_reader"  # noqa: S105


@dataclass
class Rule:
    """Something that happens to the next `times` requests of this kind."""

    method: str
    pattern: str
    times: int
    answer: int | str = ""
    callback: Callable[[], object] = lambda: None


class Hub:
    """A Hub with a folder `root` for Xet; with `xet`, clients send by it.

    `requests` lists (method, raw path with its query, bytes of the body).
    """

    def __init__(self, root: Path, xet: bool = False) -> None:
        self.contents = Contents(XetFolder(root))
        self.xet = xet
        self.address = ""
        self.tokens = {TOKEN: "write", READ_TOKEN: "read"}
        self.repos: dict[tuple[str, str], Repo] = {}
        self.requests: list[tuple[str, str, int]] = []
        self.errors: list[str] = []
        self.lock = threading.RLock()
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

    def fault(self, method: str, path: str) -> int | str:
        """What goes wrong with this request, as the rules that it meets have it; "" for nothing."""
        with self.lock:
            met = [rule for rule in self._rules if rule.times and rule.method == method]
            met = [rule for rule in met if re.search(rule.pattern, path)]
            for rule in met:
                rule.times -= 1
        said = [rule.answer or rule.callback() for rule in met]
        return next((rule.answer for rule in met if rule.answer), "drop" if "drop" in said else "")

    # What it holds.

    @property
    def received(self) -> list[tuple[str, int]]:
        """The LFS objects that came, (SHA-256, bytes) each time one came."""
        return self.contents.received

    def xet_bytes(self) -> int:
        """Bytes that clients stored by Xet."""
        return self.contents.xet.size()

    def repo(self, name: str, kind: str = "dataset") -> Repo:
        """A repository by id."""
        try:
            return self.repos[kind, name]
        except KeyError:
            raise RefusedError(404, "Repository not found", "RepoNotFound") from None

    def create(self, name: str, kind: str = "dataset", **settings: Any) -> Repo:
        """A new repository with the first commit that the Hub makes."""
        with self.lock:
            if (kind, name) in self.repos:
                raise RefusedError(409, "You already created this repo")
            repo = self.repos[kind, name] = Repo(kind, name, **settings)
            files = {".gitattributes": ATTRIBUTES}
            if kind == "space":
                files["README.md"] = SPACE_CARD.format(sdk=repo.sdk)
            blobs = {path: self.contents.regular(text.encode()) for path, text in files.items()}
            repo.add("refs/heads/main", "", "initial commit", blobs)
            return repo

    def commit(
        self,
        repo: str,
        files: Mapping[str, bytes | None],
        repo_type: str = "dataset",
        revision: str = "main",
        title: str = "by another",
    ) -> str:
        """A commit that adds files and, for None, deletes them; its id."""
        changes: list[tuple[str, Mapping[str, Any]]] = [("header", {"summary": title})]
        for path, data in files.items():
            if data is None:
                changes.append(("deletedFile", {"path": path}))
            elif is_lfs(path, len(data), data[:512]):
                sha256 = self.contents.regular(data).sha256
                changes.append(("lfsFile", {"path": path, "oid": sha256, "size": len(data)}))
            else:
                content = base64.b64encode(data).decode()
                changes.append(("file", {"path": path, "content": content}))
        with self.lock:
            return self.contents.commit(self.repo(repo, repo_type), revision, changes)[0].oid

    def put_folder(
        self, repo: str, folder: Path, repo_type: str = "dataset", **settings: Any
    ) -> str:
        """Serve the files of a folder as a repository, made if need be; the commit's id.

        `settings`: `private`; `gated`, of which nobody gets the files; `card`, what the Hub tells
        of the card in place of the head of README.md.
        """
        if (repo_type, repo) not in self.repos:
            self.create(repo, repo_type, **settings)
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        data = {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}
        return self.commit(repo, data, repo_type, title="a folder")

    def files(
        self, repo: str, revision: str = "main", repo_type: str = "dataset"
    ) -> dict[str, bytes]:
        """The files of a revision."""
        found = self.repo(repo, repo_type).head(revision).files
        return {path: self.contents.stored[blob.sha256] for path, blob in found.items()}

    def log(self, repo: str, revision: str = "main", repo_type: str = "dataset") -> list[Commit]:
        """The commits of a revision, newest first."""
        return self.repo(repo, repo_type).log(revision)

    def head(self, repo: str, revision: str = "main", repo_type: str = "dataset") -> str:
        """The id of the newest commit of a revision."""
        return self.repo(repo, repo_type).head(revision).oid

    def refs(self, repo: str, repo_type: str = "dataset") -> dict[str, str]:
        """Commits by ref: `refs/heads/main`, `refs/tags/v1.0`, `refs/pr/1`."""
        return dict(self.repo(repo, repo_type).refs)
