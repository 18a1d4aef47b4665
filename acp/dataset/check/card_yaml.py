"""The YAML of a card: whether the Hub takes it. The offline client does not check its values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from acp.dataset.check.hub_ids import hub_ids, nearest
from acp.dataset.check.problems import Problem

_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_NO_LANGUAGE = ("code", "multilingual")
_BLOCK = re.compile(r"\A\s*---[ \t]*\n(.*?)\n?^---[ \t]*$", re.DOTALL | re.MULTILINE)
MOST_VALUES = 1_000_000
"""In a card; aliases can make far more of a few lines."""
LISTS = ("task_categories", "task_ids", "size_categories")


class _Loader(yaml.SafeLoader):
    """Refuses keys that are there twice, as the Hub does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"{key.value!r} is there twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_card(readme: Path) -> tuple[Mapping[str, Any] | None, list[Problem]]:
    """The YAML at the top of a README: None, with a problem if it cannot be read; {} if a README
    has none."""
    try:
        block = _BLOCK.match(readme.read_text(encoding="utf-8").replace("\r\n", "\n"))
        card = yaml.load(block.group(1), _Loader) if block else {}  # noqa: S506 - a safe loader
    except FileNotFoundError:
        return None, []
    except OSError as error:
        what = f"cannot be read: {(error.strerror or str(error)).lower()}"
        return None, [Problem("card", readme.name, what, "put a file there")]
    except UnicodeDecodeError:
        return None, [Problem("card", readme.name, "not UTF-8", "write it as UTF-8")]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 2}" if mark else ""
        what = f"its YAML cannot be read: {getattr(error, 'problem', None) or error}{line}"
        return None, [Problem("card", readme.name, what, "correct it")]
    except (ValueError, TypeError, AttributeError, RecursionError) as error:  # dates, nesting
        return None, [
            Problem("card", readme.name, f"its YAML cannot be read: {error}", "correct it")
        ]
    if _values(card, {}) > MOST_VALUES:
        what = "its YAML repeats itself without end"
        return None, [Problem("card", readme.name, what, "write values in place of aliases (*)")]
    if card is None or isinstance(card, dict):
        return card or {}, []
    return None, [Problem("card", readme.name, "its YAML is no mapping", "write `key: value`")]


def _values(value: Any, known: dict[int, float]) -> float:
    """How many values there are, aliases written out."""
    if not isinstance(value, (dict, list)):
        return 1
    if id(value) not in known:
        known[id(value)] = float("inf")  # until it is left: it holds itself
        inner = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_values(each, known) for each in inner)
    return known[id(value)]


def check_card(card: Mapping[str, Any], where: str, ours: str | None = None) -> Iterator[Problem]:
    """Licence, tasks, languages, sizes and tags; of our own cards, also what they must have: `ours`
    tells how to mend one."""
    yield from _licence(card, where)
    for key in LISTS:
        for value in values_of_field(card.get(key)):
            if value not in hub_ids()[key]:
                mend = nearest(str(value), hub_ids()[key])
                yield Problem(key, where, f"{key}: the Hub knows no {value!r}", mend)
    yield from _languages(card, where)
    tags = card.get("tags")
    if tags is not None and not isinstance(tags, (list, str)):
        yield Problem("tags", where, f"tags: expected a list, got {tags!r}", "write a list")
    for tag in values_of_field(tags):
        if not isinstance(tag, str):
            yield Problem("tags", where, f"tags: {tag!r} is not a string", f'write "{tag}"')
    if ours is not None:
        for key in ("license", "language", "size_categories", "task_categories", "configs"):
            if not card.get(key):
                yield Problem("card", where, f"{key} is missing", ours)


def _licence(card: Mapping[str, Any], where: str) -> Iterator[Problem]:
    known = hub_ids()["license"]
    licences = values_of_field(card.get("license"))
    for value in licences:
        if value not in known:
            mend = nearest(str(value), known)
            yield Problem("license", where, f"license: the Hub knows no {value!r}", mend)
    if "other" in licences:
        for key in ("license_name", "license_link"):
            if not card.get(key):
                yield Problem("license", where, f"license is other without {key}", f"add {key}")


def _languages(card: Mapping[str, Any], where: str) -> Iterator[Problem]:
    for value in values_of_field(card.get("language")):
        if not isinstance(value, str):
            mend = 'quote it (YAML reads no as false: write "no")'
            yield Problem("language", where, f"language: {value!r} is not a string", mend)
        elif not _is_language(value):
            mend = "take a code of ISO 639, such as en"
            yield Problem("language", where, f"language: {value!r} is no code", mend)


def _is_language(code: str) -> bool:
    first = code.split("-")[0]
    known = len(first) != 2 or first in hub_ids()["language"]
    return code in _NO_LANGUAGE or (known and _LANGUAGE.fullmatch(code) is not None)


def values_of_field(value: Any) -> list[Any]:
    """What a field of the YAML holds, one value or a list of them."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
