"""`acp check` of data sets on the Hub: the real client in a fresh process with an empty cache."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from support.loopback_hub import Hub, serving

CURATED = "curated/train-00000-of-00001.parquet"


@pytest.fixture(scope="module")
def hub(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A Hub with a data set of ours, and one of it that is broken."""
    hub = Hub(tmp_path_factory.mktemp("hub"))
    with serving(hub):
        hub.put_folder("me/tiny", built, "dataset")
        broken = Path(shutil.copytree(built, tmp_path_factory.mktemp("broken") / "tiny"))
        (broken / CURATED).write_bytes((broken / CURATED).read_bytes()[:-9])
        hub.put_folder("me/broken", broken, "dataset")
        hub.put_folder("me/gated", built, "dataset", gated=True)
        yield hub


def fetched(hub: Hub) -> set[str]:
    """The data files that were asked for."""
    paths = [path for method, path, _ in hub.requests if method == "GET" and "/resolve/" in path]
    return {path.split("/")[-2] for path in paths if path.endswith(".parquet")}


def test_a_data_set_of_the_hub(hub: Hub, tmp_path: Path) -> None:
    done = hub.acp(["check", "me/tiny"], tmp_path)
    assert done.stdout.startswith("me/tiny: checked 3 files, "), done.stderr
    assert done.stdout.endswith("; no problem\n")
    assert done.stdout.count("\n") == 1
    assert (done.returncode, done.stderr) == (0, "")
    offline = hub.acp(["check", "me/tiny"], tmp_path, HF_HUB_OFFLINE="1")
    assert offline.stdout == done.stdout, offline.stderr


def test_a_broken_one(hub: Hub, tmp_path: Path) -> None:
    done = hub.acp(["check", "me/broken"], tmp_path)
    assert done.returncode == 1
    assert [line.split(";")[0] for line in done.stdout.splitlines()[:-1]] == [
        f"{CURATED}: cannot be opened: Parquet magic bytes not found in footer. Either the file is "
        "corrupted or this is not a parquet file."
    ]


def test_a_configuration_alone_fetches_its_files_alone(
    hub: Hub, built: Path, tmp_path: Path
) -> None:
    hub.requests.clear()
    done = hub.acp(["check", "me/broken", "--config", "scene_graphs"], tmp_path)
    rows = pq.read_metadata(built / "scene_graphs" / "train-00000-of-00001.parquet").num_rows
    assert f"checked 1 file, {rows} rows, " in done.stdout, done.stderr
    assert done.returncode == 0
    assert fetched(hub) == {"scene_graphs"}


def test_a_revision(hub: Hub, tmp_path: Path) -> None:
    head = hub.head("me/tiny")
    hub.commit("me/tiny", {CURATED: None})
    assert hub.acp(["check", "me/tiny"], tmp_path / "now").returncode == 1
    assert hub.acp(["check", "me/tiny", "--revision", head], tmp_path / "then").returncode == 0


PUSH = """
from datasets import ClassLabel, Dataset, Features, Image, List, Value
from PIL import Image as Picture
features = Features({"image": Image(), "objects": {"bbox": List(List(Value("float32"), length=4)),
                     "category": List(ClassLabel(names=["cat", "dog"]))}})
row = {"image": Picture.new("RGB", (60, 40)),
       "objects": {"bbox": [[50, 30, 60, 40], [0, 30, 10, 35]], "category": [0, 1]}}
data = Dataset.from_list([row] * 12, features=features)
data.push_to_hub("you/pets", "first", max_shard_size="1KB")
data.select(range(3)).push_to_hub("you/pets", "second", split="test")
"""


def test_what_push_to_hub_made(hub: Hub, tmp_path: Path) -> None:
    """Two configurations, each with features and splits in the card."""
    pushed = hub.run(PUSH, tmp_path / "their")
    assert pushed.returncode == 0, pushed.stderr
    done = hub.acp(["check", "you/pets"], tmp_path / "our")
    assert [line.partition(": only ")[0] for line in done.stdout.splitlines()[:2]] == [
        "first",
        "second",
    ], done.stdout + done.stderr
    corners = ["--bbox-format", "xyxy"]
    done = hub.acp(["check", "you/pets", *corners], tmp_path / "our")
    assert "15 rows, 15 images, 30 objects, 30 boxes; no problem" in done.stdout
    one = hub.acp(["check", "you/pets", "--split", "test", *corners], tmp_path / "one")
    assert "checked 1 file, 3 rows, " in one.stdout, one.stdout + one.stderr


@pytest.mark.parametrize(
    ("arguments", "more", "told"),
    [
        (["me/none"], {}, "me/none: no such folder, and no such data set on the Hub"),
        (["me/tiny", "--revision", "v9"], {}, "me/tiny: has no revision 'v9'"),
        (["me/gated"], {}, "me/gated: is gated: accept its terms on http"),
        (
            ["me/broken", "--config", "x"],
            {},
            "me/broken: load_dataset cannot read it: BuilderConfig 'x' not found. Available: ['cur",
        ),
        (
            ["me/none"],
            {"HF_HUB_OFFLINE": "1"},
            "me/none: no such folder, and HF_HUB_OFFLINE is set",
        ),
        (["me/none"], {"HF_ENDPOINT": "http://127.0.0.1:9"}, "127.0.0.1:9 cannot be reached"),
    ],
)
def test_what_cannot_be_fetched_is_one_line(
    hub: Hub, tmp_path: Path, arguments: list[str], more: dict[str, str], told: str
) -> None:
    done = hub.acp(["check", *arguments], tmp_path, **more)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert "hf_" not in done.stderr
