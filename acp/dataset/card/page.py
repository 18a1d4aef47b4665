"""A card as a page of HTML that stands alone, to look at before it is pushed."""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import Any

from acp.core.errors import MissingRequirementError
from acp.dataset.card.render import PICTURES

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
