"""A data set on the Hub, fetched into the cache by the normal client."""

from __future__ import annotations

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


def locate(
    name: str, revision: str | None, config: str | None, split: str | None, tell: Tell
) -> Located:
    """The folder or file of a data set, on disk or fetched from the Hub.

    With a configuration or a split only its files are fetched, and the card and the receipt; then
    also, by configuration, how `load_dataset` reads them, which cannot be told from a part.

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
        return _fetch_or_explain(name, revision, config, split, tell)
    if not (path.is_dir() or path.is_file()):
        raise AcpError(f"{name}: neither a folder nor a file")
    if revision is not None:
        raise AcpError(f"--revision {revision}: {name} is on disk; leave out --revision")
    return path, {}


def _fetch_or_explain(
    repo: str, revision: str | None, config: str | None, split: str | None, tell: Tell
) -> Located:
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
            return Path(cached), {}
    except (OSError, ValueError, transport) as error:
        reason = one_line(_explained(error, repo, revision))
        raise AcpError(without_token(f"{repo}: {reason}")) from None


def _fetch(
    repo: str, revision: str | None, config: str | None, split: str | None, tell: Tell
) -> Located:
    from huggingface_hub import HfApi, snapshot_download

    info = HfApi().dataset_info(repo, revision=revision, files_metadata=True)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    chosen, start = set(sizes), f"hf://datasets/{repo}@{info.sha}/"
    builders: dict[str, DatasetBuilder] = {}
    if config is not None or split is not None:
        builders = _builders(repo, str(info.sha), config)
        chosen = {README, RECEIPT} & set(sizes)
        for builder in builders.values():
            files = builder.config.data_files or {}
            chosen |= {
                file.removeprefix(start)
                for each in files
                for file in files[each]
                if split in (None, str(each))
            }
    size = sum(sizes[name] for name in chosen)
    tell(f"fetching {len(chosen)} files, {size / 1e6:.1f} MB, of {repo}")
    folder = snapshot_download(
        repo,
        repo_type="dataset",
        revision=revision,  # by its name, so that the cache knows it when there is no network
        allow_patterns=[_literal(name) for name in chosen] if builders else None,
    )
    for builder in builders.values():  # from now on they read what was fetched
        here = f"{Path(folder).resolve().as_posix()}/"
        files = builder.config.data_files or {}
        builder.config.data_files = {
            each: [file.replace(start, here) for file in names] for each, names in files.items()
        }
    return Path(folder), builders


def _builders(repo: str, sha: str, config: str | None) -> dict[str, DatasetBuilder]:
    """How `load_dataset` reads the configurations of a data set on the Hub, or one of them."""
    from datasets import get_dataset_config_names, load_dataset_builder

    configs = [str(name) for name in get_dataset_config_names(repo, revision=sha)]
    if config is not None and config not in configs:
        raise AcpError(f"{repo}: no config {config!r}; it has {', '.join(configs)}")
    with TemporaryDirectory() as cache:
        return {
            name: load_dataset_builder(repo, name, revision=sha, cache_dir=cache)
            for name in configs
            if config in (None, name)
        }


def _literal(name: str) -> str:
    """A pattern that matches this name alone."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


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
