"""The Hub on loopback, as the real clients see it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback_hub import Hub, serving


@pytest.fixture(params=[False, True], ids=["lfs", "xet"])
def hub(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hub]:
    with serving(Hub(tmp_path / "hub", xet=request.param)) as found:
        yield found
    assert found.errors == []


def done(hub: Hub, code: str, cache: Path, *arguments: str) -> str:
    ran = hub.run(code, cache, *arguments)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


FIRST = """
import os, sys
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError
api, kind = HfApi(), {"repo_type": "dataset"}
url = api.create_repo("acp/a", **kind)
assert url.repo_id == "acp/a", url
assert api.create_repo("acp/a", exist_ok=True, **kind) == url
assert api.whoami()["name"] == "tester"
head = api.dataset_info("acp/a").sha
large = bytes(range(256)) * 4000
one = api.upload_file(path_or_fileobj=b"# hello", path_in_repo="README.md", repo_id="acp/a", **kind)
adds = [CommitOperationAdd("data/x y.bin", large), CommitOperationAdd("notes.txt", b"text")]
two = api.create_commit("acp/a", [*adds, CommitOperationDelete("README.md")], commit_message="two",
                        parent_commit=one.oid, **kind)
assert api.dataset_info("acp/a").sha == two.oid
try:
    api.create_commit("acp/a", [CommitOperationAdd("n", b"1")], commit_message="stale",
                      parent_commit=head, **kind)
except HfHubHTTPError as error:
    assert error.response.status_code == 412
else:
    raise SystemExit("a stale parent went through")
assert api.create_commit("acp/a", [CommitOperationAdd("notes.txt", b"text")], commit_message="no",
                         **kind).oid == two.oid
"""


def test_commits(hub: Hub, tmp_path: Path) -> None:
    done(hub, FIRST, tmp_path / "cache")
    assert [commit.title for commit in hub.log("acp/a")][0] == "two"
    assert len(hub.log("acp/a")) == 3
    files = hub.files("acp/a")
    assert set(files) == {".gitattributes", "data/x y.bin", "notes.txt"}
    assert files["data/x y.bin"] == bytes(range(256)) * 4000
