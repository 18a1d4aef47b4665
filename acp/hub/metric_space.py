"""CLIS as a Space: the files that go there, and what has to hold before they do."""

from __future__ import annotations

import importlib.util
import re
import runpy
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acp.core.errors import AcpError, one_line
from acp.core.version import __version__

if TYPE_CHECKING:
    from acp.hub.remote import RemoteFiles

MODULE = "clis"
FILES = ("README.md", "app.py", "clis.py", "requirements.txt")
"""All there is of the Space, whatever else lies in its folder."""

PACKAGE = "auto-cherry-picker"
ROW = {
    "objects": {"category": ["cat", "dog"], "bbox": [[0.1, 0.4, 0.3, 0.4], [0.6, 0.5, 0.2, 0.3]]},
    "relations": {"subject": [0], "predicate": ["next to"], "object": [1]},
}
_COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
_MADE_WITH_THE_SPACE = {".gitattributes", "README.md"}


def space_files(folder: Path) -> dict[str, Path | bytes]:
    """The files of the Space by path.

    Raises:
        AcpError: one is missing, or would not work on the Hub.
    """
    files = {name: folder / name for name in FILES}
    for path in files.values():
        if not path.is_file():
            raise AcpError(f"{path}: missing; install {PACKAGE} anew")
    for problem in (*_card(folder), *_requirements(folder), *_imports(folder), *_code(folder)):
        raise AcpError(f"{folder / problem}, so nothing was sent")
    return {**files}


def stale_files(there: RemoteFiles | Collection[str], repo: str) -> set[str]:
    """None: what people add to their Space stays.

    Raises:
        AcpError: a Space of something else, which a push would break.
    """
    others = set(there) - _MADE_WITH_THE_SPACE
    if others and f"{MODULE}.py" not in others:
        raise AcpError(
            f"{repo}: holds another Space ({sorted(others)[0]}), not a metric of acp; push to "
            "another --repo, or delete that Space first"
        )
    return set()


def check_name(repo: str) -> None:
    """Refuse a name under which `evaluate` would look for another file.

    Raises:
        AcpError: a repository that is not called as the module is.
    """
    if repo.rpartition("/")[2] != MODULE:
        raise AcpError(
            f"--repo {repo}: evaluate.load takes the module from a file that is called as the "
            f"repository is; write OWNER/{MODULE}, and --revision for a trial"
        )


def _card(folder: Path) -> Iterator[str]:
    """What the Hub asks of the head of a Space's README."""
    from acp.dataset.check.card_yaml import check_card, read_card

    card, problems = read_card(folder / "README.md")
    yield from map(str, problems)
    if card is None:
        return
    yield from map(str, check_card(card, "README.md"))
    for name, expected in (("sdk", "gradio"), ("app_file", "app.py"), ("license", "apache-2.0")):
        if card.get(name) != expected:
            yield f"README.md: {name}: expected {expected}, got {card.get(name)!r}"
    if not isinstance(card.get("title"), str):
        yield "README.md: title: missing"
    for name in ("colorFrom", "colorTo"):
        if card.get(name) not in _COLOURS:
            yield f"README.md: {name}: expected one of {', '.join(_COLOURS)}"
    if len(str(card.get("short_description", ""))) > 60:
        yield "README.md: short_description: expected 60 characters at most"
    if not {"evaluate", "metric"} <= set(card.get("tags") or ()):
        yield "README.md: tags: expected evaluate and metric among them"
    yield from _sdk_version(card)


def _sdk_version(card: Mapping[str, Any]) -> Iterator[str]:
    """The gradio of the Hub has to be one that the app was made for, and that was tried here."""
    from importlib.metadata import PackageNotFoundError, requires, version

    from packaging.requirements import Requirement

    told = str(card.get("sdk_version", ""))
    if not re.fullmatch(r"\d+\.\d+\.\d+", told):
        yield f"README.md: sdk_version: expected three numbers, got {told!r}"
        return
    wanted = [Requirement(line) for line in requires(PACKAGE) or ()]
    for each in wanted:
        if each.name == "gradio" and not each.specifier.contains(told):
            yield f"README.md: sdk_version: {PACKAGE} needs gradio{each.specifier}, got {told}"
    try:
        here = version("gradio")
    except PackageNotFoundError:
        return
    if here.partition(".")[0] != told.partition(".")[0]:
        yield f"README.md: sdk_version: {told}, but the gradio that is installed here is {here}"


def _requirements(folder: Path) -> Iterator[str]:
    """Lines that name packages, and among them this one in this version."""
    from packaging.requirements import InvalidRequirement, Requirement

    ours = False
    for line in (folder / "requirements.txt").read_text(encoding="utf-8").splitlines():
        if not (text := line.partition(" #")[0].strip()) or text.startswith("#"):
            continue
        try:
            found = Requirement(text)
        except InvalidRequirement:
            yield f"requirements.txt: {text!r} names no package"
            continue
        ours = ours or found.name == PACKAGE
        if found.name == PACKAGE and not found.specifier.contains(__version__, True):
            yield f"requirements.txt: {text} leaves out {__version__}, whose app this is"
    if not ours:
        yield f"requirements.txt: {PACKAGE} is missing"


def _imports(folder: Path) -> Iterator[str]:
    """As `evaluate` scans them: line by line, and what it finds must be importable."""
    from evaluate.loading import get_imports

    for kind, name, source, _ in get_imports(str(folder / f"{MODULE}.py")):
        if kind != "library":
            yield f"{MODULE}.py: import of {name}: evaluate would look for it in the Space"
        elif not name.isidentifier():
            yield f"{MODULE}.py: import {name}: evaluate reads one import a line"
        elif importlib.util.find_spec(name) is None:
            yield f"{MODULE}.py: import {name}: not installed (pip install {source})"


def _code(folder: Path) -> Iterator[str]:
    """The module loads and scores; the app is Python."""
    app = folder / "app.py"
    try:
        compile(app.read_bytes(), str(app), "exec")
    except SyntaxError as error:
        yield f"app.py: line {error.lineno}: {error.msg}"
    try:
        score = _score(folder / f"{MODULE}.py")
    except Exception as error:
        yield f"{MODULE}.py: does not load and score: {one_line(error)}"
        return
    if score is None:
        yield f"{MODULE}.py: gives no score for two objects next to each other"


def _score(module: Path) -> float | None:
    """CLIS-L of `ROW` by the class that `evaluate` would take out of the module."""
    import evaluate

    classes = [each for each in runpy.run_path(str(module)).values() if isinstance(each, type)]
    (metric,) = (each for each in classes if issubclass(each, evaluate.EvaluationModule))
    found = metric(keep_in_memory=True).compute(predictions=[ROW])["clis_l"]
    return None if found[0] is None else float(found[0])
