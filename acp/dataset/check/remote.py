"""A data set on the Hub, fetched into the cache by the normal client."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from acp.core.errors import AcpError
from acp.dataset.check.found import README
from acp.dataset.check.parts import find
from acp.dataset.receipt import RECEIPT

Tell = Callable[[str], None]


def fetch(
    repo: str, revision: str | None, config: str | None, split: str | None, tell: Tell
) -> tuple[Path, bool]:
    """The folder with the files of a data set, and whether it may hold but a part of them.

    With a configuration or a split only its files are fetched, and the card and the receipt.

    Raises:
        AcpError: there is none of that name, it is gated or private, or the Hub cannot be reached.
    """
    import huggingface_hub.errors as hub_errors
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    transport: type[Exception] = hub_errors.HTTPError  # type: ignore[attr-defined]
    disable_progress_bars()
    try:
        try:
            return _fetch(repo, revision, config, split, tell)
        except hub_errors.OfflineModeIsEnabled:
            cached = snapshot_download(
                repo, repo_type="dataset", revision=revision, local_files_only=True
            )
            return Path(cached), True
    except (OSError, ValueError, transport) as error:
        from acp.core.errors import without_token

        line = f"{repo}: {_told(error, repo, revision)}"
        raise AcpError(without_token(" ".join(line.split()))) from None


def _fetch(
    repo: str, revision: str | None, config: str | None, split: str | None, tell: Tell
) -> tuple[Path, bool]:
    from huggingface_hub import HfApi, snapshot_download

    info = HfApi().dataset_info(repo, revision=revision, files_metadata=True)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    wanted = None
    if config is not None or split is not None:
        wanted = _needed(repo, info.sha, sizes, config, split)
    chosen = list(sizes) if wanted is None else [name for name in sizes if name in wanted]
    size = sum(sizes[name] for name in chosen)
    tell(f"fetching {len(chosen)} files, {size / 1e6:.1f} MB, of {repo}")
    folder = snapshot_download(
        repo,
        repo_type="dataset",
        revision=revision,  # by its name, so that the cache knows it when there is no network
        allow_patterns=None if wanted is None else [_literal(name) for name in chosen],
    )
    return Path(folder), wanted is not None


def _needed(
    repo: str, revision: str | None, names: Iterable[str], config: str | None, split: str | None
) -> set[str]:
    """The files of a configuration or a split, found in a folder of the same names."""
    from huggingface_hub import hf_hub_download

    with TemporaryDirectory() as scratch:
        root = Path(scratch)
        for name in names:
            if not {"..", ""} & set(PurePosixPath(name).parts) and not name.startswith("/"):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).touch()
        kept = {README, RECEIPT} & set(names)
        for name in kept & {README}:
            fetched = hf_hub_download(repo, name, repo_type="dataset", revision=revision)
            (root / name).write_bytes(Path(fetched).read_bytes())
        found = find(repo, root, config, split, partial=True)
        return kept | {found.place(path) for part in found.parts for path in part.files}


def _literal(name: str) -> str:
    """A pattern that matches this name alone."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _told(error: BaseException, repo: str, revision: str | None) -> str:
    import huggingface_hub.errors as hub_errors
    from huggingface_hub import constants

    if isinstance(error, hub_errors.GatedRepoError):
        page = f"{constants.ENDPOINT}/datasets/{repo}"
        return f"is gated: accept its terms on {page}, then run hf auth login"
    if isinstance(error, hub_errors.RevisionNotFoundError):
        return f"has no revision {revision!r}"
    if isinstance(error, hub_errors.RepositoryNotFoundError):
        return "no such folder, and no such data set on the Hub (if it is private: hf auth login)"
    if isinstance(error, hub_errors.HFValidationError):
        return "no such folder, and no name of a data set on the Hub"
    if isinstance(error, hub_errors.LocalEntryNotFoundError) and constants.HF_HUB_OFFLINE:
        return "no such folder, and HF_HUB_OFFLINE is set; unset it to fetch it from the Hub"
    if isinstance(error, hub_errors.HfHubHTTPError):
        said = error.server_message or "no reason given"
        return f"the Hub answered {error.response.status_code} ({said}); try again later"
    if getattr(error, "filename", None):
        return f"{error.filename}: {error.strerror}"  # type: ignore[attr-defined]
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"no such folder, and {constants.ENDPOINT} cannot be reached ({reason})"
