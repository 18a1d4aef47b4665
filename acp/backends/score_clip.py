"""Image-text similarity by CLIP or SigLIP, without captions: the paper's ablation `clip`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from pydantic import Field

from acp.backends.base import Scorer, ScoreRequest
from acp.backends.models.batches import Batches
from acp.backends.models.composite import image_request
from acp.backends.models.local_models import (
    MEND,
    OUT_OF_MEMORY,
    SPEED_ONLY,
    LocalModelOptions,
    device_of,
    model_info,
    model_keys,
    telling,
    where_is,
)
from acp.backends.models.torch_tools import no_progress_bars
from acp.clis.image import combine_image
from acp.clis.questions import (
    ClisISettings,
    ImageRequest,
    box_problem,
    boxes_of,
    crop_of,
    request_problem,
)
from acp.core.errors import AcpError
from acp.core.types import Failure, FloatArray, ImageArray, ImageScores, ModelInfo

WHO = "scorer 'clip'"


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
        where = where_is(options, model_info(options))
        with telling(options, who), no_progress_bars():
            from transformers import AutoModel, AutoProcessor

            model = AutoModel.from_pretrained(**where, dtype=options.dtype)
            if not (hasattr(model, "get_image_features") and hasattr(model, "get_text_features")):
                raise AcpError(
                    f"{who}: {options.model} is a {model.config.model_type!r}, which does not "
                    "compare images with texts; name a CLIP or SigLIP"
                )
            processor = AutoProcessor.from_pretrained(**where)
        batches = batches or Batches(options.batch_size, who, OUT_OF_MEMORY)
        return cls(model.eval().to(device_of(options.device)), processor, batches)

    def encode_images(self, images: Sequence[ImageArray]) -> list[FloatArray | Failure]:
        """A unit vector (D,) of each picture (H, W, 3), or why the model refuses it."""

        def work(batch: Sequence[ImageArray]) -> list[FloatArray | Failure]:
            pictures = [Image.fromarray(image) for image in batch]
            inputs = self._processor.image_processor(images=pictures, return_tensors="pt")
            return [*self._vectors(inputs, self._model.get_image_features)]

        return self._batches.run(images, work)

    def encode_texts(self, texts: Sequence[str]) -> list[FloatArray | Failure]:
        """A unit vector (D,) of each text; what is too long is cut off."""

        def work(batch: Sequence[str]) -> list[FloatArray | Failure]:
            # To the full length: SigLIP was trained so, and CLIP does not mind.
            inputs = self._processor.tokenizer(
                [*batch],
                padding="max_length",
                truncation=True,
                max_length=self._length,
                return_tensors="pt",
            )
            return [*self._vectors(inputs, self._model.get_text_features)]

        return self._batches.run(texts, work)

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


def likeness(left: FloatArray | Failure, right: FloatArray | Failure) -> float | Failure:
    """The cosine of two unit vectors as a score, 0-100; what points away is 0.

    >>> likeness(np.array([1.0, 0.0]), np.array([0.6, 0.8]))
    60.0
    """
    if isinstance(left, Failure):
        return left
    if isinstance(right, Failure):
        return right
    return round(max(0.0, float(left @ right)) * 100, 3)


class Clip(Scorer):
    """100 times the cosine of the image and the caption, and of each crop and its text.

    Cosines of real pairs lie in a narrow band (CLIP about 20-35, SigLIP about 0-20), far below the
    thresholds of CLIS-I: set `pick.min_clis_i_instance` to 0 and let it rank.
    """

    name = "clip"
    summary = "CLIP or SigLIP image-text similarity, to compare selectors"
    is_proxy = True
    modules: ClassVar[Mapping[str, str]] = {"torch": MEND, "transformers": MEND}
    speed_only = SPEED_ONLY
    chunk = 64
    options_type = DualEncoderOptions
    options: DualEncoderOptions

    def __init__(self, options: DualEncoderOptions | None = None) -> None:
        super().__init__(options)
        self._batches = Batches(self.options.batch_size, WHO, OUT_OF_MEMORY)

    def load(self) -> None:
        _ = self._encoder

    def model_keys(self) -> frozenset[str]:
        return frozenset({f"{type(self).__module__} {key}" for key in model_keys(self.options)})

    @cached_property
    def _encoder(self) -> DualEncoder:
        return DualEncoder.load(self.options, WHO, self._batches)

    def info(self) -> ModelInfo:
        model = model_info(self.options)
        note = "image-text similarity in place of CLIS-I"
        return ModelInfo(f"clip: {model.id} (proxy)", model.revision, model.licence, note)

    def score(self, requests: Sequence[ScoreRequest]) -> list[ImageScores | Failure]:
        """All pictures of all requests through the model side by side, then all texts."""
        asked = [_Asked.of(image_request(request)) for request in requests]
        images = self._encoder.encode_images([each for one in asked for each in one.images])
        texts = self._encoder.encode_texts([each for one in asked for each in one.texts])
        scores = iter([likeness(a, b) for a, b in zip(images, texts, strict=True)])
        made_by = str(self.info())
        return [_scored(one, [next(scores) for _ in one.texts], made_by) for one in asked]


@dataclass(frozen=True, slots=True)
class _Asked:
    """Pictures and texts to compare, the whole first; or the `problem` of a request."""

    images: Sequence[ImageArray] = ()
    texts: Sequence[str] = ()
    box_problems: Sequence[str] = ()
    problem: str = ""

    @classmethod
    def of(cls, request: ImageRequest) -> _Asked:
        if problem := request_problem(request):
            return cls(problem=problem)
        boxes = boxes_of(request.boxes_xywhn)
        problems = [box_problem(box) for box in boxes]
        there = [place for place, problem in enumerate(problems) if not problem]
        crops = [crop_of(request.image_rgb, boxes[place]) for place in there]
        texts = [request.caption, *(request.instances[place] for place in there)]
        return cls([request.image_rgb, *crops], texts, problems)


def _scored(
    asked: _Asked, scores: Sequence[float | Failure], made_by: str
) -> ImageScores | Failure:
    if asked.problem:
        return Failure(asked.problem)
    numbers: list[float] = []
    for score in scores:
        if isinstance(score, Failure):
            return score
        numbers.append(score)
    whole, *parts = numbers
    left = iter(parts)
    instances = tuple(None if problem else next(left) for problem in asked.box_problems)
    total, reason = combine_image(whole, "", instances, ClisISettings())
    return ImageScores(total, whole, instances, reason, tuple(asked.box_problems), made_by)
