"""How much each similarity varies over real pairs: the z-scores of the variant `paper`.

arXiv 2406.20085, Appx. 7.2, normalises size, distance and direction by their mean and deviation
over the data set and adds them. With the sum mapped to 0-100 by one line, so that three times 1 is
100 and three times 0 is 0, the means drop out: what is left is a mean with weights 1 / deviation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from acp.clis.pairs import PAPER_WEIGHTS
from acp.clis.predicates import canonical, sided
from acp.clis.similarities import pair_similarities
from acp.clis.terms import Weights

if TYPE_CHECKING:
    from acp.clis.priors import Priors

LEAST_COUPLES = 256
"""With fewer couples of real pairs to compare, the weights are those of the default priors."""

MOST_COUPLES = 20_000

_known: WeakKeyDictionary[Priors, Weights] = WeakKeyDictionary()


def paper_weights(priors: Priors) -> Weights:
    """1 / deviation of size, distance and direction over couples of real pairs of one triple.

    A couple is two neighbours in the file among the pairs of a triple; at most 20,000, evenly
    spaced. Worked out once for each priors.
    """
    if priors not in _known:
        _known[priors] = _weights(priors)
    return _known[priors]


def _weights(priors: Priors) -> Weights:
    table = priors.table
    order = np.lexsort((table.object, table.subject, table.predicate))
    a, b = order[:-1], order[1:]
    same = [column[a] == column[b] for column in (table.predicate, table.subject, table.object)]
    couples = np.flatnonzero(np.logical_and.reduce(same))
    if len(couples) < LEAST_COUPLES:
        return PAPER_WEIGHTS
    if len(couples) > MOST_COUPLES:
        couples = couples[np.linspace(0, len(couples) - 1, MOST_COUPLES).astype(np.int64)]
    a, b = a[couples], b[couples]
    unsided = np.array([not sided(canonical(predicate)) for predicate in table.predicates])
    similarities = pair_similarities(
        priors.features.take(a),
        priors.features.take(b),
        np.ones(len(a)),
        unsided[table.predicate[a]],
    )
    deviations = similarities.std(axis=1)
    if not (deviations > 0).all():
        return PAPER_WEIGHTS
    return Weights(*(1 / deviations).tolist())
