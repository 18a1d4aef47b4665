"""Pictures that come from Debian packages, fetched and unpacked without root.

They are never part of this distribution: each keeps the licence of its package. An asset is the
folder `$ACP_HOME/assets/<package>/` (ACP_HOME is `~/.cache/acp` unless set), which appears by one
rename once it is complete.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from acp.backends.base import Backend
from acp.backends.cutpaste.apt import (
    PackageAbsentError,
    download,
    package_version,
    unpack,
    updated_apt,
)
from acp.core.errors import AcpError, Missing, MissingRequirementError
from acp.core.files import acp_home

PICTURES = frozenset({".png", ".jpg", ".jpeg"})
RECORD = "acp-asset.json"
ABSENT = "absent"

Progress = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Asset:
    """The pictures under `prefix` of a Debian package.

    `licence` is that of the pictures in use, by the package's own copyright file. A package that is
    not `essential` may be unknown to an older or another release: the asset is then left empty.
    """

    package: str
    prefix: str
    licence: str
    megabytes: int
    essential: bool = False


ASSETS: dict[str, Asset] = {
    asset.package: asset
    for asset in (
        Asset("tuxpaint-stamps-default", "usr/share/tuxpaint/stamps", "gpl-2.0", 161, True),
        Asset("tuxpaint-data", "usr/share/tuxpaint/templates", "gpl-2.0-or-later", 8, True),
        Asset("mate-backgrounds", "usr/share/backgrounds/mate", "gpl-2.0-or-later", 47),
        Asset("lomiri-wallpapers-16.04", "usr/share/backgrounds", "cc-by-4.0", 16),
        Asset("lxqt-themes", "usr/share/lxqt/wallpapers", "lgpl-2.1-or-later", 26),
    )
}


def asset_dir(name: str) -> Path:
    """The folder of an asset.

    Raises:
        MissingRequirementError: it has not been fetched.
    """
    folder = _folder(name)
    if not folder.is_dir():
        lack = _missing(name)
        raise MissingRequirementError(f"{lack.what} is missing: run `{lack.mend}`")
    return folder


def asset_version(name: str) -> str:
    """The package version of a fetched asset; "unknown" for one unpacked by hand."""
    try:
        record = json.loads((asset_dir(name) / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "unknown"
    return str(record["version"])


def missing(names: Sequence[str]) -> list[Missing]:
    """Those of `names` that have not been fetched, and how to get them."""
    return [_missing(name) for name in names if not _folder(name).is_dir()]


def needed_by(backends: Iterable[Backend]) -> list[str]:
    """The assets that these backends need and do not find."""
    lacking = {each for backend in backends for each in backend.missing()}
    return [name for name in ASSETS if _missing(name) in lacking]


def fetch(names: Sequence[str], progress: Progress = lambda line: None) -> None:
    """Download and unpack what is missing of `names`; `progress` is told each step in a line.

    Processes that fetch at the same time wait for each other; one that is killed leaves nothing
    that counts.

    Raises:
        AcpError: unknown asset, no apt, no network, no room, or a folder that cannot be written.
    """
    if not missing(names):
        return
    root = acp_home() / "assets"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".lock"):
            _fetch_all([name for name in names if not _folder(name).is_dir()], root, progress)
    except OSError as error:
        raise AcpError(f"cannot write assets to {root}: {error.strerror or error}") from error


def _fetch_all(names: Sequence[str], root: Path, progress: Progress) -> None:
    for stale in root.glob(".fetch-*"):
        shutil.rmtree(stale, ignore_errors=True)
    if not names:
        return
    _check_room(names, root)
    work = Path(tempfile.mkdtemp(prefix=".fetch-", dir=root))
    try:
        by_hand = "; by hand: " + " and ".join(_by_hand(name) for name in names)
        progress("reading the package lists")
        apt = updated_apt(work / "apt", by_hand)
        for name in names:
            progress(f"fetching {name} ({ASSETS[name].megabytes} MB)")
            _fetch_one(ASSETS[name], apt, work / name, progress, by_hand)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _fetch_one(
    asset: Asset, apt: Sequence[str], work: Path, progress: Progress, by_hand: str
) -> None:
    ready = work / "ready"
    ready.mkdir(parents=True)
    version = ABSENT
    try:
        deb = download(apt, asset.package, work, by_hand)
    except PackageAbsentError:
        if asset.essential:
            raise
        progress(f"{asset.package} is not in this release; going on without it")
    else:
        version = package_version(deb)
        unpack(deb, work / "root", by_hand)
        _keep_pictures(work / "root" / asset.prefix, ready)
        _keep_copyright(work / "root", asset, ready)
    record = {"package": asset.package, "version": version, "licence": asset.licence}
    (ready / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    ready.rename(_folder(asset.package))


def _keep_pictures(source: Path, target: Path) -> None:
    if not source.is_dir():
        return
    for path in source.rglob("*"):
        if path.suffix.lower() in PICTURES and path.is_file() and not path.is_symlink():
            kept = target / path.relative_to(source)
            kept.parent.mkdir(parents=True, exist_ok=True)
            path.rename(kept)


def _keep_copyright(root: Path, asset: Asset, target: Path) -> None:
    with suppress(FileNotFoundError):
        shutil.copy(root / "usr/share/doc" / asset.package / "copyright", target / "copyright")


def _check_room(names: Sequence[str], root: Path) -> None:
    # A package, its unpacked tree and a margin lie on the disk together.
    needed = 3 * max(ASSETS[name].megabytes for name in names) + sum(
        2 * ASSETS[name].megabytes for name in names
    )
    free = shutil.disk_usage(root).free // 2**20
    if free < needed:
        raise AcpError(f"{root} has {free} MB free and needs {needed} MB: set ACP_HOME elsewhere")


def _missing(name: str) -> Missing:
    return Missing(f"asset {name}", "acp assets fetch")


def _by_hand(name: str) -> str:
    return f"copy {ASSETS[name].prefix}/ of the Debian package {name} to {_folder(name)}"


def _folder(name: str) -> Path:
    if name not in ASSETS:
        raise AcpError(f"there is no asset {name!r} (known: {', '.join(ASSETS)})")
    return acp_home() / "assets" / name
