"""A data set on disk, or on the Hub and then fetched into the cache by the normal client."""

from __future__ import annotations

import glob
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from acp.core.errors import AcpError, one_line, without_token
from acp.core.progress import Tell
from acp.dataset.check.card_yaml import README
from acp.dataset.receipt import RECEIPT

if TYPE_CHECKING:
    from datasets import DatasetBuilder

Located = tuple[Path, dict[str, "DatasetBuilder"]]


def locate(name: str, revision: str | None, config: str | None, tell: Tell) -> Located:
    """The folder or file of a data set, on disk or fetched from the Hub.

    With a configuration only its files are fetched, and the card and the receipt; then also how
    `load_dataset` reads it, which cannot be told from a part.

    Raises:
        AcpError: there is none of that name, it is gated or private, or the Hub cannot be reached.
    """
    path = Path(name).expanduser()
    try:
        known = path.exists()
    except OSError:  # too long for a name
        known = False
    if not known:
        if name.startswith((".", "/", "~")) or name.count("/") > 1 or not name:
            raise AcpError(f"{name[:200] or 'DATASET'}: no such folder or file")
        return _fetch(name, revision, config, tell)
    if not (path.is_dir() or path.is_file()):
        raise AcpError(f"{name}: neither a folder nor a file")
    if revision is not None:
        raise AcpError(f"--revision {revision}: {name} is on disk; leave out --revision")
    return path, {}


def _fetch(repo: str, revision: str | None, config: str | None, tell: Tell) -> Located:
    import huggingface_hub.errors as hub_errors
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    transport: type[Exception] = hub_errors.HTTPError  # type: ignore[attr-defined]
    disable_progress_bars()
    tell(f"fetching {repo}")
    try:
        if config is not None and not constants.HF_HUB_OFFLINE:
            return _fetch_config(repo, revision, config)
        return Path(snapshot_download(repo, repo_type="dataset", revision=revision)), {}
    except (OSError, ValueError, transport) as error:
        reason = one_line(_explained(error, repo, revision))
        raise AcpError(without_token(f"{repo}: {reason}")) from None


def _fetch_config(repo: str, revision: str | None, config: str) -> Located:
    from datasets import load_dataset_builder
    from huggingface_hub import snapshot_download

    with TemporaryDirectory() as cache:
        builder = load_dataset_builder(repo, config, revision=revision, cache_dir=cache)
    files = builder.config.data_files or {}  # hf://datasets/REPO@COMMIT/PATH
    paths = {
        split: [file.split("@")[1].partition("/")[2] for file in files[split]] for split in files
    }
    wanted = [README, RECEIPT, *(glob.escape(path) for each in paths.values() for path in each)]
    folder = snapshot_download(repo, repo_type="dataset", revision=revision, allow_patterns=wanted)
    here = Path(folder).resolve()  # from now on it reads what was fetched
    builder.config.data_files = {
        split: [(here / path).as_posix() for path in each] for split, each in paths.items()
    }
    return here, {config: builder}


def _explained(error: BaseException, repo: str, revision: str | None) -> str:
    import huggingface_hub.errors as hub_errors
    from datasets.exceptions import DatasetsError
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
    if isinstance(error, DatasetsError) or type(error) is ValueError:
        return f"load_dataset cannot read it: {error}"
    if getattr(error, "filename", None):
        return f"{error.filename}: {error.strerror}"  # type: ignore[attr-defined]
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"no such folder, and {constants.ENDPOINT} cannot be reached ({reason})"
