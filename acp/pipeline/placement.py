"""Which models are in memory together, and how much memory and time they take."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from acp.backends.base import Backend

ResidencyName = Literal["all", "one"]


class Residency:
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
