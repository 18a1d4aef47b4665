"""Captions compared by their embeddings, without a judge: the paper's ablation `clip-text`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, cast

from pydantic import Field

from acp.backends.base import BackendOptions, Captioner, ScoreRequest
from acp.backends.models.composite import Composite, image_request
from acp.backends.models.embedding import PACKAGE, SentenceEmbedder, package_version
from acp.backends.models.local_models import model_info
from acp.backends.registry import OptionsOf, make_backend
from acp.backends.score_clip import Clip, DualEncoder, DualEncoderOptions, likeness
from acp.backends.score_embedded import EmbeddedJudge
from acp.clis.image import JudgedBy, assemble, caption_questions, plan_questions
from acp.clis.questions import ClisISettings, Prompts, Question
from acp.core.cache import AnswerCache
from acp.core.errors import Missing
from acp.core.licences import strictest
from acp.core.types import Failure, ImageScores, ModelInfo

MINILM = "minilm"
_DEFAULT: Any = {"backend": "transformers"}


class ClipTextOptions(ClisISettings, BackendOptions):
    """Options of the scorer `clip-text`."""

    captioner: Annotated[BackendOptions, OptionsOf("captioner")] = Field(
        _DEFAULT, validate_default=True, description="backend that captions, and its options"
    )
    text_model: str = Field(
        MINILM, description="minilm, or the id or folder of a CLIP or SigLIP for its text side"
    )
    device: str = Field("auto", description="of the text model; auto: a GPU if there is one")
    cache: bool = Field(True, description="keep captions in $ACP_HOME/clis for the next run")


class ClipText(Composite):
    """100 times the cosine of each caption with what was meant."""

    name = "clip-text"
    summary = "likeness of captions with what was meant, no judge, to compare selectors"
    is_proxy = True
    speed_only = frozenset({"cache", "device"})
    chunk = 64
    options_type = ClipTextOptions
    options: ClipTextOptions

    def __init__(self, options: ClipTextOptions | None = None) -> None:
        super().__init__(options)
        captioner = make_backend("captioner", self.options.captioner)
        self.captioner = cast(Captioner, captioner)
        self.parts = {"captioner": captioner}
        self._settings = ClisISettings.of(self.options)
        self._prompts = Prompts.of(self._settings)
        self._cache = AnswerCache() if self.options.cache else None

    def missing(self) -> list[Missing]:
        own = EmbeddedJudge() if self.options.text_model == MINILM else Clip(self._clip_options())
        return list(dict.fromkeys([*super().missing(), *own.missing()]))

    def load(self) -> None:
        super().load()
        _ = self._encoder

    def model_keys(self) -> frozenset[str]:
        own = MINILM if self.options.text_model == MINILM else Clip(self._clip_options())
        return super().model_keys() | ({own} if isinstance(own, str) else own.model_keys())

    @cached_property
    def _encoder(self) -> Any:
        if self.options.text_model == MINILM:
            return SentenceEmbedder.load().encode
        return DualEncoder.load(self._clip_options(), "scorer 'clip-text'").encode_texts

    def _clip_options(self) -> DualEncoderOptions:
        return DualEncoderOptions(model=self.options.text_model, device=self.options.device)

    def _text_info(self) -> ModelInfo:
        if self.options.text_model == MINILM:
            return ModelInfo("all-MiniLM-L6-v2", package_version(PACKAGE), "apache-2.0")
        return model_info(self._clip_options())

    def info(self) -> ModelInfo:
        captioner, text = self.captioner.info(), self._text_info()
        return ModelInfo(
            f"clip-text: {captioner.id} + {text.id} (proxy)",
            f"{captioner.revision}+{text.revision}+prompts-{self._prompts.captions_version}",
            strictest([captioner.licence, text.licence]),
            "likeness of captions in place of CLIS-I",
        )

    def score(self, requests: Sequence[ScoreRequest]) -> list[ImageScores | Failure]:
        asked = [image_request(request) for request in requests]
        questions = plan_questions(asked, self.captioner, self._settings, self._prompts)
        captions = caption_questions(
            questions, self.captioner, self._settings, self._prompts, self._cache
        )
        scores = self._likeness(questions, captions)
        text = f"{self._text_info()} likeness"
        made_by = JudgedBy(str(self.captioner.info()), text, self._prompts.captions_version)
        results = assemble(asked, questions, captions, scores, self._settings, made_by)
        return [result.scores for result in results]

    def _likeness(
        self, questions: Sequence[Question], captions: Sequence[str | Failure]
    ) -> list[float | Failure]:
        said = {caption for caption in captions if isinstance(caption, str)}
        texts = sorted(said | {question.expected for question in questions})
        vectors = dict(zip(texts, self._encoder(texts), strict=True))
        return [
            Failure(f"captioner: {caption.reason}")
            if isinstance(caption, Failure)
            else likeness(vectors[question.expected], vectors[caption])
            for question, caption in zip(questions, captions, strict=True)
        ]
