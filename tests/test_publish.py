"""A release on the Hub, by LFS: one commit, whatever goes wrong on the way."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback_hub import Hub, serving
from publishing import (
    contents,
    holds,
    once_each,
    publish,
    publish_killed,
    published,
    random_folder,
)

WRITES = ("PUT", "POST", "DELETE")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with serving(Hub(tmp_path / "hub")) as found:
        yield found
    assert found.errors == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return random_folder(tmp_path / "folder")


def releases(hub: Hub, revision: str = "main") -> int:
    return len(hub.log("acp/a", revision)) - 1


def asked(hub: Hub, *methods: str) -> list[str]:
    return [path for method, path, _ in hub.requests if method in methods]


def test_create_again_change_and_remove(hub: Hub, folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = published(hub, folder, cache)
    assert first["created"]
    assert first["sent"] == sum(map(len, contents(folder).values()))
    assert holds(hub, folder)
    assert releases(hub) == 1

    hub.requests.clear()
    again = published(hub, folder, cache)
    assert again["commit"] == first["commit"]
    assert not asked(hub, *WRITES)  # nothing changed: nothing is sent, not even a question
    assert releases(hub) == 1

    (folder / "data/0.bin").unlink()
    (folder / "data/1.bin").write_bytes(b"\0new")
    (folder / "data/more.bin").write_bytes(b"\0more")
    third = published(hub, folder, cache, stale=["data/0.bin", "never.bin"])
    assert (third["new"], third["replaced"]) == (["data/more.bin"], ["data/1.bin"])
    assert (third["removed"], third["sent"]) == (["data/0.bin"], len(b"\0new\0more"))
    assert holds(hub, folder)
    assert releases(hub) == 2
    assert once_each(hub)


def test_a_dry_run_leaves_no_trace(hub: Hub, folder: Path, tmp_path: Path) -> None:
    bytes_of = {path: len(data) for path, data in contents(folder).items()}
    first = published(hub, folder, tmp_path, dry_run=True)
    assert first["created"]
    assert first["sent"] == sum(bytes_of.values())
    assert not asked(hub, *WRITES)
    with pytest.raises(Exception, match="not found"):
        hub.files("acp/a")

    published(hub, folder, tmp_path)
    before = hub.refs("acp/a")
    large = (folder / "data/1.bin").read_bytes()
    (folder / "data/0.bin").write_bytes(b"\0other")
    (folder / "data/copy.bin").write_bytes(large)
    hub.requests.clear()
    second = published(hub, folder, tmp_path, dry_run=True, revision="next", tag="v1")
    assert (second["new"], second["replaced"]) == (["data/copy.bin"], ["data/0.bin"])
    assert second["sent"] == len(b"\0other")
    assert second["held"] == len(large)
    assert all("/objects/batch" in path for path in asked(hub, *WRITES))  # a question, no write
    assert hub.refs("acp/a") == before


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
    ran = publish(hub, folder, tmp_path)
    assert ran.returncode == 1
    *told, last = ran.stderr.splitlines()
    assert "after several attempts" in last
    assert "the same command goes on" in last
    assert sum("again in" in line for line in told) == 5
    assert releases(hub) == 0


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
    assert len(hub.received) == {"before the first file": 0, "between files": 2}.get(at, 4)
    done = published(hub, folder, tmp_path / "another", tag="v1")
    assert holds(hub, folder)
    assert releases(hub) == 1
    assert once_each(hub)
    assert hub.refs("acp/a")["refs/tags/v1"] == done["commit"]


def test_a_lost_race(hub: Hub, folder: Path, tmp_path: Path) -> None:
    published(hub, folder, tmp_path)
    first = hub.head("acp/a")
    (folder / "data/0.bin").write_bytes(b"\0ours")
    hub.when("POST", "/commit/", lambda: hub.commit("acp/a", {"theirs.txt": b"theirs"}))
    ran = publish(hub, folder, tmp_path)
    theirs = hub.head("acp/a")
    assert ran.returncode == 1
    assert f"main moved from {first[:12]} to {theirs[:12]}" in ran.stderr.splitlines()[-1]
    assert "theirs.txt" in hub.files("acp/a")
    assert hub.files("acp/a")["data/0.bin"] != b"\0ours"

    published(hub, folder, tmp_path)
    assert hub.files("acp/a")["data/0.bin"] == b"\0ours"
    assert hub.files("acp/a")["theirs.txt"] == b"theirs"
    assert once_each(hub)


def test_a_race_for_the_same_release_is_won(hub: Hub, folder: Path, tmp_path: Path) -> None:
    published(hub, folder, tmp_path)
    (folder / "README.md").write_bytes(b"# The same")
    hub.when("POST", "/commit/", lambda: hub.commit("acp/a", {"README.md": b"# The same"}))
    done = published(hub, folder, tmp_path)
    assert done["commit"] == hub.head("acp/a")
    assert releases(hub) == 2


def test_a_commit_after_which_the_other_one_commits(hub: Hub, folder: Path, tmp_path: Path) -> None:
    """The answer is lost, and the head is not ours any more when it is asked for again."""
    hub.fail("POST", "/commit/", "answer lost", times=1)
    heads: list[int] = []

    def theirs() -> None:
        heads.append(1)
        if len(heads) == 3:  # first look, after creating, after the lost answer
            hub.commit("acp/a", {"theirs.txt": b"theirs"})

    hub.when("GET", "/api/datasets/acp/a$", theirs, times=3)
    done = published(hub, folder, tmp_path)
    assert releases(hub) == 2
    assert done["commit"] == hub.log("acp/a")[1].oid


def test_revision_is_made_from_main(hub: Hub, folder: Path, tmp_path: Path) -> None:
    published(hub, folder, tmp_path)
    (folder / "data/0.bin").write_bytes(b"\0next")
    done = published(hub, folder, tmp_path, revision="next/one")
    assert done["replaced"] == ["data/0.bin"]
    assert holds(hub, folder, "next/one")
    assert (releases(hub), releases(hub, "next/one")) == (1, 2)
    assert published(hub, folder, tmp_path, revision="next/one")["commit"] == done["commit"]


def test_tags(hub: Hub, folder: Path, tmp_path: Path) -> None:
    first = published(hub, folder, tmp_path, tag="v1.0")["commit"]
    assert hub.refs("acp/a")["refs/tags/v1.0"] == first
    published(hub, folder, tmp_path, tag="v1.0")  # the same tag at the same commit
    published(hub, folder, tmp_path, tag="also")  # nothing changed: a tag all the same
    assert hub.refs("acp/a")["refs/tags/also"] == first

    (folder / "data/0.bin").write_bytes(b"\0next")
    hub.requests.clear()
    ran = publish(hub, folder, tmp_path, tag="v1.0")
    assert ran.returncode == 1
    assert f"has it already, at another release ({first[:12]})" in ran.stderr
    assert not asked(hub, *WRITES)
    ran = publish(hub, folder, tmp_path, revision="v1.0")
    assert "a tag of acp/a" in ran.stderr
    assert not asked(hub, *WRITES)


def test_private(hub: Hub, folder: Path, tmp_path: Path) -> None:
    published(hub, folder, tmp_path, private=True)
    assert hub.store.repo("dataset", "acp/a").private
    published(hub, folder, tmp_path)  # stays private
    assert hub.store.repo("dataset", "acp/a").private


def test_private_is_not_public(hub: Hub, folder: Path, tmp_path: Path) -> None:
    published(hub, folder, tmp_path)
    hub.requests.clear()
    ran = publish(hub, folder, tmp_path, private=True)
    assert ran.returncode == 1
    assert "exists and is public" in ran.stderr
    assert not asked(hub, *WRITES)


def test_pull_requests(hub: Hub, folder: Path, tmp_path: Path) -> None:
    ran = publish(hub, folder, tmp_path, create_pr=True)
    assert "has no main yet" in ran.stderr
    published(hub, folder, tmp_path)
    (folder / "data/0.bin").write_bytes(b"\0proposed")
    hub.fail("POST", "/commit/", "answer lost", times=1)
    done = published(hub, folder, tmp_path, create_pr=True)
    assert done["proposal"] == f"{hub.address}/datasets/acp/a/discussions/1"
    assert hub.refs("acp/a")["refs/pr/1"] == done["commit"]
    assert holds(hub, folder, "refs/pr/1")
    assert releases(hub) == 1

    again = published(hub, folder, tmp_path, create_pr=True)  # proposed already
    assert again["proposal"] == done["proposal"]
    assert (again["commit"], again["sent"]) == (done["commit"], 0)

    (folder / "data/1.bin").write_bytes(b"\0also")
    again = published(hub, folder, tmp_path, revision="refs/pr/1")
    assert hub.refs("acp/a")["refs/pr/1"] == again["commit"]
    assert holds(hub, folder, "refs/pr/1")
    assert "refs/pr/2" not in hub.refs("acp/a")


def test_a_file_that_vanishes(hub: Hub, folder: Path, tmp_path: Path) -> None:
    hub.when("POST", "/preupload/", lambda: (folder / "data/1.bin").unlink())
    ran = publish(hub, folder, tmp_path)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].startswith(f"error: {folder / 'data/1.bin'}: changed or")
    assert releases(hub) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"revision": "no way"}, "not a name that git takes"),
        ({"revision": "a" * 40}, "not a name that git takes"),
        ({"revision": "refs/heads/x"}, "the bare name"),
        ({"revision": "refs/pr/7"}, "has no refs/pr/7"),
        ({"tag": "a..b"}, "not a name that git takes"),
        ({"tag": "v1", "create_pr": True}, "--tag with --create-pr"),
    ],
)
def test_names_that_cannot_be(
    hub: Hub, folder: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    ran = publish(hub, folder, tmp_path, **options)
    assert ran.returncode == 1
    assert message in ran.stderr
    assert not asked(hub, *WRITES)
