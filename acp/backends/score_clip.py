"""Image-text similarity by CLIP or SigLIP, without captions: the paper's ablation `clip`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from acp.backends.base import Scorer, ScoreRequest
from acp.backends.models.batches import Batches
from acp.backends.models.composite import image_request
from acp.backends.models.dual_encoder import DualEncoder, DualEncoderOptions, cosine_score
from acp.backends.models.local_models import (
    MEND,
    OUT_OF_MEMORY,
    SPEED_ONLY,
    model_info,
    model_keys,
)
from acp.clis.image import combine_image
from acp.clis.questions import (
    ClisISettings,
    ImageRequest,
    box_problem,
    boxes_of,
    crop_of,
    request_problem,
)
from acp.core.types import Failure, ImageArray, ImageScores, ModelInfo

WHO = "scorer 'clip'"


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
        asked = [_Asked.of(image_request(request)) for request in requests]
        try:
            return self._together(asked)
        except ValueError:  # a picture that the processor refuses spares the others
            return [found for each in asked for found in self._alone(each)]

    def _alone(self, asked: _Asked) -> list[ImageScores | Failure]:
        try:
            return self._together([asked])
        except ValueError as error:
            return [Failure(str(error))]

    def _together(self, asked: Sequence[_Asked]) -> list[ImageScores | Failure]:
        """All pictures of all requests through the model side by side, then all texts."""
        images = self._encoder.encode_images([each for one in asked for each in one.images])
        texts = self._encoder.encode_texts([each for one in asked for each in one.texts])
        scores = iter([cosine_score(a, b) for a, b in zip(images, texts, strict=True)])
        made_by = str(self.info())
        return [
            Failure(one.problem)
            if one.problem
            else _scored(one, [next(scores) for _ in one.texts], made_by)
            for one in asked
        ]


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


def _scored(asked: _Asked, scores: Sequence[float], made_by: str) -> ImageScores:
    whole, *found = scores
    left = iter(found)
    instances = tuple(None if problem else next(left) for problem in asked.box_problems)
    total, reason = combine_image(whole, "", instances, ClisISettings())
    return ImageScores(total, whole, instances, reason, tuple(asked.box_problems), made_by)
