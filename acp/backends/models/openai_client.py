"""Chats with any server that speaks OpenAI's protocol (vLLM, SGLang, llama.cpp, Ollama, ...).

The official client does the retries: on 408, 409, 429, 5xx, time-outs and broken connections, with
exponential back-off, as long as `Retry-After` says where the server sends it. Each answer is kept
on disk as it arrives, so that a build that ends early asks for none of them again.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from multiprocessing.pool import ThreadPool
from typing import Any, ClassVar, Literal, TypeVar

from PIL import Image
from pydantic import Field, field_validator

from acp.backends.base import Backend, BackendOptions
from acp.core.cache import AnswerCache, answer_key
from acp.core.errors import AcpError, MissingRequirementError, one_line
from acp.core.types import Failure, ImageArray, ModelInfo

MEND = "pip install 'auto-cherry-picker[serve]'"
MODULES = {"openai": MEND, "jsonschema": MEND}
SPEED_ONLY = frozenset(
    {"base_url", "api_key_env", "concurrency", "max_retries", "timeout_s", "cache"}
)
"""Options that say where and how fast; another server with the same model answers the same."""

NO_THOUGHTS = {"chat_template_kwargs": {"enable_thinking": False}}
"""How vLLM, SGLang and llama.cpp are told to answer at once."""

OUTAGE = 32
"""Requests failed by the server one after another, each with all its retries, that mean an outage:
going on would reject scene after scene for nothing."""

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
    thinking: bool = Field(
        False,
        description="let the model think aloud first; off is sent as {chat_template_kwargs: "
        "{enable_thinking: false}}, unless the server refuses that field",
    )
    extra_body: dict[str, Any] = Field(
        default_factory=dict, description="sent along, such as {reasoning_effort: none}"
    )
    cache: bool = Field(True, description="keep answers in $ACP_HOME/served as they arrive")
    licence: str = Field("unknown", description="of the model, for the card of the data set")

    @field_validator("base_url")
    @classmethod
    def _no_password(cls, url: str) -> str:
        if "@" in url.partition("://")[2].partition("/")[0]:
            raise AcpError("base_url: holds a password; put it into the variable of api_key_env")
        return url


class ChatClient:
    """A server and a model on it."""

    def __init__(self, options: OpenAIOptions, user: str) -> None:
        """`user` names the backend in errors: "judge 'openai'"."""
        self._options = options
        self._user = user
        self._cache = AnswerCache(of="served") if options.cache else None
        self._takes_switch = True
        self._failed_in_a_row = 0

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
            AcpError: the server cannot be reached, refuses, or speaks another protocol.
        """
        answer = self._send({"messages": [{"role": "user", "content": "Say OK."}]}, 16)
        if isinstance(answer, Failure):
            raise AcpError(f"{self._where}: {answer.reason}")
        if not hasattr(answer, "choices"):
            raise AcpError(f"{self._where}: no OpenAI-compatible answer; check base_url")
        return str(getattr(answer, "model", None) or self._options.model)

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
        read: Callable[[str], str | Failure] = str,
    ) -> str | Failure:
        """What `read` makes of the answer, without what a thinking model thinks aloud.

        An answer that was read before is not asked for again; failures are.

        Raises:
            AcpError: what would fail for every request: no server, no access, no such model.
        """
        body: dict[str, Any] = {"messages": [*messages], "temperature": temperature}
        body["seed"] = seed % 2**31  # more than this, some servers refuse
        if response_format is not None:
            body["response_format"] = response_format
        key = self._key(body, max_new_tokens)
        known = self._cache.get([key]).get(key) if self._cache else None
        if isinstance(known, str):
            return known
        text = _text(self._send(body, max_new_tokens))
        answer = text if isinstance(text, Failure) else read(text)
        if self._cache and isinstance(answer, str):
            self._cache.put({key: answer})
        return answer

    def chat_all(self, requests: Sequence[R], ask: Callable[[R], A]) -> list[A]:
        """`ask` of each request, several at once, in order; the first AcpError ends all."""
        if not requests:
            return []
        _ = self.served_model  # once, and not by every thread
        return in_threads(requests, ask, self._options.concurrency)

    def _key(self, body: Mapping[str, Any], max_tokens: int) -> str:
        # Not the address: the same model may answer elsewhere the next time.
        options = {"thinking": self._options.thinking, "extra_body": self._options.extra_body}
        asked = json.dumps([options, body, max_tokens], sort_keys=True)
        return answer_key(self._options.model, self.served_model, asked)

    def _send(self, body: Mapping[str, Any], max_tokens: int) -> Any:
        """The completion, or a `Failure` that concerns this request alone."""
        answer = self._ask(body, max_tokens)
        if not isinstance(answer, Failure):
            self._failed_in_a_row = 0
            return answer
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= OUTAGE:
            raise AcpError(
                f"{self._where}: {OUTAGE} requests in a row failed, the last one because "
                f"{answer.reason}; mend the server or its options, what it answered is kept"
            )
        return answer

    @property
    def _where(self) -> str:
        return f"{self._user}: {self._options.base_url}"

    def _ask(self, body: Mapping[str, Any], max_tokens: int) -> Any:
        client = self._client
        import openai

        try:
            return self._create(client, body, max_tokens)
        except openai.APITimeoutError as error:
            if _cause(error) == "ConnectTimeout":
                raise self._down(error) from None
            return Failure(f"no answer from the server within {self._options.timeout_s:g} s")
        except openai.APIConnectionError as error:
            if _cause(error) not in BROKEN_OFF:
                raise self._down(error) from None
            return Failure("the server broke the connection off")
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise AcpError(
                f"{self._where}: access refused ({error.status_code}); set the environment "
                f"variable {self._options.api_key_env} to a valid key"
            ) from None
        except openai.NotFoundError as error:
            raise AcpError(
                f"{self._where}: not found ({self._message(error)}); check model and base_url"
            ) from None
        except openai.APIStatusError as error:
            return Failure(f"the server answered {error.status_code}: {self._message(error)}")
        except (openai.APIError, ValueError) as error:
            return Failure(f"the server's answer makes no sense: {self._message(error)}")

    def _create(self, client: Any, body: Mapping[str, Any], max_tokens: int) -> Any:
        import openai

        own = self._options.extra_body
        switch = {} if self._options.thinking or not self._takes_switch else NO_THOUGHTS
        asked = {
            "model": self._options.model,
            self._options.max_tokens_field: max_tokens,
            **body,
        }
        try:
            return client.chat.completions.create(**asked, extra_body={**switch, **own})
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            (field,) = NO_THOUGHTS
            if not switch or field in own or field not in str(error):
                raise
        self._takes_switch = False  # a server of models that have no such switch
        return client.chat.completions.create(**asked, extra_body=own)

    def _down(self, error: Exception) -> AcpError:
        reason = self._message(error.__cause__ or error)
        return AcpError(
            f"{self._where}: cannot be reached ({reason}); start the server or set base_url"
        )

    def _message(self, error: BaseException) -> str:
        """What the error says, in one line, without the key that a server may repeat."""
        key = os.environ.get(self._options.api_key_env)
        text = re.sub(r"^Error code: \d+ - ", "", one_line(error))
        return (text.replace(key, "***") if key else text)[:200]


BROKEN_OFF = {"RemoteProtocolError", "ReadError", "WriteError", "CloseError"}
"""Errors of the connection that a single request can meet while the server is there."""


def _cause(error: Exception) -> str:
    return type(error.__cause__).__name__


def _text(answer: Any) -> str | Failure:
    """The text of a completion, after the thoughts."""
    if isinstance(answer, Failure):
        return answer
    choices = getattr(answer, "choices", None)
    message = getattr(choices[0], "message", None) if choices and isinstance(choices, list) else 0
    text = getattr(message, "content", None)
    if not isinstance(text, str):
        return Failure("the server answered without text")
    before, _, after = text.rpartition("</think>")
    if not before and after.lstrip().startswith("<think>"):
        return Failure("the server answered without text after its thoughts")
    return after.strip() or Failure("the server answered without text")


def in_threads(requests: Sequence[R], ask: Callable[[R], A], most: int) -> list[A]:
    """`ask` of each request, at most `most` at once, in order; the first exception ends all.

    An interrupt ends it too, whatever the threads wait for: they end with the process.

    >>> in_threads([1, 2, 3], lambda number: number * 2, most=2)
    [2, 4, 6]
    """
    with ThreadPool(min(most, len(requests))) as pool:
        numbered = pool.imap_unordered(lambda each: (each[0], ask(each[1])), enumerate(requests))
        answers = dict(numbered)
    return [answers[place] for place in range(len(requests))]


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
