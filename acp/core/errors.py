"""The one exception that means "the user can mend this"."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\bhf_[A-Za-z0-9_]{6,}")
_USER = re.compile(r"(?<=://)[^/?#\s]*@")


class AcpError(Exception):
    """A mistake in the input or the set-up, told in one line: what, where, and the mend.

    The command line prints it without a traceback and exits with 1.
    """


class MissingRequirementError(AcpError):
    """A package or an asset that a backend needs is not there."""


class ToldElsewhereError(AcpError):
    """An error that another rank has told already; this one ends without a word."""


def shown(text: str) -> str:
    r"""Text with escapes for what a terminal obeys or cannot show; names and values of data may
    hold anything.

    >>> print(shown("red: \x1b[31m"))
    red: \x1b[31m
    """
    return "".join(
        letter
        if letter.isprintable() or letter == "\n"
        else letter.encode("unicode_escape").decode()
        for letter in text
    )


def without_token(text: str) -> str:
    """`text` with every token replaced, and what stands before the `@` of an address."""
    from huggingface_hub import get_token

    token = get_token()
    return _USER.sub("***@", _TOKEN.sub("hf_***", text.replace(token, "***") if token else text))
