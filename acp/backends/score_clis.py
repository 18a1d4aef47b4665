"""CLIS-I by a captioner and a judge, as the paper has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, cast

from pydantic import Field

from acp.backends.base import BackendOptions, Captioner, Judge, ScoreRequest
from acp.backends.models.composite import Composite, image_request
from acp.backends.registry import OptionsOf, make_backend
from acp.clis.image import score_images
from acp.clis.questions import ClisISettings, Prompts
from acp.core.cache import AnswerCache
from acp.core.licences import strictest
from acp.core.types import Failure, ImageScores, ModelInfo

_DEFAULT: Any = {"backend": "transformers"}


class ClisOptions(ClisISettings, BackendOptions):
    """Options of the scorer `clis`: those of CLIS-I, and who captions and judges."""

    captioner: Annotated[BackendOptions, OptionsOf("captioner")] = Field(
        _DEFAULT, validate_default=True, description="backend that captions, and its options"
    )
    judge: Annotated[BackendOptions, OptionsOf("judge")] = Field(
        _DEFAULT, validate_default=True, description="backend that judges; may be the same model"
    )
    cache: bool = Field(True, description="keep answers in $ACP_HOME/clis for the next run")


class Clis(Composite):
    """Asks for all captions of its requests, then for all judgements."""

    name = "clis"
    summary = "CLIS-I: a captioner says what it sees, a judge compares it with what was meant"
    speed_only = frozenset({"cache"})
    chunk = 64
    options_type = ClisOptions
    options: ClisOptions

    def __init__(self, options: ClisOptions | None = None) -> None:
        super().__init__(options)
        captioner = make_backend("captioner", self.options.captioner)
        judge = make_backend("judge", self.options.judge)
        self.captioner, self.judge = cast(Captioner, captioner), cast(Judge, judge)
        self.parts = {"captioner": captioner, "judge": judge}
        self.is_proxy = self.captioner.is_proxy or self.judge.is_proxy
        self._settings = ClisISettings.of(self.options)
        self._prompts = Prompts.of(self._settings)
        self._cache = AnswerCache() if self.options.cache else None

    def info(self) -> ModelInfo:
        captioner, judge = self.captioner.info(), self.judge.info()
        return ModelInfo(
            f"clis: {captioner.id} + {judge.id}",
            f"{captioner.revision}+{judge.revision}+prompts-{self._prompts.version}",
            strictest([captioner.licence, judge.licence]),
            "captioner and judge of CLIS-I",
        )

    def score(self, requests: Sequence[ScoreRequest]) -> list[ImageScores | Failure]:
        asked = [image_request(request) for request in requests]
        results = score_images(asked, self.captioner, self.judge, self._settings, self._cache)
        return [result.scores for result in results]
