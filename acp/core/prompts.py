"""Prompts are files: few-shot chats that can be read, copied and edited.

A prompt is Markdown with one section a message, headed `## system`, `## user` or `## assistant`;
the last is a `## user` with `$placeholders`. Text before the first heading is for readers.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

from acp.core.errors import AcpError

_HEADING = re.compile(r"^## (system|user|assistant)[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Prompt:
    """Fixed messages, and the request as a template."""

    examples: tuple[Mapping[str, str], ...]
    request: Template

    def messages(self, **values: str) -> tuple[Mapping[str, str], ...]:
        """The chat with the placeholders of the last message filled."""
        return (*self.examples, {"role": "user", "content": self.request.substitute(values)})

    @property
    def version(self) -> str:
        """A checksum of the words: another version, another question."""
        words = json.dumps([*map(dict, self.examples), self.request.template])
        return hashlib.sha256(words.encode()).hexdigest()[:8]


def load_prompt(source: str | Path, placeholders: frozenset[str]) -> Prompt:
    """Read the prompt of that name in the package ("describe"), or the file at that path.

    Raises:
        AcpError: no such prompt, no sections, or other placeholders than these.

    >>> load_prompt("lay_out", frozenset({"objects", "relations"})).examples[0]["role"]
    'system'
    """
    return parse_prompt(_text(str(source)), str(source), placeholders)


def parse_prompt(text: str, where: str, placeholders: frozenset[str]) -> Prompt:
    """As `load_prompt`, from text; `where` is named in errors."""
    _, *parts = _HEADING.split(text)
    roles, bodies = parts[::2], [body.strip() for body in parts[1::2]]
    if not roles or roles[-1] != "user":
        raise AcpError(f"prompt {where}: the last section must be '## user'")
    request = Template(bodies[-1])
    found = {match["named"] or match["braced"] for match in Template.pattern.finditer(bodies[-1])}
    if found != placeholders:
        wanted = ", ".join(f"${name}" for name in sorted(placeholders))
        raise AcpError(f"prompt {where}: the last section must use exactly {wanted}")
    examples = tuple(
        {"role": role, "content": body} for role, body in zip(roles[:-1], bodies[:-1], strict=True)
    )
    return Prompt(examples, request)


def digest(sources: Iterable[str]) -> str:
    """A checksum of the packaged prompts and of these prompt files: other words, other data.

    Raises:
        AcpError: a file cannot be read.
    """
    found = (item.name for item in files("acp.data.prompts").iterdir())
    packaged = sorted(name[:-3] for name in found if name.endswith(".md"))
    texts = [_text(source) for source in (*packaged, *sources)]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:8]


def _text(source: str) -> str:
    packaged = files("acp.data.prompts").joinpath(f"{source}.md")
    if re.fullmatch(r"\w+", source) and packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    try:
        return Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AcpError(f"prompt {source}: cannot be read: {error}") from None
