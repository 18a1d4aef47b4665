"""Pick: thresholds for objects and images, then the best candidates of each scene.

It looks at what was measured alone and drops nothing: each object and each candidate that is not
used carries the reason. A build picks at its release, so other thresholds make no image again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from acp.core.config import Settings
from acp.core.progress import Advance, silent
from acp.core.types import Candidate, FloatArray, Scene


class PickSettings(Settings):
    """Thresholds; a score that could not be computed (None) passes its threshold."""

    per_scene: int = Field(1, ge=1, description="how many candidates of a scene may be kept")
    layout_weight: float = Field(0.5, ge=0, le=1, description="share of CLIS-L in CLIS")
    min_clis_i_instance: float = Field(
        60.0, ge=0, le=100, description="an object below is not used"
    )
    min_clis_i: float = Field(0.0, ge=0, le=100, description="an image below is not used")
    min_clis_l: float = Field(0.0, ge=-100, le=100, description="a layout below is not used")
    min_visible: float = Field(0.5, ge=0, le=1, description="least visible share of an object")
    min_side_px: int = Field(24, ge=1, description="least shorter side of a visible box")
    min_objects_share: float = Field(
        0.0, ge=0, le=1, description="an image with a smaller share of usable objects is not used"
    )


@dataclass(frozen=True, slots=True)
class Measured:
    """What pick looks at in a candidate.

    `reject` and `reasons` (one an object) are what speaks against it before any threshold.
    `side_px` (the shorter one), `visible` (0-1) and `clis_i_objects` have shape (N,). A score that
    could not be computed is NaN.
    """

    reject: str
    clis_l: float
    clis_i: float
    reasons: Sequence[str]
    side_px: FloatArray
    visible: FloatArray
    clis_i_objects: np.ndarray


@dataclass(frozen=True, slots=True)
class Verdict:
    """CLIS of a candidate, why it is not used ("" if it is), and the same of each object."""

    clis: float | None
    reject: str
    reject_objects: tuple[str, ...]


# The first rule that holds rejects. NaN is below nothing.

OBJECT_RULES: tuple[tuple[str, Callable[[Measured, PickSettings], Any]], ...] = (
    ("not visible", lambda of, limits: of.side_px == 0),
    ("visible share below {min_visible:g}", lambda of, limits: of.visible < limits.min_visible),
    ("side below {min_side_px} px", lambda of, limits: of.side_px < limits.min_side_px),
    (
        "clis_i of the instance below {min_clis_i_instance:g}",
        lambda of, limits: of.clis_i_objects < limits.min_clis_i_instance,
    ),
)
IMAGE_RULES: tuple[tuple[str, Callable[[Measured, PickSettings, int], bool]], ...] = (
    ("no usable object ({commonest})", lambda of, limits, usable: not usable),
    (
        "share of usable objects below {min_objects_share:g}",
        lambda of, limits, usable: usable < limits.min_objects_share * len(of.reasons),
    ),
    ("clis_i below {min_clis_i:g}", lambda of, limits, usable: of.clis_i < limits.min_clis_i),
    ("clis_l below {min_clis_l:g}", lambda of, limits, usable: of.clis_l < limits.min_clis_l),
)


def pick_candidates(candidates: Sequence[Measured], limits: PickSettings) -> list[Verdict]:
    """What becomes of the candidates of one scene: all below a threshold go, then all but the best
    `per_scene`. Of equals the first is the best."""
    verdicts = [_judge(candidate, limits) for candidate in candidates]
    passed = [place for place, verdict in enumerate(verdicts) if not verdict.reject]
    passed.sort(key=lambda place: -(verdicts[place].clis or 0.0))
    for place in passed[limits.per_scene :]:
        verdicts[place] = replace(verdicts[place], reject="pick: not the best of its scene")
    return verdicts


def _judge(candidate: Measured, limits: PickSettings) -> Verdict:
    if candidate.reject:
        return Verdict(None, candidate.reject, tuple(candidate.reasons))
    values = limits.model_dump()
    objects = np.array(candidate.reasons, dtype=object)
    for reason, holds in OBJECT_RULES:
        objects[(objects == "") & holds(candidate, limits)] = reason.format(**values)
    reasons = [reason for reason in objects if reason]
    values["commonest"] = max(reasons, key=reasons.count, default="")
    usable = len(objects) - len(reasons)
    broken = (rule for rule, holds in IMAGE_RULES if holds(candidate, limits, usable))
    rule = next(broken, None)
    reject = f"pick: {rule.format(**values)}" if rule else ""
    return Verdict(_clis(candidate, limits.layout_weight), reject, tuple(objects))


def _clis(candidate: Measured, weight: float) -> float | None:
    """The weighted mean of both scores, or the one that there is."""
    clis_l, clis_i = candidate.clis_l, candidate.clis_i
    if np.isnan(clis_l) or np.isnan(clis_i):
        either = clis_i if np.isnan(clis_l) else clis_l
        return None if np.isnan(either) else either
    return weight * clis_l + (1 - weight) * clis_i


class Pick:
    """Judges every candidate, then keeps the best `per_scene` of those that pass."""

    name: ClassVar[str] = "pick"

    def __init__(self, settings: PickSettings) -> None:
        self.settings = settings

    def __call__(self, scenes: Sequence[Scene], advance: Advance = silent) -> list[Scene]:
        """Scenes whose candidates carry `clis`, `reject` and `reject_objects`."""
        done = []
        for scene in scenes:
            verdicts = pick_candidates([*map(_measured, scene.candidates)], self.settings)
            candidates = tuple(
                replace(
                    candidate,
                    clis=verdict.clis,
                    reject=verdict.reject,
                    reject_objects=verdict.reject_objects,
                )
                for candidate, verdict in zip(scene.candidates, verdicts, strict=True)
            )
            done.append(replace(scene, candidates=candidates))
            advance(1)
        return done


def _measured(candidate: Candidate) -> Measured:
    instances, scores = candidate.instances, candidate.scores
    if candidate.reject or instances is None or scores is None:
        nothing = np.zeros(0, dtype=np.float32)
        reject = candidate.reject or "pick: nothing was measured"
        return Measured(reject, np.nan, np.nan, candidate.reject_objects, nothing, nothing, nothing)
    side_px = instances.boxes_xywh_px[:, 2:].min(axis=1, initial=np.inf)
    return Measured(
        "",
        number(candidate.layout.clis_l),
        number(scores.clis_i),
        instances.reasons or ("",) * len(side_px),
        side_px,
        instances.visible,
        np.array([number(score) for score in scores.clis_i_instances]),
    )


def number(score: float | None) -> float:
    """A score, or NaN where there is none."""
    return np.nan if score is None else float(score)
