"""Where models are: which share memory, which GPU is this process's, what they take."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from acp.backends.base import Backend
from acp.core.errors import AcpError

ResidencyName = Literal["all", "one"]


class Placement:
    """Brings models into memory: `all` keeps each once it is there, `one` only the one in use.

    A model that the next backend shares (see `Backend.model_keys`) stays where it is.
    """

    def __init__(self, backends: Mapping[str, Backend], residency: ResidencyName) -> None:
        self._backends = backends
        self._one = residency == "one"
        self._present: dict[str, Backend] = {}

    def bring(self, kind: str) -> None:
        """Load the backend of `kind`; with `one`, after the others have given their memory back.

        Raises:
            AcpError: its model cannot be loaded.
        """
        wanted = self._backends[kind]
        keys = wanted.model_keys()
        # What shares only a part of its models goes after the load, so that the part stays.
        self._drop({k for k, b in self._others(kind) if not b.model_keys() & keys})
        self._present[kind] = wanted
        wanted.load()
        self._drop({k for k, b in self._others(kind) if not b.model_keys() <= keys})

    def _others(self, kind: str) -> list[tuple[str, Backend]]:
        return [(k, b) for k, b in self._present.items() if k != kind] if self._one else []

    def _drop(self, kinds: set[str]) -> None:
        for kind in kinds:
            self._present.pop(kind).unload()
        if kinds:
            free_memory()


def free_memory() -> None:
    """Give what nobody holds any more back to the system and to the GPU."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def one_thread_each() -> None:
    """Models run on one CPU thread unless the user says otherwise, however many processes there
    are: sums must not depend on their number. Of use before torch is imported."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def uses_gpu(recipe: Mapping[str, Any]) -> bool:
    """Whether a backend of a resolved recipe takes the GPU of its process, where there is one."""
    return any(
        uses_gpu(value)
        if isinstance(value, Mapping)
        else key == "device" and value in ("auto", "cuda")
        for key, value in recipe.items()
    )


def take_gpu(local_rank: int, local_size: int) -> None:
    """Make one GPU of this machine the one that `device: auto` means. Nothing without GPUs.

    Raises:
        AcpError: there are fewer GPUs than processes.
    """
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count and local_size > count:
        raise AcpError(
            f"{local_size} processes on a machine with {count} GPUs; start at most one for each GPU"
        )
    if count:
        torch.cuda.set_device(local_rank)


@dataclass
class Measures:
    """Seconds and, on a GPU, the peak of allocated bytes of each part of the work, by name."""

    seconds: dict[str, float] = field(default_factory=dict)
    peak_bytes: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Measure the block; seconds of the same name add up, of peaks the highest counts."""
        gpu = _gpu()
        if gpu is not None:
            gpu.reset_peak_memory_stats()
        started = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - started
            self.seconds[name] = self.seconds.get(name, 0.0) + spent
            gpu = _gpu()  # the block may have been the first to use it
            if gpu is not None:
                peak = int(gpu.max_memory_allocated())
                self.peak_bytes[name] = max(self.peak_bytes.get(name, 0), peak)


def _gpu() -> Any:
    """`torch.cuda` where this process uses a GPU, else None. Imports nothing."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None
