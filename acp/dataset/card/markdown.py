"""Markdown of values that anyone may have written: nothing in them is markup, HTML or a link."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(r"[\\`*~$<>&|\[\]{}#!@\"]|(?<!\w)_|_(?!\w)|:(?=\S)|(?<=www)\.", re.I)
_LEADING = re.compile(r"^(?:[-+=>:]|\d+[.)](?!\S))")
UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")
"""Control characters, and those that have no width or turn the direction of text."""
NOTHING = "-"
"""Stands where there is no value."""


def one_line(value: object) -> str:
    """The value as one line without control characters.

    >>> one_line("a\\n---\\n b")
    'a --- b'
    """
    return " ".join(UNSEEN.sub(" ", str(value)).split())


def text(value: object) -> str:
    """The value as plain text, anywhere in Markdown, tables too.

    >>> text("a <b> | *c*")
    'a &#60;b&#62; &#124; &#42;c&#42;'
    """
    escaped = _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", one_line(value))
    return _LEADING.sub(_entities, escaped)


def _entities(found: re.Match[str]) -> str:
    return "".join(f"&#{ord(character)};" for character in found[0])


def code(value: object) -> str:
    r"""The value as a code span, in tables too.

    >>> code("a|b"), code("`x`")
    ('`a\\|b`', '`` `x` ``')
    """
    content = one_line(value)
    if not content:
        return NOTHING
    longest = max((len(run) for run in re.findall("`+", content)), default=0)
    padding = " " if content[0] == "`" or content[-1] == "`" else ""
    fence = "`" * (longest + 1)
    return f"{fence}{padding}{content}{padding}{fence}".replace("|", "\\|")


def block(content: str, language: str) -> str:
    """A fenced block that nothing in `content` ends."""
    longest = max((len(run) for run in re.findall("`+", content)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{content}\n{fence}"


def number(value: float) -> str:
    """A count with commas, or a value without needless digits.

    >>> number(1203), number(0.50), number(-3.25)
    ('1,203', '0.5', '-3.25')
    """
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def share(part: int, whole: int) -> str:
    """A part in per cent; never rounded to nothing or to all.

    >>> share(1, 3), share(1, 10_000), share(9_999, 10_000), share(0, 0)
    ('33 %', 'under 1 %', 'over 99 %', '-')
    """
    if not whole:
        return NOTHING
    percent = 100 * part / whole
    if 0 < percent < 1:
        return "under 1 %"
    return "over 99 %" if 99 < percent < 100 else f"{percent:.0f} %"


def counted(count: int, one: str, several: str = "") -> str:
    """A count with its noun.

    >>> counted(1, "scene"), counted(1200, "scene")
    ('1 scene', '1,200 scenes')
    """
    return f"{number(count)} {one if count == 1 else several or one + 's'}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    """A table of cells that are Markdown already; the columns `numbers` stand at the right."""
    right = set(numbers)
    lines = [head, ["---:" if place in right else "---" for place in range(len(head))]]
    lines += [[cell or NOTHING for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def folded(summary: str, content: str) -> str:
    """Markdown behind a line that opens it; `summary` is HTML-safe text."""
    return f"<details>\n<summary>{summary}</summary>\n\n{content}\n\n</details>"
