"""A published data set as its readers load it: each in a fresh process with an empty cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from acp.builder.release import release
from acp.executor.rows import CONFIGS
from support.loading import REPO, answer_of, rows_of
from support.loopback_hub import Hub, serving
from support.synthetic_scenes import finish_build


@pytest.fixture(scope="module", params=[False, True], ids=["lfs", "xet"])
def pushed(
    request: pytest.FixtureRequest, built: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hub]:
    """A data set that `acp push` has put there, with a tag."""
    folder = tmp_path_factory.mktemp("pushed")
    with serving(Hub(folder / "hub", xet=request.param)) as hub:
        ran = hub.acp(["push", str(built), "--repo", REPO, "--tag", "v1.0"], folder / "cache")
        assert ran.returncode == 0, ran.stderr
        yield hub
    assert hub.errors == []


ALL = """
found = {}
for config in (None, "raw", "scene_graphs"):
    data = load_dataset(repo, config, split="train", revision="v1.0")
    first = data[0]
    found[config or "curated"] = [len(data), first.get("caption"), data.column_names]
    if config != "scene_graphs":
        assert first["image"].size == (first["width"], first["height"])
        first["image"].load()
print(json.dumps(found))
"""


def test_every_configuration_loads(pushed: Hub, built: Path, tmp_path: Path) -> None:
    found = answer_of(pushed, ALL, tmp_path)
    for config in CONFIGS:
        expected = rows_of(built, config, "caption")
        assert found[config][:2] == [len(expected), expected[0]["caption"]]
    assert "reject" in found["raw"][2]
    assert "layouts" in found["scene_graphs"][2]


STREAMED = """
data = load_dataset(repo, "raw", split="train", streaming=True)
ids = [row["image_id"] for row in data]
assert next(iter(data))["image"].size == (320, 240)
shuffled = [row["image_id"] for row in data.shuffle(seed=1, buffer_size=4)]
assert sorted(shuffled) == sorted(ids) and shuffled != ids
assert [row["image_id"] for row in data.skip(1).take(2)] == ids[1:3]
print(json.dumps(ids))
"""


def test_streaming_gives_the_same_rows(pushed: Hub, built: Path, tmp_path: Path) -> None:
    ids = answer_of(pushed, STREAMED, tmp_path)
    assert ids == [row["image_id"] for row in rows_of(built, "raw", "image_id")]


LENGTH = "print(len(list(load_dataset(repo, 'raw', split='train', streaming=True))))"


def test_readers_see_the_old_release_until_the_commit(built: Path, tmp_path: Path) -> None:
    release(finish_build(tmp_path / "set.work", 3), tmp_path / "set")
    before = len(rows_of(built, "raw", "image_id"))
    seen: list[int] = []
    with serving(Hub(tmp_path / "hub")) as hub:
        hub.put_folder(REPO, built)

        def look() -> None:
            seen.append(answer_of(hub, LENGTH, tmp_path / f"reader{len(seen)}"))

        hub.when("PUT", "", look)
        hub.when("POST", "/commit/", look)
        ran = hub.acp(["push", str(tmp_path / "set"), "--repo", REPO], tmp_path / "cache")
        assert ran.returncode == 0, ran.stderr
        assert seen == [before, before]
        assert answer_of(hub, LENGTH, tmp_path / "after") == 3
