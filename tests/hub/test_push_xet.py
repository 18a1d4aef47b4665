"""A release on the Hub by Xet: what the storage has is not sent again, whatever went wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.loopback_hub import TOKEN, Hub, serving
from support.publishing import holds, publish, publish_killed, published, random_folder

SIZE = 3_000_000
FILES = 6
BATCH = 2 * SIZE


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with serving(Hub(tmp_path / "hub", xet=True)) as found:
        yield found
    assert found.errors == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return random_folder(tmp_path / "folder", FILES, SIZE)


def releases(hub: Hub) -> int:
    return len(hub.log("acp/a")) - 1


def test_create_again_and_a_small_edit(hub: Hub, folder: Path, tmp_path: Path) -> None:
    first = published(hub, folder, tmp_path / "one", measure=True, batch_bytes=BATCH)
    assert sum(first["moved"]) == pytest.approx(FILES * SIZE, rel=0.01)
    assert holds(hub, folder)
    assert not hub.received  # nothing went by LFS
    again = published(hub, folder, tmp_path / "one", measure=True)
    assert (again["moved"], again["commit"]) == ([], first["commit"])

    edited = folder / "data" / "0.bin"
    data = bytearray(edited.read_bytes())
    data[SIZE // 2 : SIZE // 2 + 10] = b"0123456789 and ten more"
    edited.write_bytes(data)
    for path in (folder / "data").glob("*.bin"):
        path.touch()
    third = published(hub, folder, tmp_path / "another", measure=True)
    assert third["replaced"] == ["data/0.bin"]
    assert sum(third["moved"]) < 0.1 * SIZE
    assert holds(hub, folder)
    assert releases(hub) == 2


TOKENS = r"/xet-write-token/"
AT = {
    "before the first batch": (("GET", TOKENS, 1), 0),
    "between batches": (("GET", TOKENS, 3), 2),
    "before the commit": (("POST", "/commit/", 1), 3),
    "before the tag": (("POST", "/tag/", 1), 3),
}


@pytest.mark.parametrize("machine", ["the same machine", "another machine"])
@pytest.mark.parametrize("at", AT)
def test_killed_and_started_again(
    hub: Hub, folder: Path, tmp_path: Path, at: str, machine: str
) -> None:
    request, finished = AT[at]
    publish_killed(hub, request, folder, tmp_path / "one", tag="v1", batch_bytes=BATCH)
    assert releases(hub) == (1 if at == "before the tag" else 0)
    cache = tmp_path / ("one" if machine == "the same machine" else "another")
    done = published(hub, folder, cache, tag="v1", measure=True, batch_bytes=BATCH)
    expected = 0 if at == "before the tag" else (FILES - 2 * finished) * SIZE
    assert sum(done["moved"]) == pytest.approx(expected, rel=0.01)
    assert holds(hub, folder)
    assert releases(hub) == 1
    assert hub.refs("acp/a")["refs/tags/v1"] == done["commit"]


@pytest.mark.parametrize("fault", [503, "drop", "answer lost"])
def test_the_way_to_the_storage_fails(
    hub: Hub, folder: Path, tmp_path: Path, fault: int | str
) -> None:
    hub.fail("GET", TOKENS, fault, times=2)
    hub.fail("POST", "/commit/", fault, times=1)
    published(hub, folder, tmp_path)
    assert holds(hub, folder)
    assert releases(hub) == 1


def test_the_storage_refuses(hub: Hub, folder: Path, tmp_path: Path) -> None:
    hub.fail("GET", TOKENS, 403, times=100)
    ran = publish(hub, folder, tmp_path)
    assert ran.returncode == 1
    assert "nothing of this release is in it" in ran.stderr.splitlines()[-1]
    assert TOKEN not in ran.stdout + ran.stderr
    assert releases(hub) == 0


def test_a_file_that_vanishes(hub: Hub, folder: Path, tmp_path: Path) -> None:
    hub.when("GET", TOKENS, lambda: (folder / "data/5.bin").unlink())
    ran = publish(hub, folder, tmp_path, batch_bytes=BATCH)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].startswith(f"error: {folder / 'data/5.bin'}: changed or")
    assert releases(hub) == 0
