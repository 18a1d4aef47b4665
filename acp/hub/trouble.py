"""What went wrong on the Hub, in one line with the mend; no token is ever in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import huggingface_hub.errors as hub_errors
from huggingface_hub import constants
from huggingface_hub.errors import (
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from acp.core.errors import AcpError, without_token
from acp.hub.retries import passing, reason_of
from acp.hub.target import Target

_TRANSPORT: type[Exception] = hub_errors.HTTPError  # type: ignore[attr-defined]
_GOES_ON = "the same command goes on where this one ended"
_MEND = "make one with write access on {endpoint}/settings/tokens and run hf auth login"


@contextmanager
def told_in_one_line(target: Target, done: str) -> Iterator[None]:
    """Turn errors of the Hub, of the network and of files into an AcpError.

    `done` says what is in the repository now.
    """
    try:
        yield
    except AcpError:
        raise
    except (OSError, ValueError, RuntimeError, _TRANSPORT) as error:
        line = f"{target.repo}: {_told(error, target)}; {done}"
        raise AcpError(without_token(" ".join(line.split()))) from None


def _told(error: BaseException, target: Target) -> str:
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so nothing can be sent; unset it"
    if isinstance(error, UnicodeEncodeError):
        return "the token has characters that no token has; run hf auth login again"
    if isinstance(error, HfHubHTTPError):
        return _answered(error, target)
    if passing(error):
        return (
            f"{reason_of(error)}, also after several attempts ({constants.ENDPOINT}); try again "
            f"later: {_GOES_ON}"
        )
    if isinstance(error, _TRANSPORT):
        what = f"the request cannot be made ({type(error).__name__})"
        return f"{what}; look at the token, and at HF_ENDPOINT ({constants.ENDPOINT})"
    if isinstance(error, ConnectionError):  # of hf_xet, which has tried for minutes
        return f"the connection was lost ({error}); try again later: {_GOES_ON}"
    if error.__cause__ is not None:
        return _told(error.__cause__, target)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {(error.strerror or str(error)).lower()}"
    return str(error)


def _answered(error: HfHubHTTPError, target: Target) -> str:
    status = error.response.status_code
    new_token = _MEND.format(endpoint=constants.ENDPOINT)
    if isinstance(error, RevisionNotFoundError):
        return f"{target.branch} is not there any more; push again"
    if status == 401:
        return f"the Hub does not know this token; {new_token}"
    if status == 403:
        said = f" ({error.server_message})" if error.server_message else ""
        return f"this token may not write to it{said}; {new_token}, or choose another --repo"
    if isinstance(error, RepositoryNotFoundError):
        return f"no such {target.kind}, or this token may not see it; {new_token}"
    if passing(error):
        return f"{reason_of(error)}, also after several attempts; try again later: {_GOES_ON}"
    return f"the Hub answered {status}: {error.server_message or 'no reason given'}"
