"""A release on the Hub, by LFS: one commit, a tag, a branch, a proposal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.loopback_hub import Hub
from support.publishing import (
    WRITES,
    asked,
    contents,
    holds,
    once_each,
    publish,
    published,
    random_folder,
    releases,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return random_folder(tmp_path / "folder")


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


def test_readers_see_the_old_release_until_the_new_one(
    hub: Hub, folder: Path, tmp_path: Path
) -> None:
    published(hub, folder, tmp_path)
    old = hub.files("acp/a")
    for path in (folder / "data").iterdir():
        path.write_bytes(b"\0" + path.read_bytes())
    seen: list[bool] = []
    for method, pattern in (("PUT", "/lfs/"), ("POST", "/commit/")):
        hub.when(method, pattern, lambda: seen.append(hub.files("acp/a") == old), times=9)
    published(hub, folder, tmp_path)
    assert seen == [True] * 5  # four files and a commit
    assert holds(hub, folder)


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
    copies = ("data/again.bin", "data/copy.bin")
    for name in copies:
        (folder / name).write_bytes(large)
    hub.requests.clear()
    second = published(hub, folder, tmp_path, dry_run=True, revision="next", tag="v1")
    assert (second["new"], second["replaced"]) == ([*copies], ["data/0.bin"])
    assert second["sent"] == len(b"\0other")
    assert second["held"] == 2 * len(large)
    assert all("/objects/batch" in path for path in asked(hub, *WRITES))  # a question, no write
    assert hub.refs("acp/a") == before


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


def test_another_removes_what_a_release_removes(hub: Hub, folder: Path, tmp_path: Path) -> None:
    published(hub, folder, tmp_path)
    (folder / "data/0.bin").unlink()
    (folder / "data/1.bin").write_bytes(b"\0new")
    hub.when("POST", "/commit/", lambda: hub.commit("acp/a", {"data/0.bin": None}))
    ran = publish(hub, folder, tmp_path, stale=["data/0.bin"])
    assert "main moved from" in ran.stderr.splitlines()[-1]
    published(hub, folder, tmp_path, stale=["data/0.bin"])
    assert holds(hub, folder)


@pytest.mark.parametrize("ignored", ["*.bin", "data/", "README.md"])
def test_what_the_repository_ignores_is_in_the_release(
    hub: Hub, folder: Path, tmp_path: Path, ignored: str
) -> None:
    hub.store.create("dataset", "acp/a")
    hub.commit("acp/a", {".gitignore": f"{ignored}\n".encode()})
    published(hub, folder, tmp_path)
    files = hub.files("acp/a")
    del files[".gitignore"], files[".gitattributes"]
    assert files == contents(folder)


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
    hub: Hub, folder: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    ran = publish(hub, folder, tmp_path, **options)
    assert ran.returncode == 1
    assert message in ran.stderr
    assert not asked(hub, *WRITES)
