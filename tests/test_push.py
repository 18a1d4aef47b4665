"""`acp push`: what a user types, sees and gets."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback_hub import TOKEN, Hub, serving
from publishing import contents, killed, once_each, random_folder
from synthetic_scenes import finish_build

from acp.builder.release import release

READER = "hf_reader"
SMALL = "size_wh=[64,64]"


def made(folder: Path, scenes: int) -> Path:
    release(finish_build(folder / "tiny.work", scenes, [SMALL]), folder / "tiny", 1)
    return folder / "tiny"


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of six scenes; nothing may change it."""
    return made(tmp_path_factory.mktemp("six"), 6)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with serving(Hub(tmp_path / "hub")) as found:
        yield found
    assert found.errors == []


def push(
    hub: Hub,
    folder: Path,
    *options: str,
    repo: str = "acp/a",
    token: str | None = TOKEN,
    **env: str,
) -> subprocess.CompletedProcess[str]:
    home = folder.parent / "home"  # one with nothing in it is made if need be
    return hub.acp(["push", str(folder), "--repo", repo, *options], home, token, **env)


def pushed(hub: Hub, folder: Path, *options: str) -> str:
    ran = push(hub, folder, *options)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def refused(ran: subprocess.CompletedProcess[str]) -> str:
    """The one line of an error."""
    assert ran.returncode == 1, ran.stdout
    assert "Traceback" not in ran.stderr
    lines = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert ran.stderr.splitlines()[-1] == lines[0]
    return lines[0]


def writes(hub: Hub) -> list[str]:
    return [path for method, path, _ in hub.requests if method in ("PUT", "POST", "DELETE")]


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
    receipt["sha256"]["old.jpg"] = "0" * 64
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
    page = Path(__file__).resolve().parents[1] / "docs" / "publishing.md"
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


def test_mistakes_are_one_line_with_the_mend(hub: Hub, six: Path) -> None:
    assert "no token of the Hub: run hf auth login" in refused(push(hub, six, token=None))
    assert "OWNER/NAME" in refused(push(hub, six, repo="a b"))
    assert "OWNER/NAME" in refused(push(hub, six, repo="alone"))
    assert not hub.requests
    unknown = push(hub, six, token="hf_unknown")  # noqa: S106
    assert "does not know this token" in refused(unknown)
    line = refused(push(hub, six, token=READER))
    assert "may not write" in line
    assert "/settings/tokens" in line
    hub.fail("POST", "/repos/create", 403, times=1)
    assert "may not write" in refused(push(hub, six))
    nobody = push(hub, six, HF_ENDPOINT="http://127.0.0.1:9")
    assert "cannot be reached, also after several attempts" in refused(nobody)
    assert "HF_HUB_OFFLINE" in refused(push(hub, six, HF_HUB_OFFLINE="1"))
    with pytest.raises(Exception, match="not found"):
        hub.files("acp/a")


LOUD = {"HF_DEBUG": "1", "HF_HUB_VERBOSITY": "debug", "RUST_LOG": "debug"}


@pytest.mark.parametrize("role", ["write", "read", "unknown"])
def test_the_token_is_never_printed(hub: Hub, six: Path, role: str) -> None:
    secret = "hf_SecretOfNobody0123456789"  # noqa: S105
    if role != "unknown":
        hub.tokens[secret] = role
    hub.fail("GET", "/datasets/acp/a$", 503, times=1)
    hub.fail("PUT", "/lfs/", 503, times=1)
    hub.fail("POST", "/commit/", "drop", times=1)
    said = ""
    others = [f"{secret} x", f"{secret}\u00e9"] if role == "unknown" else []
    for token in (f"{secret}\n", *others):
        ran = push(hub, six, "-v", token=token, **LOUD)
        assert ran.returncode == (0 if role == "write" else 1)
        said += ran.stdout + ran.stderr
    assert "SecretOfNobody" not in said
    assert "Traceback" not in said
    assert "HTTP Request: GET" in said
    assert ("/commit/" in said) == (role == "write")
