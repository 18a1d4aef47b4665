"""Pictures and texts in one space, by a dual encoder such as CLIP or SigLIP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image
from pydantic import Field

from acp.backends._local_models import (
    LocalModelOptions,
    device_of,
    model_info,
    telling,
    where_is,
)
from acp.backends._processors import load_processor
from acp.backends._torchvision import hide_broken_torchvision
from acp.torch_tools import no_progress_bars
from acp.types import FloatArray, ImageArray


class DualEncoderOptions(LocalModelOptions):
    """Which CLIP or SigLIP, and where it runs."""

    model: str = Field(
        "google/siglip2-base-patch16-naflex", description="id on the Hub, or a folder"
    )
    batch_size: int = Field(32, ge=1, description="pictures or texts of a forward; speed only")


class DualEncoder:
    """The model in memory; its vectors have length 1, so a dot product is a cosine."""

    def __init__(self, model: Any, processor: Any, batch_size: int) -> None:
        self._model, self._processor, self._batch_size = model, processor, batch_size
        text = model.config.text_config
        limit = int(processor.tokenizer.model_max_length)
        self._length = min(limit, int(text.max_position_embeddings))

    @classmethod
    def load(cls, options: DualEncoderOptions, who: str) -> DualEncoder:
        """Bring the model into memory; `who` is named in errors.

        Raises:
            AcpError: no such model, or one that cannot be loaded.
        """
        hide_broken_torchvision()
        from transformers import AutoModel

        where = where_is(options, model_info(options))
        with telling(options, who), no_progress_bars():
            model = AutoModel.from_pretrained(**where, dtype=options.dtype)
            processor = load_processor(where, options.model, who)
        return cls(model.eval().to(device_of(options.device)), processor, options.batch_size)

    def encode_images(self, images: Sequence[ImageArray]) -> FloatArray:
        """Unit vectors (N, D) of pictures (H, W, 3)."""

        def inputs(batch: Sequence[ImageArray]) -> Any:
            pictures = [Image.fromarray(image) for image in batch]
            return self._processor.image_processor(images=pictures, return_tensors="pt")

        return self._encode(images, inputs, self._model.get_image_features)

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Unit vectors (N, D) of texts; what is too long is cut off."""

        def inputs(batch: Sequence[str]) -> Any:
            # To the full length: SigLIP was trained so, and CLIP does not mind.
            return self._processor.tokenizer(
                [*batch],
                padding="max_length",
                truncation=True,
                max_length=self._length,
                return_tensors="pt",
            )

        return self._encode(texts, inputs, self._model.get_text_features)

    def _encode(
        self, items: Sequence[Any], inputs: Callable[[Any], Any], features: Callable[..., Any]
    ) -> FloatArray:
        import torch

        found: list[FloatArray] = []
        for start in range(0, len(items), self._batch_size):
            batch = inputs(items[start : start + self._batch_size]).to(self._model.device)
            with torch.inference_mode():
                vectors = features(**batch)
            vectors = getattr(vectors, "pooler_output", vectors).float()
            unit = torch.nn.functional.normalize(vectors, dim=-1)
            found.append(unit.cpu().numpy().astype(np.float32))
        return np.concatenate(found) if found else np.zeros((0, 1), np.float32)


def cosine_score(left: FloatArray, right: FloatArray) -> float:
    """The cosine of two unit vectors as a score, 0-100; what points away is 0.

    >>> cosine_score(np.array([1.0, 0.0]), np.array([0.6, 0.8]))
    60.0
    """
    return round(max(0.0, float(left @ right)) * 100, 3)
