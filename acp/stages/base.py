"""The interface of a stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

from acp.types import Scene

Advance = Callable[[int], object]
"""Called with the number of scenes that have just been done."""


def silent(count: int) -> None:
    """An `Advance` that shows nothing."""


class Stage(Protocol):
    """Scenes in, the same scenes with one thing more out, in the same order.

    A scene that carries a `reject` passes through untouched. A stage that cannot do its part for a
    scene returns it with `reject` set to "<stage>: <reason>"; it never drops one and never raises
    for one.
    """

    name: ClassVar[str]

    def __call__(self, scenes: Sequence[Scene], advance: Advance = silent) -> list[Scene]: ...
