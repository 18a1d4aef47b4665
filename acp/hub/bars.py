"""The progress bars of huggingface_hub, where they are of use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants
from huggingface_hub.utils.tqdm import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)


@contextmanager
def no_bars(*, but_on_terminals: bool = False) -> Iterator[None]:
    """No bars meanwhile, unless HF_HUB_DISABLE_PROGRESS_BARS decides."""
    decided = constants.HF_HUB_DISABLE_PROGRESS_BARS is not None or are_progress_bars_disabled()
    if decided or (but_on_terminals and sys.stderr.isatty()):
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
