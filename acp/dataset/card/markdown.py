"""Markdown of values that anyone may have written, and a card as a page of HTML."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from acp.core.errors import MissingRequirementError

SHEET, SAMPLE = "contact_sheet.jpg", "sample.jpg"
PICTURES = (SHEET, SAMPLE)
"""The pictures that a card may show, beside it in the folder."""

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


_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:;
 style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
<main>
<details><summary>YAML of the card</summary><pre><code>{front_matter}</code></pre></details>
{body}</main>
</html>
"""
_STYLE = """
body { margin: 0; background: #fff; color: #1f2328;
  font: 16px/1.5 -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif; }
main { max-width: 860px; margin: 0 auto; padding: 24px 32px 64px; overflow-wrap: break-word; }
h1, h2 { line-height: 1.25; border-bottom: 1px solid #d1d9e0; padding-bottom: .3em; }
h2 { margin-top: 1.8em; }
img { max-width: 100%; }
table { display: block; width: max-content; max-width: 100%; overflow: auto;
  border-collapse: collapse; margin-bottom: 16px; }
th, td { padding: 6px 13px; border: 1px solid #d1d9e0; }
tr:nth-child(2n) { background: #f6f8fa; }
code { font: 85% ui-monospace, "DejaVu Sans Mono", monospace; background: #818b981f;
  padding: .2em .4em; border-radius: 6px; }
pre { background: #f6f8fa; padding: 16px; overflow: auto; border-radius: 6px; line-height: 1.45; }
pre code { background: none; padding: 0; }
blockquote { margin: 0 0 16px; padding: 0 1em; border-left: .25em solid #d1d9e0; color: #59636e; }
details { margin-bottom: 16px; }
summary { cursor: pointer; }
a { color: #0969da; }
"""


def as_page(card: str, folder: Path, title: str) -> str:
    """The card as HTML, with the pictures of its folder inside; nothing is loaded from elsewhere.

    Raises:
        MissingRequirementError: markdown-it-py is not installed.
    """
    try:
        from markdown_it import MarkdownIt
    except ModuleNotFoundError:
        raise MissingRequirementError(
            "a card as HTML needs markdown-it-py: pip install markdown-it-py, or write a .md"
        ) from None
    front_matter, text = split(card)
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    tokens = parser.parse(text)
    for token in tokens:
        for each in token.children or ():
            if each.type == "image":
                _embed(each, folder)
    body: str = parser.renderer.render(tokens, parser.options, {})
    return _PAGE.format(
        title=html.escape(title), style=_STYLE, front_matter=html.escape(front_matter), body=body
    )


def split(card: str) -> tuple[str, str]:
    """The YAML of a card and the Markdown after it.

    >>> split("---\\nlicense: mit\\n---\\n# Title\\n")
    ('license: mit', '# Title\\n')
    """
    front_matter, _, text = card.removeprefix("---\n").partition("\n---\n")
    return front_matter, text


def _embed(image: Any, folder: Path) -> None:
    name = str(image.attrs["src"])
    if name in PICTURES:
        content = base64.b64encode((folder / name).read_bytes()).decode()
        image.attrs["src"] = f"data:image/jpeg;base64,{content}"
