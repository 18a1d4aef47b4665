"""A multimodal model behind an OpenAI-compatible server; images travel inside the request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from acp.backends._openai_client import MODULES, SPEED_ONLY, ChatClient, OpenAIOptions, data_url
from acp.backends.base import Captioner, CaptionRequest
from acp.types import Failure, ModelInfo


class OpenAICaptionerOptions(OpenAIOptions):
    """Options of the captioner `openai`."""

    image_format: Literal["jpeg", "png"] = Field(
        "jpeg", description="how images are sent; jpeg has quality 95 and full colour"
    )


class OpenAICaptioner(Captioner):
    """Sends each image as a data URL."""

    name = "openai"
    summary = "multimodal model of any OpenAI-compatible server"
    modules: ClassVar[Mapping[str, str]] = MODULES
    speed_only = SPEED_ONLY
    chunk = 256
    options_type = OpenAICaptionerOptions
    options: OpenAICaptionerOptions

    def __init__(self, options: OpenAICaptionerOptions | None = None) -> None:
        super().__init__(options)
        self._client = ChatClient(self.options, "captioner 'openai'")

    def load(self) -> None:
        """Ask the server once, so that one that is down is told at once.

        Raises:
            AcpError: it cannot be reached, or refuses.
        """
        _ = self._client.served_model

    def info(self) -> ModelInfo:
        return self._client.info()

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
