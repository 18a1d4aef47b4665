"""The command line as a user meets it: real processes, exit codes, one-line errors."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from acp.backends.registry import BACKENDS

ACP = [sys.executable, "-m", "acp"]


def acp(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*ACP, *arguments], capture_output=True, text=True, check=False, cwd=cwd)


def mistake(*arguments: str, cwd: Path | None = None) -> str:
    """The one line that a wrong call prints."""
    done = acp(*arguments, cwd=cwd)
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.strip().splitlines()
    return line


def test_importing_the_package_is_quick_and_loads_no_model_library() -> None:
    code = (
        "import sys, acp, acp.cli.main\n"
        "heavy = {'torch', 'transformers', 'diffusers', 'datasets', 'numpy'} & set(sys.modules)\n"
        "sys.exit(','.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_recipes_lists_and_shows() -> None:
    listed = acp("recipes").stdout
    assert "demo" in listed
    assert "lvis-longtail" in listed
    shown = acp("recipes", "demo", "--show").stdout
    assert "min_clis_i_instance: 60" in shown
    assert "backend: cutpaste" in shown


def test_doctor_reports_every_backend_and_command() -> None:
    report = acp("doctor").stdout
    names = [name for backends in BACKENDS.values() for name in backends]
    for name in (*names, "torch", "acp priors build", "acp score"):
        assert name in report


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("build", "dem"), "did you mean 'demo'"),
        (("build", "tiny", "--set", "scenes=x"), "scenes: input should be a valid integer"),
        (("build", "tiny", "--set", "combine.concepts=[]"), "concepts"),
        (("build", "tiny", "--set", "combine.concepts=[zebrra]"), "zebra"),
        (("build", "tiny", "--set", "combine.concepts=[wok]"), "wok"),
        (("build", "tiny", "--set", "renderer={backend: gligan}"), "did you mean 'gligen'"),
        (("build", "tiny", "--set", "renderer.cutouts=missing"), "missing"),
        (("show", "./not-there"), "no such folder"),
        (("show", ".", "--out", "sheet.xyz"), ".jpg or a .png"),
        (("build", "tiny", "--out", "/dev/full"), "/dev/full"),
        (("build", "tiny", "--set", "lay_out={llm_proposals: 0, priors_proposals: 0}"), "both"),
        (("assets", "fetch", "nothing"), "nothing"),
        (("cutouts", "from-coco", "a.json", ".", "c"), "a.json"),
    ],
)
def test_mistakes_are_one_line_and_exit_with_1(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    assert message in mistake(*arguments, cwd=tmp_path)


def test_the_categories_of_the_bank_are_listed() -> None:
    listed = acp("cutouts", "list").stdout.splitlines()
    assert any(line.split() == ["1", "zebra"] for line in listed)
    assert len(listed) > 100


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    line = mistake("build", "tiny", "--out", "out", cwd=tmp_path)
    assert "was not made by acp build" in line
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years of work"


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    line = mistake("build", "tiny", "--out", "file/out", cwd=tmp_path)
    assert "choose a folder you can write with --out" in line


def test_a_full_disk_is_named_and_what_is_finished_is_kept(tmp_path: Path) -> None:
    script = (
        f"mount -t tmpfs -o size=300k none {tmp_path} && "
        f"{sys.executable} -m acp build tiny --set scenes=16 --out {tmp_path}/out; code=$?; "
        f"ls {tmp_path}/out.work/shards/*/done.json >&2; exit $code"
    )
    unshare = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("mount namespaces are not allowed here")
    done = subprocess.run([*unshare, script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no space left; free some and run the same command again" in done.stderr
    assert "Traceback" not in done.stderr
    assert "00000/done.json" in done.stderr


def test_a_full_or_killed_build_can_be_shown(tmp_path: Path) -> None:
    done = acp("build", "tiny", "--limit", "1", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "scenes      1" in done.stdout
    assert "load_dataset('out', split='train')" in done.stdout
    assert done.stderr == ""  # quiet where there is no terminal
    shown = acp("show", "out", "--out", "sheet.png", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert (tmp_path / "sheet.png").stat().st_size > 10_000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_says_what_is_kept(tmp_path: Path, number: signal.Signals) -> None:
    command = [*ACP, "build", "tiny", "--set", "scenes=8", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "out.work" / "state.json").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(number)
    error = process.communicate()[1]
    assert process.returncode == 128 + number
    assert error.strip().splitlines()[-1].startswith("stopped; what is finished is kept")
    assert "Traceback" not in error
