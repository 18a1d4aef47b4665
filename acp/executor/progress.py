"""Progress of a build: bars on a terminal, a line a minute without one."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from acp.core.progress import Advance, silent
from acp.pipeline.pipeline import AdvanceOf


def terminal() -> str:
    """The device of the terminal that standard error goes to, or "" if it goes elsewhere."""
    return os.ttyname(2) if os.isatty(2) else ""


LINE_EVERY_S = 60.0


def _lines(total: int, names: Sequence[str]) -> AdvanceOf:
    done, started = dict.fromkeys(names, 0), time.monotonic()
    last = started

    def advance_of(name: str) -> Advance:
        def advance(count: int) -> None:
            nonlocal last
            done[name] += count
            now = time.monotonic()
            if now - last < LINE_EVERY_S:
                return
            last = now
            share = sum(done.values()) / max(len(done) * total, 1)
            left = f"{(now - started) * (1 / share - 1) / 60:.0f} min left" if share else "begun"
            stages = ", ".join(f"{each} {number}" for each, number in done.items())
            sys.stderr.write(f"of {total} scenes: {stages}; {left}\n")
            sys.stderr.flush()

        return advance if name in done else silent

    return advance_of


@contextmanager
def bars(total: int, *names: str) -> Iterator[AdvanceOf]:
    """A bar a name for `total` scenes; gives the function that moves each. Without a terminal, a
    line a minute on standard error.

    The clock of a bar runs while its work does, so that its rate is that of its stage.
    """
    if not terminal():
        yield _lines(total, names)
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
