"""Keys and values of many rows in one sequence, so that rows of any length share a forward.

A token sees the slots of its own segments (the prompt's shared prefix, its prompt, its answer) up
to its own position; a mask keeps all others out. Nothing is padded and nothing is kept twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Tokens = tuple[int, ...]
States = list[tuple[Any, Any]]
"""For each layer, keys and values of shape (1, heads, slots, head size)."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive tokens of one row: where they start, whose they are, what they may look at."""

    tokens: Sequence[int]
    start: int
    segment: int
    sees: frozenset[int]


class PackedCache:
    """Segments of tokens and their states; grows with each forward."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._segments = np.zeros(0, dtype=np.int64)
        self._positions = np.zeros(0, dtype=np.int64)
        self._states: States = []
        self._count = 0

    def new_segment(self) -> int:
        """A segment without tokens."""
        self._count += 1
        return self._count - 1

    def add(self, states: States, start: int) -> int:
        """A segment whose tokens, from position `start` on, have been through the model."""
        import torch

        segment = self.new_segment()
        self._grow(segment, np.arange(start, start + states[0][0].shape[2]))
        old = self._states or [(k[:, :, :0], v[:, :, :0]) for k, v in states]
        self._states = [
            (torch.cat([a[0], b[0]], dim=2), torch.cat([a[1], b[1]], dim=2))
            for a, b in zip(old, states, strict=True)
        ]
        return segment

    def forward(self, chunks: Sequence[Chunk]) -> Any:
        """Put the tokens through the model; last hidden state of each chunk, (chunks, width)."""
        import torch

        lengths = [len(chunk.tokens) for chunk in chunks]
        positions = np.concatenate([np.arange(c.start, c.start + len(c.tokens)) for c in chunks])
        self._grow(np.repeat([chunk.segment for chunk in chunks], lengths), positions)
        mask = self._may_see(chunks)[np.repeat(np.arange(len(chunks)), lengths)]
        mask &= self._positions <= positions[:, None]
        tokens = [token for chunk in chunks for token in chunk.tokens]
        hidden, self._states = _forward(
            self._model, tokens, positions, self._states, torch.from_numpy(mask)[None, None]
        )
        return hidden[np.cumsum(lengths) - 1]

    def states(self, start: int, end: int) -> States:
        """Of the slots from `start` to before `end`."""
        return [(k[:, :, start:end], v[:, :, start:end]) for k, v in self._states]

    def keep(self, seen: frozenset[int]) -> None:
        """Forget the other segments, once they fill a third of the slots."""
        import torch

        kept = np.isin(self._segments, list(seen))
        if kept.sum() * 3 > len(kept) * 2:
            return
        at = torch.from_numpy(np.flatnonzero(kept))
        self._states = [(k.index_select(2, at), v.index_select(2, at)) for k, v in self._states]
        self._segments, self._positions = self._segments[kept], self._positions[kept]

    def _grow(self, segments: Any, positions: np.ndarray) -> None:
        self._positions = np.concatenate([self._positions, positions])
        more = np.broadcast_to(segments, positions.shape)
        self._segments = np.concatenate([self._segments, more])

    def _may_see(self, chunks: Sequence[Chunk]) -> np.ndarray:
        """Shape (chunks, slots), bool, whatever the positions."""
        member = np.zeros((len(chunks), self._count), dtype=bool)
        for row, chunk in zip(member, chunks, strict=True):
            row[list(chunk.sees)] = True
        return member[:, self._segments]


def states_of(model: Any, tokens: Sequence[int], past: States) -> tuple[Any, States]:
    """Put one row through the model after the tokens of `past`, which stays as it is.

    Returns its hidden states, (tokens, width), and the states of its own tokens.
    """
    done = past[0][0].shape[2] if past else 0
    positions = np.arange(done, done + len(tokens))
    hidden, states = _forward(model, tokens, positions, past, None)
    return hidden, [(k[:, :, done:], v[:, :, done:]) for k, v in states]


def states_together(model: Any, rows: Sequence[Tokens], past: States) -> list[tuple[Any, States]]:
    """Put rows through the model in one forward, each after the tokens of `past`, unseen by others.

    Returns of each row its last hidden state, (width,), and the states of its own tokens.
    """
    cache = PackedCache(model)
    shared = cache.add(past, 0)
    done = past[0][0].shape[2]
    segments = [cache.new_segment() for _ in rows]
    hidden = cache.forward(
        [
            Chunk(row, done, segment, frozenset({shared, segment}))
            for row, segment in zip(rows, segments, strict=True)
        ]
    )
    ends = np.cumsum([done, *(len(row) for row in rows)])
    return [
        (state, cache.states(start, end))
        for state, start, end in zip(hidden, ends[:-1], ends[1:], strict=True)
    ]


def common_prefix(rows: Sequence[Tokens]) -> int:
    """How many tokens all rows begin with.

    >>> common_prefix([(1, 2, 3), (1, 2, 4, 5)])
    2
    """
    first, last = min(rows), max(rows)
    pairs = zip(first, last, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(last)))


def _forward(
    model: Any, tokens: Sequence[int], positions: np.ndarray, past: States, mask: Any
) -> tuple[Any, States]:
    import torch
    from transformers import DynamicCache

    cache = DynamicCache(past or None)
    inputs: Mapping[str, Any] = {
        "input_ids": torch.tensor([list(tokens)]),
        "position_ids": torch.from_numpy(positions)[None],
        "attention_mask": mask,
    }
    hidden = model.model(**inputs, past_key_values=cache, use_cache=True).last_hidden_state[0]
    return hidden, [(layer.keys, layer.values) for layer in cache.layers]
