"""A release on the Hub, by LFS: one commit, a tag, a branch, a proposal, and what goes wrong."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils._http import get_session

from acp.core.errors import AcpError
from acp.hub import errors
from support.loopback_hub import Hub
from support.publishing import (
    contents,
    holds,
    once_each,
    published,
    random_folder,
    releases,
    use,
    writes,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return random_folder(tmp_path / "folder")


@pytest.fixture(autouse=True)
def _here(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use(hub, monkeypatch, tmp_path / "cache")


def test_create_again_change_and_remove(hub: Hub, folder: Path) -> None:
    first = published(folder)
    assert first.created
    assert first.changes.new == {path: len(data) for path, data in contents(folder).items()}
    assert holds(hub, folder)
    assert releases(hub) == 1

    hub.requests.clear()
    assert published(folder).commit == first.commit
    assert not writes(hub)  # nothing changed: nothing is sent, not even a question
    assert releases(hub) == 1

    hub.commit("acp/a", {"LICENSE": b"mine"})
    (folder / "data/0.bin").unlink()
    (folder / "data/1.bin").write_bytes(b"\0new")
    (folder / "data/more.bin").write_bytes(b"\0more")
    third = published(folder, stale=["data/0.bin", "never.bin"]).changes
    assert (third.new, third.replaced) == ({"data/more.bin": 5}, {"data/1.bin": 4})
    assert set(third.removed) == {"data/0.bin"}
    assert set(third.others) == {"LICENSE", ".gitattributes"}
    files = hub.files("acp/a")
    assert files.pop("LICENSE") == b"mine"
    assert set(files) == {*contents(folder), ".gitattributes"}
    assert releases(hub) == 3
    assert once_each(hub)


def test_readers_see_the_old_release_until_the_new_one(hub: Hub, folder: Path) -> None:
    published(folder)
    old = hub.files("acp/a")
    for path in (folder / "data").iterdir():
        path.write_bytes(b"\0" + path.read_bytes())
    seen: list[bool] = []
    for method, pattern in (("PUT", "/lfs/"), ("POST", "/commit/")):
        hub.when(method, pattern, lambda: seen.append(hub.files("acp/a") == old), times=9)
    published(folder)
    assert seen == [True] * 5  # four files and a commit
    assert holds(hub, folder)


def test_a_dry_run_leaves_no_trace(hub: Hub, folder: Path) -> None:
    first = published(folder, dry_run=True)
    assert first.created
    assert set(first.changes.new) == set(contents(folder))
    assert not hub.repos
    published(folder)
    before = hub.refs("acp/a")
    (folder / "data/0.bin").write_bytes(b"\0other")
    hub.requests.clear()
    second = published(folder, dry_run=True, revision="next", tag="v1")
    assert second.changes.replaced == {"data/0.bin": 6}
    assert second.commit is None
    assert not writes(hub)
    assert hub.refs("acp/a") == before


def test_a_lost_race(hub: Hub, folder: Path) -> None:
    published(folder)
    first = hub.head("acp/a")
    (folder / "data/0.bin").unlink()
    (folder / "data/1.bin").write_bytes(b"\0ours")
    theirs = {"theirs.txt": b"theirs", "data/0.bin": None}  # we would remove it too
    hub.when("POST", "/commit/", lambda: hub.commit("acp/a", theirs))
    with pytest.raises(AcpError, match=f"main moved from {first[:12]} to "):
        published(folder, stale=["data/0.bin"])
    assert hub.files("acp/a")["data/1.bin"] != b"\0ours"
    assert releases(hub) == 2
    published(folder, stale=["data/0.bin"])
    assert hub.files("acp/a")["data/1.bin"] == b"\0ours"
    assert hub.files("acp/a")["theirs.txt"] == b"theirs"
    assert once_each(hub)


def test_a_race_for_the_same_release_is_won(hub: Hub, folder: Path) -> None:
    published(folder)
    (folder / "README.md").write_bytes(b"# The same")
    hub.when("POST", "/commit/", lambda: hub.commit("acp/a", {"README.md": b"# The same"}))
    assert published(folder).commit == hub.head("acp/a")
    assert releases(hub) == 2


@pytest.mark.parametrize("lost", [True, False])
def test_another_commits_after_an_answer_that_did_not_come(
    hub: Hub, folder: Path, lost: bool
) -> None:
    published(folder)
    (folder / "data/0.bin").write_bytes(b"\0ours")
    hub.fail("POST", "/commit/", "answer lost" if lost else "drop", times=1)
    asked: list[int] = []

    def look() -> None:
        asked.append(1)
        if len(asked) == 2:  # the first look, and the one after the commit
            hub.commit("acp/a", {"theirs.txt": b"theirs"})

    hub.when("GET", "/api/datasets/acp/a$", look, times=2)
    if lost:
        published(folder)
        assert hub.files("acp/a")["data/0.bin"] == b"\0ours"
    else:
        with pytest.raises(AcpError, match="main moved from"):
            published(folder)
    assert releases(hub) == (3 if lost else 2)


@pytest.mark.parametrize("ignored", ["*.bin", "README.md"])
def test_what_the_repository_ignores_is_in_the_release(
    hub: Hub, folder: Path, ignored: str
) -> None:
    hub.create("acp/a")
    hub.commit("acp/a", {".gitignore": f"{ignored}\n".encode()})
    published(folder)
    assert contents(folder).items() <= hub.files("acp/a").items()


def test_a_branch_is_made_from_main(hub: Hub, folder: Path) -> None:
    published(folder)
    (folder / "data/0.bin").write_bytes(b"\0next")
    done = published(folder, revision="next/one")
    assert set(done.changes.replaced) == {"data/0.bin"}
    assert holds(hub, folder, "next/one")
    assert (releases(hub), releases(hub, "next/one")) == (1, 2)
    assert published(folder, revision="next/one").commit == done.commit


def test_tags(hub: Hub, folder: Path) -> None:
    first = published(folder, tag="v1.0").commit
    assert first is not None
    assert hub.refs("acp/a")["refs/tags/v1.0"] == first
    published(folder, tag="v1.0")  # the same tag at the same commit
    published(folder, tag="also")  # nothing changed: a tag all the same
    assert hub.refs("acp/a")["refs/tags/also"] == first
    (folder / "data/0.bin").write_bytes(b"\0next")
    hub.requests.clear()
    with pytest.raises(AcpError, match=rf"at another release \({first[:12]}\)"):
        published(folder, tag="v1.0")
    with pytest.raises(AcpError, match="a tag of acp/a"):
        published(folder, revision="v1.0")
    assert not writes(hub)


def test_private(hub: Hub, folder: Path) -> None:
    published(folder, private=True)
    published(folder)
    assert hub.repo("acp/a").private  # as it was
    hub.repo("acp/a").private = False
    hub.requests.clear()
    with pytest.raises(AcpError, match="exists and is public"):
        published(folder, private=True)
    assert not writes(hub)


def test_pull_requests(hub: Hub, folder: Path) -> None:
    with pytest.raises(AcpError, match="has no main yet"):
        published(folder, create_pr=True)
    published(folder)
    (folder / "data/0.bin").write_bytes(b"\0proposed")
    hub.fail("POST", "/commit/", "answer lost", times=1)
    done = published(folder, create_pr=True)
    assert done.proposal == f"{hub.address}/datasets/acp/a/discussions/1"
    assert hub.refs("acp/a")["refs/pr/1"] == done.commit
    assert holds(hub, folder, "refs/pr/1")
    assert releases(hub) == 1
    again = published(folder, create_pr=True)  # proposed already
    assert (again.proposal, again.commit) == (done.proposal, done.commit)

    (folder / "data/1.bin").write_bytes(b"\0also")
    more = published(folder, revision="refs/pr/1")
    assert hub.refs("acp/a")["refs/pr/1"] == more.commit
    assert holds(hub, folder, "refs/pr/1")
    hub.repo("acp/a").closed.append(1)
    assert str(published(folder, create_pr=True).proposal).endswith("/discussions/2")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"revision": "no way"}, "not a name that git takes"),
        ({"revision": "a" * 40}, "not a name that git takes"),
        ({"revision": "refs/heads/x"}, "the bare name"),
        ({"revision": "refs/pr/7"}, "has no refs/pr/7"),
        ({"tag": "a..b"}, "not a name that git takes"),
        ({"tag": "v1", "create_pr": True}, "--tag with --create-pr"),
        ({"revision": "refs/pr/1", "create_pr": True}, "--create-pr with --revision"),
    ],
)
def test_names_that_cannot_be(
    hub: Hub, folder: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(AcpError, match=message):
        published(folder, **options)
    assert not writes(hub)


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
    hub: Hub, folder: Path, fault: str | int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "PAUSES", (0.01,) * len(EVERYTHING))
    for method, pattern in EVERYTHING:
        hub.fail(method, pattern, fault, times=1)
    done = published(folder, revision="next", tag="v1")
    assert holds(hub, folder, "next")
    assert releases(hub, "next") == 1
    refs = hub.refs("acp/a")
    assert refs["refs/heads/next"] == refs["refs/tags/v1"] == done.commit
    assert releases(hub) == 0
    asked = [f"{method} {path}" for method, path, _ in hub.requests]
    assert all(any(re.search(f"{m}.*{p}", line) for line in asked) for m, p in EVERYTHING)


@pytest.mark.parametrize("fault", [503, "drop"])
def test_a_hub_that_stays_away(hub: Hub, folder: Path, fault: str | int) -> None:
    hub.fail("POST", "/commit/", fault, times=100)
    with pytest.raises(AcpError, match=r"after several attempts; .*the same command goes on"):
        published(folder)
    assert releases(hub) == 0


def test_a_hub_that_goes_away_with_the_answer(hub: Hub, folder: Path) -> None:
    hub.fail("POST", "/commit/", "answer lost", times=1)
    hub.when("POST", "/commit/", lambda: hub.fail("GET", "/api/datasets/acp/a", 502, times=100))
    with pytest.raises(AcpError, match="whether the release is in it is not known"):
        published(folder)
    assert releases(hub) == 1


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [
        (429, {"RateLimit": '"api";r=0;t=55'}, 55),
        (503, {"Retry-After": "7"}, 7),
        (503, {"Retry-After": "86400"}, errors.LONGEST),
        (503, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, 0.01),
        (429, {}, 0.01),
    ],
)
def test_the_wait_that_the_hub_asks_for(
    status: int, headers: dict[str, str], wait: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    http = import_module(type(get_session()).__module__.partition(".")[0])
    answer = http.Response(status, headers=headers, request=http.Request("GET", "http://x"))
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    failures = iter([HfHubHTTPError("no", response=answer)])

    def attempt() -> str:
        for failure in failures:
            raise failure
        return "done"

    assert errors.retried(attempt, lambda line: None) == "done"
    assert waits == [wait]


@pytest.mark.parametrize("name", ["README.md", "data/1.bin"])
def test_a_file_that_changes_or_vanishes(hub: Hub, folder: Path, name: str) -> None:
    hub.when("POST", "/preupload/", lambda: (folder / name).unlink())
    with pytest.raises(AcpError, match=f"{name}: changed or vanished"):
        published(folder)
    (folder / name).write_bytes(b"\0anew")
    hub.when("PUT", "/lfs/", lambda: (folder / name).write_bytes(b"\0and anew"))
    with pytest.raises(AcpError, match=f"{name}: changed or vanished"):
        published(folder)
    assert releases(hub) == 0
