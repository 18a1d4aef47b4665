"""Pictures and texts in one space, by a dual encoder such as CLIP or SigLIP."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from PIL import Image
from pydantic import Field

from acp.backends.models.batches import Batches
from acp.backends.models.local_models import (
    OUT_OF_MEMORY,
    LocalModelOptions,
    device_of,
    model_info,
    telling,
    where_is,
)
from acp.backends.models.processors import load_processor
from acp.backends.models.torch_tools import no_progress_bars
from acp.backends.models.torchvision import hide_broken_torchvision
from acp.core.errors import AcpError
from acp.core.types import Failure, FloatArray, ImageArray


class DualEncoderOptions(LocalModelOptions):
    """Which CLIP or SigLIP, and where it runs."""

    model: str = Field(
        "google/siglip2-base-patch16-naflex", description="id on the Hub, or a folder"
    )
    batch_size: int = Field(
        32,
        ge=1,
        description="most pictures or texts of a forward; halved where memory runs out; speed only",
    )


class DualEncoder:
    """The model in memory; its vectors have length 1, so a dot product is a cosine.

    Pictures become batches of one shape: those of SigLIP 2 "naflex", which keep their aspect, are
    padded to the same number of patches and masked.
    """

    def __init__(self, model: Any, processor: Any, batches: Batches) -> None:
        self._model, self._processor, self._batches = model, processor, batches
        text = model.config.text_config
        limit = int(processor.tokenizer.model_max_length)
        self._length = min(limit, int(text.max_position_embeddings))

    @classmethod
    def load(
        cls, options: DualEncoderOptions, who: str, batches: Batches | None = None
    ) -> DualEncoder:
        """Bring the model into memory; `who` is named in errors.

        `batches` remembers a batch size that memory allows from one load to the next.

        Raises:
            AcpError: no such model, or one that cannot be loaded.
        """
        hide_broken_torchvision()
        from transformers import AutoModel

        where = where_is(options, model_info(options))
        with telling(options, who), no_progress_bars():
            model = AutoModel.from_pretrained(**where, dtype=options.dtype)
            if not (hasattr(model, "get_image_features") and hasattr(model, "get_text_features")):
                raise AcpError(
                    f"{who}: {options.model} is a {model.config.model_type!r}, which does not "
                    "compare images with texts; name a CLIP or SigLIP"
                )
            processor = load_processor(where, options.model, who)
        batches = batches or Batches(options.batch_size, who, OUT_OF_MEMORY)
        return cls(model.eval().to(device_of(options.device)), processor, batches)

    def encode_images(self, images: Sequence[ImageArray]) -> FloatArray:
        """Unit vectors (N, D) of pictures (H, W, 3).

        Raises:
            ValueError: the processor refuses a picture.
        """

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
        def work(batch: Sequence[Any]) -> list[FloatArray | Failure]:
            return [*self._vectors(inputs(batch), features)]

        found = self._batches.run(items, work)
        failed = next((each for each in found if isinstance(each, Failure)), None)
        if failed is not None:
            raise ValueError(failed.reason)
        return np.stack(cast(list[FloatArray], found)) if found else np.zeros((0, 1), np.float32)

    def _vectors(self, batch: Mapping[str, Any], features: Callable[..., Any]) -> FloatArray:
        import torch

        device, dtype = self._model.device, self._model.dtype
        moved = {
            name: value.to(device, dtype if value.is_floating_point() else value.dtype)
            for name, value in batch.items()
        }
        with torch.inference_mode():
            vectors = features(**moved)
        vectors = getattr(vectors, "pooler_output", vectors).float()
        unit = torch.nn.functional.normalize(vectors, dim=-1)
        return np.asarray(unit.cpu().numpy(), dtype=np.float32)


def cosine_score(left: FloatArray, right: FloatArray) -> float:
    """The cosine of two unit vectors as a score, 0-100; what points away is 0.

    >>> cosine_score(np.array([1.0, 0.0]), np.array([0.6, 0.8]))
    60.0
    """
    return round(max(0.0, float(left @ right)) * 100, 3)
