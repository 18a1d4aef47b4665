"""Progress bars of a build on a terminal; none without one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from acp.core.progress import Advance, silent
from acp.pipeline.pipeline import AdvanceOf


def terminal() -> str:
    """The device of the terminal that standard error goes to, or "" if it goes elsewhere."""
    return os.ttyname(2) if os.isatty(2) else ""


@contextmanager
def bars(total: int, *names: str) -> Iterator[AdvanceOf]:
    """A bar a name for `total` scenes, if there is a terminal; gives the function that moves each.

    The clock of a bar runs while its work does, so that its rate is that of its stage.
    """
    if not terminal():
        yield lambda name: silent
        return
    from huggingface_hub.utils.tqdm import tqdm

    shown = {
        name: tqdm(total=total, desc=f"{name:>8}", unit="scene", position=place, mininterval=0)  # type: ignore[no-untyped-call]
        for place, name in enumerate(names)
    }

    def advance_of(name: str) -> Advance:
        if name not in shown:
            return silent
        shown[name].unpause()
        advance: Advance = shown[name].update
        return advance

    try:
        yield advance_of
    finally:
        for bar in shown.values():
            bar.close()
