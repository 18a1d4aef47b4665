"""What CLIS-I asks and how it adds up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field, model_validator

from acp.core.config import Settings
from acp.core.prompts import Prompt, load_prompt
from acp.core.types import BoxConvention


class ClisISettings(Settings):
    """What CLIS-I asks and how it adds up; the weights are those of the paper."""

    global_weight: float = Field(0.5, ge=0, le=1, description="of the whole image")
    instances_weight: float = Field(0.5, ge=0, le=1, description="of the mean of the objects")
    region_weight: float = Field(0.8, ge=0, le=1, description="of the box on the full image")
    crop_weight: float = Field(0.2, ge=0, le=1, description="of the box cut out")
    box_convention: Literal["auto", BoxConvention] = Field(
        "auto",
        description="how the captioner is told of a box, auto: as its model was taught; see "
        "docs/clis_image.md",
    )
    caption_prompt: str | None = Field(
        None, description="path of a prompt file in place of acp/data/prompts/caption.md"
    )
    region_prompt: str | None = Field(None, description="likewise, of caption_region.md")
    judge_prompt: str | None = Field(None, description="likewise, of judge.md")
    max_caption_tokens: int = Field(128, ge=8, description="longest answer of the captioner")
    attempts: int = Field(3, ge=1, description="how often a question that fails is asked in all")
    retry_temperature: float = Field(
        0.7, ge=0, le=2, description="of repeated questions; the first takes the likeliest answer"
    )
    seed: int = Field(0, ge=0, description="of repeated questions")

    @classmethod
    def of(cls, options: Settings) -> ClisISettings:
        """Those among the options of a scorer that has them."""
        return cls(**options.model_dump(include=set(cls.model_fields)))

    @model_validator(mode="after")
    def _something_counts(self) -> ClisISettings:
        if not self.global_weight + self.instances_weight:
            raise ValueError("global_weight and instances_weight must not both be 0")
        if not self.region_weight + self.crop_weight:
            raise ValueError("region_weight and crop_weight must not both be 0")
        return self


@dataclass(frozen=True, slots=True)
class Prompts:
    """The three prompts of CLIS-I."""

    whole: Prompt
    region: Prompt
    judge: Prompt

    @classmethod
    def of(cls, settings: ClisISettings) -> Prompts:
        """Those of the package, or of the files that the settings name.

        Raises:
            AcpError: a file cannot be read, or holds other placeholders.
        """
        return cls(
            load_prompt(settings.caption_prompt or "caption", frozenset()),
            load_prompt(settings.region_prompt or "caption_region", frozenset({"box"})),
            load_prompt(settings.judge_prompt or "judge", frozenset({"expected", "caption"})),
        )

    @property
    def captions_version(self) -> str:
        """Of the two prompts of the captioner."""
        return f"{self.whole.version}-{self.region.version}"

    @property
    def version(self) -> str:
        """Of all three."""
        return f"{self.captions_version}-{self.judge.version}"
