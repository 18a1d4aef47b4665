"""What ranks say to each other at the start of a build: by gloo, on CPUs, each step with a limit.

After the start they need no more of it: they share storage, and none waits for another's shards.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from acp.core.errors import AcpError, MissingRequirementError, one_line
from acp.executor.launch import Launch
from acp.executor.pulse import silence_seconds

TEXT_BYTES = 2048
"""The longest message; a longer one is cut."""
THREADS = "OMP_NUM_THREADS"


def start_seconds() -> float:
    """How long ranks wait for each other at the start; rank 0 may have shards to check first."""
    return 6 * silence_seconds()


def one_thread_each() -> None:
    """Models run on one CPU thread unless the user says otherwise, however many ranks there are:
    sums must not depend on their number. Of use before torch is imported."""
    os.environ.setdefault(THREADS, "1")


class LostContactError(AcpError):
    """A rank was not there, or ended, while the others counted on it at the start."""


class World:
    """All ranks of a launch, connected.

    Raises:
        LostContactError: not all came in time.
        AcpError: accelerate made another number of processes.
    """

    def __init__(self, launch: Launch, seconds: float) -> None:
        one_thread_each()
        self._launch = launch
        try:
            from accelerate import PartialState
        except ImportError:
            mend = "pip install accelerate"
            raise MissingRequirementError(f"several processes need accelerate: {mend}") from None
        with self._telling("not all of them came", seconds):
            # gloo: what is said are a few bytes, and a rank may have no GPU.
            state: Any = PartialState(cpu=True, backend="gloo", timeout=timedelta(seconds=seconds))
        self._state, self._seconds = state, seconds
        if state.num_processes != launch.size:
            raise AcpError(
                f"asked for {launch.size} processes, accelerate made {state.num_processes}"
            )

    def from_leader(self, text: str) -> str:
        """The text that rank 0 gives here; what the others give is not used."""
        import torch

        with self._telling("one of them ended"):
            message = _bytes(text)
            torch.distributed.broadcast(message, 0)
            return _text(message)

    def from_all(self, text: str) -> list[str]:
        """What each rank gives here, by rank."""
        import torch

        with self._telling("one of them ended"):
            messages = [_bytes("") for _ in range(self._launch.size)]
            torch.distributed.all_gather(messages, _bytes(text))
            return [_text(message) for message in messages]

    def close(self) -> None:
        """Part; nobody is missed from here on."""
        self._state.destroy_process_group()

    @contextmanager
    def _telling(self, what: str, seconds: float | None = None) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, ValueError, OSError) as error:
            reason = one_line(error, 160)
            limit = f" within {seconds:g} s" if seconds else ""
            launch = self._launch
            raise LostContactError(
                f"rank {launch.rank} of {launch.size} processes: {what}{limit} ({reason}); check "
                "that every machine was started with the same address and port of the main "
                "process; what is finished is kept: run the same command again"
            ) from None


def _bytes(text: str) -> Any:
    import torch

    data = text.encode()[:TEXT_BYTES]
    return torch.frombuffer(bytearray(data.ljust(TEXT_BYTES, b"\0")), dtype=torch.uint8)


def _text(message: Any) -> str:
    return bytes(message.tolist()).rstrip(b"\0").decode(errors="ignore")
