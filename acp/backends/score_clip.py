"""Image-text similarity by CLIP or SigLIP, without captions: the paper's ablation `clip`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import ClassVar

from acp.backends._composite import image_request
from acp.backends._dual_encoder import DualEncoder, DualEncoderOptions, cosine_score
from acp.backends._local_models import MEND, SPEED_ONLY, model_info
from acp.backends.base import Scorer, ScoreRequest
from acp.clis.image_questions import ImageRequest, box_problem, boxes_of, crop_of, request_problem
from acp.clis.image_results import combine_image
from acp.clis.image_settings import ClisISettings
from acp.types import Failure, FloatArray, ImageScores, ModelInfo


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

    def load(self) -> None:
        _ = self._encoder

    @cached_property
    def _encoder(self) -> DualEncoder:
        return DualEncoder.load(self.options, "scorer 'clip'")

    def info(self) -> ModelInfo:
        model = model_info(self.options)
        note = "image-text similarity in place of CLIS-I"
        return ModelInfo(f"clip: {model.id} (proxy)", model.revision, model.licence, note)

    def score(self, requests: Sequence[ScoreRequest]) -> list[ImageScores | Failure]:
        return [self._one(image_request(request)) for request in requests]

    def _one(self, request: ImageRequest) -> ImageScores | Failure:
        if problem := request_problem(request):
            return Failure(problem)
        boxes = boxes_of(request.boxes_xywhn)
        problems = [box_problem(box) for box in boxes]
        there = [place for place, problem in enumerate(problems) if not problem]
        crops = [crop_of(request.image_rgb, boxes[place]) for place in there]
        images = self._encoder.encode_images([request.image_rgb, *crops])
        texts = self._text_vectors([request.caption, *(request.instances[i] for i in there)])
        scores = [cosine_score(a, b) for a, b in zip(images, texts, strict=True)]
        found = dict(zip(there, scores[1:], strict=True))
        instances = tuple(found.get(place) for place in range(len(boxes)))
        total, reason = combine_image(scores[0], "", instances, ClisISettings())
        made_by = str(self.info())
        return ImageScores(total, scores[0], instances, reason, tuple(problems), made_by)

    def _text_vectors(self, texts: Sequence[str]) -> FloatArray:
        return self._encoder.encode_texts(texts)
