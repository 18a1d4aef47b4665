"""apt-get and dpkg-deb in private folders, without root or the system's own state."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from acp.core.errors import AcpError, MissingRequirementError

_NO_NETWORK = re.compile(
    r"(Could not resolve|Temporary failure|Unable to connect|Could not connect"
    r"|Connection (?:failed|refused|timed out)|Failed to fetch)[^\n]*"
)
_NO_ROOM = re.compile(r"No space left on device|enough free space")
_ABSENT = re.compile(r"Unable to locate package|no installation candidate|has no candidate")


class PackageAbsentError(AcpError):
    """The package lists do not know the package."""


def updated_apt(work: Path, by_hand: str) -> list[str]:
    """A command line of `apt-get` with its state under `work`, after an update.

    `by_hand` is the way without apt; it ends the error messages.

    Raises:
        MissingRequirementError: there is no `apt-get` or `dpkg-deb`.
        AcpError: the update failed.
    """
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise MissingRequirementError(f"{tool} is not on this machine{by_hand}")
    for folder in ("lists/partial", "state", "cache/archives/partial"):
        (work / folder).mkdir(parents=True, exist_ok=True)
    (work / "status").touch()
    options = {
        "Dir::State": work / "state",
        "Dir::State::Lists": work / "lists",
        "Dir::State::status": work / "status",
        "Dir::Cache": work / "cache",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        # As root, apt would drop to a user that may not enter these folders.
        "APT::Sandbox::User": "root",
    }
    apt = ["apt-get", "-q", *(f"-o{key}={value}" for key, value in options.items())]
    # Without --error-on=any, an update that reached no server is a success.
    run([*apt, "-oAPT::Update::Error-Mode=any", "update"], work, "the package lists", by_hand)
    return apt


def download(apt: Sequence[str], package: str, folder: Path, by_hand: str) -> Path:
    """Fetch the newest `package` this release has into `folder`.

    Raises:
        PackageAbsentError: the release does not have it.
        AcpError: the download failed.
    """
    run([*apt, "download", package], folder, package, by_hand)
    return next(folder.glob("*.deb"))


def package_version(deb: Path) -> str:
    """The version in the header of a package file."""
    return run(["dpkg-deb", "--field", str(deb), "Version"], deb.parent, deb.name, "").strip()


def unpack(deb: Path, folder: Path, by_hand: str) -> None:
    """The files of a package under `folder`; its scripts do not run."""
    run(["dpkg-deb", "--extract", str(deb), str(folder)], deb.parent, deb.name, by_hand)


def run(command: Sequence[str], folder: Path, what: str, by_hand: str) -> str:
    """Standard output of a command.

    Raises:
        AcpError: it failed; one line says why as far as its messages tell.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, "LC_ALL": "C"},
        check=False,
    )
    if done.returncode == 0:
        return done.stdout
    raise _failure(done.stderr, f"{command[0]} could not get {what}", by_hand)


def _failure(messages: str, failed: str, by_hand: str) -> AcpError:
    if _NO_ROOM.search(messages):
        return AcpError(f"{failed}: the disk is full; make room or set ACP_HOME elsewhere")
    if _ABSENT.search(messages):
        return PackageAbsentError(
            f"{failed}: the package lists of this system do not have it{by_hand}"
        )
    if network := _NO_NETWORK.search(messages):
        return AcpError(f"{failed}: no network? ({network[0].strip()}){by_hand}")
    lines = [line for line in messages.splitlines() if line.startswith(("E:", "dpkg-deb"))]
    return AcpError(f"{failed}: {lines[-1] if lines else 'no message'}{by_hand}")
