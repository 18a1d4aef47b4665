"""A push that was killed goes on where it was, and a small edit sends little."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from acp.core.types import Scene
from support.loopback_hub import TOKEN, Hub, serving
from support.publishing import CLIENT, holds, killed, once_each, random_folder, releases, sent_anew

pytestmark = pytest.mark.slow

SIZE = 3_000_000
BATCH = 2 * SIZE


@pytest.fixture
def by_xet(tmp_path: Path) -> Iterator[Hub]:
    with serving(Hub(tmp_path / "xet", xet=True)) as found:
        yield found
    assert found.errors == []


AT = {
    "between files": (("PUT", "/lfs/", 3), (2, 3)),  # files go at the same time
    "before the commit": (("POST", "/commit/", 1), (4,)),
    "before the tag": (("POST", "/tag/", 1), (4,)),
}


@pytest.mark.parametrize("at", AT)
def test_killed_and_started_again(hub: Hub, tmp_path: Path, at: str) -> None:
    folder = random_folder(tmp_path / "folder")
    request, finished = AT[at]
    killed(hub, request, ["-c", CLIENT, str(folder), str(BATCH)], tmp_path / "one")
    assert releases(hub) == (1 if at == "before the tag" else 0)
    assert len(hub.received) in finished
    commit, _ = sent_anew(hub, folder, tmp_path / "another")
    assert holds(hub, folder)
    assert releases(hub) == 1
    assert once_each(hub)
    assert hub.refs("acp/a")["refs/tags/v1"] == commit


@pytest.mark.parametrize("machine", ["the same machine", "another machine"])
def test_killed_between_batches_of_xet(by_xet: Hub, tmp_path: Path, machine: str) -> None:
    folder = random_folder(tmp_path / "folder", 6, SIZE)
    arguments = ["-c", CLIENT, str(folder), str(BATCH)]
    killed(by_xet, ("GET", "/xet-write-token/", 3), arguments, tmp_path / "one")
    assert releases(by_xet) == 0
    cache = tmp_path / ("one" if machine == "the same machine" else "another")
    _, moved = sent_anew(by_xet, folder, cache, BATCH)
    assert moved == pytest.approx(2 * SIZE, rel=0.01)
    assert holds(by_xet, folder)
    assert releases(by_xet) == 1
    assert not by_xet.received  # nothing went by LFS


def test_the_storage_of_xet_fails_and_refuses(by_xet: Hub, tmp_path: Path) -> None:
    folder = random_folder(tmp_path / "folder", 2, SIZE)
    by_xet.fail("GET", "/xet-write-token/", 403, times=100)
    ran = by_xet.run(CLIENT, tmp_path, str(folder), str(BATCH))
    last = ran.stderr.splitlines()[-1]
    assert last.startswith("acp.core.errors.AcpError: acp/a: ")
    assert last.endswith("nothing of this release is in it; what was sent is kept there")
    assert TOKEN not in ran.stderr
    assert releases(by_xet) == 0


def edited(scene: Scene) -> Scene | None:
    """Without scene 70, with another caption for scene 10."""
    if scene.graph is None or scene.scene_id == 70:
        return None
    if scene.scene_id == 10:
        return replace(scene, graph=replace(scene.graph, caption="Something else altogether."))
    return scene


def test_a_small_edit_sends_little_with_xet(by_xet: Hub, tmp_path: Path) -> None:
    from acp.builder.release import release
    from support.synthetic_scenes import finish_build

    stored = [0]
    for name, change in (("before", lambda scene: scene), ("after", edited)):
        build = finish_build(tmp_path / f"{name}.work", 140, ["scenes_per_shard=70"], change)
        release(build, tmp_path / name)
        ran = by_xet.acp(["push", str(tmp_path / name), "--repo", "acp/a"], tmp_path / f"c{name}")
        assert ran.returncode == 0, ran.stderr
        stored.append(by_xet.xet_bytes())
    assert (stored[2] - stored[1]) / stored[1] < 0.15
