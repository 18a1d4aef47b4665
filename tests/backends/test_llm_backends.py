"""What the two language model backends for large models share, and models from GGUF files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acp.backends.base import CompletionRequest
from acp.backends.llm_openai import OpenAILLM, OpenAILLMOptions
from acp.backends.llm_transformers import TransformersLLM, TransformersLLMOptions
from acp.backends.models.generation import GRAMMAR_BYTES, checked
from acp.backends.models.torch_tools import torch_threads
from acp.backends.registry import make_backend
from acp.clis.priors import default_priors
from acp.core.errors import AcpError
from acp.core.types import Failure, Scene
from acp.core.vocabulary import resolve
from acp.pipeline.describe import Describe, DescribeSettings
from acp.pipeline.lay_out import LayOut, LayOutSettings
from acp.pipeline.planning.llm_schemas import layout_schema
from acp.pipeline.planning.scene_plans import FreePlan
from support.tiny_gguf import save_gguf
from support.tiny_models import save_llm
from support.vlm_server import Server, serving

pytest.importorskip("openai")
SCHEMA = {
    "type": "object",
    "properties": {"place": {"enum": ["on a beach", "in a park"]}, "big": {"type": "boolean"}},
    "required": ["place", "big"],
    "additionalProperties": False,
}
CONCEPTS = [("cow", "dog"), ("dog", "dog"), ("bus_(vehicle)",)]


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ACP_HOME", str(tmp_path / "home"))
    with torch_threads(1):
        yield


class Recording(TransformersLLM):
    """Keeps what it was asked."""

    asked: list[CompletionRequest]

    def complete(self, requests: Sequence[CompletionRequest]) -> list[str | Failure]:
        self.asked = [*getattr(self, "asked", ()), *requests]
        return super().complete(requests)


def described(llm: Any, limit: int = 512) -> list[Scene]:
    """Through the stages that ask, as for a renderer that draws anything."""
    priors = default_priors()
    free = DescribeSettings(
        relations_from="llm", max_new_tokens=limit, max_attempts=1, longest_caption=80
    )
    describe = Describe(llm, free, None, priors, 0)
    settings = LayOutSettings(llm_proposals=2, priors_proposals=0)
    lay_out = LayOut(settings, llm, None, priors, 0, (512, 512))
    return lay_out(describe([Scene(n, n, concepts) for n, concepts in enumerate(CONCEPTS)]))


def free_answer(body: dict[str, Any]) -> str:
    """What a good model would write."""
    if "response_format" not in body:
        return "OK."
    schema = body["response_format"]["json_schema"]["schema"]
    if "caption" not in schema["properties"]:
        boxes = ([5, 30, 40, 60], [55, 30, 40, 60])
        return json.dumps(dict(zip(schema["required"], boxes, strict=False)))
    names = schema["properties"]["attributes"]["required"]
    relations = [{"subject": names[0], "predicate": "left of", "object": names[-1]}]
    return json.dumps(
        {
            "attributes": dict.fromkeys(names, "brown"),
            "relations": relations if len(names) > 1 else [],
            "place": "on a meadow",
            "caption": f"A photo of a brown {' and a '.join(names)} on a meadow.",
        }
    )


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(free_answer) as found:
        yield found


def served(server: Server, **options: Any) -> OpenAILLM:
    return OpenAILLM(OpenAILLMOptions(base_url=server.url, model="m", max_retries=0, **options))


def test_scenes_in_free_words_come_from_a_server(server: Server) -> None:
    scenes = described(served(server))
    assert [scene.reject for scene in scenes] == [""] * 3
    first, second, _ = (scene.graph for scene in scenes)
    assert first is not None
    assert second is not None
    assert first.caption == "A photo of a brown cow and a dog on a meadow."
    assert [relation.predicate for relation in first.relations] == ["left of"]
    assert "dog 1 and a dog 2" in second.caption
    assert all(layout.source == "llm" for scene in scenes for layout in scene.layouts)


def test_a_server_that_writes_nonsense_in_free_words(server: Server) -> None:
    def unnamed(body: dict[str, Any]) -> str:
        return free_answer(body).replace("a brown cow and a dog", "two animals")

    server.answer = unnamed
    first, *others = described(served(server))
    assert first.reject == "describe: the caption does not name every object"
    assert [scene.reject for scene in others] == [""] * 2


def test_both_backends_are_asked_the_same(server: Server, tmp_path: Path) -> None:
    local = Recording(TransformersLLMOptions(model=str(save_llm(tmp_path / "llm")), device="cpu"))
    described(local, limit=16)
    described(served(server, concurrency=1), limit=16)
    for asked, body in zip(local.asked, server.chats[:3], strict=True):
        assert body["messages"] == [*map(dict, asked.messages)]
        assert body["response_format"]["json_schema"]["schema"] == asked.json_schema
        assert body["max_tokens"] == asked.max_new_tokens
        assert body["seed"] == asked.seed % 2**31
        prompt = local._loaded.tokenizer.decode(local._prompts([asked])["input_ids"][0])
        places = [prompt.find(message["content"]) for message in body["messages"]]
        assert -1 not in places
        assert places == sorted(places)


@pytest.mark.parametrize("text", ["", "no", '{"place": "on a beach"', '{"place": "at sea"}', "[]"])
def test_both_backends_check_the_same(server: Server, text: str) -> None:
    assert isinstance(checked(text, SCHEMA), Failure)
    server.answer = lambda body: text
    request = CompletionRequest(({"role": "user", "content": "Where?"},), SCHEMA, 0)
    (found,) = served(server).complete([request])
    assert isinstance(found, Failure)


def gguf_llm(folder: Path, **options: Any) -> TransformersLLM:
    return TransformersLLM(
        TransformersLLMOptions(
            model=str(folder), gguf_file="tiny.gguf", device="cpu", temperature=1.0, **options
        )
    )


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("gguf")
    return folder, save_gguf(folder / "tiny.gguf")


def test_a_gguf_file_is_the_model(packed: tuple[Path, Any]) -> None:
    import torch

    folder, model = packed
    llm = gguf_llm(folder)
    llm.load()
    tokens = torch.tensor([[4, 40, 60, 80, 7]])
    with torch.inference_mode():
        expected, found = model(tokens).logits, llm._loaded.model(tokens).logits
    assert np.allclose(expected, found, atol=1e-5)
    assert llm._loaded.template_options == {"enable_thinking": False}
    assert str(llm.info()).startswith(f"{folder.name}/tiny.gguf@sha256-")
    assert "tiny.gguf" in next(iter(llm.model_keys()))
    half = gguf_llm(folder, dtype="bfloat16")
    assert half._loaded.model.dtype == torch.bfloat16


def test_a_gguf_model_answers_in_json_whatever_shares_its_batch(packed: tuple[Path, Any]) -> None:
    requests = [
        CompletionRequest(({"role": "user", "content": "dog " * (seed + 1)},), SCHEMA, seed, 60)
        for seed in range(5)
    ]
    together = gguf_llm(packed[0], batch_size=5).complete(requests)
    assert {tuple(json.loads(str(text))) for text in together} == {("place", "big")}
    assert gguf_llm(packed[0], batch_size=1).complete(requests) == together
    assert len(set(together)) > 1


@pytest.mark.parametrize(
    ("name", "message"), [("other.gguf", "cannot load"), ("../x.gguf", "gguf_file")]
)
def test_no_such_gguf_file(packed: tuple[Path, Any], name: str, message: str) -> None:
    spec = {"backend": "transformers", "model": str(packed[0]), "gguf_file": name}
    with pytest.raises(AcpError, match=message) as caught:
        make_backend("llm", spec).load()
    assert "\n" not in str(caught.value)


def test_grammars_of_ever_new_schemas_do_not_fill_the_memory(tmp_path: Path) -> None:
    llm = TransformersLLM(
        TransformersLLMOptions(model=str(save_llm(tmp_path / "llm")), device="cpu")
    )
    grammars = llm._grammars
    schemas = [json.dumps(layout_schema([f"thing {n}", "dog"])) for n in range(40)]
    schemas.append(json.dumps(FreePlan((resolve("cow"), resolve("dog")), None, 60).schema()))
    compiled = grammars.compiled([*schemas, schemas[0]])
    assert compiled[0] is compiled[-1]
    assert len({id(each) for each in compiled}) == 41
    assert grammars._compiler.cache_limit_bytes == GRAMMAR_BYTES
