"""Signs of life on shared storage: each process renews a file of its own, others watch it.

What counts is that the file changes, judged by the clock of whoever watches: clocks of several
machines need not agree.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SILENCE_SECONDS = 300.0
POLL_SECONDS = 0.2


def silence_seconds() -> float:
    """How long a rank may be silent before it counts as dead: $ACP_RANK_TIMEOUT, else 300 s."""
    try:
        return max(1.0, float(os.environ["ACP_RANK_TIMEOUT"]))
    except (KeyError, ValueError):
        return SILENCE_SECONDS


@contextmanager
def beating(path: Path, limit: float, check: Callable[[], object]) -> Iterator[None]:
    """Renew `path` while the block runs, often enough for watchers that wait `limit` seconds;
    `check` is called each time."""
    done = threading.Event()

    def beat() -> None:
        count = 0
        while not done.wait(min(5.0, limit / 10)):
            count += 1
            with contextlib.suppress(OSError):  # a full disk must not look like a death at once
                path.write_text(str(count), encoding="ascii")
            check()

    path.write_text("0", encoding="ascii")
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class Watch:
    """Tells whether the process that renews a file is alive."""

    def __init__(self, path: Path, limit: float) -> None:
        self._path = path
        self._limit = limit
        self._seen = ""
        self._since = time.monotonic()

    def alive(self) -> bool:
        """Whether the file has changed within the limit. Call it often."""
        now = ""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            now = self._path.read_text(encoding="ascii")
        if now != self._seen:
            self._seen, self._since = now, time.monotonic()
        return time.monotonic() - self._since < self._limit
