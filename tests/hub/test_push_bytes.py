"""What a second push sends after a small edit, on a smaller scale than benchmarks/push_bytes.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from acp.builder.release import release
from acp.core.types import Scene
from support.loopback_hub import Hub, serving
from support.synthetic_scenes import Change, finish_build

REPO = "acp/lvis-synth"


def edited(scene: Scene) -> Scene | None:
    """Without scene 70, with another caption for scene 10."""
    if scene.graph is None or scene.scene_id == 70:
        return None
    if scene.scene_id == 10:
        return replace(scene, graph=replace(scene.graph, caption="Something else altogether."))
    return scene


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """140 rows, and the same after the edit."""
    folder = tmp_path_factory.mktemp("releases")
    changes: dict[str, Change] = {"before": lambda scene: scene, "after": edited}
    for name, change in changes.items():
        build = finish_build(folder / f"{name}.work", 140, ["scenes_per_shard=70"], change)
        release(build, folder / name)
    return folder / "before", folder / "after"


@pytest.mark.parametrize("xet", [True, False], ids=["xet", "lfs"])
def test_a_small_edit_sends_little_with_xet(
    releases: tuple[Path, Path], tmp_path: Path, xet: bool
) -> None:
    stored = [0]
    with serving(Hub(tmp_path / "hub", xet=xet)) as hub:
        for each in releases:
            cache = tmp_path / f"cache{len(stored)}"
            ran = hub.acp(["push", str(each), "--repo", REPO], cache)
            assert ran.returncode == 0, ran.stderr
            stored.append(hub.xet_bytes() if xet else sum(size for _, size in hub.received))
        assert hub.files(REPO)["curated/train-00000-of-00001.parquet"] == parquet(releases[1])
    share = (stored[2] - stored[1]) / stored[1]
    assert share < 0.15 if xet else share > 0.9


def parquet(folder: Path) -> bytes:
    (path,) = (folder / "curated").iterdir()
    assert pq.read_metadata(path).num_rows == 139
    return path.read_bytes()
