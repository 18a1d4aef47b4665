"""Requests as lines for `-v`, and no token in what libraries log."""

from __future__ import annotations

import logging
import re

from acp.core.errors import without_token

_QUERY = re.compile(r"\?\S*")


class _NoSecrets(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        # The addresses that uploads go to are signed in their query.
        return without_token(_QUERY.sub("", super().format(record)))


class _ToldOnce(logging.Filter):
    """Of requests that fail and are made again, the first failure of each."""

    def __init__(self) -> None:
        super().__init__()
        self._told: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        line = record.getMessage()
        if line.startswith("Retrying in "):
            return False
        if " thrown while requesting " not in line:
            return True
        again = line in self._told
        self._told.add(line)
        return not again


def keep_secrets_out() -> None:
    """Take tokens out of what huggingface_hub logs, at any verbosity, and tell of a failure
    that is tried again in one line, once."""
    from huggingface_hub.utils.logging import get_logger

    for handler in get_logger("huggingface_hub").handlers:
        handler.setFormatter(_NoSecrets())
        handler.addFilter(_ToldOnce())


def show_requests() -> None:
    """A line for each request on standard error: method, address, status."""
    handler = logging.StreamHandler()
    handler.setFormatter(_NoSecrets())
    for name in ("httpx", "httpx2"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        logger.propagate = False
