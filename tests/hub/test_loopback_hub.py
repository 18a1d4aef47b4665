"""The Hub on loopback, as the real clients see it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.loopback_hub import Hub, serving

LARGE = bytes(range(256)) * 4000


@pytest.fixture(params=[False, True], ids=["lfs", "xet"])
def hub(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hub]:
    with serving(Hub(tmp_path / "hub", xet=request.param)) as found:
        yield found
    assert found.errors == []


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Hub]:
    with serving(Hub(tmp_path / "hub")) as found:
        yield found
    assert found.errors == []


def done(hub: Hub, code: str, cache: Path, *arguments: str, token: str | None = "") -> str:
    start = "from huggingface_hub import *\napi, kind = HfApi(), {'repo_type': 'dataset'}\n"
    given = {} if token == "" else {"token": token}
    ran = hub.run(start + code, cache, *arguments, **given)  # type: ignore[arg-type]
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


COMMITS = """
from huggingface_hub.errors import HfHubHTTPError
url = api.create_repo("acp/a", **kind)
assert url.repo_id == "acp/a", url
assert api.create_repo("acp/a", exist_ok=True, **kind) == url
assert api.whoami()["name"] == "tester"
head = api.dataset_info("acp/a").sha
large = bytes(range(256)) * 4000
one = api.upload_file(path_or_fileobj=b"# hello", path_in_repo="README.md", repo_id="acp/a", **kind)
adds = [CommitOperationAdd("data/x y.bin", large), CommitOperationAdd("notes.txt", b"text")]
two = api.create_commit("acp/a", [*adds, CommitOperationDelete("README.md")], commit_message="two",
                        parent_commit=one.oid, **kind)
assert api.dataset_info("acp/a").sha == two.oid
def no(status, **more):
    try:
        api.create_commit("acp/a", commit_message="no", **kind, **more)
    except HfHubHTTPError as error:
        assert error.response.status_code == status, error
    else:
        raise SystemExit(f"went through instead of {status}")
no(412, operations=[CommitOperationAdd("n", b"1")], parent_commit=head)
no(404, operations=[CommitOperationDelete("gone")])
unsent = CommitOperationAdd("x.bin", b"never sent")
unsent._upload_mode, unsent._is_uploaded = "lfs", True
unsent._should_ignore = False
no(422, operations=[unsent])
assert api.create_commit("acp/a", [CommitOperationAdd("notes.txt", b"text")], commit_message="no",
                         **kind).oid == two.oid
api.upload_file(path_or_fileobj=large, path_in_repo="again.bin", repo_id="acp/a", **kind)
"""


def test_commits(hub: Hub, tmp_path: Path) -> None:
    done(hub, COMMITS, tmp_path / "cache")
    titles = [commit.title for commit in hub.log("acp/a")]
    assert len(titles) == 4
    assert titles[1] == "two"
    files = hub.files("acp/a")
    assert set(files) == {".gitattributes", "again.bin", "data/x y.bin", "notes.txt"}
    assert files["data/x y.bin"] == files["again.bin"] == LARGE
    assert [size for _, size in hub.received] == ([] if hub.xet else [len(LARGE)])
    assert (0 < hub.xet_bytes() < len(LARGE)) == hub.xet


READ = """
import io, sys
from datasets import load_dataset
from pathlib import Path
folder = Path(snapshot_download("acp/a", **kind))
assert (folder / "data" / "x y.bin").read_bytes() == bytes(range(256)) * 4000
files = HfFileSystem()
assert {Path(each).name for each in files.ls("datasets/acp/a/data", detail=False)} == {
    "x y.bin", "train.parquet"}
with files.open("datasets/acp/a@v1.0/data/x y.bin") as file:
    file.seek(300)
    assert file.read(3) == b",-."
assert load_dataset("acp/a", split="train")["n"] == list(range(9))
assert [row["n"] for row in load_dataset("acp/a", split="train", streaming=True)] == list(range(9))
infos = api.get_paths_info("acp/a", ["data", "data/x y.bin", "gone"], **kind)
assert {info.path for info in infos} == {"data", "data/x y.bin"}
assert len(list(api.list_repo_tree("acp/a", recursive=True, revision="v1.0", **kind))) == 4
assert api.list_repo_commits("acp/a", **kind)[0].title == "parquet"
"""


def test_reading(hub: Hub, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"n": list(range(9))}), tmp_path / "data" / "train.parquet")
    (tmp_path / "data" / "x y.bin").write_bytes(LARGE)
    hub.page = 2
    send = """
import sys
api.create_repo("acp/a", **kind)
api.upload_folder(repo_id="acp/a", folder_path=sys.argv[1], path_in_repo="data",
                  commit_message="parquet", **kind)
api.create_tag("acp/a", tag="v1.0", **kind)
"""
    done(hub, send, tmp_path / "cache", str(tmp_path / "data"))
    done(hub, READ, tmp_path / "other", token=None)
    assert any("/xet-read-token/" in path for _, path, _ in hub.requests) == hub.xet


REFS = """
from huggingface_hub.errors import *
api.create_repo("acp/a", **kind)
add = lambda text: [CommitOperationAdd("a.txt", text)]
pr = api.create_commit("acp/a", add(b"1"), commit_message="propose", create_pr=True, **kind)
assert (pr.pr_num, pr.pr_revision) == (1, "refs/pr/1"), pr
more = api.create_commit("acp/a", add(b"2"), commit_message="b", revision="refs/pr/1", **kind)
assert api.dataset_info("acp/a", revision="refs/pr/1").sha == more.oid
assert [each.title for each in api.get_repo_discussions("acp/a", **kind)] == ["propose"]
api.create_branch("acp/a", branch="a/b", **kind)
api.create_branch("acp/a", branch="a/b", exist_ok=True, **kind)
side = api.create_commit("acp/a", add(b"3"), commit_message="c", revision="a/b", **kind)
api.create_tag("acp/a", tag="v1", revision="a/b", **kind)
refs = api.list_repo_refs("acp/a", include_pull_requests=True, **kind)
assert [each.name for each in refs.branches] == ["main", "a/b"]
assert [(each.name, each.target_commit) for each in refs.tags] == [("v1", side.oid)]
assert [each.ref for each in refs.pull_requests] == ["refs/pr/1"]
for revision, text in (("refs/pr/1", "2"), ("a/b", "3"), ("v1", "3"), (pr.oid, "1")):
    path = api.hf_hub_download("acp/a", "a.txt", revision=revision, **kind)
    assert open(path).read() == text, revision
for wanted, error in (
    (("acp/a", "a.txt", {}), EntryNotFoundError),
    (("acp/a", "a.txt", {"revision": "gone"}), RevisionNotFoundError),
    (("acp/gone", "a.txt", {}), RepositoryNotFoundError),
):
    try:
        api.hf_hub_download(*wanted[:2], **wanted[2], **kind)
    except error:
        continue
    raise SystemExit(f"found {wanted}")
"""


def test_branches_tags_and_pull_requests(plain: Hub, tmp_path: Path) -> None:
    done(plain, REFS, tmp_path / "cache")
    refs = plain.refs("acp/a")
    assert set(refs) == {"refs/heads/main", "refs/heads/a/b", "refs/tags/v1", "refs/pr/1"}
    assert plain.files("acp/a", "refs/pr/1")["a.txt"] == b"2"


WHO = """
import sys
from huggingface_hub.errors import HfHubHTTPError
call = {
    "read": lambda: api.dataset_info("acp/a"),
    "write": lambda: api.create_tag("acp/a", tag="v1", **kind),
    "create": lambda: api.create_repo("acp/b", **kind),
}[sys.argv[1]]
try:
    call()
    print("granted")
except HfHubHTTPError as error:
    print(type(error).__name__, error.response.status_code)
"""


@pytest.mark.parametrize(
    ("what", "token", "private", "expected"),
    [
        ("read", None, False, "granted"),
        ("read", None, True, "RepositoryNotFoundError 401"),
        ("read", "hf_reader", True, "granted"),
        ("read", "hf_wrong", False, "HfHubHTTPError 401"),
        ("write", "hf_reader", False, "HfHubHTTPError 403"),
        ("create", None, False, "HfHubHTTPError 401"),
    ],
)
def test_who_may(
    what: str, token: str | None, private: bool, expected: str, plain: Hub, tmp_path: Path
) -> None:
    plain.store.create("dataset", "acp/a", private=private)
    assert done(plain, WHO, tmp_path / "cache", what, token=token).strip() == expected


SEND = """
api.create_repo("acp/a", exist_ok=True, **kind)
one = CommitOperationAdd("one.bin", b"1" * 99)
api.preupload_lfs_files("acp/a", [one], free_memory=False, **kind)
two = CommitOperationAdd("two.bin", b"2" * 99)
api.create_commit("acp/a", [one, two], commit_message="both", **kind)
"""


def test_faults_and_a_killed_client(plain: Hub, tmp_path: Path) -> None:
    plain.fail("POST", "/preupload/", 503, times=1)
    plain.fail("PUT", "/lfs/", "drop", times=1)
    plain.fail("PUT", "/lfs/", "answer lost", times=1)
    done(plain, SEND, tmp_path / "cache")
    assert sorted(size for _, size in plain.received) == [99, 99, 99]
    plain.fail("POST", "/commit/", "answer lost", times=1)
    code = "api.upload_file(path_or_fileobj=b'1', path_in_repo='a', repo_id='acp/a', **kind)"
    start = "from huggingface_hub import *\napi, kind = HfApi(), {'repo_type': 'dataset'}\n"
    assert plain.run(start + code, tmp_path / "cache").returncode
    assert plain.files("acp/a")["a"] == b"1"

    head = plain.head("acp/a")
    started: list[subprocess.Popen[bytes]] = []

    def kill() -> str:
        started[0].send_signal(signal.SIGKILL)
        started[0].wait()
        return "drop"

    plain.when("POST", "/commit/", kill)
    command = [sys.executable, "-c", start + SEND.replace("99", "50")]
    started.append(subprocess.Popen(command, env=plain.env(tmp_path / "cache")))
    assert started[0].wait(60) == -signal.SIGKILL
    assert plain.head("acp/a") == head
    assert len(plain.received) == 5
    plain.when("POST", "/commit/", lambda: plain.commit("acp/a", {"by": b"another", "a": None}))
    done(plain, SEND.replace("99", "50"), tmp_path / "cache")
    assert len(plain.received) == 5
    assert [commit.title for commit in plain.log("acp/a")][:2] == ["both", "by another"]
    assert set(plain.files("acp/a")) == {".gitattributes", "by", "one.bin", "two.bin"}
