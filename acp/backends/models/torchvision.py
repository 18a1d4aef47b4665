"""Whether torchvision works, how to mend it, and how to go on without it.

A torchvision built for another torch is installed but cannot be imported, and transformers, which
only looks whether it is installed, then fails wherever it touches pictures, often for models of
text alone.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
import sys
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class Torchvision:
    """`version` is empty where it is not installed; `problem` says why it cannot be imported."""

    version: str
    problem: str = ""

    @property
    def works(self) -> bool:
        """Whether it can be used."""
        return bool(self.version) and not self.problem

    def __str__(self) -> str:
        if not self.version:
            return "torchvision is missing"
        return f"torchvision {self.version} is broken ({self.problem})" if self.problem else "works"


@cache
def torchvision() -> Torchvision:
    """The torchvision of this process.

    One that is broken is hidden from then on, as if it were not installed.
    """
    if importlib.util.find_spec("torchvision") is None:
        return Torchvision("")
    try:
        version = importlib.metadata.version("torchvision")
    except importlib.metadata.PackageNotFoundError:
        version = "of unknown version"
    try:
        importlib.import_module("torchvision")
    except Exception as error:  # a wrong build fails in many ways, which all mean the same here
        _hide()
        return Torchvision(version, " ".join(str(error).split())[:120])
    return Torchvision(version)


def hide_broken_torchvision() -> None:
    """To be called before transformers or diffusers is imported: they stumble over a broken one."""
    torchvision()


def _hide() -> None:
    for name in [*sys.modules]:
        if name.partition(".")[0] == "torchvision":
            del sys.modules[name]
    # `import torchvision` and `find_spec("torchvision")` then say that there is none.
    sys.modules["torchvision"] = None  # type: ignore[assignment]
    known = sys.modules.get("transformers.utils.import_utils")
    for name in ("is_torchvision_available", "is_torchvision_v2_available"):
        forget = getattr(getattr(known, name, None), "cache_clear", None)
        if forget is not None:
            forget()


def mend_command() -> str:
    """The command that installs the torchvision that fits the torch that is installed."""
    import torch

    command = install_command(torch.__version__, torch.version.cuda)
    if torchvision().problem:
        command = command.replace("pip install", "pip install --force-reinstall")
    return command


def install_command(torch_version: str, cuda: str | None) -> str:
    """The command for a version of torch, and the version of CUDA it was built for, if any.

    torch 2.N goes with torchvision 0.(N + 15). PyPI has one build of it; torch of
    another needs the build of the same name, from where that torch came.

    >>> install_command("2.13.0+cpu", None)
    "pip install --no-deps 'torchvision==0.28.*' (the build for cpu)"
    >>> install_command("2.13.0", "13.0")
    "pip install --no-deps 'torchvision==0.28.*'"
    """
    number = re.match(r"2\.(\d+)", torch_version)
    wanted = f"'torchvision==0.{int(number[1]) + 15}.*'" if number else "torchvision"
    build = torch_version.partition("+")[2] if cuda else "cpu"
    return f"pip install --no-deps {wanted}" + (f" (the build for {build})" if build else "")


def advice() -> str:
    """One line for a model that needs torchvision and does not find it, or an empty string."""
    found = torchvision()
    if found.works:
        return ""
    return f"{found}; install the one built for the torch that is here: {mend_command()}"
