"""`acp metric push`: the Space on the Hub on loopback, loaded from there by the real evaluate."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from acp.cli.metric import metric_folder
from acp.core.errors import AcpError
from acp.hub.metric_space import FILES, ROW, push_metric, release_of
from acp.hub.target import Target
from support.loopback_hub import Hub, serving
from support.publishing import use

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A Hub that has the Space."""
    with serving(Hub(tmp_path_factory.mktemp("hub"))) as found:
        ran = found.acp(["metric", "push", "--repo", "acp/clis"], tmp_path_factory.mktemp("hf"))
        assert ran.returncode == 0, ran.stderr
        assert "evaluate.load('acp/clis')" in ran.stdout
        yield found
    assert found.errors == []


def test_the_files_of_the_module_go_in_one_commit_and_only_once(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files = hub.files("acp/clis", repo_type="space")
    assert set(files) == {".gitattributes", *FILES}
    assert all(files[name] == (metric_folder() / name).read_bytes() for name in FILES)
    use(hub, monkeypatch, tmp_path)
    done = push_metric(metric_folder(), Target("acp/clis", "space", tag="v1.0"))
    assert done.changes.nothing
    refs = hub.refs("acp/clis", "space")
    assert refs["refs/tags/v1.0"] == refs["refs/heads/main"]
    titles = [commit.title for commit in hub.log("acp/clis", repo_type="space")]
    assert titles[1:] == ["initial commit"]


# evaluate imports transformers, and so torch, wherever it is there: that costs far more than the
# rest, and neither the metric nor its push needs it.
HIDE = """
import sys
from importlib.abc import MetaPathFinder
class Hidden(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
"""
LOAD = f"""
import evaluate, sys
metric = evaluate.load("acp/clis", **eval(sys.argv[1]))
print(type(metric).__module__.split(".")[2], metric.compute(predictions=[{ROW!r}])["clis_l"][0])
"""


@pytest.mark.slow
def test_evaluate_loads_and_scores_it_then_offline_too(hub: Hub, tmp_path: Path) -> None:
    import acp

    code = HIDE.replace("HIDDEN", "['transformers']") + LOAD
    expected = f"acp--clis {acp.score([ROW])['clis_l'][0]}"
    for more in ({}, {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}):
        ran = hub.run(code, tmp_path, "{}", token=None, **more)
        assert ran.stdout.strip() == expected, ran.stderr
    hub.repo("acp/clis", "space").refs["refs/tags/v2.0"] = hub.head("acp/clis", "main", "space")
    ran = hub.run(code, tmp_path / "other", "{'revision': 'v2.0'}", token=None)
    assert ran.stdout.strip() == expected, ran.stderr


@pytest.mark.slow
def test_who_has_no_acp_is_told_what_to_install(hub: Hub, tmp_path: Path) -> None:
    code = HIDE.replace("HIDDEN", "['transformers', 'acp']") + LOAD
    ran = hub.run(code, tmp_path, "{}", token=None)
    assert "you need to install the following dependencies['acp']" in ran.stderr
    assert "pip install auto-cherry-picker" in ran.stderr


def test_a_trial_a_proposal_and_a_space_of_something_else(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use(hub, monkeypatch, tmp_path)
    trial = push_metric(metric_folder(), Target("own/clis", "space"), dry_run=True)
    assert trial.created
    assert ("space", "own/clis") not in hub.repos
    hub.commit("acp/clis", {"app.py": b"print()"}, "space")
    done = push_metric(metric_folder(), Target("acp/clis", "space", create_pr=True))
    assert str(done.proposal).endswith("discussions/1")
    assert hub.files("acp/clis", repo_type="space")["app.py"] == b"print()"

    hub.create("somebody/clis", "space", sdk="gradio")
    hub.commit("somebody/clis", {"app.py": b"theirs", "model.py": b"1"}, "space")
    with pytest.raises(AcpError, match=r"somebody/clis: holds another Space \(app.py\)"):
        push_metric(metric_folder(), Target("somebody/clis", "space"))
    assert hub.files("somebody/clis", repo_type="space")["app.py"] == b"theirs"
    with pytest.raises(AcpError, match="write OWNER/clis"):
        push_metric(metric_folder(), Target("somebody/metric", "space"))


def changed(tmp_path: Path, name: str, old: str, new: str) -> Path:
    """The folder of the module, but for one text."""
    folder = shutil.copytree(metric_folder(), tmp_path / "clis")
    text = (folder / name).read_text(encoding="utf-8")
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("clis.py", "\nimport ", "\nimport gone\nimport ", "need to install .*gone"),
        ("clis.py", "\nimport ", "\n1 / 0\nimport ", "does not load and score"),
        ("requirements.txt", "auto-cherry-picker", "auto cherry picker", "so nothing was sent"),
        ("requirements.txt", ">=", "<", "does not name auto-cherry-picker in the version"),
        ("requirements.txt", "auto-", "no-", "does not name auto-cherry-picker"),
    ],
)
def test_what_would_not_work_is_not_sent(
    name: str, old: str, new: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_MODULES_CACHE", str(tmp_path / "modules"))
    with pytest.raises(AcpError, match=told) as caught:
        release_of(changed(tmp_path, name, old, new), "acp/clis")
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_package_from_elsewhere_may_be_required(tmp_path: Path) -> None:
    line = "auto-cherry-picker @ git+https://example.org/acp@v0.1.0\ntorch  # for CLIS-I\n"
    folder = changed(tmp_path, "requirements.txt", "auto-cherry-picker>=0.1.0\n", line)
    assert set(release_of(folder, "acp/clis").files) == set(FILES)


def test_the_card_is_one_that_the_hub_takes() -> None:
    head = yaml.safe_load((metric_folder() / "README.md").read_text("utf-8").split("---")[1])
    assert (head["sdk"], head["app_file"], head["license"]) == ("gradio", "app.py", "apache-2.0")
    colours = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
    assert {head["colorFrom"], head["colorTo"]} <= colours
    assert len(head["short_description"]) <= 60
    assert {"evaluate", "metric"} <= set(head["tags"])
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert f"gradio=={head['sdk_version']}\n" in pins  # the one that is tested
    pyproject = (ROOT / "pyproject.toml").read_text("utf-8")
    assert re.search(r'requires-python = ">=3\.1[01]"', pyproject)
    assert head["python_version"] in ("3.10", "3.11", "3.12")
