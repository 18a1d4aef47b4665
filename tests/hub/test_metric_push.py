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
from acp.hub.metric_space import FILES, ROW, check_name, space_files, stale_files
from support.loopback_hub import Hub, serving

ROOT = Path(__file__).resolve().parents[2]
# evaluate imports transformers, and so torch, wherever it is there: that costs far more than the
# rest, and neither the metric nor its push needs it.
HIDE = """
import sys
from importlib.abc import MetaPathFinder
class Hidden(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
"""
LIGHT = HIDE.replace("HIDDEN", "'transformers'")
PUSH = (
    LIGHT
    + """
from acp.cli.main import main
sys.argv = ["acp", "metric", "push", "--repo", *sys.argv[1:]]
main()
"""
)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A Hub that has the Space."""
    with serving(Hub(tmp_path_factory.mktemp("hub"))) as found:
        ran = found.acp(["metric", "push", "--repo", "acp/clis"], tmp_path_factory.mktemp("hf"))
        assert ran.returncode == 0, ran.stderr
        assert "evaluate.load('acp/clis')" in ran.stdout
        yield found
    assert found.errors == []


def test_the_files_of_the_module_go_in_one_commit_and_only_once(hub: Hub, tmp_path: Path) -> None:
    files = hub.files("acp/clis", repo_type="space")
    assert set(files) == {".gitattributes", *FILES}
    assert all(files[name] == (metric_folder() / name).read_bytes() for name in FILES)
    titles = [commit.title for commit in hub.log("acp/clis", repo_type="space")]
    assert titles[1:] == ["initial commit"]
    ran = hub.run(PUSH, tmp_path, "acp/clis", "--tag", "v1.0")
    assert ran.returncode == 0, ran.stderr
    assert "(as before)" in ran.stdout
    refs = hub.refs("acp/clis", "space")
    assert refs["refs/tags/v1.0"] == refs["refs/heads/main"]
    assert len(hub.log("acp/clis", repo_type="space")) == 2


LOAD = f"""
import evaluate, sys
metric = evaluate.load("acp/clis", **eval(sys.argv[1]))
print(type(metric).__module__.split(".")[2], metric.compute(predictions=[{ROW!r}])["clis_l"][0])
"""


def test_evaluate_loads_and_scores_it_then_offline_too(hub: Hub, tmp_path: Path) -> None:
    import acp

    expected = f"acp--clis {acp.score([ROW])['clis_l'][0]}"
    asked = len(hub.requests)
    for more in ({}, {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}):
        ran = hub.run(LIGHT + LOAD, tmp_path, "{}", token=None, **more)
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.strip() == expected
    paths = {path for _, path, _ in hub.requests[asked:]}
    assert "/spaces/acp/clis/resolve/main/clis.py" in paths
    ran = hub.run(LIGHT + LOAD, tmp_path / "other", "{'revision': 'v1.0'}", token=None)
    assert ran.stdout.strip() == expected, ran.stderr


WITHOUT = """
import evaluate
try:
    evaluate.load("acp/clis")
except ImportError as error:
    print(error)
"""


def test_who_has_no_acp_is_told_what_to_install(hub: Hub, tmp_path: Path) -> None:
    ran = hub.run(LIGHT + HIDE.replace("HIDDEN", "'acp'") + WITHOUT, tmp_path, token=None)
    assert "you need to install the following dependencies['acp']" in ran.stdout, ran.stderr
    assert "pip install auto-cherry-picker" in ran.stdout


def test_a_trial_a_proposal_and_what_would_change(hub: Hub, tmp_path: Path) -> None:
    head = hub.head("acp/clis", repo_type="space")
    ran = hub.run(PUSH, tmp_path, "own/clis", "--dry-run")
    assert "to be made" in ran.stdout, ran.stderr
    hub.commit("acp/clis", {"app.py": b"print()"}, "space")
    ran = hub.run(PUSH, tmp_path, "acp/clis", "--create-pr")
    assert ran.returncode == 0, ran.stderr
    assert "discussions/1" in ran.stdout
    proposed = hub.files("acp/clis", "refs/pr/1", "space")
    assert proposed["app.py"] == (metric_folder() / "app.py").read_bytes()
    assert hub.files("acp/clis", repo_type="space")["app.py"] == b"print()"
    ran = hub.run(PUSH, tmp_path, "own/clis", "--private", "-v")
    assert ran.returncode == 0, ran.stderr
    assert hub.store.repo("space", "own/clis").private
    assert "hf_" not in ran.stdout + ran.stderr
    assert hub.store.repo("space", "acp/clis").refs["refs/heads/main"] != head


def test_another_space_is_not_overwritten(hub: Hub, tmp_path: Path) -> None:
    hub.store.create("space", "somebody/clis", sdk="gradio")
    hub.commit("somebody/clis", {"app.py": b"theirs", "model.py": b"1"}, "space")
    ran = hub.run(PUSH, tmp_path, "somebody/clis")
    assert ran.returncode == 1
    assert ran.stderr.count("error:") == 1
    assert "somebody/clis: holds another Space (app.py)" in ran.stderr
    assert hub.files("somebody/clis", repo_type="space")["app.py"] == b"theirs"


def test_a_name_that_evaluate_would_not_find() -> None:
    with pytest.raises(AcpError, match=r"--repo acp/metric: evaluate\.load takes the module"):
        check_name("acp/metric")
    assert stale_files({".gitattributes", "README.md"}, "acp/clis") == set()
    assert stale_files({"clis.py", "app.py", "style.css"}, "acp/clis") == set()


def changed(tmp_path: Path, name: str, old: str, new: str) -> Path:
    folder = tmp_path / "clis"
    shutil.copytree(metric_folder(), folder)
    text = (folder / name).read_text(encoding="utf-8")
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("clis.py", "import contextlib\n", "import contextlib, json\n", "one import a line"),
        ("clis.py", "import contextlib\n", "import contextlib\nimport gone\n", "not installed"),
        ("clis.py", "import contextlib\n", "import contextlib\nfrom .x import y\n", "in the Space"),
        ("clis.py", "    info.format", "    info.gone.format", "does not load and score"),
        ("app.py", "import html\n", "import html html\n", "app.py: line"),
        ("requirements.txt", "auto-cherry-picker", "auto cherry picker", "names no package"),
        ("requirements.txt", ">=", "<", "leaves out"),
        ("requirements.txt", "auto-", "no-", "is missing"),
        ("README.md", "sdk_version: 6.31.0", "sdk_version: 4.44.0", "needs gradio>=6.0, got 4.44"),
        ("README.md", "sdk: gradio", "sdk: docker", "sdk: expected gradio, got 'docker'"),
        ("README.md", "license: apache-2.0", "license: apache", "license"),
        ("README.md", "colorTo: green", "colorTo: lime", "colorTo: expected one of red"),
        ("README.md", "- evaluate\n", "", "tags: expected evaluate and metric"),
        ("README.md", "title: CLIS", "title: [CLIS", "cannot be read"),
    ],
)
def test_what_would_not_work_is_not_sent(
    name: str, old: str, new: str, told: str, tmp_path: Path
) -> None:
    with pytest.raises(AcpError) as caught:
        space_files(changed(tmp_path, name, old, new))
    assert told in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_package_from_elsewhere_may_be_required(tmp_path: Path) -> None:
    line = "auto-cherry-picker @ git+https://example.org/acp@v0.1.0\ntorch  # for CLIS-I\n"
    assert set(
        space_files(changed(tmp_path, "requirements.txt", "auto-cherry-picker>=0.1.0\n", line))
    )


def test_the_hub_installs_the_gradio_that_is_tested() -> None:
    head = yaml.safe_load((metric_folder() / "README.md").read_text("utf-8").split("---")[1])
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert f"gradio=={head['sdk_version']}\n" in pins
    assert re.search(
        r'requires-python = ">=3\.1[01]"', (ROOT / "pyproject.toml").read_text("utf-8")
    )
    assert head["python_version"] in ("3.10", "3.11", "3.12")
