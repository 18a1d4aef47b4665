"""How multimodal models were taught to read boxes, by the `model_type` of their configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from acp.core.types import BoxConvention

DEFAULT: BoxConvention = "xyxy_1000"
"""Of models that are not listed."""
CONVENTIONS: Mapping[str, BoxConvention] = {
    "gemma3": "yxyx_1000",
    "gemma4": "yxyx_1000",
    "gemma4_unified": "yxyx_1000",
    "glm4v": "xyxy_1000",
    "glm4v_moe": "xyxy_1000",
    "glm46v": "xyxy_1000",
    "internvl": "xyxy_1000",
    "llava": "xyxy_norm",
    "llava_next": "xyxy_norm",
    "qwen2_vl": "xyxy_1000",
    "qwen2_5_vl": "xyxy_px",
    "qwen3_5": "xyxy_1000",
    "qwen3_5_moe": "xyxy_1000",
    "qwen3_vl": "xyxy_1000",
    "qwen3_vl_moe": "xyxy_1000",
}


def seen_size_wh(size_wh: tuple[int, int], image_processor: Any) -> tuple[int, int]:
    """The size to which a processor of Qwen2-VL's kind brings an image: both sides multiples of
    its patches, and the area within its limits. Other processors: `size_wh`.

    Boxes in pixels refer to it.
    """
    merge, size = getattr(image_processor, "merge_size", None), image_processor.size
    if merge is None or not getattr(size, "longest_edge", None):
        return size_wh
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    height, width = smart_resize(
        size_wh[1],
        size_wh[0],
        factor=image_processor.patch_size * merge,
        min_pixels=size.shortest_edge,
        max_pixels=size.longest_edge,
    )
    return int(width), int(height)
