"""Captions by the real architectures, tiny and random: batches and boxes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from acp.backends.base import CaptionRequest
from acp.backends.captioner_transformers import CONVENTIONS, TransformersCaptioner
from acp.backends.judge_llm import TransformersJudge
from acp.backends.score_embedded import EmbeddedCaptioner
from acp.clis.image import ImageRequest, plan_questions
from acp.clis.questions import ClisISettings, Prompts
from support.tiny_models import save_llm, save_vlm
from support.tiny_vision import (
    QWEN_TOKENS,
    save_idefics3,
    save_qwen2_5_vl,
    save_qwen3_5,
    save_qwen3_vl,
)

pytestmark = pytest.mark.usefixtures("one_thread", "without_videos")

RNG = np.random.default_rng(0)
IMAGES = [
    RNG.integers(0, 255, (height, width, 3), dtype=np.uint8)
    for height, width in ((40, 60), (90, 50), (33, 33), (120, 120))
]
QUESTIONS = (
    "a dog?",
    "describe the picture left of the brown dog, and all that is in it",
    "top",
    "word " * 40,
)
SAVED: dict[str, Callable[[Path], Path]] = {
    "qwen3_vl": save_qwen3_vl,
    "qwen3_5": save_qwen3_5,
    "qwen2_5_vl": save_qwen2_5_vl,
    "idefics3": save_idefics3,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {name: save(root / name) for name, save in SAVED.items()}


def captioner(folder: Path, **options: Any) -> TransformersCaptioner:
    found = TransformersCaptioner.options_type(model=str(folder), device="cpu", **options)
    return TransformersCaptioner(found)


def asked(**changes: Any) -> list[CaptionRequest]:
    values: dict[str, Any] = {"seed": 3, "max_new_tokens": 16, **changes}
    return [
        CaptionRequest(image, ({"role": "user", "content": question},), **values)
        for image, question in zip(IMAGES, QUESTIONS, strict=True)
    ]


@pytest.mark.parametrize("name", SAVED)
def test_a_padded_row_answers_as_it_does_alone(folders: dict[str, Path], name: str) -> None:
    together = captioner(folders[name], batch_size=4).caption(asked())
    assert together == captioner(folders[name], batch_size=1).caption(asked())
    assert all(isinstance(each, str) for each in together), together
    assert len(set(together)) > 1
    assert captioner(folders[name], batch_size=2).caption(asked()[::-1]) == together[::-1]


@pytest.mark.parametrize("name", SAVED)
def test_half_precision_and_sampling_run(folders: dict[str, Path], name: str) -> None:
    backend = captioner(folders[name], batch_size=4, dtype="bfloat16")
    assert all(isinstance(each, str) for each in backend.caption(asked()))
    assert backend._loaded.model.dtype == torch.bfloat16
    hot = captioner(folders[name], batch_size=4)
    drawn = hot.caption(asked(temperature=1.5))
    assert drawn == captioner(folders[name], batch_size=1).caption(asked(temperature=1.5))
    assert drawn != hot.caption(asked(temperature=1.5, seed=4))


def test_prompts_are_padded_on_the_left(folders: dict[str, Path]) -> None:
    for folder in folders.values():
        backend = captioner(folder)
        backend.load()
        assert backend._loaded.processor.tokenizer.padding_side == "left"
        mask = backend._prompts(asked())["attention_mask"]
        assert (mask[:, -1] == 1).all()
        assert mask.sum(dim=1).unique().numel() > 1


def test_captions_are_those_of_the_model_itself(folders: dict[str, Path]) -> None:
    """Against a loop of one's own over the saved Qwen3-VL: no processor, and no batch."""
    from transformers import (
        AutoTokenizer,
        Qwen2VLImageProcessorPil,
        Qwen3VLForConditionalGeneration,
    )

    folder = folders["qwen3_vl"]
    model = Qwen3VLForConditionalGeneration.from_pretrained(folder).eval()
    images, words = (
        Qwen2VLImageProcessorPil.from_pretrained(folder),
        AutoTokenizer.from_pretrained(folder),
    )
    start, end, pad, _ = QWEN_TOKENS
    for request, found in zip(asked(), captioner(folder).caption(asked()), strict=True):
        seen = images(images=[Image.fromarray(request.image_rgb)], return_tensors="pt")
        count = int(seen["image_grid_thw"].prod()) // 4
        prompt = f"<|im_start|>user\n{start}{pad * count}{end}{request.messages[0]['content']}"
        prompt += "<|im_end|>\n<|im_start|>assistant\n<think></think>"
        tokens = words(prompt, return_tensors="pt")["input_ids"]
        kinds = (tokens == words.convert_tokens_to_ids(pad)).int()
        answer = model.generate(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            mm_token_type_ids=kinds,
            **seen,
            do_sample=False,
            max_new_tokens=16,
            pad_token_id=words.pad_token_id,
            eos_token_id=words.eos_token_id,
        )
        said = words.decode(answer[0, tokens.shape[1] :], skip_special_tokens=True)
        assert found == said.strip()


def test_one_qwen_captions_and_judges_with_one_set_of_weights(folders: dict[str, Path]) -> None:
    sees = captioner(folders["qwen3_5"])
    options = TransformersJudge.options_type(model=str(folders["qwen3_5"]), device="cpu")
    judges = TransformersJudge(options)
    assert sees.model_keys() == judges.model_keys()
    judges.load()
    sees.load()
    assert sees._loaded is judges.llm._loaded  # type: ignore[attr-defined]


def test_boxes_are_told_as_the_model_was_taught(folders: dict[str, Path], tmp_path: Path) -> None:
    """Known by the configuration, without the weights."""
    reads = {name: captioner(folder).reads_boxes_as((100, 50)) for name, folder in folders.items()}
    assert reads == {
        "qwen3_vl": ("xyxy_1000", (100, 50)),
        "qwen3_5": ("xyxy_1000", (100, 50)),
        "qwen2_5_vl": ("xyxy_px", (96, 48)),  # multiples of 16 here, as the model sees it
        "idefics3": ("xyxy_1000", (100, 50)),
    }
    assert captioner(save_vlm(tmp_path / "llava")).reads_boxes_as((100, 50))[0] == "xyxy_norm"
    assert captioner(save_llm(tmp_path / "llm")).reads_boxes_as((9, 9)) == ("xyxy_1000", (9, 9))
    assert "_loaded" not in vars(captioner(folders["qwen3_vl"]))


def test_every_type_of_the_table_is_one_of_transformers() -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    assert set(CONVENTIONS) <= set(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)


@pytest.mark.parametrize(
    ("settings", "name", "expected"),
    [
        ({}, "qwen3_vl", "[100, 200, 600, 600] (left, top, right, bottom, on a scale of 0 to 1000"),
        ({}, "qwen2_5_vl", "[10, 10, 58, 29] (left, top, right, bottom, in pixels of 96 x 48"),
        ({"box_convention": "yxyx_1000"}, "qwen2_5_vl", "[200, 100, 600, 600] (top, left,"),
        ({"box_convention": "xyxy_px"}, "qwen3_vl", "[10, 10, 60, 30] (left, top, right, bottom"),
        ({}, "", "[100, 200, 600, 600] (left"),
    ],
)
def test_questions_hold_the_box_in_the_models_own_words(
    folders: dict[str, Path], settings: dict[str, Any], name: str, expected: str
) -> None:
    request = ImageRequest(
        np.zeros((50, 100, 3), np.uint8),
        "a dog",
        ("dog",),
        np.array([[0.1, 0.2, 0.5, 0.4]], np.float32),
    )
    chosen = ClisISettings(**settings)
    asks = captioner(folders[name]) if name else EmbeddedCaptioner()
    questions = plan_questions([request], asks, chosen, Prompts.of(chosen))
    (region,) = (each for each in questions if each.part == "region")
    assert expected in region.messages[-1]["content"]
