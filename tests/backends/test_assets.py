"""Fetching with the real apt-get from a package archive of our own on the disk."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from acp.backends.cutpaste.assets import (
    ABSENT,
    ASSETS,
    RECORD,
    asset_dir,
    asset_version,
    fetch,
    missing,
    needed_by,
)
from acp.backends.registry import RECIPE_KINDS
from acp.core.errors import AcpError, MissingRequirementError
from acp.pipeline.recipe import load_recipe

needs_apt = pytest.mark.skipif(
    shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None,
    reason="needs apt-get and dpkg-deb",
)

DATA = "tuxpaint-data"
DPKG = shutil.which("dpkg-deb") or ""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("ACP_HOME", str(folder))
    return folder


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Points apt to a package archive in a folder; the function adds a package of two pictures."""
    folder = tmp_path / "archive"
    folder.mkdir()
    use_sources(tmp_path, monkeypatch, f"deb [trusted=yes] file:{folder} ./\n")
    (folder / "Packages").touch()

    def add(package: str) -> Path:
        deb = build_package(tmp_path / "tree" / package, package, folder)
        fields = subprocess.run(
            [DPKG, "--field", str(deb)], capture_output=True, text=True, check=True
        )
        digest = hashlib.sha256(deb.read_bytes()).hexdigest()
        size = deb.stat().st_size
        entry = f"{fields.stdout}Filename: ./{deb.name}\nSize: {size}\nSHA256: {digest}\n\n"
        with (folder / "Packages").open("a") as index:
            index.write(entry)
        (folder / "Packages.gz").write_bytes(gzip.compress((folder / "Packages").read_bytes()))
        return deb

    return add


def use_sources(folder: Path, monkeypatch: pytest.MonkeyPatch, sources: str) -> None:
    (folder / "sources.list").write_text(sources)
    (folder / "parts").mkdir()
    config = (
        f'Dir::Etc::sourcelist "{folder}/sources.list"; Dir::Etc::sourceparts "{folder}/parts";'
    )
    (folder / "apt.conf").write_text(config + ' Acquire::Retries "0";\n')
    monkeypatch.setenv("APT_CONFIG", str(folder / "apt.conf"))


def build_package(tree: Path, package: str, folder: Path) -> Path:
    pictures = tree / ASSETS[package].prefix
    (pictures / "deep").mkdir(parents=True)
    Image.new("RGB", (8, 6)).save(pictures / "one.jpg")
    Image.new("RGB", (8, 6)).save(pictures / "deep" / "two.png")
    (pictures / "sound.ogg").write_bytes(b"noise")
    (tree / "usr/share/doc" / package).mkdir(parents=True)
    (tree / "usr/share/doc" / package / "copyright").write_text("License: GPL-2+\n")
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text(
        f"Package: {package}\nVersion: 1:2.3-4\nArchitecture: all\n"
        "Maintainer: Nobody <nobody@example.org>\nDescription: pictures\n"
    )
    deb = folder / f"{package}_2.3-4_all.deb"
    subprocess.run([DPKG, "--build", str(tree), str(deb)], check=True, capture_output=True)
    return deb


def kept(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_recipe_of_other_backends_needs_no_pictures(home: Path) -> None:
    assert needed_by(map(load_recipe("demo").backend, RECIPE_KINDS)) == [*ASSETS]
    assert (
        needed_by(map(load_recipe("demo", ["renderer={backend: gligen}"]).backend, RECIPE_KINDS))
        == []
    )


def test_what_is_not_fetched_is_missing_with_its_mend(home: Path) -> None:
    assert [lack.mend for lack in missing([DATA])] == ["acp assets fetch"]
    with pytest.raises(MissingRequirementError, match="run `acp assets fetch`"):
        asset_dir(DATA)


def test_an_unknown_asset_is_an_error_that_lists_the_known(home: Path) -> None:
    with pytest.raises(AcpError, match=f"no asset 'nothing' .known: .*{DATA}"):
        fetch(["nothing"])


def test_without_apt_the_error_says_what_to_copy_where(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingRequirementError) as caught:
        fetch([DATA])
    message = str(caught.value)
    assert "apt-get is not on this machine" in message
    assert f"{ASSETS[DATA].prefix}/ of the Debian package {DATA}" in message
    assert str(home / "assets" / DATA) in message
    assert "\n" not in message


def test_a_folder_put_there_by_hand_counts(home: Path) -> None:
    (home / "assets" / DATA).mkdir(parents=True)
    assert missing([DATA]) == []
    assert asset_version(DATA) == "unknown"


def test_a_folder_that_cannot_be_written_is_one_line(home: Path) -> None:
    home.write_text("a file where the folder should be")
    with pytest.raises(AcpError, match="cannot write assets to") as caught:
        fetch([DATA])
    assert "\n" not in str(caught.value)


def test_too_little_room_is_said_before_anything_is_fetched(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2**20))
    with pytest.raises(AcpError, match=r"has 1 MB free and needs .* MB"):
        fetch([DATA])


@needs_apt
def test_fetch_keeps_the_pictures_the_version_and_the_copyright(
    home: Path, archive: Callable[[str], Path]
) -> None:
    archive(DATA)
    steps: list[str] = []
    fetch([DATA], steps.append)
    assert kept(asset_dir(DATA)) == [RECORD, "copyright", "deep/two.png", "one.jpg"]
    assert asset_version(DATA) == "1:2.3-4"
    assert any(DATA in step for step in steps)
    assert sorted(p.name for p in (home / "assets").iterdir()) == [".lock", DATA]


@needs_apt
def test_what_a_killed_fetch_left_is_no_asset_and_goes_away(
    home: Path, archive: Callable[[str], Path]
) -> None:
    archive(DATA)
    half = home / "assets" / ".fetch-killed" / DATA / "ready"
    half.mkdir(parents=True)
    assert missing([DATA])
    fetch([DATA])
    assert not missing([DATA])
    assert not half.exists()


@needs_apt
def test_two_processes_fetch_at_once(home: Path, archive: Callable[[str], Path]) -> None:
    archive(DATA)
    code = f"from acp.backends.cutpaste.assets import fetch; fetch([{DATA!r}])"
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait(60) for process in running] == [0, 0]
    assert "one.jpg" in kept(asset_dir(DATA))


@needs_apt
def test_a_release_without_a_package_that_is_not_essential_leaves_it_empty(
    home: Path, archive: Callable[[str], Path]
) -> None:
    archive(DATA)
    fetch([DATA, "lxqt-themes"])
    assert missing([DATA, "lxqt-themes"]) == []
    assert asset_version("lxqt-themes") == ABSENT
    assert kept(asset_dir("lxqt-themes")) == [RECORD]


@needs_apt
def test_a_release_without_an_essential_package_is_an_error(
    home: Path, archive: Callable[[str], Path]
) -> None:
    archive("lxqt-themes")
    with pytest.raises(AcpError, match=f"could not get {DATA}: the package lists .* do not have"):
        fetch([DATA])
    assert missing([DATA])


@needs_apt
def test_no_network_is_one_line(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_sources(tmp_path, monkeypatch, "deb [trusted=yes] http://127.0.0.1:9/none ./\n")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(AcpError, match="no network") as caught:
        fetch([DATA])
    assert "by hand" in str(caught.value)
    assert "\n" not in str(caught.value)
