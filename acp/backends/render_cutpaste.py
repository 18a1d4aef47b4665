"""Photographed cut-outs pasted into photographs, with exact masks. Needs no model and no GPU."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from acp.backends.base import BackendOptions, Renderer, RenderRequest
from acp.backends.cutpaste import assets, backgrounds, cutouts
from acp.backends.cutpaste.backgrounds import Background, BackgroundBank
from acp.backends.cutpaste.compositing import Piece, Scenery, compose
from acp.backends.cutpaste.cutouts import (
    FORESHORTENING,
    CutOut,
    CutoutBank,
    drawn_aspect,
    habitat_of,
    suitability,
    usable_cutouts,
    with_attributes,
)
from acp.backends.cutpaste.framing import Frame, Thing, choose_frame
from acp.backends.cutpaste.imaging import Sprite, resized_sprite
from acp.core.boxes import xywhn_to_xywh_px
from acp.core.errors import Missing, shown
from acp.core.seeds import rng
from acp.core.types import Failure, Inventory, Look, ModelInfo, Rendering, SceneObject
from acp.core.version import __version__
from acp.core.vocabulary import categories

_log = logging.getLogger(__name__)


class CutPasteOptions(BackendOptions):
    """Which pictures to use."""

    cutouts: str | None = Field(
        default=None,
        description="folder of cut-outs, <category>/*.png; none: the stamps of Tux Paint",
    )
    backgrounds: str | None = Field(
        default=None,
        description="folder of background photographs; none: those of the packaged table",
    )
    min_quality: int = Field(
        default=2, ge=1, le=3, description="cut-outs below this quality are not used"
    )


class CutPaste(Renderer):
    """Picks a background, a cut-out for each object and their details by the seed."""

    name = "cutpaste"
    summary = "photographed cut-outs on photographs, exact masks, CPU only"
    options_type: ClassVar[type[BackendOptions]] = CutPasteOptions
    options: CutPasteOptions

    def missing(self) -> list[Missing]:
        """The assets that have not been fetched."""
        return [*super().missing(), *assets.missing(self._assets())]

    def load(self) -> None:
        """Read the tables."""
        _ = self._cutouts, self._backgrounds, self._usable
        if left := self.left_out():
            _log.warning("note: %d left out of the bank, first: %s", len(left), shown(left[0]))

    def info(self) -> ModelInfo:
        """The revision changes with the package, the tables and the pictures."""
        revision = f"{__version__}+{self._cutouts.version}.{self._backgrounds.version}"
        note = "cut-outs and photographs keep their own licences"
        return ModelInfo("cutpaste", revision, self._licence(), note)

    def inventory(self) -> Inventory:
        """Looks by category, settings with what they offer, and what each category needs.

        Raises:
            AcpError: a bank is missing or wrong.
        """
        return self._inventory

    def left_out(self) -> Sequence[str]:
        """What the bank of cut-outs holds that is none, a line each."""
        return self._cutouts.left_out

    def render(self, requests: Sequence[RenderRequest]) -> list[Rendering | Failure]:
        return [self._render(request) for request in requests]

    @cached_property
    def _cutouts(self) -> CutoutBank:
        if self.options.cutouts is not None:
            return cutouts.folder_bank(Path(self.options.cutouts).expanduser())
        return cutouts.stamps_bank(assets.asset_version(cutouts.STAMPS))

    @cached_property
    def _backgrounds(self) -> BackgroundBank:
        if self.options.backgrounds is not None:
            return backgrounds.folder_bank(Path(self.options.backgrounds).expanduser())
        return backgrounds.packaged_bank()

    @cached_property
    def _usable(self) -> dict[str, list[CutOut]]:
        least = self.options.min_quality
        usable = {
            category: usable_cutouts(category, bank, least)
            for category, bank in sorted(self._cutouts.by_category.items())
        }
        return {category: chosen for category, chosen in usable.items() if chosen}

    @cached_property
    def _inventory(self) -> Inventory:
        return Inventory(
            looks={
                category: tuple(
                    Look(c.attributes, drawn_aspect(c), c.largest_side_px) for c in usable
                )
                for category, usable in self._usable.items()
            },
            settings=self._backgrounds.settings,
            habitats={
                category: habitat_of(category, usable[0].support)
                for category, usable in self._usable.items()
            },
        )

    def _assets(self) -> list[str]:
        stamps = [] if self.options.cutouts is not None else [cutouts.STAMPS]
        photographs = (
            [] if self.options.backgrounds is not None else backgrounds.packaged_packages()
        )
        return [*stamps, *photographs]

    def _licence(self) -> str:
        """The strictest: that of the stamps binds whatever holds one of them."""
        if self.options.cutouts is None:
            return assets.ASSETS[cutouts.STAMPS].licence
        return "other"

    def _render(self, request: RenderRequest) -> Rendering | Failure:
        draw = rng(request.seed, "cutpaste")
        boxes = xywhn_to_xywh_px(request.boxes_xywhn, request.size_wh)
        chosen: list[CutOut] = []
        for item, box in zip(request.graph.objects, boxes, strict=True):
            cutout = self._choose(item, (float(box[2]), float(box[3])), draw)
            if isinstance(cutout, Failure):
                return cutout
            chosen.append(cutout)
        things = [
            self._thing(cutout, box)
            for cutout, box in zip(chosen, request.boxes_xywhn.tolist(), strict=True)
        ]
        frame = self._frame(request, things, draw)
        if isinstance(frame, Failure):
            return frame
        scenery = Scenery(frame.picture(request.size_wh), frame.ground, frame.light)
        pieces = [
            make_piece(cutout, thing, box.tolist(), frame.background, draw)
            for cutout, thing, box in zip(chosen, things, boxes, strict=True)
        ]
        result = compose(scenery, pieces, draw)
        return Rendering(result.image_rgb, result.masks, result.visible)

    def _choose(
        self, item: SceneObject, size_px: tuple[float, float], draw: np.random.Generator
    ) -> CutOut | Failure:
        usable = self._usable.get(item.category)
        if usable is None:
            return Failure(f"the cut-out bank has no {item.category}")
        matching = with_attributes(usable, item.attributes)
        if not matching:
            return Failure(f"no cut-out of {item.category} is {item.attributes!r}")
        weights = np.array([suitability(cutout, size_px) for cutout in matching])
        return matching[int(draw.choice(len(matching), p=weights / weights.sum()))]

    def _thing(self, cutout: CutOut, box: Sequence[float]) -> Thing:
        width, height = cutout.size_wh
        scale = categories()[cutout.category].longest_cm / max(width, height)
        real_height = height * scale * (FORESHORTENING if cutout.view == "top" else 1)
        habitat = habitat_of(cutout.category, cutout.support)
        return Thing((box[0], box[1], box[2], box[3]), habitat, real_height)

    def _frame(
        self, request: RenderRequest, things: Sequence[Thing], draw: np.random.Generator
    ) -> Frame | Failure:
        needed = [thing.habitat for thing in things]
        fitting = self._backgrounds.fitting(request.graph.setting, needed)
        if not fitting:
            place = request.graph.setting or "background"
            return Failure(f"no photograph for {place!r} offers {', '.join(sorted(set(needed)))}")
        frames = []
        for index in draw.permutation(len(fitting)):
            frame = choose_frame(fitting[int(index)], things, request.size_wh, draw)
            if frame.fits:
                return frame
            frames.append(frame)
        best = min(frames, key=lambda frame: frame.misfit)
        return best if best.misfit < 0.15 else Failure(f"no room in {request.graph.setting!r}")


def make_piece(
    cutout: CutOut,
    thing: Thing,
    box_xywh_px: Sequence[float],
    background: Background,
    draw: np.random.Generator,
) -> Piece:
    """The cut-out fitted into its box: on its lower edge, or centred where nothing holds it."""
    sprite = cutout.sprite()
    # What faces the camera may carry writing, and looks alike both ways.
    if draw.random() < 0.5 and cutout.facing in {"left", "right"}:
        sprite = Sprite(sprite.rgb[:, ::-1], sprite.alpha[:, ::-1])
    x, y, width, height = box_xywh_px
    wide = drawn_aspect(cutout)
    side = min(width, height * wide, cutout.largest_side_px * min(1, wide))
    side *= draw.uniform(0.93, 1.0)
    size = (max(2, round(side)), max(2, round(side / wide)))
    standing = thing.habitat in {"ground", "surface"}
    left = x + (width - size[0]) * draw.uniform(0.35, 0.65)
    top = y + (height - size[1]) * (1.0 if standing else 0.5)
    lying = cutout.view == "top"
    return Piece(
        resized_sprite(sprite, size),
        round(left),
        round(top),
        thing.habitat,
        lying,
        0.0 if lying else cover_px(thing, size[1], background),
    )


def cover_px(thing: Thing, height_px: int, background: Background) -> float:
    """How much of the lower edge grass or water hides, in pixels."""
    if thing.habitat == "water":
        return 0.12 * height_px
    if thing.habitat == "air":
        return 0.0
    return (
        min(background.cover / thing.height_cm, 0.16 if background.cover < 20 else 0.3) * height_px
    )
