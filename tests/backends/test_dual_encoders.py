"""The scorer `clip` with CLIP, SigLIP and SigLIP 2 "naflex": tiny, random, no torchvision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from acp.backends.base import ScoreRequest
from acp.backends.score_clip import Clip
from acp.core.errors import AcpError
from acp.core.types import Failure, ImageScores, SceneGraph, SceneObject
from support.tiny_models import save_clip
from support.tiny_vision import save_qwen3_vl, save_sam, save_siglip, save_siglip2_naflex

pytestmark = pytest.mark.usefixtures("one_thread")

RNG = np.random.default_rng(0)
IMAGES = [
    RNG.integers(0, 255, (height, width, 3), dtype=np.uint8)
    for height, width in ((40, 60), (90, 50), (33, 33), (20, 160))
]
TEXTS = ["a brown dog", "a photo of the top left"]
GRAPH = SceneGraph((SceneObject("dog", "brown"), SceneObject("cat")), (), "a dog and a cat")
BOXES = np.array([[5, 5, 20, 12], [0, 0, 0, 0]], dtype=np.float32)
REQUESTS = [ScoreRequest(image, GRAPH, BOXES) for image in IMAGES]
SAVED: dict[str, Callable[[Path], Path]] = {
    "clip": save_clip,
    "siglip": save_siglip,
    "naflex": save_siglip2_naflex,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {name: save(root / name) for name, save in SAVED.items()}


def scorer(folder: Path, **options: Any) -> Clip:
    return Clip(Clip.options_type(model=str(folder), device="cpu", **options))


@pytest.mark.parametrize("name", SAVED)
def test_vectors_are_the_models_own(folders: dict[str, Path], name: str) -> None:
    """Against the saved model and its processor's parts, one picture at a time."""
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    encoder = scorer(folders[name])._encoder
    model = AutoModel.from_pretrained(folders[name]).eval()
    pictures = AutoImageProcessor.from_pretrained(folders[name])
    words = AutoTokenizer.from_pretrained(folders[name])
    length = model.config.text_config.max_position_embeddings
    with torch.inference_mode():
        for image, found in zip(IMAGES, encoder.encode_images(IMAGES), strict=True):
            inputs = pictures(images=Image.fromarray(image), return_tensors="pt")
            expected = model.get_image_features(**inputs).pooler_output[0]
            assert found == pytest.approx((expected / expected.norm()).numpy(), abs=1e-5)
        for text, found in zip(TEXTS, encoder.encode_texts(TEXTS), strict=True):
            tokens = words(text, padding="max_length", max_length=length, return_tensors="pt")
            expected = model.get_text_features(**tokens).pooler_output[0]
            assert found == pytest.approx((expected / expected.norm()).numpy(), abs=1e-5)


@pytest.mark.parametrize("dtype", ["auto", "bfloat16"])
@pytest.mark.parametrize("name", SAVED)
def test_scores_do_not_depend_on_the_batch(folders: dict[str, Path], name: str, dtype: str) -> None:
    together = scorer(folders[name], dtype=dtype).score(REQUESTS)
    alone = scorer(folders[name], dtype=dtype, batch_size=1)
    for request, found in zip(REQUESTS, together, strict=True):
        (other,) = alone.score([request])
        assert isinstance(found, ImageScores)
        assert isinstance(other, ImageScores)
        assert found.clis_i == pytest.approx(other.clis_i, abs=0.01 if dtype == "auto" else 1)
        assert found.clis_i_instances[1] is None
        assert found.instance_reasons == ("", "the box has no area")
    assert len({found.clis_i_global for found in together if isinstance(found, ImageScores)}) > 1


def test_a_batch_that_does_not_fit_is_halved(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = scorer(folders["naflex"], batch_size=8)
    expected = backend.score(REQUESTS)
    model, room = backend._encoder._model, 3
    features = model.get_image_features

    def small(**inputs: Any) -> Any:
        if len(inputs["pixel_values"]) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return features(**inputs)

    monkeypatch.setattr(model, "get_image_features", small)
    for found, wanted in zip(backend.score(REQUESTS), expected, strict=True):
        assert isinstance(found, ImageScores)
        assert isinstance(wanted, ImageScores)
        assert found.clis_i == pytest.approx(wanted.clis_i, abs=0.01)
    assert backend._batches.size == 2
    backend.unload()
    assert "_encoder" not in vars(backend)
    assert backend._batches.size == 2  # what memory allows is not forgotten
    room = 0
    model = backend._encoder._model
    monkeypatch.setattr(model, "get_image_features", small)
    with pytest.raises(AcpError, match="scorer 'clip': out of memory with a single request"):
        backend.score(REQUESTS)


@pytest.mark.parametrize("save", [save_sam, save_qwen3_vl])
def test_what_compares_nothing_is_told(save: Callable[[Path], Path], tmp_path: Path) -> None:
    with pytest.raises(AcpError, match="does not compare images with texts"):
        scorer(save(tmp_path / "other")).load()


def test_a_wrong_picture_spares_the_others(folders: dict[str, Path]) -> None:
    backend = scorer(folders["clip"])
    bad = ScoreRequest(np.zeros((0, 5, 3), np.uint8), GRAPH, BOXES)
    found = backend.score([bad, *REQUESTS])
    assert isinstance(found[0], Failure)
    assert found[1:] == backend.score(REQUESTS)


def test_one_model_has_one_key(folders: dict[str, Path]) -> None:
    keys = {scorer(folder).model_keys() for folder in folders.values()}
    assert len(keys) == 3
    assert scorer(folders["clip"], batch_size=2).model_keys() in keys
