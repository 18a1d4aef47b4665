"""What the user can mend, told in one line, and how names and reasons are written there."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

_TOKEN = re.compile(r"\bhf_[A-Za-z0-9_]{6,}")
_USER = re.compile(r"(?<=://)[^/?#\s]*@")


class AcpError(Exception):
    """A mistake in the input or the set-up, told in one line: what, where, and the mend.

    The command line prints it without a traceback and exits with 1.
    """


class MissingRequirementError(AcpError):
    """A package or an asset that a backend needs is not there."""


class RowError(AcpError, ValueError):
    """A row that cannot be scored because it is not a row: a missing key, a wrong shape or type."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that is not installed or not fetched, and the command that gets it."""

    what: str
    mend: str


def closest(name: object, known: Iterable[str], count: int = 1, cutoff: float = 0.6) -> list[str]:
    """The known names spelled most like `name`, best first; may be empty.

    >>> closest("varaint", ["variant", "priors"])
    ['variant']
    """
    return difflib.get_close_matches(str(name), list(known), n=count, cutoff=cutoff)


def did_you_mean(name: object, known: Collection[str]) -> str:
    """What to say after a name that nobody knows: the nearest one, or all there are.

    >>> did_you_mean("smol", ["smollm2", "sampler"])
    "did you mean 'smollm2'?"
    >>> did_you_mean("gpt", ["smollm2", "sampler"])
    'known: smollm2, sampler'
    """
    near = closest(name, known)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def one_line(text: object, limit: int | None = None) -> str:
    r"""Text with single spaces and no line breaks, cut after `limit` characters.

    >>> one_line("no such\n  file", 7)
    'no such'
    """
    return " ".join(str(text).split())[:limit]


def reason_of(error: BaseException, limit: int | None = 200) -> str:
    r"""The type and the message of an error, in one line.

    >>> reason_of(ValueError("no\nbox"))
    'ValueError: no box'
    """
    return one_line(f"{type(error).__name__}: {error}", limit)


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
