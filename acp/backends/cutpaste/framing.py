"""Where to cut the picture out of a background, so that things stand on ground, fly in the sky and
float on water, and the horizon lies about where a camera would see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from acp.backends.cutpaste.backgrounds import Background
from acp.core.types import FloatArray

_TRIES = 32
# How far, in heights of the picture, a thing may leave the part of the photograph it belongs to.
_TOLERANCE = 0.03


@dataclass(frozen=True, slots=True)
class Thing:
    """What has to be placed: its box `[x, y, w, h]`, 0-1, its habitat and its real height."""

    box_xywhn: tuple[float, float, float, float]
    habitat: str
    height_cm: float

    @property
    def bottom(self) -> float:
        return self.box_xywhn[1] + self.box_xywhn[3]


@dataclass(frozen=True, slots=True)
class Frame:
    """A window of a background, in fractions of the photograph, mirrored or not.

    `misfit` is how far the worst placed thing is from where it belongs, in heights of the picture.
    """

    background: Background
    left: float
    top: float
    width: float
    height: float
    mirrored: bool
    misfit: float

    @property
    def fits(self) -> bool:
        return self.misfit <= _TOLERANCE

    @property
    def ground(self) -> float:
        """Where the ground begins in the picture; below 0 where it fills the picture."""
        return (self.background.ground - self.top) / self.height

    @property
    def light(self) -> str:
        """Where the light comes from in the picture."""
        mirror = {"left": "right", "right": "left"} if self.mirrored else {}
        return mirror.get(self.background.light, self.background.light)

    def picture(self, size_wh: tuple[int, int]) -> FloatArray:
        """The window at the size of the picture, (H, W, 3), 0-255."""
        photograph = self.background.photograph()
        used = self.background
        across = photograph.width / (used.right - used.left)
        down = photograph.height / (used.bottom - used.top)
        left, top = (self.left - used.left) * across, (self.top - used.top) * down
        right = min(left + self.width * across, photograph.width)
        bottom = min(top + self.height * down, photograph.height)
        box = (left, top, right, bottom)
        image = photograph.resize(size_wh, Image.Resampling.BICUBIC, box=box, reducing_gap=1.5)
        if self.mirrored:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return np.asarray(image, dtype=np.float32)


def choose_frame(
    background: Background,
    things: Sequence[Thing],
    size_wh: tuple[int, int],
    rng: np.random.Generator,
) -> Frame:
    """The best of some random windows of a background."""
    largest, smallest = _heights(background, size_wh)
    aspect = _width_of_height(background, size_wh)
    best, least = None, float("inf")
    for _ in range(_TRIES):
        height = largest - (largest - smallest) * rng.random() ** 1.5
        top = rng.uniform(background.top, max(background.bottom - height, background.top))
        left = rng.uniform(
            background.left, max(background.right - aspect * height, background.left)
        )
        frame = Frame(background, left, top, aspect * height, height, False, 0.0)
        frame = replace(frame, misfit=_misfit(frame, things))
        zoom = 1 - height / largest
        cost = 20 * max(frame.misfit - _TOLERANCE / 2, 0) + _strangeness(frame, things) + 0.1 * zoom
        cost += 0.05 * rng.random()
        if cost < least:
            least, best = cost, frame
    assert best is not None  # noqa: S101
    return replace(best, mirrored=bool(rng.random() < 0.5))


def _width_of_height(background: Background, size_wh: tuple[int, int]) -> float:
    """Width over height of a window, each as a fraction of the whole photograph."""
    photograph = background.photograph()
    across = photograph.width / (background.right - background.left)
    down = photograph.height / (background.bottom - background.top)
    return size_wh[0] / size_wh[1] * down / across


def _heights(background: Background, size_wh: tuple[int, int]) -> tuple[float, float]:
    """The largest window that fits, and the smallest that need not be enlarged by much."""
    tall = background.bottom - background.top
    wide = background.right - background.left
    largest = min(tall, wide / _width_of_height(background, size_wh))
    smallest = 0.8 * size_wh[1] * tall / background.photograph().height
    return largest, min(largest, smallest)


def _misfit(frame: Frame, things: Sequence[Thing]) -> float:
    background = frame.background
    water = [
        (edge - frame.top) / frame.height
        for edge in (background.water_top, background.water_bottom)
    ]
    excess = [0.0]
    for thing in things:
        if thing.habitat in {"ground", "surface"}:
            excess.append(frame.ground + 0.02 - thing.bottom)
        elif thing.habitat == "water":
            excess += [water[0] - thing.bottom, thing.bottom - water[1]]
    return max(excess)


def _strangeness(frame: Frame, things: Sequence[Thing]) -> float:
    """How unusually the horizon lies, and how much of what flies is not before the sky."""
    standing = [thing for thing in things if thing.habitat in {"ground", "surface"}]
    sky = (frame.background.sky_bottom - frame.top) / frame.height
    below_sky = [max(thing.bottom - sky, 0) for thing in things if thing.habitat == "air"]
    strange = sum(below_sky)
    if standing:
        strange += abs(frame.ground - _horizon(frame.background.camera_cm, standing))
    return strange


def _horizon(camera_cm: float, standing: Sequence[Thing]) -> float:
    """Where the camera would see the horizon, by the largest things above all: it lies at the
    height of the camera, far above a rabbit and across an elephant."""
    boxes = np.array([thing.box_xywhn for thing in standing])
    heights = np.array([thing.height_cm for thing in standing])
    horizons = boxes[:, 1] + boxes[:, 3] * (1 - camera_cm / heights)
    areas = boxes[:, 2] * boxes[:, 3]
    return max(float(np.average(np.clip(horizons, -0.5, None), weights=areas + 1e-9)), -0.4)
