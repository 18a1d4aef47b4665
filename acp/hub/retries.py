"""Requests that failed for a moment are made again; what cannot be mended by waiting is not."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import huggingface_hub.errors as hub_errors
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

Tell = Callable[[str], None]
T = TypeVar("T")

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds between the attempts of a request."""

LONGEST = 300
"""Seconds that the Hub may ask for: the window of its limits."""

_AGAIN = {408, 429}
_TRANSPORT: type[Exception] = hub_errors.HTTPError  # type: ignore[attr-defined]
"""The root of the errors of the HTTP library that huggingface_hub uses, whichever it is."""

_OURS = {"LocalProtocolError", "UnsupportedProtocol", "InvalidURL", "TooManyRedirects"}


def retried(call: Callable[[], T], what: str, tell: Tell, pauses: Sequence[float] = PAUSES) -> T:
    """The answer of `call`, which is made again after 5xx answers and dropped connections.

    `what` names it in the line that tells of each failure.
    """
    for pause in pauses:
        try:
            return call()
        except Exception as error:
            if not passing(error):
                raise
            wait = wait_after(error, pause)
            tell(f"{what}: {reason_of(error)}; again in {wait:g} s")
        time.sleep(wait)
    return call()


def wait_after(error: BaseException, pause: float) -> float:
    """Seconds until the next attempt: `pause`, or what the Hub asks for if that is longer."""
    if not isinstance(error, HfHubHTTPError):
        return pause
    headers = error.response.headers
    asked = re.fullmatch(r"([0-9]{1,9})", headers.get("retry-after", ""))
    if error.response.status_code == 429 and asked is None:  # as in: "api";r=0;t=55
        asked = re.search(r"\bt *= *([0-9]{1,9})", headers.get("ratelimit", ""))
    return max(pause, min(int(asked[1]), LONGEST)) if asked else pause


def passing(error: BaseException) -> bool:
    """Whether the same request may be answered a moment later."""
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        return status >= 500 or status in _AGAIN
    if isinstance(error, OfflineModeIsEnabled):
        return False
    if isinstance(error, _TRANSPORT):
        return type(error).__name__ not in _OURS
    return error.__cause__ is not None and passing(error.__cause__)


def reason_of(error: BaseException) -> str:
    """What happened, in a few words without addresses or headers."""
    if isinstance(error, HfHubHTTPError):
        return f"the Hub answered {error.response.status_code}"
    if isinstance(error, _TRANSPORT):
        return _WORDS.get(type(error).__name__, "the connection was lost")
    return reason_of(error.__cause__) if error.__cause__ else type(error).__name__


_WORDS = {
    "ConnectError": "the Hub cannot be reached",
    "ConnectTimeout": "the Hub cannot be reached",
    "ReadTimeout": "no answer in time",
    "ProxyError": "the proxy refused the connection",
}
