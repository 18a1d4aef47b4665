"""The rooms of the package: who may know whom, and that nothing hides from the linter."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.doc_blocks import ROOT, blocks

ROOMS = ("acp", "builder")
ABOVE = {"builder": ("acp.cli", "acp.api")}
"""Who may import what stands outside `acp/`: import-linter sees `builder` under its own name."""


def layers() -> list[str]:
    """The contract of import-linter, from the top down: "hub | builder"."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (contract,) = re.findall(r'type = "layers"\nlayers = \[(.*?)\]', text, re.DOTALL)
    return [layer.replace("acp.", "") for layer in re.findall(r'"(.*)"', contract)]


def modules() -> Iterator[tuple[Path, ast.Module]]:
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


def test_the_docs_draw_the_contract() -> None:
    drawn = [
        line.split("  ")[0].strip()
        for line in blocks("docs/architecture.md", "text")[0].splitlines()
    ]
    assert drawn == layers()


def test_every_room_has_its_place_in_the_contract() -> None:
    placed = {room for layer in layers() for room in layer.split(" | ")}
    folders = {path.name for path in (ROOT / "acp").iterdir() if (path / "__init__.py").exists()}
    assert folders - {"data", "recipes"} <= placed
    assert placed - folders == {"api", "builder"}


def test_the_root_has_at_most_four_modules() -> None:
    assert len(list((ROOT / "acp").glob("*.py"))) <= 4


def test_no_import_inside_a_function_is_of_the_package() -> None:
    hidden = [
        f"{path}: {name}"
        for path, module in modules()
        for function in ast.walk(module)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        for name in imported(node)
        if re.match(r"(acp|builder)\b", name)
    ]
    assert hidden == []


def test_only_the_face_imports_for_type_checkers() -> None:
    guarded = [
        str(path)
        for path, module in modules()
        for node in ast.walk(module)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for each in node.body
        for name in imported(each)
        if re.match(r"(acp|builder)\b", name)
    ]
    assert set(guarded) <= {"acp/__init__.py"}


def test_only_those_above_import_the_builder() -> None:
    below = [
        f"{path}: {name}"
        for path, module in modules()
        for node in ast.walk(module)
        for name in imported(node)
        if name.startswith("acp.builder")
        and not str(path).replace("/", ".").startswith(("builder.", *ABOVE["builder"]))
    ]
    assert below == []


@pytest.mark.slow
def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import acp, sys; print({'numpy', 'torch', 'datasets', 'pydantic'} & {*sys.modules})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"
