"""A multimodal model behind an OpenAI-compatible server; images travel inside the request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from acp.backends.base import Captioner, CaptionRequest
from acp.backends.models.openai_client import OpenAIOptions, Served, data_url
from acp.core.types import Failure


class OpenAICaptionerOptions(OpenAIOptions):
    """Options of the captioner `openai`."""

    image_format: Literal["jpeg", "png"] = Field(
        "jpeg", description="how images are sent; jpeg has quality 95 and full colour"
    )


class OpenAICaptioner(Served, Captioner):
    """Sends each image as a data URL."""

    summary = "multimodal model of any OpenAI-compatible server"
    options_type = OpenAICaptionerOptions
    options: OpenAICaptionerOptions

    def __init__(
        self, options: OpenAICaptionerOptions | None = None, kind: str = "captioner"
    ) -> None:
        super().__init__(options, kind)

    def caption(self, requests: Sequence[CaptionRequest]) -> list[str | Failure]:
        return self._client.chat_all(requests, self._one)

    def _one(self, request: CaptionRequest) -> str | Failure:
        *before, last = [dict(message) for message in request.messages]
        url = data_url(request.image_rgb, self.options.image_format)
        content: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": url}},
            {"type": "text", "text": last["content"]},
        ]
        return self._client.chat(
            [*before, {"role": last["role"], "content": content}],
            max_new_tokens=request.max_new_tokens,
            temperature=request.temperature,
            seed=request.seed,
        )
