"""`acp push`: what a user types, sees and gets."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants

from acp.core.errors import AcpError
from acp.hub.data_set import push_data_set, release_of
from acp.hub.target import Target
from support.in_process import run_acp
from support.loopback_hub import Hub
from support.loopback_hub.hub import READ_TOKEN
from support.publishing import contents, holds, made, random_folder, use, writes

Push = Callable[..., str]


@pytest.fixture(autouse=True)
def _here(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use(hub, monkeypatch, tmp_path / "cache")


@pytest.fixture
def push(capsys: pytest.CaptureFixture[str]) -> Push:
    """Run acp push; what it prints, or the one line of its error."""

    def run(folder: Path, *options: str, repo: str = "acp/a", code: int = 0) -> str:
        ended, out, said = run_acp(["push", str(folder), "--repo", repo, *options], capsys)
        assert ended == code, said
        if not code:
            return out
        *before, last = said.splitlines()
        assert last.startswith("error: ")
        assert not any(line.startswith(("error: ", "Traceback")) for line in before)
        return said

    return run


def test_a_data_set_on_the_hub(hub: Hub, six: Path, push: Push) -> None:
    before = contents(six)
    out = push(six)
    assert contents(six) == before
    assert f"release     {hub.address}/datasets/acp/a/tree/main" in out
    assert f"commit      {hub.head('acp/a')}" in out
    assert "data = load_dataset('acp/a', split='train')" in out
    files = hub.files("acp/a")
    sums = json.loads(files[".acp.json"])["sha256"]
    assert set(sums) == set(files) - {".acp.json", ".gitattributes"}
    assert all(hashlib.sha256(files[name]).hexdigest() == sums[name] for name in sums)
    assert "acp/a" in files["README.md"].decode()
    assert "acp/tiny" not in files["README.md"].decode().split("---")[1]

    hub.requests.clear()
    assert "nothing changed: no commit" in push(six)
    assert not writes(hub)


def test_what_is_stale_goes_and_all_else_stays(
    hub: Hub, six: Path, tmp_path: Path, push: Push
) -> None:
    push(six)
    receipt = json.loads(hub.files("acp/a")[".acp.json"])
    receipt["sha256"] |= {"old.jpg": "0" * 64, ".gitattributes": "0" * 64}
    others = {"LICENSE": b"mine", "look.ipynb": b"{}", "extra/x.parquet": b"PAR1"}
    stale = {"raw/train-00000-of-00002.parquet": b"PAR1", "old.jpg": b"\xff\xd8\0"}
    hub.commit("acp/a", {**others, **stale, ".acp.json": json.dumps(receipt).encode()})

    seven = made(tmp_path / "seven", 7)
    out = push(seven, "--dry-run")
    assert re.search(rf"removed +2 files +{sum(map(len, stale.values()))} B\n", out)
    assert re.search(r"others +4 files .*left alone", out)  # with .gitattributes
    changed = re.search(r"would send +(\S+ \S+)", out)
    assert changed is not None
    assert f"sent        {changed[1]}" in push(seven)
    after = hub.files("acp/a")
    assert ".gitattributes" in after
    assert not stale.keys() & after.keys()
    assert others.items() <= after.items()
    assert len(hub.log("acp/a")) == 4


def test_to_a_tag_a_branch_and_a_proposal(hub: Hub, six: Path, tmp_path: Path, push: Push) -> None:
    assert "(to be made)" in push(six, "--dry-run", "--private")
    assert not hub.repos
    assert "revision='v1.0'" in push(six, "--tag", "v1.0", "--private")
    assert hub.repo("acp/a").private
    seven = made(tmp_path / "seven", 7)
    out = push(seven, "--create-pr")
    assert f"proposed    {hub.address}/datasets/acp/a/discussions/1" in out
    assert "/datasets/acp/a/tree/next" in push(seven, "--revision", "next")
    refs = {"refs/heads/main", "refs/heads/next", "refs/pr/1", "refs/tags/v1.0"}
    assert set(hub.refs("acp/a")) == refs
    assert len(hub.log("acp/a")) == 2


def test_another_data_set_is_not_mixed_with_ours(
    hub: Hub, six: Path, tmp_path: Path, push: Push
) -> None:
    theirs = random_folder(tmp_path / "theirs", files=1)
    (theirs / "data" / "train.parquet").write_bytes(b"PAR1")
    hub.put_folder("acp/a", theirs)
    assert "acp/a: holds another data set (data/train.parquet)" in push(six, code=1)
    assert not writes(hub)


def test_a_folder_without_a_receipt_goes_as_it_is(
    hub: Hub, six: Path, tmp_path: Path, push: Push
) -> None:
    plain = shutil.copytree(six, tmp_path / "plain")
    (plain / ".acp.json").unlink()
    (plain / ".cache").mkdir()
    (plain / ".cache" / "secret").write_text("x")
    push(plain)
    shutil.rmtree(plain / ".cache")
    assert holds(hub, plain)
    raw = plain / "raw" / "train-00000-of-00001.parquet"
    raw.rename(raw.with_name("train.parquet"))
    card = plain / "README.md"
    card.write_text(card.read_text().replace("raw/train-*", "raw/train*"))
    push(plain)
    assert holds(hub, plain)


def test_problems_are_told_and_nothing_is_sent(
    hub: Hub, six: Path, tmp_path: Path, push: Push
) -> None:
    broken = shutil.copytree(six, tmp_path / "broken")
    shard = broken / "raw" / "train-00000-of-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-9])
    said = push(broken, code=1)
    assert "nothing was sent" in said
    assert "raw/train-00000-of-00001.parquet" in said
    assert "no such folder" in push(tmp_path / "nowhere", code=1)
    assert not writes(hub)


def test_mistakes_are_one_line_with_the_mend(
    hub: Hub, six: Path, push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "OWNER/NAME" in push(six, repo="a b", code=1)
    assert "OWNER/NAME" in push(six, repo="alone", code=1)
    hub.fail("POST", "/repos/create", 403, times=1)
    assert "may not write" in push(six, code=1)
    monkeypatch.setenv("HF_TOKEN", "hf_unknown")
    assert "does not know this token" in push(six, code=1)
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    line = push(six, code=1)
    assert "may not write" in line
    assert "/settings/tokens" in line
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nowhere")
    monkeypatch.delenv("HF_TOKEN")
    assert "no token of the Hub: run hf auth login" in push(six, code=1)
    assert "dry run: nothing was written" in push(six, "--dry-run")
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "cannot be reached" in push(six, code=1)
    monkeypatch.setattr(constants, "ENDPOINT", "hub")
    assert "at HF_ENDPOINT (hub)" in push(six, code=1)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in push(six, code=1)
    assert not hub.repos


@pytest.mark.slow
@pytest.mark.parametrize("role", ["write", "read", "unknown"])
def test_the_token_is_never_printed(hub: Hub, six: Path, tmp_path: Path, role: str) -> None:
    secret = "hf_SecretOfNobody0123456789"  # noqa: S105
    if role != "unknown":
        hub.tokens[secret] = role
    hub.fail("GET", "/datasets/acp/a$", 503, times=1)
    hub.fail("PUT", "/lfs/", 503, times=1)
    hub.fail("POST", "/commit/", "drop", times=1)
    loud = {"HF_DEBUG": "1", "HF_HUB_VERBOSITY": "debug", "RUST_LOG": "debug"}
    said = ""
    others = [f"{secret} x", f"{secret}\u00e9"] if role == "unknown" else []
    for token in (f"{secret}\n", *others):
        ran = hub.acp(["push", str(six), "--repo", "acp/a", "-v"], tmp_path, token, **loud)
        assert ran.returncode == (0 if role == "write" else 1), ran.stderr
        said += ran.stdout + ran.stderr
    assert "SecretOfNobody" not in said
    assert "Traceback" not in said
    assert "HTTP Request: GET" in said
    assert ("/commit/" in said) == (role == "write")


def test_a_receipt_names_no_files_elsewhere(six: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(six, tmp_path / "tiny")
    (tmp_path / "secret").write_text("x")
    receipt = json.loads((folder / ".acp.json").read_text())
    receipt["sha256"]["../secret"] = "0" * 64
    (folder / ".acp.json").write_text(json.dumps(receipt))
    with pytest.raises(AcpError, match="secret: missing"):
        release_of(folder, "acp/a")
    for text in ("{}", "[" * 100_000):
        (folder / ".acp.json").write_text(text)
        with pytest.raises(AcpError, match="not a receipt"):
            release_of(folder, "acp/a")


def test_a_folder_that_a_build_replaces_while_it_is_checked(
    hub: Hub, six: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(six, tmp_path / "tiny")

    def replaced() -> None:
        shutil.rmtree(folder)
        folder.stat()

    with pytest.raises(AcpError, match="changed or vanished during the push"):
        push_data_set(folder, Target("acp/a"), replaced)
    assert not writes(hub)
