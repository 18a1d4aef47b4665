"""Files and splits as `datasets` finds and reads them."""

from __future__ import annotations

from pathlib import Path

from acp.core.errors import AcpError
from acp.dataset.check.found import UNKNOWN, Found, Part

_NO_DATA = {".md", ".yaml", ".yml", ".py", ".toml"}


def by_name(base: Path) -> dict[str, list[Path]]:
    """The data files of a folder by split, as `datasets` finds them by their names."""
    from datasets.data_files import DataFilesDict, EmptyDatasetError, get_data_patterns

    place = base.resolve().as_posix()
    try:
        splits = DataFilesDict.from_patterns(get_data_patterns(place), place)
    except (EmptyDatasetError, FileNotFoundError):
        return {}
    return {str(split): _data_files(files) for split, files in splits.items()}


def _data_files(files: list[str]) -> list[Path]:
    return [Path(file) for file in files if Path(file).suffix.lower() not in _NO_DATA]


def part_of(found: Found, config: str, split: str, files: list[Path]) -> Part:
    """A split of the files, with what `datasets` reads them with and without what it leaves out."""
    from datasets.data_files import DataFilesList
    from datasets.load import infer_module_for_data_files_list
    from datasets.packaged_modules import (
        _MODULE_TO_EXTENSIONS,
        _MODULE_TO_METADATA_EXTENSIONS,
        _MODULE_TO_METADATA_FILE_NAMES,
    )

    root = found.root.resolve()
    named = tuple(
        found.root / file.relative_to(root) if file.is_relative_to(root) else file for file in files
    )
    listed = DataFilesList([str(file) for file in named], [])
    module, _ = infer_module_for_data_files_list(listed)
    if module is None:
        return Part(config, split, UNKNOWN, named)
    listed = listed.filter(  # as load_dataset does, which leaves out what stands beside the data
        extensions=_MODULE_TO_EXTENSIONS[module] + _MODULE_TO_METADATA_EXTENSIONS[module],
        file_names=_MODULE_TO_METADATA_FILE_NAMES[module],
    )
    return Part(config, split, module, tuple(map(Path, listed)))


def module_of_file(path: Path) -> str:
    """What `datasets` reads a single file with.

    Raises:
        AcpError: it is not a format of data sets.
    """
    from datasets.data_files import DataFilesList
    from datasets.load import infer_module_for_data_files_list

    module, _ = infer_module_for_data_files_list(DataFilesList([path.as_posix()], []))
    if module is None or path.suffix.lower() in _NO_DATA:
        raise AcpError(f"{path}: not a format of data sets; expected e.g. .parquet or .jsonl")
    return str(module)
