"""Where this process stands among those that a launcher started: its rank, and its GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from acp.core.errors import AcpError, ToldElsewhereError
from acp.pipeline.recipe import Recipe

HOW = (
    "start several with `accelerate launch --multi_gpu --num_processes N` (it does so without GPUs "
    "too) or with `torchrun --nproc_per_node N`"
)


@dataclass(frozen=True, slots=True)
class Launch:
    """Rank and number of processes, of all machines and of this one."""

    rank: int
    size: int
    local_rank: int
    local_size: int

    @property
    def leads(self) -> bool:
        """Whether this is the process that opens the build, releases it and speaks."""
        return self.rank == 0


def launched(asked: int | None, environment: Mapping[str, str] | None = None) -> Launch | None:
    """The place of this process among those a launcher started; None if it was started alone.

    Args:
        asked: how many processes the user asked of `acp build`, if any.
        environment: where torchrun and accelerate note it; that of the process if None.

    Raises:
        AcpError: there are not as many processes as were asked for.

    >>> launched(2, {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"})
    Launch(rank=1, size=2, local_rank=1, local_size=2)
    >>> launched(2, {}) is None
    True
    """
    found = os.environ if environment is None else environment
    if "RANK" in found and "WORLD_SIZE" in found:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        launch = Launch(*(int(found.get(name, 1)) for name in names))
        if asked not in (None, launch.size):
            kind = AcpError if launch.leads else ToldElsewhereError
            raise kind(
                f"--nproc {asked}, but the launcher started {launch.size} processes; give both the "
                "same number, or leave --nproc out"
            )
        return launch
    if "ACCELERATE_MIXED_PRECISION" in found:  # accelerate's way for a process alone
        several = "MASTER_PORT" in found  # it was asked for more, but does not say how many
        if several or asked not in (None, 1):
            wanted = asked or "several"
            raise AcpError(f"asked for {wanted} processes, accelerate launch made 1; {HOW}")
    return None


def take_gpu(launch: Launch, recipe: Recipe) -> None:
    """Make the GPU of this rank the one that `device: auto` means. Nothing without GPUs.

    Raises:
        AcpError: the recipe uses GPUs and this machine has fewer than ranks.
    """
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count and launch.local_size > count and uses_gpu(recipe):
        raise AcpError(
            f"{launch.local_size} processes on a machine with {count} GPUs; start at most one for "
            "each GPU"
        )
    if launch.local_rank < count:
        torch.cuda.set_device(launch.local_rank)


def uses_gpu(recipe: Recipe) -> bool:
    """Whether a backend of the recipe takes the GPU of its process, where there is one."""
    return any(device in ("auto", "cuda") for device in _devices(recipe.resolved()))


def _devices(values: Mapping[str, Any]) -> Iterator[Any]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _devices(value)
        elif key == "device":
            yield value
