"""Pick: thresholds for objects and images, then the best candidates of each scene.

Nothing is dropped here: each object and each candidate that is not used carries the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from pydantic import Field

from acp.core.config import Settings
from acp.core.progress import Advance, silent
from acp.core.types import Candidate, ImageScores, Instances, Scene


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


class Pick:
    """Judges every candidate, then keeps the best `per_scene` of those that pass."""

    name: ClassVar[str] = "pick"

    def __init__(self, settings: PickSettings) -> None:
        self.settings = settings

    def __call__(self, scenes: Sequence[Scene], advance: Advance = silent) -> list[Scene]:
        """Scenes whose candidates carry `clis`, `reject` and `reject_objects`."""
        done = []
        for scene in scenes:
            done.append(self._pick(scene))
            advance(1)
        return done

    def _pick(self, scene: Scene) -> Scene:
        judged = [self.judge(candidate) for candidate in scene.candidates]
        passed = [candidate for candidate in judged if not candidate.reject]
        ranked = sorted(passed, key=lambda candidate: (-(candidate.clis or 0.0), candidate.index))
        beaten = {candidate.index for candidate in ranked[self.settings.per_scene :]}
        reason = "pick: not the best of its scene"
        return replace(
            scene,
            candidates=tuple(
                replace(candidate, reject=reason) if candidate.index in beaten else candidate
                for candidate in judged
            ),
        )

    def judge(self, candidate: Candidate) -> Candidate:
        """The candidate with its CLIS, and the reasons against it and its objects."""
        if candidate.reject or candidate.instances is None or candidate.scores is None:
            return candidate
        objects = self._judge_objects(candidate.instances, candidate.scores)
        clis = self._clis(candidate.layout.clis_l, candidate.scores.clis_i)
        reject = self._judge_image(candidate, objects)
        return replace(candidate, clis=clis, reject=reject, reject_objects=objects)

    def _clis(self, clis_l: float | None, clis_i: float | None) -> float | None:
        if clis_l is None or clis_i is None:
            return clis_i if clis_l is None else clis_l
        weight = self.settings.layout_weight
        return weight * clis_l + (1 - weight) * clis_i

    def _judge_objects(self, instances: Instances, scores: ImageScores) -> tuple[str, ...]:
        limits = self.settings
        sides_px = instances.boxes_xywh_px[:, 2:].min(axis=1, initial=np.inf)
        reasons = instances.reasons or ("",) * len(sides_px)
        return tuple(
            reason
            if reason
            else "not visible"
            if not side
            else f"visible share below {limits.min_visible:g}"
            if visible < limits.min_visible
            else f"side below {limits.min_side_px} px"
            if side < limits.min_side_px
            else f"clis_i of the instance below {limits.min_clis_i_instance:g}"
            if score is not None and score < limits.min_clis_i_instance
            else ""
            for reason, side, visible, score in zip(
                reasons, sides_px, instances.visible, scores.clis_i_instances, strict=True
            )
        )

    def _judge_image(self, candidate: Candidate, objects: Sequence[str]) -> str:
        limits, scores, clis_l = self.settings, candidate.scores, candidate.layout.clis_l
        usable = sum(not reason for reason in objects)
        if not usable:
            reasons = [reason for reason in objects if reason]
            return f"pick: no usable object ({max(reasons, key=reasons.count)})"
        if usable < limits.min_objects_share * len(objects):
            return f"pick: share of usable objects below {limits.min_objects_share:g}"
        if scores and scores.clis_i is not None and scores.clis_i < limits.min_clis_i:
            return f"pick: clis_i below {limits.min_clis_i:g}"
        if clis_l is not None and clis_l < limits.min_clis_l:
            return f"pick: clis_l below {limits.min_clis_l:g}"
        return ""
