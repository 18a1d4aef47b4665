"""Chats with any server that speaks OpenAI's protocol (vLLM, SGLang, llama.cpp, Ollama, ...).

The official client does the retries: on 408, 409, 429, 5xx, time-outs and broken connections, with
exponential back-off, as long as `Retry-After` says where the server sends it.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, ClassVar, Literal, TypeVar

from PIL import Image
from pydantic import Field

from acp.backends.base import Backend, BackendOptions
from acp.errors import AcpError, MissingRequirementError
from acp.types import Failure, ImageArray, ModelInfo

MEND = "pip install 'auto-cherry-picker[serve]'"
MODULES = {"openai": MEND, "jsonschema": MEND}
SPEED_ONLY = frozenset({"base_url", "api_key_env", "concurrency", "max_retries", "timeout_s"})
"""Options that say where and how fast; another server with the same model answers the same."""

R = TypeVar("R")
A = TypeVar("A")


class OpenAIOptions(BackendOptions):
    """Where the server is, and how to talk to it."""

    model: str = Field("Qwen/Qwen3.5-9B", description="name of the model on the server")
    base_url: str = Field("http://localhost:8000/v1", description="address, with its /v1")
    api_key_env: str = Field(
        "OPENAI_API_KEY", description="environment variable that holds the key, if one is needed"
    )
    concurrency: int = Field(16, ge=1, le=1024, description="requests under way at once")
    max_retries: int = Field(5, ge=0, description="of a request that fails; waits grow to 8 s")
    timeout_s: float = Field(120.0, gt=0, description="of one request, in seconds")
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="what the server calls the longest answer"
    )
    extra_body: dict[str, Any] = Field(
        default_factory=dict,
        description="sent along, such as {chat_template_kwargs: {enable_thinking: false}}",
    )
    licence: str = Field("unknown", description="of the model, for the card of the data set")


class ChatClient:
    """A server and a model on it."""

    def __init__(self, options: OpenAIOptions, user: str) -> None:
        """`user` names the backend in errors: "judge 'openai'"."""
        self._options = options
        self._user = user

    @cached_property
    def _client(self) -> Any:
        try:
            import openai
        except ImportError:
            raise MissingRequirementError(
                f"{self._user} needs Python package 'openai': {MEND}"
            ) from None
        return openai.OpenAI(
            # A server of one's own asks for no key, but the client insists on one.
            api_key=os.environ.get(self._options.api_key_env) or "none",
            base_url=self._options.base_url,
            max_retries=self._options.max_retries,
            timeout=self._options.timeout_s,
        )

    @cached_property
    def served_model(self) -> str:
        """The name that the server itself gives to the model ("gpt-4o-2024-08-06").

        Raises:
            AcpError: the server cannot be reached, or refuses.
        """
        answer = self._send({"messages": [{"role": "user", "content": "Say OK."}]}, 16)
        if isinstance(answer, Failure):
            raise AcpError(f"{self._user}: {self._options.base_url}: {answer.reason}")
        return str(answer.model or self._options.model)

    def info(self) -> ModelInfo:
        """The model's name, and as its revision the name the server reports."""
        return ModelInfo(self._options.model, self.served_model, self._options.licence)

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        max_new_tokens: int,
        temperature: float,
        seed: int,
        response_format: Mapping[str, Any] | None = None,
    ) -> str | Failure:
        """The text of the answer, without what a thinking model thinks aloud.

        Raises:
            AcpError: what would fail for every request: no server, no access, no such model.
        """
        body: dict[str, Any] = {"messages": [*messages], "temperature": temperature}
        body["seed"] = seed % 2**31  # more than this, some servers refuse
        if response_format is not None:
            body["response_format"] = response_format
        answer = self._send(body, max_new_tokens)
        if isinstance(answer, Failure):
            return answer
        choices = getattr(answer, "choices", None)
        text = choices[0].message.content if choices else None
        if not isinstance(text, str) or not (text := text.rpartition("</think>")[2].strip()):
            return Failure("the server answered without text")
        return text

    def chat_all(self, requests: Sequence[R], ask: Callable[[R], A]) -> list[A]:
        """`ask` of each request, several at once, in order; the first AcpError ends all."""
        if not requests:
            return []
        with ThreadPoolExecutor(min(self._options.concurrency, len(requests))) as pool:
            futures = [pool.submit(ask, request) for request in requests]
            try:
                return [future.result() for future in futures]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _send(self, body: Mapping[str, Any], max_tokens: int) -> Any:
        """The completion, or a `Failure` that concerns this request alone."""
        client = self._client
        import openai

        limit = {self._options.max_tokens_field: max_tokens}
        where = f"{self._user}: {self._options.base_url}"
        try:
            return client.chat.completions.create(
                model=self._options.model, extra_body=self._options.extra_body, **limit, **body
            )
        except openai.APITimeoutError:
            return Failure(f"no answer from the server within {self._options.timeout_s:g} s")
        except openai.APIConnectionError as error:
            raise AcpError(
                f"{where}: cannot be reached ({_cause(error)}); start the server or set base_url"
            ) from None
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise AcpError(
                f"{where}: access refused ({error.status_code}); set the environment variable "
                f"{self._options.api_key_env} to a valid key"
            ) from None
        except openai.NotFoundError as error:
            raise AcpError(
                f"{where}: not found ({_message(error)}); check model and base_url"
            ) from None
        except openai.APIStatusError as error:
            return Failure(f"the server answered {error.status_code}: {_message(error)}")
        except (openai.APIError, ValueError) as error:
            return Failure(f"the server's answer makes no sense: {_message(error)}")


class Served(Backend):
    """Base of the backends behind a server."""

    name = "openai"
    modules: ClassVar[Mapping[str, str]] = MODULES
    speed_only = SPEED_ONLY
    chunk = 256
    options: OpenAIOptions

    def __init__(self, options: Any = None, kind: str = "") -> None:
        """`kind` is what it serves as, for messages."""
        super().__init__(options)
        self._client = ChatClient(self.options, f"{kind} 'openai'")

    def load(self) -> None:
        """Ask the server once, so that one that is down is told at once.

        Raises:
            AcpError: it cannot be reached, or refuses.
        """
        _ = self._client.served_model

    def info(self) -> ModelInfo:
        return self._client.info()


def data_url(image_rgb: ImageArray, image_format: str) -> str:
    """An image (H, W, 3) as a `data:` address, "jpeg" or "png".

    >>> import numpy as np
    >>> data_url(np.zeros((2, 2, 3), np.uint8), "png")[:30]
    'data:image/png;base64,iVBORw0K'
    """
    stream = io.BytesIO()
    options = {"quality": 95, "subsampling": 0} if image_format == "jpeg" else {}
    Image.fromarray(image_rgb).save(stream, image_format.upper(), **options)
    return f"data:image/{image_format};base64,{base64.b64encode(stream.getvalue()).decode()}"


def _message(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def _cause(error: Exception) -> str:
    return _message(error.__cause__ or error)
