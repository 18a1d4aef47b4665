"""How long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

Advance = Callable[[int], object]
"""A function called with the number of things that have just been done."""


def silent(count: int) -> None:
    """An `Advance` that shows nothing."""


Tell = Callable[[str], object]
"""A function called with a line for the user."""
