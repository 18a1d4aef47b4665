"""Requests as lines for `-v`, and no token in what libraries log."""

from __future__ import annotations

import logging
import re

from acp.hub.trouble import without_token

_QUERY = re.compile(r"\?\S*")


class _NoSecrets(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        # The addresses that uploads go to are signed in their query.
        return without_token(_QUERY.sub("", super().format(record)))


def keep_secrets_out() -> None:
    """Take tokens out of what huggingface_hub logs, at any verbosity, and tell of a failure
    that is tried again in one line."""
    from huggingface_hub.utils.logging import get_logger

    for handler in get_logger("huggingface_hub").handlers:
        handler.setFormatter(_NoSecrets())
        handler.addFilter(lambda record: not record.getMessage().startswith("Retrying in "))


def show_requests() -> None:
    """A line for each request on standard error: method, address, status."""
    handler = logging.StreamHandler()
    handler.setFormatter(_NoSecrets())
    for name in ("httpx", "httpx2"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        logger.propagate = False
