"""A local multimodal model (image and text in, text out) with transformers, batched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from PIL import Image

from acp.backends.base import Captioner, CaptionRequest
from acp.backends.models.batches import Batches
from acp.backends.models.generation import Draw, Written, chats, generate, in_batches
from acp.backends.models.local_models import (
    MEND,
    OUT_OF_MEMORY,
    SPEED_ONLY,
    LocalModel,
    LocalModelOptions,
    load_model,
    model_info,
    model_keys,
    telling,
    where_is,
)
from acp.core.types import BoxConvention, Failure, ModelInfo

WHO = "captioner 'transformers'"
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
"""How models were taught to read boxes, by the `model_type` of their configuration."""


class TransformersCaptioner(Captioner):
    """Any model that `AutoModelForImageTextToText` knows."""

    name = "transformers"
    summary = "local multimodal model with transformers, batched"
    modules: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("accelerate", "torch", "transformers"), MEND
    )
    speed_only = SPEED_ONLY
    chunk = 256
    options_type = LocalModelOptions
    options: LocalModelOptions

    def __init__(self, options: LocalModelOptions | None = None) -> None:
        super().__init__(options)
        self._batches = Batches(self.options.batch_size, WHO, OUT_OF_MEMORY)

    def load(self) -> None:
        _ = self._loaded

    def model_keys(self) -> frozenset[str]:
        return model_keys(self.options)

    def info(self) -> ModelInfo:
        return model_info(self.options)

    @cached_property
    def _loaded(self) -> LocalModel:
        return load_model(self.options, WHO, images=True)

    def reads_boxes_as(self, size_wh: tuple[int, int]) -> tuple[BoxConvention, tuple[int, int]]:
        convention, processor = self._box_convention
        return convention, seen_size_wh(size_wh, processor) if processor is not None else size_wh

    @cached_property
    def _box_convention(self) -> tuple[BoxConvention, Any]:
        """And, if boxes are in pixels, the processor that decides how many there are."""
        where = where_is(self.options, self.info())
        with telling(self.options, WHO):
            from transformers import AutoConfig, AutoImageProcessor

            config = AutoConfig.from_pretrained(**where)
            convention = CONVENTIONS.get(config.model_type, DEFAULT)
            in_pixels = convention == "xyxy_px"
            return convention, AutoImageProcessor.from_pretrained(**where) if in_pixels else None

    def caption(self, requests: Sequence[CaptionRequest]) -> list[str | Failure]:
        return in_batches(requests, _length, self._batches, self._write, _caption)

    def _write(self, requests: Sequence[CaptionRequest]) -> list[Written]:
        draws = [Draw(each.temperature, each.seed, each.max_new_tokens) for each in requests]
        return generate(self._loaded, self._prompts(requests), draws)

    def _prompts(self, requests: Sequence[CaptionRequest]) -> Any:
        loaded = self._loaded
        return loaded.processor.apply_chat_template(
            chats(loaded, [_with_image(request) for request in requests]),
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
            **loaded.template_options,
        )


def _with_image(request: CaptionRequest) -> list[dict[str, Any]]:
    *before, last = [dict(message) for message in request.messages]
    content = [
        {"type": "image", "image": Image.fromarray(request.image_rgb)},
        {"type": "text", "text": last["content"]},
    ]
    return [*before, {"role": last["role"], "content": content}]


def _caption(request: CaptionRequest, text: str) -> str | Failure:
    said = text.rpartition("</think>")[2].strip()
    return said or Failure("the captioner said nothing")


def _length(request: CaptionRequest) -> int:
    # Larger pictures make longer prompts in most models; alike ones share a batch.
    height, width = request.image_rgb.shape[:2]
    return int(height * width) + sum(len(message["content"]) for message in request.messages)


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
