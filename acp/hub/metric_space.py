"""CLIS as a Space: the files that go there, and what has to hold before they do."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from acp.core.errors import AcpError, one_line
from acp.core.progress import Tell
from acp.core.version import __version__
from acp.hub.publish import Published, Release, check_target, publish
from acp.hub.target import Target

MODULE = "clis"
FILES = ("README.md", "app.py", "clis.py", "requirements.txt")
"""All there is of the Space, whatever else lies in its folder."""

PACKAGE = "auto-cherry-picker"
ROW = {
    "objects": {"category": ["cat", "dog"], "bbox": [[0.1, 0.4, 0.3, 0.4], [0.6, 0.5, 0.2, 0.3]]},
    "relations": {"subject": [0], "predicate": ["next to"], "object": [1]},
}
_MADE_WITH_THE_SPACE = {".gitattributes", "README.md"}


def push_metric(
    folder: Path, target: Target, *, dry_run: bool = False, tell: Tell = lambda line: None
) -> Published:
    """Put the module of a folder on the Hub as a Space, in one commit at most.

    Raises:
        AcpError: a line with the mend; the Space is as it was unless the line says otherwise.
    """
    if target.repo.rpartition("/")[2] != MODULE:
        raise AcpError(
            f"--repo {target.repo}: evaluate.load takes the module from a file that is called as "
            f"the repository is; write OWNER/{MODULE}, and --revision for a trial"
        )
    check_target(target, dry_run=dry_run, tell=tell)
    return publish(release_of(folder, target.repo), target, dry_run=dry_run, tell=tell)


def release_of(folder: Path, repo: str) -> Release:
    """What a push of `folder` to `repo` sends.

    Raises:
        AcpError: a file is missing, or would not work on the Hub.
    """
    files = {name: folder / name for name in FILES}
    for path in files.values():
        if not path.is_file():
            raise AcpError(f"{path}: missing; install {PACKAGE} anew")
    _check_requirements(folder / "requirements.txt")
    _check_module(folder / f"{MODULE}.py")

    def stale(there: Collection[str], read: Callable[[str], bytes]) -> Collection[str]:
        others = set(there) - _MADE_WITH_THE_SPACE
        if others and f"{MODULE}.py" not in others:
            raise AcpError(
                f"{repo}: holds another Space ({sorted(others)[0]}), not a metric of acp; push to "
                "another --repo, or delete that Space first"
            )
        return ()  # what people add to their Space stays

    return Release({**files}, f"CLIS of {PACKAGE} {__version__}", stale)


def _check_requirements(path: Path) -> None:
    """Lines that name packages, and among them this one in this version."""
    from packaging.requirements import InvalidRequirement, Requirement

    lines = (line.partition(" #")[0] for line in path.read_text(encoding="utf-8").splitlines())
    try:
        wanted = [Requirement(line) for line in lines if line.strip() and line[0] != "#"]
    except InvalidRequirement as error:
        raise AcpError(f"{path}: {one_line(error)}, so nothing was sent") from None
    ours = [each for each in wanted if each.name == PACKAGE]
    if not ours or not ours[0].specifier.contains(__version__, prereleases=True):
        raise AcpError(
            f"{path}: does not name {PACKAGE} in the version {__version__}, so nothing was sent"
        )


def _check_module(path: Path) -> None:
    """Load the module and score a layout by it, as `evaluate` does with one of the Hub."""
    import evaluate

    try:
        metric = evaluate.load(str(path), keep_in_memory=True)
        score = metric.compute(predictions=[ROW])["clis_l"][0]
    except Exception as error:
        raise AcpError(
            f"{path}: does not load and score: {one_line(error)}, so nothing was sent"
        ) from None
    if score is None:
        raise AcpError(f"{path}: gives no score for two objects next to each other")
