"""What goes wrong on the way to the Hub: what is tried again, and how the rest is told."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import huggingface_hub.errors as hub_errors
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError
from huggingface_hub.utils._http import parse_ratelimit_headers
from huggingface_hub.utils.tqdm import disable_progress_bars

from acp.core.errors import AcpError, one_line, without_token
from acp.core.progress import Tell

T = TypeVar("T")

HTTPError: type[Exception] = hub_errors.HTTPError  # type: ignore[attr-defined]
"""The root of the errors of the HTTP library that huggingface_hub uses, whichever it is."""

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds between the attempts."""

LONGEST = 300
"""Seconds that the Hub may ask for: the window of its limits."""

_LOST = {"TimeoutException", "NetworkError", "RemoteProtocolError", "ProxyError"}
"""Errors of a connection which may be there again a moment later."""

_GOES_ON = "also after several attempts; try again later: the same command goes on where it was"
_QUERY = re.compile(r"\?\S*")


def retried(attempt: Callable[[], T], tell: Tell) -> T:
    """The result of `attempt`, made again after answers of 5xx, 408 and 429 and lost connections.

    huggingface_hub itself does so for what is large and what is listed; `attempt` has to find out
    how far the one before it came. `tell` gets a line for each that failed.
    """
    for pause in PAUSES:
        try:
            return attempt()
        except Exception as error:
            if not passing(error):
                raise
            wait = max(pause, _asked_for(error))
            tell(f"{_reason(error)}; again in {wait:g} s")
        time.sleep(wait)
    return attempt()


def passing(error: BaseException) -> bool:
    """Whether the same request may be answered a moment later."""
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        return status >= 500 or status in (408, 429)
    if isinstance(error, HTTPError):
        return any(kind.__name__ in _LOST for kind in type(error).__mro__)
    return error.__cause__ is not None and passing(error.__cause__)


def _asked_for(error: BaseException) -> int:
    """Seconds that the Hub asks to wait for."""
    if not isinstance(error, HfHubHTTPError):
        return 0
    headers = error.response.headers
    limit = parse_ratelimit_headers(headers)
    spent = limit is not None and limit.remaining == 0
    seconds = headers.get("retry-after") or (limit.reset_in_seconds if limit and spent else 0)
    return min(int(seconds), LONGEST) if str(seconds).isdecimal() else 0


def _reason(error: BaseException) -> str:
    """What happened, in a few words without addresses."""
    if isinstance(error, HfHubHTTPError):
        return f"the Hub answered {error.response.status_code}"
    if error.__cause__ is not None and not isinstance(error, HTTPError):
        return _reason(error.__cause__)
    away = "Connect" in type(error).__name__
    return "the Hub cannot be reached" if away else "the connection was lost"


@contextmanager
def in_one_line(repo: str, state: Callable[[], str]) -> Iterator[None]:
    """Turn errors of the Hub, of the network and of files into an AcpError without a token.

    `state` says what is in the repository then.
    """
    try:
        yield
    except (OSError, ValueError, RuntimeError, HTTPError) as error:
        line = f"{repo}: {_explained(error)}; {state()}"
        raise AcpError(without_token(one_line(line))) from None


def _explained(error: BaseException) -> str:
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so nothing can be sent; unset it"
    if isinstance(error, UnicodeEncodeError):
        return "the token has characters that no token has; run hf auth login again"
    if passing(error) or isinstance(error, ConnectionError):  # the latter of hf_xet
        return f"{_reason(error)} ({constants.ENDPOINT}), {_GOES_ON}"
    if isinstance(error, HfHubHTTPError):
        return _refusal(error)
    if isinstance(error, HTTPError):
        what = f"the request cannot be made ({type(error).__name__})"
        return f"{what}; look at the token, and at HF_ENDPOINT ({constants.ENDPOINT})"
    if error.__cause__ is not None:
        return _explained(error.__cause__)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {(error.strerror or str(error)).lower()}"
    return str(error)


def _refusal(error: HfHubHTTPError) -> str:
    status = error.response.status_code
    page = f"{constants.ENDPOINT}/settings/tokens"
    new_token = f"make one with write access on {page} and run hf auth login"
    if status == 401:
        return f"the Hub does not know this token; {new_token}"
    if status == 403:
        said = f" ({error.server_message})" if error.server_message else ""
        return f"this token may not write to it{said}; {new_token}, or choose another --repo"
    if isinstance(error, RepositoryNotFoundError):
        return f"no such repository, or this token may not see it; {new_token}"
    return f"the Hub answered {status}: {error.server_message or 'no reason given'}"


class _NoSecrets(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        # The addresses that uploads go to are signed in their query.
        return without_token(_QUERY.sub("", super().format(record)))


def guard_output(*, requests: bool) -> None:
    """From here on nothing that the libraries log shows a token or a signed address, and their
    bars are for terminals alone.

    `requests`: a line for each request on standard error, with method, address and status.
    """
    if not sys.stderr.isatty():
        disable_progress_bars()
    handler = logging.StreamHandler()
    handler.setFormatter(_NoSecrets())
    for name in ("huggingface_hub", "httpx", "httpx2"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        if requests and name != "huggingface_hub":
            logger.setLevel(logging.INFO)
