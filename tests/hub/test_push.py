"""`acp push`: what a user types, sees and gets."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from support.loopback_hub import TOKEN, Hub
from support.publishing import (
    contents,
    killed,
    made,
    once_each,
    push,
    pushed,
    random_folder,
    refused,
    writes,
)

LOAD = """
import sys
from datasets import load_dataset
for config in ("curated", "raw", "scene_graphs"):
    print(config, load_dataset("acp/a", config, split="train").num_rows)
print(next(iter(load_dataset("acp/a", split="train", streaming=True)))["image"].size)
"""


def test_a_data_set_on_the_hub(hub: Hub, six: Path, tmp_path: Path) -> None:
    before = contents(six)
    out = pushed(hub, six)
    assert contents(six) == before
    assert f"release     {hub.address}/datasets/acp/a/tree/main" in out
    assert f"commit      {hub.head('acp/a')}" in out
    assert "data = load_dataset('acp/a', split='train')" in out

    files = hub.files("acp/a")
    receipt = json.loads(files[".acp.json"])
    assert set(receipt["sha256"]) == set(files) - {".acp.json", ".gitattributes"}
    for name, wanted in receipt["sha256"].items():
        assert hashlib.sha256(files[name]).hexdigest() == wanted, name
    assert "acp/a" in files["README.md"].decode()
    assert "acp/tiny" not in files["README.md"].decode().split("---")[1]
    assert files["README.md"] != before["README.md"]
    ran = hub.run(LOAD, tmp_path / "empty")
    assert ran.stdout.split() == ["curated", "6", "raw", "6", "scene_graphs", "6", "(64,", "64)"]


def test_nothing_changed_is_no_commit(hub: Hub, six: Path, tmp_path: Path) -> None:
    pushed(hub, six)
    copy = tmp_path / "elsewhere" / "copy"
    shutil.copytree(six, copy)
    for name in ("README.md", ".acp.json"):
        os.utime(copy / name)
    hub.requests.clear()
    out = pushed(hub, copy)
    assert "nothing changed: no commit" in out
    assert not writes(hub)
    assert len(hub.log("acp/a")) == 2


def test_what_is_stale_goes_and_all_else_stays(hub: Hub, six: Path, tmp_path: Path) -> None:
    pushed(hub, six)
    files = hub.files("acp/a")
    receipt = json.loads(files[".acp.json"])
    receipt["sha256"] |= {"old.jpg": "0" * 64, ".gitattributes": "0" * 64}
    others = {"LICENSE": b"mine", "look.ipynb": b"{}", "extra/x.parquet": b"PAR1"}
    stale = {"raw/train-00000-of-00002.parquet": b"PAR1", "old.jpg": b"\xff\xd8\0"}
    hub.commit("acp/a", {**others, **stale, ".acp.json": json.dumps(receipt).encode()})

    seven = made(tmp_path / "seven", 7)
    out = pushed(hub, seven, "--dry-run")
    removed = sum(map(len, stale.values()))
    assert re.search(rf"removed +2 files +{removed} B\n", out)
    assert re.search(r"others +4 files .*left alone", out)  # with .gitattributes
    changed = re.search(r"would send +(\S+ \S+)", out)
    out = pushed(hub, seven)
    assert changed is not None
    assert f"sent        {changed[1]}" in out
    after = hub.files("acp/a")
    assert ".gitattributes" in after
    assert not stale.keys() & after.keys()
    assert {name: after[name] for name in others} == others
    assert len(hub.log("acp/a")) == 4


def test_a_dry_run_of_a_repository_to_be_made(hub: Hub, six: Path) -> None:
    for token in (TOKEN, None):
        ran = push(hub, six, "--dry-run", "--private", token=token)
        assert ran.returncode == 0, ran.stderr
        assert "(to be made)" in ran.stdout
        assert "dry run: nothing was written" in ran.stdout
    assert not writes(hub)


def test_another_data_set_is_not_mixed_with_ours(hub: Hub, six: Path, tmp_path: Path) -> None:
    theirs = random_folder(tmp_path / "theirs", files=1)
    (theirs / "data" / "train.parquet").write_bytes(b"PAR1")
    hub.put_folder("acp/a", theirs)
    line = refused(push(hub, six))
    assert "acp/a: holds another data set (data/train.parquet)" in line
    assert not writes(hub)


def test_a_folder_without_a_receipt_goes_as_it_is(hub: Hub, six: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    shutil.copytree(six, plain)
    (plain / ".acp.json").unlink()
    (plain / ".cache").mkdir()
    (plain / ".cache" / "secret").write_text("x")
    pushed(hub, plain)
    files = hub.files("acp/a")
    files.pop(".gitattributes")
    shutil.rmtree(plain / ".cache")
    assert files == contents(plain)
    raw = plain / "raw" / "train-00000-of-00001.parquet"
    raw.rename(raw.with_name("train.parquet"))  # fits the card no more, but no longer matters:
    card = plain / "README.md"
    card.write_text(card.read_text().replace("raw/train-*", "raw/train*"))
    pushed(hub, plain)
    assert "raw/train-00000-of-00001.parquet" not in hub.files("acp/a")


def test_problems_are_told_and_nothing_is_sent(hub: Hub, six: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(six, broken)
    shard = broken / "raw" / "train-00000-of-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-9])
    ran = push(hub, broken)
    assert "nothing was sent" in refused(ran)
    assert "raw/train-00000-of-00001.parquet" in ran.stderr
    assert not writes(hub)
    assert "no such" in refused(push(hub, tmp_path / "nowhere")).lower()


def test_the_example_of_the_docs(hub: Hub, tmp_path: Path) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "publishing.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "one.txt").write_text("one")
    ran = hub.run(code.replace('one.txt")', f'{tmp_path}/one.txt")'), tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert hub.files("me/notes", "v1")["notes/one.txt"] == b"one"


@pytest.mark.parametrize("at", [("PUT", "/lfs/", 3), ("POST", "/commit/", 1)])
def test_a_killed_push_goes_on(
    hub: Hub, six: Path, tmp_path: Path, at: tuple[str, str, int]
) -> None:
    killed(hub, *at, ["-m", "acp", "push", str(six), "--repo", "acp/a"], tmp_path)
    assert len(hub.log("acp/a")) == 1
    assert len(hub.received) >= 2
    pushed(hub, six)
    assert len(hub.log("acp/a")) == 2
    assert once_each(hub)


def test_release_to_a_tag_a_branch_and_a_proposal(hub: Hub, six: Path, tmp_path: Path) -> None:
    out = pushed(hub, six, "--tag", "v1.0", "--private")
    assert "revision='v1.0'" in out
    assert hub.store.repo("dataset", "acp/a").private
    seven = made(tmp_path / "seven", 7)
    out = pushed(hub, seven, "--create-pr")
    assert f"proposed    {hub.address}/datasets/acp/a/discussions/1" in out
    out = pushed(hub, seven, "--revision", "next")
    assert "/datasets/acp/a/tree/next" in out
    assert set(hub.refs("acp/a")) == {
        "refs/heads/main",
        "refs/heads/next",
        "refs/pr/1",
        "refs/tags/v1.0",
    }
    assert len(hub.log("acp/a")) == 2
