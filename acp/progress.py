"""Progress bars: one for each stage, with rate and remaining time;
none where there is no terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from acp.pipeline import STAGE_NAMES, AdvanceOf


@contextmanager
def stage_bars(scenes: int, shown: bool = True) -> Iterator[AdvanceOf]:
    """Bars for `scenes` scenes; gives the function that moves the bar of a stage."""
    from huggingface_hub.utils.tqdm import tqdm

    with ExitStack() as stack:
        bars = {
            name: stack.enter_context(
                tqdm(  # type: ignore[no-untyped-call]
                    total=scenes,
                    desc=f"{name:>8}",
                    unit=" scenes",
                    position=place,
                    disable=None if shown else True,
                )
            )
            for place, name in enumerate(STAGE_NAMES)
        }
        yield lambda name: bars[name].update
