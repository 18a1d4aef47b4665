"""The command line, run in the process of the test."""

from __future__ import annotations

import sys

import pytest

from acp.cli import main as cli


def run_acp(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `acp` with these arguments."""
    before, sys.argv = sys.argv, ["acp", *arguments]
    try:
        cli.main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.argv = before
    return code, *capsys.readouterr()
