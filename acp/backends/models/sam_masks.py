"""From the logits of masks to instances: kept to their boxes, and no pixel given twice."""

from __future__ import annotations

from typing import Any

import numpy as np

from acp.core.boxes import masks_to_xywh_px, xywh_to_xyxy
from acp.core.types import FloatArray, Instances, MaskArray

NO_AREA = "the box has no area in the image"
NO_MASK = "its box holds no mask"
TAKEN = "its mask belongs to other objects altogether"
_GIVES_WAY = 1e4
"""Far above any logit: masks that are not trusted yield to those that are."""


def instances_of(
    logits: Any,
    boxes_xywhn: FloatArray,
    predicted_iou: FloatArray,
    *,
    box_margin: float,
    min_predicted_iou: float,
) -> Instances:
    """Masks where logits are above 0, inside their boxes, each pixel in one mask at most.

    A pixel that several masks claim goes to the one with the highest logit; masks with a
    predicted IoU below the least one take none from others. `visible` is the share of its own
    claim that a mask keeps.

    Args:
        logits: tensor (N, H, W), at the size of the image.
        boxes_xywhn: (N, 4).
        predicted_iou: (N,), 0-1.
        box_margin: by which share of its sides a box is enlarged before masks are cut off at it.
        min_predicted_iou: masks below carry a reason.
    """
    import torch

    height, width = (int(length) for length in logits.shape[1:])
    near = boxes_to_masks(boxes_xywhn, (width, height), box_margin)
    claims = (logits > 0) & torch.from_numpy(near).to(logits.device)
    masks = claims
    poor = predicted_iou < min_predicted_iou
    if len(masks) > 1:
        trust = torch.from_numpy(poor).to(logits.device)[:, None, None] * _GIVES_WAY
        strength = torch.where(claims, logits - trust, -torch.inf)
        order = torch.arange(len(claims), device=logits.device)[:, None, None]
        masks = claims & (strength.argmax(dim=0) == order)
    claimed = claims.sum(dim=(1, 2)).cpu().numpy()
    found = masks.cpu().numpy()
    kept = found.sum(axis=(1, 2))
    visible = np.divide(kept, claimed, out=np.zeros(len(found)), where=claimed > 0)
    facts = np.stack([near.any(axis=(1, 2)), claimed > 0, kept > 0, ~poor], axis=1)
    told = (NO_AREA, NO_MASK, TAKEN, f"predicted IoU below {min_predicted_iou:g}")
    reasons = tuple("" if row.all() else told[int(row.argmin())] for row in facts)
    boxes_px = masks_to_xywh_px(found)
    return Instances(found, boxes_px, visible.astype(np.float32), predicted_iou, reasons)


def boxes_to_masks(boxes_xywhn: FloatArray, size_wh: tuple[int, int], margin: float) -> MaskArray:
    """The pixels (N, H, W) that boxes touch, once enlarged by `margin` of their sides at each end.

    >>> boxes_to_masks(np.array([[0.25, 0.5, 0.5, 0.5]]), (4, 2), 0.0).astype(int).tolist()
    [[[0, 0, 0, 0], [0, 1, 1, 0]]]
    """
    width, height = size_wh
    corners = xywh_to_xyxy(boxes_xywhn.astype(np.float64)).clip(0, 1)
    sides = np.diff(corners.reshape(-1, 2, 2), axis=1)[:, 0]
    grown = (corners + np.hstack([-sides, sides]) * margin) * (width, height, width, height)
    # A hair less than a pixel, so that rounding of a box of whole pixels adds no row.
    low = np.minimum(np.floor(grown[:, :2] + 1e-3), (width - 1, height - 1))
    high = np.maximum(np.ceil(grown[:, 2:] - 1e-3), low + 1)
    found = np.zeros((len(corners), height, width), dtype=np.bool_)
    for mask, (left, top), (right, bottom), side in zip(found, low, high, sides, strict=True):
        if (side > 0).all():
            mask[max(0, int(top)) : int(bottom), max(0, int(left)) : int(right)] = True
    return found
