"""Progress bars: one for each stage, with rate and remaining time; none without a terminal."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from acp.core.progress import Advance, silent
from acp.pipeline.pipeline import STAGE_NAMES, AdvanceOf


def terminal() -> str:
    """The device of the terminal that standard error goes to, or "" if it goes elsewhere."""
    return os.ttyname(2) if os.isatty(2) else ""


@contextmanager
def stage_bars(scenes: int, device: str) -> Iterator[AdvanceOf]:
    """Bars for `scenes` scenes on a terminal; gives the function that moves the bar of a stage.

    The clock of a bar runs while its stage is at work, so that its rate is that of the stage.
    """
    if not device:
        yield lambda name: silent
        return
    from huggingface_hub.utils.tqdm import tqdm

    with ExitStack() as stack:
        screen = stack.enter_context(open(device, "w"))  # noqa: PTH123 - a device, not a file
        bars = {
            name: tqdm(  # type: ignore[no-untyped-call]
                total=scenes,
                desc=f"{name:>8}",
                unit="scene",
                position=place,
                file=screen,
                mininterval=0,
            )
            for place, name in enumerate(STAGE_NAMES)
        }

        def advance_of(name: str) -> Advance:
            bars[name].unpause()
            advance: Advance = bars[name].update
            return advance

        try:
            yield advance_of
        finally:
            for bar in bars.values():
                bar.close()
