"""`acp push` that cannot be: one line with the mend, and no token in any line."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest

from acp.cli.push import _unchanged
from acp.core.errors import AcpError
from acp.hub.data_set import release_of
from acp.hub.request_log import keep_secrets_out
from support.loopback_hub import Hub
from support.publishing import push, refused

READER = "hf_reader"


def test_mistakes_are_one_line_with_the_mend(hub: Hub, six: Path) -> None:
    assert "no token of the Hub: run hf auth login" in refused(push(hub, six, token=None))
    assert "OWNER/NAME" in refused(push(hub, six, repo="a b"))
    assert "OWNER/NAME" in refused(push(hub, six, repo="alone"))
    assert not hub.requests
    unknown = push(hub, six, token="hf_unknown")  # noqa: S106
    assert "does not know this token" in refused(unknown)
    line = refused(push(hub, six, token=READER))
    assert "may not write" in line
    assert "/settings/tokens" in line
    hub.fail("POST", "/repos/create", 403, times=1)
    assert "may not write" in refused(push(hub, six))
    nobody = push(hub, six, HF_ENDPOINT="http://127.0.0.1:9")
    assert "cannot be reached, also after several attempts" in refused(nobody)
    assert "at HF_ENDPOINT (hub)" in refused(push(hub, six, HF_ENDPOINT="hub"))
    assert "HF_HUB_OFFLINE" in refused(push(hub, six, HF_HUB_OFFLINE="1"))
    with pytest.raises(Exception, match="not found"):
        hub.files("acp/a")


LOUD = {"HF_DEBUG": "1", "HF_HUB_VERBOSITY": "debug", "RUST_LOG": "debug"}


@pytest.mark.parametrize("role", ["write", "read", "unknown"])
def test_the_token_is_never_printed(hub: Hub, six: Path, role: str) -> None:
    secret = "hf_SecretOfNobody0123456789"  # noqa: S105
    if role != "unknown":
        hub.tokens[secret] = role
    hub.fail("GET", "/datasets/acp/a$", 503, times=1)
    hub.fail("PUT", "/lfs/", 503, times=1)
    hub.fail("POST", "/commit/", "drop", times=1)
    said = ""
    others = [f"{secret} x", f"{secret}\u00e9"] if role == "unknown" else []
    for token in (f"{secret}\n", *others):
        ran = push(hub, six, "-v", token=token, **LOUD)
        assert ran.returncode == (0 if role == "write" else 1)
        said += ran.stdout + ran.stderr
    assert "SecretOfNobody" not in said
    assert "Traceback" not in said
    assert "HTTP Request: GET" in said
    assert ("/commit/" in said) == (role == "write")


def test_what_libraries_log_has_no_secrets(
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.WARNING, "huggingface_hub")
    monkeypatch.setenv("HF_TOKEN", "another sort of token")
    logger = logging.getLogger("huggingface_hub")
    handler = logging.StreamHandler()
    monkeypatch.setattr(logger, "handlers", [handler])
    keep_secrets_out()
    logger.warning("PUT https://x/y?X-Signature=abc with another sort of token, hf_abcdefgh")
    logger.warning("GET http://me:password@x:1/y")
    for _ in range(3):
        logger.warning("HTTP Error 500 thrown while requesting PUT http://x/lfs/1")
        logger.warning("Retrying in 1s [Retry 1/5].")
    assert capsys.readouterr().err.splitlines() == [
        "PUT https://x/y with ***, hf_***",
        "GET http://***@x:1/y",
        "HTTP Error 500 thrown while requesting PUT http://x/lfs/1",
    ]


def test_a_receipt_names_no_files_elsewhere(six: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(six, folder)
    (tmp_path / "secret").write_text("x")
    receipt = json.loads((folder / ".acp.json").read_text())
    receipt["sha256"]["../secret"] = "0" * 64
    (folder / ".acp.json").write_text(json.dumps(receipt))
    with pytest.raises(AcpError, match="secret: missing"):
        release_of(folder, "acp/a")
    for text in ("{}", "[" * 100_000):
        (folder / ".acp.json").write_text(text)
        with pytest.raises(AcpError, match="not a receipt"):
            release_of(folder, "acp/a")


@pytest.mark.parametrize("told", [ValueError, AcpError])
def test_a_folder_that_changes_while_it_is_checked(tmp_path: Path, told: type[Exception]) -> None:
    file = tmp_path / "set" / "raw" / "one.parquet"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"PAR1")
    with _unchanged(tmp_path / "set"):
        pass
    with pytest.raises(told, match="as it is"), _unchanged(tmp_path / "set"):
        raise told("as it is")
    with pytest.raises(AcpError, match="changed while"), _unchanged(tmp_path / "set"):
        file.write_bytes(b"PAR2+")


def test_a_folder_that_a_build_replaces_while_it_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "set" / "raw" / "one.parquet"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"PAR1")

    def replaced() -> None:
        shutil.rmtree(tmp_path / "set")
        file.stat()

    with pytest.raises(AcpError, match="changed while"), _unchanged(tmp_path / "set"):
        replaced()
