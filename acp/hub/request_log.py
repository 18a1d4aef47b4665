"""Requests as lines for `-v`, and no token in what libraries log."""

from __future__ import annotations

import logging
import re

from acp.hub.trouble import without_token

_QUERY = re.compile(r"\?\S*")


class _WithoutToken(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return without_token(super().format(record))


class _WithoutQuery(_WithoutToken):
    def format(self, record: logging.LogRecord) -> str:
        return _QUERY.sub("", super().format(record))  # addresses of uploads are signed there


def keep_tokens_out() -> None:
    """Take tokens out of what huggingface_hub logs, at any verbosity."""
    from huggingface_hub.utils.logging import get_logger

    for handler in get_logger("huggingface_hub").handlers:
        handler.setFormatter(_WithoutToken())


def show_requests() -> None:
    """A line for each request on standard error: method, address, status."""
    handler = logging.StreamHandler()
    handler.setFormatter(_WithoutQuery())
    for name in ("httpx", "httpx2"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        logger.propagate = False
