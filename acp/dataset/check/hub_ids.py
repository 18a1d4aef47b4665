"""The identifiers that the Hub takes in a card: `acp/data/hub_ids.yaml`."""

from __future__ import annotations

import difflib
from functools import cache
from importlib import resources

import yaml


@cache
def hub_ids() -> dict[str, tuple[str, ...]]:
    """The known values by field of the YAML: license, task_categories, task_ids, size_categories
    and language (two letters alone).

    >>> "object-detection" in hub_ids()["task_categories"]
    True
    """
    text = resources.files("acp.data").joinpath("hub_ids.yaml").read_text(encoding="utf-8")
    return {key: tuple(words.split()) for key, words in yaml.safe_load(text).items()}


def nearest(value: str, known: tuple[str, ...]) -> str:
    """What to put in place of an unknown value.

    >>> nearest("apache2", ("mit", "apache-2.0"))
    "did you mean 'apache-2.0'?"
    """
    near = difflib.get_close_matches(value.lower(), known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else "take one that the Hub knows"


def size_category(rows: int) -> str:
    """The size category of so many rows.

    >>> size_category(999), size_category(1000), size_category(10**13)
    ('n<1K', '1K<n<10K', 'n>1T')
    """
    names = hub_ids()["size_categories"]
    return names[next((k for k in range(len(names) - 1) if rows < 1000 * 10**k), -1)]
