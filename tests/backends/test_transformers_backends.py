"""The backends `transformers`, with tiny random models saved and loaded by what users run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acp.backends.base import CaptionRequest, CompletionRequest, JudgeRequest, ScoreRequest
from acp.backends.captioner_transformers import TransformersCaptioner
from acp.backends.judge_llm import SmolLM2Judge, SmolLM2JudgeOptions, TransformersJudge
from acp.backends.llm_transformers import TransformersLLM, TransformersLLMOptions
from acp.backends.models.local_models import folder_revision, load_model
from acp.backends.registry import make_backend
from acp.backends.score_clip import Clip
from acp.core.errors import AcpError
from acp.core.types import Failure, ImageScores, SceneGraph, SceneObject
from support.tiny_models import save_clip, save_llm, save_vlm

pytestmark = pytest.mark.usefixtures("one_thread")

RNG = np.random.default_rng(0)
IMAGES = [
    RNG.integers(0, 255, (h, w, 3), dtype=np.uint8) for h, w in ((40, 60), (90, 50), (33, 33))
]
QUESTIONS = ("a dog?", "describe the picture left of the brown dog, and all that is in it", "top")


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_vlm(tmp_path_factory.mktemp("models") / "vlm")


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llm(tmp_path_factory.mktemp("models") / "llm")


def captioner(folder: Path, **options: Any) -> TransformersCaptioner:
    found = TransformersCaptioner.options_type(model=str(folder), device="cpu", **options)
    return TransformersCaptioner(found)


def llm_backend(folder: Path, **options: Any) -> TransformersLLM:
    return TransformersLLM(TransformersLLMOptions(model=str(folder), device="cpu", **options))


def judge(folder: Path, **options: Any) -> TransformersJudge:
    return TransformersJudge(
        TransformersJudge.options_type(model=str(folder), device="cpu", **options)
    )


def asked(**changes: Any) -> list[CaptionRequest]:
    values: dict[str, Any] = {"seed": 3, "max_new_tokens": 12, **changes}
    return [
        CaptionRequest(image, ({"role": "user", "content": question},), **values)
        for image, question in zip(IMAGES, QUESTIONS, strict=True)
    ]


def judgements(count: int = 6) -> list[JudgeRequest]:
    return [
        JudgeRequest("a", "b", ({"role": "user", "content": f"dog {'brown ' * n}{n}"},), n)
        for n in range(count)
    ]


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_a_padded_row_answers_as_it_does_alone(vlm: Path, temperature: float) -> None:
    requests = asked(temperature=temperature)
    together = captioner(vlm, batch_size=3).caption(requests)
    alone = captioner(vlm, batch_size=1).caption(requests)
    assert together == alone
    assert all(isinstance(each, str) for each in together), together
    assert len(set(together)) == 3
    assert captioner(vlm, batch_size=2).caption(requests[::-1]) == together[::-1]


def test_captions_are_those_of_the_model_itself(vlm: Path) -> None:
    """Against a loop of one's own over the saved model, without any of the backend's code."""
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(vlm)
    model = AutoModelForImageTextToText.from_pretrained(vlm).eval()
    for request, found in zip(asked(), captioner(vlm).caption(asked()), strict=True):
        text = request.messages[0]["content"]
        prompt = (
            f"<|im_start|>user\n<image>{text}<|im_end|>\n<|im_start|>assistant\n<think></think>"
        )
        inputs = processor(
            text=prompt, images=Image.fromarray(request.image_rgb), return_tensors="pt"
        )
        tokens = model.generate(**inputs, do_sample=False, max_new_tokens=12)
        fresh = tokens[0, inputs["input_ids"].shape[1] :]
        assert found == processor.decode(fresh, skip_special_tokens=True).strip()


def test_seeds_draw_different_captions(vlm: Path) -> None:
    backend = captioner(vlm)
    drawn = {str(backend.caption(asked(temperature=1.5, seed=seed))) for seed in range(3)}
    assert len(drawn) == 3


def test_an_image_that_the_model_refuses_spares_the_others(vlm: Path) -> None:
    first, *others = asked()
    bad = CaptionRequest(np.zeros((0, 5, 3), np.uint8), first.messages, 0, 12)
    found = captioner(vlm).caption([bad, *others])
    assert isinstance(found[0], Failure)
    assert found[1:] == captioner(vlm).caption(others)


def test_judgements_are_constrained_and_do_not_depend_on_the_batch(llm: Path) -> None:
    together = judge(llm, batch_size=6).judge(judgements())
    assert together == judge(llm, batch_size=1).judge(judgements())
    assert all(each in range(6) for each in together)
    assert len(set(together)) > 1


def test_the_judgement_is_the_likeliest_digit(llm: Path) -> None:
    """Against the logits of the saved model, without any of the backend's code."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(llm)
    model = AutoModelForCausalLM.from_pretrained(llm).eval()
    digits = [tokenizer.convert_tokens_to_ids(digit) for digit in "012345"]
    for request, found in zip(judgements(), judge(llm).judge(judgements()), strict=True):
        prompt = f"<|im_start|>user\n{request.messages[0]['content']}<|im_end|>\n"
        prompt += "<|im_start|>assistant\n<think></think>"
        with torch.inference_mode():
            logits = model(**tokenizer(prompt, return_tensors="pt")).logits[0, -1]
        assert found == int(logits[digits].argmax())


def test_json_obeys_its_schema(llm: Path) -> None:
    schema = {
        "type": "object",
        "properties": {"place": {"enum": ["on a beach", "in a park"]}, "big": {"type": "boolean"}},
        "required": ["place", "big"],
        "additionalProperties": False,
    }
    requests = [
        CompletionRequest(({"role": "user", "content": "dog " * (seed + 1)},), schema, seed, 60)
        for seed in range(6)
    ]
    texts = llm_backend(llm).complete(requests)
    assert {tuple(json.loads(str(text))) for text in texts} == {("place", "big")}
    assert len(set(texts)) > 1
    assert llm_backend(llm, batch_size=1).complete(requests) == texts
    short = CompletionRequest(requests[0].messages, schema, 0, 5)
    found = llm_backend(llm).complete([short, requests[0]])
    assert found == [Failure("no complete answer within 5 tokens"), texts[0]]


def test_one_multimodal_model_captions_and_judges_with_one_set_of_weights(vlm: Path) -> None:
    sees, judges = captioner(vlm), judge(vlm)
    for backend in (judges, sees):
        backend.load()
    assert isinstance(judges.llm, TransformersLLM)
    assert sees._loaded is judges.llm._loaded
    assert all(each in range(6) for each in judges.judge(judgements()))
    assert sees.info() == judges.info()
    kept = load_model(sees.options, "test", images=True)
    assert kept is sees._loaded


def test_other_models_are_not_shared(vlm: Path, llm: Path) -> None:
    assert captioner(vlm)._loaded is not llm_backend(llm)._loaded
    assert captioner(vlm)._loaded is not captioner(vlm, dtype="float16")._loaded


def test_prompts_are_padded_on_the_left_and_thinking_is_off(vlm: Path, llm: Path) -> None:
    for loaded in (captioner(vlm)._loaded, llm_backend(llm)._loaded):
        assert loaded.tokenizer.padding_side == "left"
        assert loaded.template_options == {"enable_thinking": False}
    assert captioner(vlm)._loaded.processor.tokenizer.padding_side == "left"


def test_a_revision_is_a_checksum_of_the_folder(llm: Path, tmp_path: Path) -> None:
    before = folder_revision(llm)
    assert str(judge(llm).info()) == f"llm@{before}"
    copy = Path(shutil.copytree(llm, tmp_path / "copy"))
    assert folder_revision(copy) == before
    weights = next(copy.glob("*.safetensors"))
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(bytes(changed))
    assert folder_revision(copy) != before
    assert folder_revision(save_llm(tmp_path / "tuned", seed=1)) != before


def test_a_text_model_cannot_caption(llm: Path) -> None:
    with pytest.raises(AcpError, match="takes no images"):
        captioner(llm).load()


@pytest.mark.parametrize("kind", ["captioner", "judge", "llm"])
def test_a_folder_without_a_model(kind: str, tmp_path: Path) -> None:
    backend = make_backend(kind, {"backend": "transformers", "model": str(tmp_path)})
    with pytest.raises(AcpError, match="cannot load") as caught:
        backend.load()
    assert "\n" not in str(caught.value)


def test_a_model_that_is_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name, message in (("no such/model/at all", "neither a folder"), ("a/b", "name a folder")):
        backend = make_backend("captioner", {"backend": "transformers", "model": name})
        with pytest.raises(AcpError, match=message):
            backend.info()


@pytest.mark.slow
def test_a_fetched_model_of_the_hub_is_known_by_its_commit(llm: Path, tmp_path: Path) -> None:
    """In a process of its own, whose cache of the Hub holds the model, without a network."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--some--judge"
    snapshot = Path(shutil.copytree(llm, repository / "snapshots" / commit))
    (snapshot / "README.md").write_text("---\nlicense: mit\n---\n", encoding="utf-8")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit, encoding="utf-8")
    code = (
        "from acp.backends.base import JudgeRequest\n"
        "from acp.backends.registry import make_backend\n"
        "judge = make_backend('judge', {'backend': 'transformers', 'model': 'some/judge'})\n"
        "print(judge.info(), judge.info().licence)\n"
        "print(judge.judge([JudgeRequest('a', 'b', ({'role': 'user', 'content': 'x'},), 0)]))\n"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    environment.pop("HF_HUB_CACHE", None)
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    told, judged = found.stdout.splitlines() or [found.stderr, ""]
    assert told == f"some/judge@{commit} mit"
    assert json.loads(judged)[0] in range(6)


def test_smollm2_judges_with_a_grammar_and_any_llama(llm: Path) -> None:
    backend = SmolLM2Judge(SmolLM2JudgeOptions(path=str(llm)))
    found = backend.judge(judgements())
    assert all(each in range(6) for each in found)
    assert [backend.judge([each])[0] for each in judgements()] == found
    assert backend.info().revision == folder_revision(llm)
    hot = [JudgeRequest("a", "b", judgements()[0].messages, n, 4.0) for n in range(12)]
    assert len(set(backend.judge(hot))) > 1


def test_clip_scores_image_and_crops(tmp_path: Path) -> None:
    options = Clip.options_type(model=str(save_clip(tmp_path / "clip")), device="cpu")
    scorer = Clip(options)
    graph = SceneGraph((SceneObject("dog", "brown"), SceneObject("cat")), (), "a dog and a cat")
    boxes = np.array([[5, 5, 20, 20], [0, 0, 0, 0]], dtype=np.float32)
    requests = [ScoreRequest(image, graph, boxes) for image in IMAGES]
    together = scorer.score(requests)
    for request, found in zip(requests, together, strict=True):
        assert isinstance(found, ImageScores)
        assert found.clis_i_global is not None
        assert 0 <= found.clis_i_global <= 100
        assert found.clis_i_instances[1] is None
        assert found.instance_reasons == ("", "the box has no area")
        assert "clip: clip (proxy)@sha256-" in found.made_by
        assert scorer.score([request]) == [found]
    (wrong,) = scorer.score([ScoreRequest(IMAGES[0], graph, boxes[:1])])
    assert isinstance(wrong, Failure)


def test_clip_is_the_models_own_similarity(tmp_path: Path) -> None:
    from PIL import Image
    from transformers import AutoModel, AutoProcessor

    folder = save_clip(tmp_path / "clip")
    scorer = Clip(Clip.options_type(model=str(folder), device="cpu"))
    texts = ["a brown dog", "a photo of the top left"]
    pictures, words = scorer._encoder.encode_images(IMAGES[:2]), scorer._encoder.encode_texts(texts)
    vectors = np.array(pictures) @ np.array(words).T
    model, processor = (
        AutoModel.from_pretrained(folder).eval(),
        AutoProcessor.from_pretrained(folder),
    )
    inputs = processor(
        text=texts, images=[*map(Image.fromarray, IMAGES[:2])], padding=True, return_tensors="pt"
    )
    expected = model(**inputs).logits_per_image / model.logit_scale.exp()
    assert np.allclose(vectors, expected.detach().numpy(), atol=1e-5)
