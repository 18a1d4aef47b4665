"""A release on the Hub, by LFS, when requests fail and pushes are killed."""

from __future__ import annotations

import re
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils._http import get_session

from acp.hub.retries import LONGEST, wait_after
from support.loopback_hub import Hub
from support.publishing import (
    asked,
    holds,
    once_each,
    publish,
    publish_killed,
    published,
    random_folder,
    releases,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return random_folder(tmp_path / "folder")


EVERYTHING = (
    ("GET", r"/api/datasets/acp/a$"),
    ("POST", "/api/repos/create"),
    ("GET", "/refs"),
    ("GET", "/tree/"),
    ("POST", "/preupload/"),
    ("POST", "/objects/batch"),
    ("PUT", "/lfs/"),
    ("POST", "/validate-yaml"),
    ("POST", "/branch/"),
    ("POST", "/commit/"),
    ("POST", "/tag/"),
)


@pytest.mark.parametrize("fault", [503, "drop", "answer lost"])
def test_each_kind_of_request_fails_once(
    hub: Hub, folder: Path, tmp_path: Path, fault: str | int
) -> None:
    for method, pattern in EVERYTHING:
        hub.fail(method, pattern, fault, times=1)
    done = published(hub, folder, tmp_path, revision="next", tag="v1")
    assert holds(hub, folder, "next")
    assert releases(hub, "next") == 1
    refs = hub.refs("acp/a")
    assert refs["refs/heads/next"] == refs["refs/tags/v1"] == done["commit"]
    assert releases(hub) == 0
    for method, pattern in EVERYTHING:
        asked_for = [path for path in asked(hub, method) if re.search(pattern, path)]
        landed_at_once = fault == "answer lost" and pattern == "/commit/"
        assert len(asked_for) > (0 if landed_at_once else 1), pattern


@pytest.mark.parametrize("fault", [503, "drop"])
def test_a_hub_that_stays_away(hub: Hub, folder: Path, tmp_path: Path, fault: str | int) -> None:
    hub.fail("POST", "/commit/", fault, times=100)
    ran = publish(hub, folder, tmp_path, pauses=[0.01] * 5)
    assert ran.returncode == 1
    *told, last = ran.stderr.splitlines()
    assert "after several attempts" in last
    assert "the same command goes on" in last
    assert sum("again in" in line for line in told) == 5
    assert releases(hub) == 0


def test_a_hub_that_asks_for_patience(hub: Hub, folder: Path, tmp_path: Path) -> None:
    for request in (("POST", "/api/repos/create"), ("POST", "/commit/")):
        hub.fail(*request, 429, times=1)
    ran = publish(hub, folder, tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "making it: the Hub answered 429; again in 3 s" in ran.stderr
    assert "committing: the Hub answered 429, nothing is in yet; again in 3 s" in ran.stderr


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [
        (429, {"RateLimit": '"api";r=0;t=55'}, 55),
        (429, {"Retry-After": "7", "RateLimit": '"api";r=0;t=55'}, 7),
        (503, {"Retry-After": "7"}, 7),
        (503, {"Retry-After": "86400"}, LONGEST),
        (503, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, 2),
        (503, {"Retry-After": "1"}, 2),
        (429, {}, 2),
    ],
)
def test_the_wait_that_is_asked_for(status: int, headers: dict[str, str], wait: float) -> None:
    http = import_module(type(get_session()).__module__.partition(".")[0])
    answer = http.Response(status, headers=headers, request=http.Request("GET", "http://x"))
    assert wait_after(HfHubHTTPError("no", response=answer), 2) == wait


def test_a_hub_that_goes_away_with_the_answer(hub: Hub, folder: Path, tmp_path: Path) -> None:
    hub.fail("POST", "/commit/", "answer lost", times=1)
    gone = partial(hub.fail, "GET", "/api/datasets/acp/a", 502, times=100)
    hub.when("POST", "/commit/", gone)
    ran = publish(hub, folder, tmp_path)
    assert ran.returncode == 1
    last = ran.stderr.splitlines()[-1]
    assert "whether the release is in it is not known" in last
    assert "nothing of" not in last
    assert releases(hub) == 1


AT = {
    "before the first file": ("POST", "/objects/batch", 1),
    "between files": ("PUT", "/lfs/", 3),
    "before the commit": ("POST", "/commit/", 1),
    "before the tag": ("POST", "/tag/", 1),
}


@pytest.mark.parametrize("at", AT)
def test_killed_and_started_again(hub: Hub, folder: Path, tmp_path: Path, at: str) -> None:
    publish_killed(hub, AT[at], folder, tmp_path / "one", tag="v1")
    assert releases(hub) == (1 if at == "before the tag" else 0)
    # Files go at the same time: one more may have been complete when the client was killed.
    finished = {"before the first file": (0,), "between files": (2, 3)}.get(at, (4,))
    assert len(hub.received) in finished
    done = published(hub, folder, tmp_path / "another", tag="v1")
    assert holds(hub, folder)
    assert releases(hub) == 1
    assert once_each(hub)
    assert hub.refs("acp/a")["refs/tags/v1"] == done["commit"]


def test_a_small_file_that_changes_after_it_was_read(
    hub: Hub, folder: Path, tmp_path: Path
) -> None:
    hub.when("PUT", "/lfs/", lambda: (folder / "README.md").write_text("# Another"), times=1)
    ran = publish(hub, folder, tmp_path)
    assert ran.returncode == 1
    assert "README.md: changed or vanished" in ran.stderr.splitlines()[-1]
    assert releases(hub) == 0


def test_a_file_that_vanishes(hub: Hub, folder: Path, tmp_path: Path) -> None:
    hub.when("POST", "/preupload/", lambda: (folder / "data/1.bin").unlink())
    ran = publish(hub, folder, tmp_path)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].startswith(f"error: {folder / 'data/1.bin'}: changed or")
    assert releases(hub) == 0
