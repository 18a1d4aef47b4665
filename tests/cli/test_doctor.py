"""`acp doctor` on a torchvision that was built for another torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_torchvision_of_another_torch_is_told_in_one_line(tmp_path: Path) -> None:
    package, info = tmp_path / "torchvision", tmp_path / "torchvision-0.28.0.dist-info"
    package.mkdir()
    info.mkdir()
    reason = "operator torchvision::nms does not exist"
    (package / "__init__.py").write_text(f"raise RuntimeError({reason!r})\n", encoding="utf-8")
    metadata = "Metadata-Version: 2.1\nName: torchvision\nVersion: 0.28.0\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "acp", "doctor"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = (each for each in done.stdout.splitlines() if each.startswith("torchvision "))
    assert "0.28.0 does not fit torch " in line
    assert reason in line
    assert "install the one from where that torch came" in line
