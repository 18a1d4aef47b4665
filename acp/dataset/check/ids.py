"""Ids that are there twice."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from acp.dataset.check.batch import Ids
from acp.dataset.check.problems import Problem
from acp.dataset.check.values import IntArray

FEW = 3
SHARE = 0.1
"""In data sets of others more repeated ids than this mean that they are no keys."""


@dataclass
class Collected:
    """The ids of one split, batch by batch; `what` is image_id, or the field of the objects."""

    what: str
    label: str = ""
    """How lines name the objects; "" for ids of rows."""
    places: list[str] = field(default_factory=list)
    batches: list[Ids] = field(default_factory=list)

    def add(self, place: str, ids: Ids | None) -> None:
        """Take in the ids of a batch of the file `place`."""
        if ids is not None and len(ids.values):
            self.places.append(place)
            self.batches.append(ids)

    def repeated(self, *, strict: bool) -> list[Problem] | str:
        """A problem for each id that was there before; or a note, if they are no keys at all."""
        if not self.batches:
            return []
        values = np.concatenate([ids.values for ids in self.batches])
        order = np.argsort(values, kind="stable")
        again = np.flatnonzero(values[order][1:] == values[order][:-1]) + 1
        if not strict and len(again) > max(FEW, SHARE * len(values)):
            name = f"{self.label}.{self.what}" if self.label else self.what
            return f"{name} repeats ({len(again):,} of {len(values):,}), so it is taken for no key"
        _, first = np.unique(values[order], return_index=True)
        earliest = order[first[np.searchsorted(first, again, side="right") - 1]]
        pairs = sorted(zip(order[again].tolist(), earliest.tolist(), strict=True))
        starts = np.cumsum([0, *(len(ids.values) for ids in self.batches)])
        return [self._problem(starts, one, other) for one, other in pairs]

    def _problem(self, starts: IntArray, one: int, other: int) -> Problem:
        what = f"{self.what} is also that of {self._where(starts, other)}"
        return Problem("id", self._where(starts, one), what, "give each its own id")

    def _where(self, starts: IntArray, number: int) -> str:
        batch = int(np.searchsorted(starts, number, side="right")) - 1
        ids, place = self.batches[batch], number - int(starts[batch])
        where = f"{self.places[batch]}: row {ids.rows[place]}"
        return f"{where}, {self.label}[{ids.places[place]}]" if self.label else where
