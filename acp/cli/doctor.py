"""What is installed here, which backends can run, and how to get what is missing."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator, Sequence

import typer

from acp.backends.registry import BACKENDS, backend_class, backend_names
from acp.core.errors import AcpError, one_line
from acp.core.files import acp_home
from acp.core.version import __version__

PACKAGES = (
    "datasets",
    "huggingface_hub",
    "evaluate",
    "pyarrow",
    "torch",
    "transformers",
    "diffusers",
    "accelerate",
)

MENDS = {
    "spacy": "pip install 'auto-cherry-picker[priors]'",
    "matplotlib": "pip install 'auto-cherry-picker[plot]'",
    "gradio": "pip install 'auto-cherry-picker[space]'",
}
COMMANDS = {
    "acp priors build": ("spacy",),
    "acp score": ("matplotlib",),
    "metrics/clis/app.py": ("gradio",),
}
"""What some commands need besides backends; each is a package of an extra."""


def doctor() -> None:
    """What is installed, which backends can run here, what is missing and how to get it."""
    for line in report():
        typer.echo(line)


def report() -> Iterator[str]:
    """The lines that `acp doctor` prints."""
    yield f"acp {__version__}, Python {platform.python_version()}, {os.cpu_count()} cores"
    yield f"accelerator: {_accelerator()}"
    home = acp_home()
    parent = next(path for path in (home, *home.parents) if path.exists())
    free_gb = shutil.disk_usage(parent).free / 1e9
    yield f"cache: {home} ({free_gb:.0f} GB free)"
    yield ""
    yield from (f"{name:<18} {_version(name)}" for name in PACKAGES)
    yield f"{'torchvision':<18} {_torchvision()}"
    for kind in BACKENDS:
        yield ""
        yield f"{kind}:"
        for name in backend_names(kind):
            yield from _backend_lines(kind, name)
    yield ""
    yield "commands:"
    for command, modules in COMMANDS.items():
        needs = [name for name in modules if importlib.util.find_spec(name) is None]
        yield f"  {_mark(needs)} {command}"
        yield from (_needs(f"Python package {name!r}", MENDS[name]) for name in needs)


def _backend_lines(kind: str, name: str) -> Iterator[str]:
    try:
        backend = backend_class(kind, name)
    except AcpError as error:  # plugged in from outside, and broken
        yield f"  {_mark([error])} {name:<12} {error}"
        return
    missing = backend().missing()
    yield f"  {_mark(missing)} {name:<12} {backend.summary}"
    yield from (_needs(each.what, each.mend) for each in missing)


def _mark(missing: Sequence[object]) -> str:
    return "missing" if missing else "ok     "


def _needs(what: str, mend: str) -> str:
    return f"            needs {what}: {mend}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _torchvision() -> str:
    """Its version, or why it cannot be imported: mostly, that it was built for another torch."""
    version = _version("torchvision")
    if importlib.util.find_spec("torchvision") is None or importlib.util.find_spec("torch") is None:
        return version
    try:
        importlib.import_module("torchvision")
    except Exception as error:  # a wrong build fails in many ways, which all mean the same here
        return (
            f"{version} does not fit torch {_version('torch')} ({one_line(error, 80)}): install "
            "the one from where that torch came, torchvision 0.(N + 15) for torch 2.N"
        )
    return version


def _accelerator() -> str:
    if importlib.util.find_spec("torch") is None:
        return "unknown (torch is not installed)"
    import torch

    if torch.cuda.is_available():
        return ", ".join(
            torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())
        )
    return "none, CPU only"
