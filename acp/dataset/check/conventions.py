"""How a data set writes its boxes: names tell, or what puts most of them into their images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from acp.dataset.check.values import Numbers

BoolArray = npt.NDArray[np.bool_]
ENOUGH = 0.98
"""COCO's convention is taken without a look at others if so large a share of boxes fits it."""


@dataclass(frozen=True, slots=True)
class Convention:
    """`order`: xywh, xyxy, cxcywh or yxyx; `unit`: pixels, normalised (0-1) or thousandths."""

    order: str = "xywh"
    unit: str = "pixels"

    def __str__(self) -> str:
        names = {
            "xywh": "[x, y, w, h]",
            "xyxy": "[x_min, y_min, x_max, y_max]",
            "cxcywh": "[x_centre, y_centre, w, h]",
            "yxyx": "[y_min, x_min, y_max, x_max]",
        }
        units = {
            "pixels": "in pixels",
            "normalised": "normalised to the image",
            "thousandths": "in thousandths of the image",
        }
        return f"{names[self.order]} {units[self.unit]}"

    def to_xywh_px(self, boxes: Numbers, sizes_wh: Numbers) -> Numbers:
        """Boxes (N, 4) of images of sizes (N, 2) as COCO pixels `[x, y, w, h]`.

        >>> box, size = np.array([[0.5, 0.5, 0.5, 1.0]]), np.array([[200.0, 100.0]])
        >>> Convention("cxcywh", "normalised").to_xywh_px(box, size).tolist()
        [[50.0, 0.0, 100.0, 100.0]]
        """
        divisor = {"pixels": 1.0, "normalised": 1.0, "thousandths": 1000.0}[self.unit]
        scale = np.ones_like(sizes_wh) if self.unit == "pixels" else sizes_wh
        ordered = boxes[:, [1, 0, 3, 2]] if self.order == "yxyx" else boxes
        first, second = ordered[:, :2] * scale / divisor, ordered[:, 2:] * scale / divisor
        if self.order in ("xyxy", "yxyx"):
            second = second - first
        elif self.order == "cxcywh":
            first = first - second / 2
        return np.asarray(np.concatenate([first, second], axis=1), np.float64)


COCO = Convention()


def tolerance_px(sizes_wh: Numbers, *, strict: bool) -> Numbers:
    """How far a box may reach outside, (N, 1): a pixel or 0.2 % of the longer side, as people draw
    them; next to nothing for boxes that are computed (`strict`)."""
    if strict:
        return np.full((len(sizes_wh), 1), 0.01)
    longest = np.nan_to_num(sizes_wh).max(axis=1, keepdims=True, initial=0)
    return np.asarray(np.maximum(1.0, 0.002 * longest), np.float64)


def reach_px(boxes_xywh_px: Numbers, sizes_wh: Numbers) -> Numbers:
    """How many pixels each box reaches outside of its image at most, (N,); 0 for one inside.

    >>> reach_px(np.array([[-3.0, 0, 10, 10]]), np.array([[20.0, 8.0]])).tolist()
    [3.0]
    """
    ends = boxes_xywh_px[:, :2] + boxes_xywh_px[:, 2:]
    outside = np.concatenate([-boxes_xywh_px[:, :2], ends - sizes_wh], axis=1)
    reach = np.maximum(np.nan_to_num(outside, nan=0.0), 0).max(axis=1, initial=0)
    return np.asarray(reach, np.float64)


def fitting(boxes: Numbers, sizes_wh: Numbers, convention: Convention) -> BoolArray:
    """Whether each box has an area and lies in its image, if it is written in this convention."""
    found = convention.to_xywh_px(boxes, sizes_wh)
    tolerance = tolerance_px(sizes_wh, strict=False)[:, 0]
    return np.asarray((found[:, 2:] > 0).all(axis=1) & (reach_px(found, sizes_wh) <= tolerance))


def choose(
    boxes: Numbers, sizes_wh: Numbers, order: str = "", unit: str = ""
) -> tuple[Convention, float]:
    """The convention of boxes (N, 4) in images of sizes (N, 2), and the share of them that fit.

    `order` and `unit` are given where names tell them. COCO's is preferred, then the one that most
    boxes fit.

    >>> boxes = np.array([[10.0, 10, 90, 40], [50, 20, 60, 90], [5, 5, 99, 99]])
    >>> str(choose(boxes, np.full((3, 2), 100.0))[0])
    '[x_min, y_min, x_max, y_max] in pixels'
    """
    usable = np.isfinite(boxes).all(axis=1) & np.isfinite(sizes_wh).all(axis=1)
    boxes, sizes_wh = boxes[usable], sizes_wh[usable]
    if not len(boxes):
        return Convention(order or "xywh", unit or "pixels"), 1.0
    orders = [order] if order else ["xywh", "xyxy", "cxcywh", "yxyx"]
    units = [unit] if unit else _units(boxes)
    tried = [Convention(each, unit_) for unit_ in units for each in orders]
    shares = [float(fitting(boxes, sizes_wh, each).mean()) for each in tried]
    if shares[0] >= ENOUGH:
        return tried[0], shares[0]
    best = max(range(len(tried)), key=lambda place: (round(shares[place], 2), -place))
    return tried[best], shares[best]


def _units(boxes: Numbers) -> list[str]:
    """By the largest numbers, but for those of boxes that may be wrong."""
    largest = float(np.quantile(np.abs(boxes).max(axis=1), 0.75))
    if largest <= 1.5:
        return ["normalised"]
    return ["pixels", "thousandths"] if largest <= 1000 else ["pixels"]
