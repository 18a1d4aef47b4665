"""A local multimodal model (image and text in, text out) with transformers, batched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from PIL import Image

from acp.backends.base import Captioner, CaptionRequest
from acp.backends.models.batches import Batches
from acp.backends.models.box_conventions import CONVENTIONS, DEFAULT, seen_size_wh
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
from acp.backends.models.torchvision import hide_broken_torchvision
from acp.core.types import BoxConvention, Failure, ModelInfo

WHO = "captioner 'transformers'"


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
        hide_broken_torchvision()
        from transformers import AutoConfig, AutoImageProcessor

        where = where_is(self.options, self.info())
        with telling(self.options, WHO):
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
