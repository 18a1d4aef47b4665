"""The backends `openai`: the official client against a real server on loopback."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from acp.backends.base import CaptionRequest, CompletionRequest, JudgeRequest
from acp.backends.captioner_openai import OpenAICaptioner, OpenAICaptionerOptions
from acp.backends.judge_llm import OpenAIJudge
from acp.backends.llm_openai import OpenAILLM, OpenAILLMOptions
from acp.backends.models.openai_client import in_threads
from acp.backends.registry import make_backend
from acp.core.errors import AcpError
from acp.core.types import Failure
from support.vlm_server import Server, image_of, question_of, serving

pytest.importorskip("openai")
IMAGE = np.zeros((40, 60, 3), dtype=np.uint8)
IMAGE[:, 30:] = (200, 30, 30)


def answer(body: dict[str, Any]) -> str:
    if "response_format" in body:
        return '{"answer": 4}'
    return f"{question_of(body)} in red"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place of its own for answers that are kept."""
    monkeypatch.setenv("ACP_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(answer) as found:
        yield found


def captioner(server: Server, **options: Any) -> OpenAICaptioner:
    return OpenAICaptioner(OpenAICaptionerOptions(base_url=server.url, model="m", **options))


def judge(server: Server, **options: Any) -> OpenAIJudge:
    return OpenAIJudge(OpenAIJudge.options_type(base_url=server.url, model="m", **options))


def caption_request(text: str = "What?", **changes: Any) -> CaptionRequest:
    messages = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": text})
    return CaptionRequest(IMAGE, messages, seed=2**40 + 7, **changes)


def judge_request(text: str = "How well?", seed: int = 0) -> JudgeRequest:
    return JudgeRequest("a dog", "a cat", ({"role": "user", "content": text},), seed)


def reason_of(found: Any) -> str:
    assert isinstance(found, Failure), found
    return found.reason


@pytest.mark.parametrize("image_format", ["jpeg", "png"])
def test_images_arrive_as_data_urls(server: Server, image_format: Any) -> None:
    found = captioner(server, image_format=image_format).caption([caption_request()])
    assert found == ["What? in red"]
    (body,) = server.chats
    pixels = image_of(body)
    assert pixels is not None
    assert np.abs(pixels.astype(int) - IMAGE).max() <= (0 if image_format == "png" else 12)
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("m", 0.0, 256)
    assert 0 <= body["seed"] < 2**31


def test_answers_come_in_order_and_no_more_are_under_way_than_allowed(server: Server) -> None:
    requests = [caption_request(f"question {number}") for number in range(24)]
    found = captioner(server, concurrency=3).caption(requests)
    assert found == [f"question {number} in red" for number in range(24)]
    assert 1 <= server.most_under_way <= 3


@pytest.mark.parametrize("fault", [429, 500, 503, 408])
def test_passing_faults_are_retried(server: Server, fault: int) -> None:
    server.faults = [fault, fault]
    assert captioner(server).caption([caption_request()]) == ["What? in red"]
    assert server.retry_counts == [0, 1, 2]


def test_a_lasting_fault_is_a_failure_of_the_item(server: Server) -> None:
    server.faults = [500, 500]
    found = captioner(server, max_retries=1, concurrency=1).caption([caption_request()] * 2)
    assert "500" in reason_of(found[0])
    assert "fault 500" in reason_of(found[0])
    assert found[1] == "What? in red"


def test_a_request_that_the_server_refuses_is_a_failure_at_once(server: Server) -> None:
    server.faults = [400]
    (found,) = captioner(server).caption([caption_request()])
    assert "400" in reason_of(found)
    assert len(server.chats) == 1


def test_a_slow_answer_is_a_failure(server: Server) -> None:
    server.faults = ["slow"]
    (found,) = captioner(server, timeout_s=0.2, max_retries=0).caption([caption_request()])
    assert reason_of(found) == "no answer from the server within 0.2 s"
    server.faults = ["slow"]
    assert captioner(server, timeout_s=0.2, max_retries=1).caption([caption_request()]) == [
        "What? in red"
    ]


@pytest.mark.parametrize("fault", ["cut", "empty"])
def test_half_an_answer_is_a_failure(server: Server, fault: str) -> None:
    server.faults = [fault]
    (found,) = captioner(server, max_retries=0).caption([caption_request()])
    assert reason_of(found)


def test_thoughts_are_left_out(server: Server) -> None:
    server.answer = lambda body: "<think>hm, a dog?</think>\n\nA cat."
    assert captioner(server).caption([caption_request("1")]) == ["A cat."]
    server.answer = question_of
    for thoughts in ("<think>hm</think>  ", "<think>hm, a dog, or"):
        (found,) = captioner(server).caption([caption_request(thoughts)])
        assert "without text" in reason_of(found)


def test_thinking_is_switched_off_unless_asked_for(server: Server) -> None:
    captioner(server).caption([caption_request()])
    captioner(server, thinking=True).caption([caption_request()])
    own = {"chat_template_kwargs": {"enable_thinking": True}}
    captioner(server, extra_body=own).caption([caption_request()])
    found = [body.get("chat_template_kwargs") for body in server.chats]
    assert found == [{"enable_thinking": False}, None, {"enable_thinking": True}]


def test_a_server_without_the_switch_is_asked_without_it(server: Server) -> None:
    server.always = "refuse"
    backend = captioner(server, concurrency=1)
    found = backend.caption([caption_request(f"{number}") for number in range(3)])
    assert found == ["0 in red", "1 in red", "2 in red"]
    refused = [body for body in server.bodies if "chat_template_kwargs" in body]
    assert len(refused) == 1
    assert len(server.bodies) == 1 + 1 + 3
    own = {"chat_template_kwargs": {"enable_thinking": True}}  # one's own is not dropped
    with pytest.raises(AcpError, match="Unrecognized request argument"):
        captioner(server, extra_body=own).load()


def test_answers_are_kept_as_they_arrive_and_failures_are_not(server: Server) -> None:
    requests = [caption_request(f"question {number}") for number in range(6)]
    server.fault_of = lambda body: 500 if question_of(body) == "question 4" else None
    first = captioner(server, max_retries=0).caption(requests)
    assert "500" in reason_of(first[4])
    server.fault_of = lambda body: None
    server.bodies.clear()
    again = captioner(server).caption(requests)
    assert [each for each in again if each != "question 4 in red"] == [*first[:4], first[5]]
    assert [question_of(body) for body in server.chats] == ["question 4"]
    changes: list[Any] = [{"seed": 1}, {"temperature": 0.5}, {"max_new_tokens": 9}]
    others = [replace(requests[0], **change) for change in changes]
    captioner(server).caption(others)
    captioner(server, extra_body={"top_p": 0.5}).caption(requests[:1])
    captioner(server, cache=False).caption(requests[:1])
    assert len(server.chats) == 1 + 5


def test_what_the_server_answers_wrongly_is_not_kept(server: Server) -> None:
    server.answer = lambda body: "nonsense"
    assert reason_of(judge(server).judge([judge_request()])[0]) == "the answer is no JSON"
    server.answer = answer
    assert judge(server).judge([judge_request()]) == [4]


def test_an_outage_ends_in_one_line(server: Server) -> None:
    server.always = None
    server.fault_of = lambda body: 503
    requests = [caption_request(f"{number}") for number in range(100)]
    with pytest.raises(AcpError, match=r"32 requests in a row failed, .* answered 503") as caught:
        captioner(server, max_retries=0, concurrency=4).caption(requests)
    assert "\n" not in str(caught.value)
    assert len(server.chats) < 50


@pytest.mark.parametrize("fault", ["page", 500])
def test_a_server_of_another_kind_is_told_at_once(server: Server, fault: Any) -> None:
    server.always = fault
    with pytest.raises(AcpError, match=r"check base_url|answered 500"):
        captioner(server, max_retries=0).load()


def test_a_broken_connection_is_retried_and_then_a_failure(server: Server) -> None:
    server.faults = ["drop"]
    backend = captioner(server, max_retries=1, concurrency=1)
    assert backend.caption([caption_request("1")]) == ["1 in red"]
    server.faults = ["drop", "drop"]
    found = backend.caption([caption_request("2"), caption_request("3")])
    assert reason_of(found[0]) == "the server broke the connection off"
    assert found[1] == "3 in red"


def test_deep_nonsense_is_a_failure(server: Server) -> None:
    server.answer = lambda body: "[" * 100_000
    assert reason_of(judge(server).judge([judge_request()])[0]) == "the answer is no JSON"


def test_a_password_in_the_address_is_refused() -> None:
    spec = {"backend": "openai", "base_url": "http://me:secret@localhost/v1"}
    with pytest.raises(AcpError, match="holds a password") as caught:
        make_backend("llm", spec)
    assert "secret" not in str(caught.value)


def test_a_judgement_is_asked_for_with_a_schema(server: Server) -> None:
    assert judge(server).judge([judge_request()]) == [4]
    (body,) = server.chats
    asked = body["response_format"]["json_schema"]
    assert body["response_format"]["type"] == "json_schema"
    assert asked["strict"] is True
    assert asked["schema"]["properties"]["answer"]["enum"] == [0, 1, 2, 3, 4, 5]
    assert asked["schema"]["required"] == ["answer"]


@pytest.mark.parametrize(
    "text", ['{"answer": 9}', '{"answer": "4"}', '{"answer": 4', "four", "[]", '{"score": 4}', ""]
)
def test_nonsense_is_a_failure(server: Server, text: str) -> None:
    server.answer = lambda body: text
    (found,) = judge(server).judge([judge_request()])
    assert "answer" in reason_of(found)


def test_objects_are_not_wrapped(server: Server) -> None:
    server.answer = lambda body: '{"place": "on a beach"}'
    schema = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
    llm = OpenAILLM(OpenAILLMOptions(base_url=server.url, temperature=0.3))
    request = CompletionRequest(({"role": "user", "content": "Where?"},), schema, 1)
    assert llm.complete([request]) == ['{"place": "on a beach"}']
    assert server.chats[0]["temperature"] == 0.3
    assert server.chats[0]["response_format"]["json_schema"]["schema"] == schema


def test_options_go_along(server: Server) -> None:
    extra = {"chat_template_kwargs": {"enable_thinking": False}}
    options = {"extra_body": extra, "max_tokens_field": "max_completion_tokens"}
    captioner(server, **options).caption([caption_request(max_new_tokens=9, temperature=0.7)])
    (body,) = server.chats
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert body["max_completion_tokens"] == 9
    assert "max_tokens" not in body
    assert body["temperature"] == 0.7


def test_the_key_comes_from_the_environment_and_is_not_told(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    server.always = 401
    with caplog.at_level(logging.DEBUG), pytest.raises(AcpError, match="MY_KEY") as caught:
        captioner(server, api_key_env="MY_KEY").load()
    assert server.keys == ["Bearer sk-secret"]
    assert "sk-secret" not in str(caught.value) + caplog.text
    assert "\n" not in str(caught.value)
    server.always = 400  # the server repeats the key
    with pytest.raises(AcpError, match=r"for Bearer \*\*\*") as caught:
        captioner(server, api_key_env="MY_KEY").load()
    assert "sk-secret" not in str(caught.value) + caplog.text


@pytest.mark.parametrize(("status", "mend"), [(403, "OPENAI_API_KEY"), (404, "check model")])
def test_what_would_fail_for_every_item_is_an_error(server: Server, status: int, mend: str) -> None:
    server.faults = [status] * 8
    with pytest.raises(AcpError, match=mend):
        captioner(server).caption([caption_request()] * 8)


def test_a_server_that_is_down_is_one_clear_line() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    spec = {"backend": "openai", "base_url": url, "max_retries": 0}
    for backend in (make_backend("judge", spec), make_backend("captioner", spec)):
        for verb in (backend.load, backend.info):
            with pytest.raises(AcpError, match="cannot be reached") as caught:
                verb()
            assert url in str(caught.value)
            assert "start the server or set base_url" in str(caught.value)
            assert "\n" not in str(caught.value)
    with pytest.raises(AcpError, match=r"^judge 'openai'"):
        make_backend("judge", spec).load()


def test_the_revision_is_what_the_server_calls_its_model(server: Server) -> None:
    backend = captioner(server, licence="apache-2.0")
    assert str(backend.info()) == "m@served-model-2026-01"
    assert backend.info().licence == "apache-2.0"
    assert len(server.bodies) == 1  # asked once


def test_where_the_server_is_decides_nothing(server: Server) -> None:
    options = judge(server, concurrency=2).content_options()
    assert options == {
        "model": "m",
        "max_tokens_field": "max_tokens",
        "extra_body": {},
        "thinking": False,
        "licence": "unknown",
    }
    assert json.dumps(options)


def test_an_error_does_not_wait_for_requests_that_hang() -> None:
    hang = Event()

    def ask(number: int) -> int:
        if number:
            raise AcpError("no server")
        hang.wait()
        return number

    with pytest.raises(AcpError, match="no server"):
        in_threads([0, 1], ask, most=2)
    hang.set()


def test_nothing_asked_nothing_sent(server: Server) -> None:
    assert captioner(server).caption([]) == []
    assert judge(server).judge([]) == []
    assert server.bodies == []
