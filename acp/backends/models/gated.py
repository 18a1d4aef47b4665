"""Models of the Hub that are given only to those who accepted their licence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from acp.core.errors import AcpError

_SIGNS = ("gated repo", "401 client error", "403 client error", "is restricted")


@contextmanager
def explaining_access(model: str, who: str) -> Iterator[None]:
    """Says in one line what to do where the Hub refuses to give `model`.

    Raises:
        AcpError: in place of an error that came of a refusal.
    """
    try:
        yield
    except Exception as error:
        if not _refused(error):
            raise
        raise AcpError(
            f"{who}: the Hub does not give {model}: accept its licence on "
            f"https://huggingface.co/{model}, then log in: hf auth login"
        ) from None


def _refused(error: BaseException | None) -> bool:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in {401, 403} or any(sign in str(error).lower() for sign in _SIGNS):
            return True
        error = error.__cause__ or error.__context__
    return False
