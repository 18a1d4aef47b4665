"""The interface of a stage, and what the stages that work on candidates share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar, Protocol

from acp.core.progress import Advance, silent
from acp.core.types import Candidate, Scene


class Stage(Protocol):
    """Scenes in, the same scenes with one thing more out, in the same order.

    A scene that carries a `reject` passes through untouched. A stage that cannot do its part for a
    scene returns it with `reject` set to "<stage>: <reason>"; it never drops one and never raises
    for one. The same holds for a candidate of a scene.
    """

    name: ClassVar[str]

    def __call__(self, scenes: Sequence[Scene], advance: Advance = silent) -> list[Scene]: ...


def map_candidates(
    scenes: Sequence[Scene],
    work: Callable[[Sequence[tuple[Scene, Candidate]]], list[Candidate]],
    advance: Advance,
    chunk: int,
) -> list[Scene]:
    """Scenes whose candidates without a reject have gone through `work`.

    `work` is given up to `chunk` candidates at once, of whatever scenes, and answers in their
    order.
    """
    pairs = [(scene, each) for scene in scenes for each in scene.candidates if not each.reject]
    changed: dict[tuple[int, int], Candidate] = {}
    reported = 0
    for start in range(0, len(pairs), chunk):
        batch = pairs[start : start + chunk]
        for (scene, _), candidate in zip(batch, work(batch), strict=True):
            changed[scene.scene_id, candidate.index] = candidate
        share = min(start + chunk, len(pairs)) / len(pairs)
        advance(int(share * len(scenes)) - reported)
        reported = int(share * len(scenes))
    advance(len(scenes) - reported)
    return [
        replace(
            scene,
            candidates=tuple(changed.get((scene.scene_id, c.index), c) for c in scene.candidates),
        )
        for scene in scenes
    ]
