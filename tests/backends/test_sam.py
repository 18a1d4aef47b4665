"""The segmenters `sam2` and `sam`, with tiny random models saved and loaded by what users run."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from acp.backends.base import Segmenter, SegmentRequest
from acp.backends.models.sam import Pictures
from acp.backends.registry import make_backend
from acp.backends.segment_sam import NO_AREA, NO_MASK, TAKEN, boxes_to_masks, instances_of
from acp.core.boxes import as_boxes, masks_to_xywh_px, xywh_to_xyxy
from acp.core.errors import AcpError
from acp.core.types import Failure, Instances, ModelInfo, Rendering
from acp.executor.rows import curated_row, image_row, picked_rows
from acp.pipeline.mask import Mask
from acp.pipeline.pick import PickSettings
from support.scenes import make_candidate, make_scene
from support.tiny_vision import IMAGENET, SIDE, save_sam, save_sam2, save_sam2_video

pytestmark = pytest.mark.usefixtures("one_thread")

RNG = np.random.default_rng(0)
IMAGES = [
    RNG.integers(0, 255, (h, w, 3), dtype=np.uint8) for h, w in ((40, 60), (90, 50), (33, 33))
]
BOXES = [
    [[0.1, 0.1, 0.5, 0.5], [0.4, 0.4, 0.6, 0.6], [0, 0, 1, 1]],
    [],
    [[0, 0, 1 / 33, 1 / 33], [0.5, 0.5, 0.5, 0.5]],
]
REQUESTS = [
    SegmentRequest(Rendering(image), as_boxes(boxes))
    for image, boxes in zip(IMAGES, BOXES, strict=True)
]
LIMITS = {"box_margin": 0.1, "min_predicted_iou": 0.0}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {"sam2": save_sam2(folder / "sam2"), "sam": save_sam(folder / "sam")}


def segmenter(kind: str, folder: Path, **options: Any) -> Any:
    spec = {"backend": kind, "model": str(folder), "device": "cpu", **options}
    return make_backend("segmenter", spec)


def found(answer: Instances | Failure) -> Instances:
    assert isinstance(answer, Instances), answer
    return answer


@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("kind", ["sam2", "sam"])
def test_a_batch_is_as_one_by_one(models: dict[str, Path], kind: str, multimask: bool) -> None:
    backend = segmenter(kind, models[kind], batch_size=4, multimask=multimask)
    together = backend.segment(REQUESTS)
    for request, answer in zip(REQUESTS, together, strict=True):
        (alone,) = backend.segment([request])
        assert (answer.masks == alone.masks).all()
        assert np.abs(answer.predicted_iou - alone.predicted_iou).max(initial=0) < 1e-5
        assert (answer.boxes_xywh_px == alone.boxes_xywh_px).all()
    assert backend.segment([]) == []
    assert [len(each.masks) for each in together] == [3, 0, 2]


@pytest.mark.parametrize("kind", ["sam2", "sam"])
def test_masks_are_at_image_size_in_their_boxes_and_never_overlap(
    models: dict[str, Path], kind: str
) -> None:
    backend = segmenter(kind, models[kind], box_margin=0.2)
    for request, answer in zip(REQUESTS, map(found, backend.segment(REQUESTS)), strict=True):
        height, width = request.rendering.image_rgb.shape[:2]
        assert answer.masks.shape == (len(request.boxes_xywhn), height, width)
        assert answer.masks.dtype == np.bool_
        assert answer.masks.sum(axis=0).max(initial=0) <= 1
        assert not (answer.masks & ~boxes_to_masks(request.boxes_xywhn, (width, height), 0.2)).any()
        assert (answer.boxes_xywh_px == masks_to_xywh_px(answer.masks)).all()
        assert answer.predicted_iou is not None
        assert answer.predicted_iou.dtype == np.float32
        assert ((answer.predicted_iou >= 0) & (answer.predicted_iou <= 1)).all()
        assert ((answer.visible >= 0) & (answer.visible <= 1)).all()
        assert [bool(reason) for reason in answer.reasons] == [
            not mask.any() for mask in answer.masks
        ]
    assert any(found(answer).masks.any() for answer in backend.segment(REQUESTS))


@pytest.mark.parametrize("size_wh", [(64, 64), (60, 40), (50, 90), (200, 130)])
def test_sam_is_what_its_own_processor_makes_of_it(
    models: dict[str, Path], size_wh: tuple[int, int]
) -> None:
    """Against transformers' processor and a loop of one's own, without the backend's code."""
    from transformers import SamModel, SamProcessor

    processor = SamProcessor.from_pretrained(models["sam"])
    model = SamModel.from_pretrained(models["sam"]).eval()
    smooth = Image.fromarray(RNG.integers(0, 255, (6, 8, 3), dtype=np.uint8)).resize(size_wh)
    box = np.array([[0.25, 0.25, 0.5, 0.5]], dtype=np.float32)
    corners = (xywh_to_xyxy(box)[0] * (*size_wh, *size_wh)).tolist()
    inputs = processor(images=smooth, input_boxes=[[corners]], return_tensors="pt")
    inputs["input_boxes"] = inputs["input_boxes"].float()
    sizes = inputs.pop("original_sizes"), inputs.pop("reshaped_input_sizes")
    pixels = Pictures(SIDE, square=False).pixels([np.asarray(smooth)], "cpu")
    grey_level = 1 / 255 / min(IMAGENET["image_std"])
    assert (pixels - inputs["pixel_values"]).abs().max() <= grey_level * 1.001
    with torch.inference_mode():
        out = model(**inputs, multimask_output=False)
    expected = processor.post_process_masks(out.pred_masks, *sizes)[0][0, 0].numpy()
    backend = segmenter("sam", models["sam"], box_margin=9.0)
    (answer,) = backend.segment([SegmentRequest(Rendering(np.asarray(smooth)), box)])
    assert (answer.masks[0] == expected).mean() > 0.97  # pictures differ by a grey level
    assert abs(answer.predicted_iou[0] - np.clip(out.iou_scores.item(), 0, 1)) < 0.05


def test_sam2_is_what_the_model_itself_says(models: dict[str, Path]) -> None:
    """Against the saved model, fed by hand with Pillow's idea of a resized picture."""
    from transformers import Sam2Model

    model = Sam2Model.from_pretrained(models["sam2"]).eval()
    image = Image.fromarray(RNG.integers(0, 255, (6, 8, 3), dtype=np.uint8)).resize((100, 80))
    square = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR), dtype=np.float32)
    normal = (square / 255 - IMAGENET["image_mean"]) / IMAGENET["image_std"]
    pixels = torch.tensor(normal).permute(2, 0, 1)[None].float()
    own = Pictures(SIDE, square=True).pixels([np.asarray(image)], "cpu")
    assert (own - pixels).abs().max() <= 1.001 / 255 / min(IMAGENET["image_std"])
    box = np.array([[0.25, 0.25, 0.5, 0.5]], dtype=np.float32)
    with torch.inference_mode():
        out = model(own, input_boxes=torch.tensor([[[16.0, 16, 48, 48]]]), multimask_output=False)
    logits = torch.nn.functional.interpolate(out.pred_masks[0], (80, 100), mode="bilinear")
    backend = segmenter("sam2", models["sam2"], box_margin=9.0)
    (answer,) = backend.segment([SegmentRequest(Rendering(np.asarray(image)), box)])
    assert (answer.masks[0] == (logits[0, 0] > 0).numpy()).all()
    assert abs(answer.predicted_iou[0] - out.iou_scores.item()) < 1e-5


def test_each_image_is_encoded_once_and_all_boxes_decoded_together(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = segmenter("sam2", models["sam2"], batch_size=3)
    model = backend._model.model
    encoded: list[int] = []
    decoded: list[int] = []
    encode, forward = model.get_image_embeddings, model.forward

    def counted_encode(pixels: Any) -> Any:
        encoded.append(len(pixels))
        return encode(pixels)

    def counted_forward(**inputs: Any) -> Any:
        decoded.append(len(inputs["input_boxes"]))
        return forward(**inputs)

    monkeypatch.setattr(model, "get_image_embeddings", counted_encode)
    monkeypatch.setattr(model, "forward", counted_forward)
    backend.segment(REQUESTS)
    assert (encoded, decoded) == ([3], [5])


def test_a_batch_that_does_not_fit_is_halved(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = segmenter("sam2", models["sam2"], batch_size=8)
    expected = backend.segment(REQUESTS)
    model, room = backend._model.model, 1
    encode = model.get_image_embeddings

    def small(pixels: Any) -> Any:
        if len(pixels) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(pixels)

    monkeypatch.setattr(model, "get_image_embeddings", small)
    for one, other in zip(backend.segment(REQUESTS), expected, strict=True):
        assert (one.masks == other.masks).all()
    assert backend._batches.size == 1
    room = 0
    with pytest.raises(AcpError, match=r"segmenter 'sam2': out of memory with a single request"):
        backend.segment(REQUESTS)


def test_a_batch_for_a_compiled_encoder_is_filled_up(models: dict[str, Path]) -> None:
    model = segmenter("sam2", models["sam2"])._model
    encoded: list[int] = []
    handle = model.model.vision_encoder.register_forward_pre_hook(
        lambda _, inputs: encoded.append(len(inputs[0])), with_kwargs=False
    )
    boxes = [request.boxes_xywhn for request in REQUESTS]
    plain, filled = (model.logits(IMAGES, boxes, False, fill) for fill in (0, 8))
    handle.remove()
    assert encoded == [3, 8]
    for (one, sure), (other, other_sure) in zip(plain, filled, strict=True):
        assert one.shape == other.shape
        assert torch.allclose(one, other, atol=1e-3)
        assert sure == pytest.approx(other_sure, abs=1e-5)


def test_half_precision_is_about_the_same(models: dict[str, Path]) -> None:
    full = segmenter("sam2", models["sam2"]).segment(REQUESTS)
    half = segmenter("sam2", models["sam2"], dtype="bfloat16")
    for one, other in zip(half.segment(REQUESTS), full, strict=True):
        assert one.masks.size == 0 or (one.masks == other.masks).mean() > 0.9
    assert {each.dtype for each in half._model.model.parameters()} == {torch.float32}


def test_a_model_of_videos_serves_as_on_the_hub(tmp_path: Path) -> None:
    folder = save_sam2_video(tmp_path / "video")
    backend = segmenter("sam2", folder)
    assert found(backend.segment(REQUESTS)[0]).masks.shape == (3, 40, 60)
    from transformers import Sam2VideoModel

    video = Sam2VideoModel.from_pretrained(folder).state_dict()
    own = backend._model.model.state_dict()
    assert all((weights == video[name]).all() for name, weights in own.items())
    assert str(backend.info()).startswith("video@sha256-")


def test_wrong_requests_are_failures_and_spare_the_others(models: dict[str, Path]) -> None:
    backend = segmenter("sam2", models["sam2"])
    bad = [
        SegmentRequest(Rendering(IMAGES[0]), np.array([[0.1, np.nan, 0.1, 0.1]], np.float32)),
        SegmentRequest(Rendering(IMAGES[0][..., 0]), as_boxes([])),
        SegmentRequest(Rendering(IMAGES[0]), np.zeros(4, np.float32)),
    ]
    *failed, good = backend.segment([*bad, REQUESTS[0]])
    assert [each.reason for each in failed] == [
        "a box is not finite",
        "expected an image of shape (height, width, 3), got (40, 60)",
        "expected boxes of shape (N, 4), got (4,)",
    ]
    assert (good.masks == backend.segment(REQUESTS[:1])[0].masks).all()


def test_what_is_no_sam_is_told_in_one_line(models: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(AcpError, match=r"segmenter 'sam2': .* is a 'sam'; name a model of type"):
        segmenter("sam2", models["sam"]).load()
    with pytest.raises(AcpError, match=r"segmenter 'sam': cannot load") as caught:
        segmenter("sam", tmp_path).load()
    assert "\n" not in str(caught.value)
    cut = shutil.copytree(models["sam2"], tmp_path / "cut")
    weights = cut / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(AcpError, match="incomplete or damaged"):
        segmenter("sam2", cut).load()
    with pytest.raises(AcpError, match="min_predicted_iou"):
        segmenter("sam2", tmp_path, min_predicted_iou=2)


def test_a_model_without_its_processor_is_normalised_as_imagenet(
    models: dict[str, Path], tmp_path: Path
) -> None:
    bare = Path(shutil.copytree(models["sam2"], tmp_path / "bare"))
    (bare / "preprocessor_config.json").unlink()
    one, other = segmenter("sam2", bare), segmenter("sam2", models["sam2"])
    assert one._model.pictures == other._model.pictures


def logits_of(*masks: Any) -> Any:
    return torch.tensor(np.array(masks, dtype=np.float32))


@pytest.mark.parametrize("box", [[0, 0, 1, 1], [0.5, 0, 0.5, 1], [0.99, 0.99, 0.01, 0.01]])
def test_no_box_is_without_pixels(box: list[float]) -> None:
    mask = boxes_to_masks(as_boxes([box]), (7, 5), 0.0)[0]
    assert mask.any()
    assert mask[-1, -1]


def test_pixels_go_to_the_surest_mask() -> None:
    wide, tall = np.full((4, 6), 1.0), np.full((4, 6), -1.0)
    tall[:, :2] = 3.0
    answer = instances_of(
        logits_of(wide, tall),
        as_boxes([[0, 0, 1, 1], [0, 0, 0.4, 1]]),
        np.array([0.9, 0.8], np.float32),
        **LIMITS,
    )
    assert answer.masks[0].tolist() == [[False] * 2 + [True] * 4] * 4
    assert answer.masks[1].tolist() == [[True] * 2 + [False] * 4] * 4
    assert answer.visible.tolist() == pytest.approx([16 / 24, 1.0])
    assert answer.boxes_xywh_px.tolist() == [[2, 0, 4, 4], [0, 0, 2, 4]]
    assert answer.reasons == ("", "")


def test_reasons_say_why_there_is_no_mask() -> None:
    nothing, left, all_ = np.full((4, 8), -1.0), np.full((4, 8), -1.0), np.full((4, 8), 2.0)
    left[:, :2] = 1.0
    boxes = as_boxes([[0, 0, 1, 1], [0.5, 0, 0.5, 1], [0, 0, 0.25, 1], [0, 0, 1, 1], [1, 0, 1, 1]])
    predicted = np.array([0.9, 0.9, 0.9, 0.9, 0.9], np.float32)
    stack = logits_of(nothing, left, left, all_, all_)
    answer = instances_of(stack, boxes, predicted, **LIMITS)
    assert answer.reasons == (NO_MASK, NO_MASK, TAKEN, "", NO_AREA)
    assert answer.visible.tolist() == [0, 0, 0, 1, 0]
    assert answer.boxes_xywh_px[[0, 1, 2, 4]].max() == 0


def test_a_mask_that_is_not_trusted_takes_nothing_from_others() -> None:
    sure, unsure = np.full((4, 8), 0.5), np.full((4, 8), 9.0)
    boxes, predicted = as_boxes([[0, 0, 0.5, 1], [0, 0, 1, 1]]), np.array([0.9, 0.2], np.float32)
    limits = {"box_margin": 0.0, "min_predicted_iou": 0.5}
    answer = instances_of(logits_of(sure, unsure), boxes, predicted, **limits)
    assert answer.masks.sum(axis=(1, 2)).tolist() == [16, 16]
    assert answer.reasons == ("", "predicted IoU below 0.5")


def test_no_objects() -> None:
    answer = instances_of(torch.zeros(0, 4, 6), as_boxes([]), np.zeros(0, np.float32), **LIMITS)
    assert answer.masks.shape == (0, 4, 6)
    assert (answer.reasons, answer.boxes_xywh_px.shape) == ((), (0, 4))


class Given(Segmenter):
    """Answers what it was given."""

    name, summary = "given", "for this test"

    def __init__(self, answers: list[Instances | Failure]) -> None:
        super().__init__()
        self.answers = answers

    def load(self) -> None:
        """Nothing to load."""

    def info(self) -> ModelInfo:
        return ModelInfo("given", "1", "mit")

    def segment(self, requests: Any) -> list[Instances | Failure]:
        return self.answers


def test_objects_without_a_mask_are_rejected_with_their_reason() -> None:
    plain = [replace(make_candidate(index), instances=None) for index in range(3)]
    whole = found(make_candidate().instances)  # type: ignore[arg-type]
    partly = replace(whole, predicted_iou=np.array([0.1, 0.9], np.float32), reasons=(NO_MASK, ""))
    none = replace(partly, reasons=(NO_MASK, NO_MASK))
    (scene,) = Mask(Given([partly, none, Failure("no room")]))([make_scene(*plain)])
    assert [each.reject for each in scene.candidates] == [
        "",
        f"mask: no usable object ({NO_MASK})",
        "mask: no room",
    ]
    names = ("recipe", "fingerprint", "llm", "renderer", "scorer", "segmenter")
    provenance = dict.fromkeys(names, "x")
    measured = [image_row(scene, each, (64, 48), provenance) for each in scene.candidates]
    row, lost, _ = picked_rows(measured, PickSettings())
    assert row["reject"] == ""
    assert row["objects"]["reject"] == [NO_MASK, ""]
    assert row["objects"]["predicted_iou"] == pytest.approx([0.1, 0.9])
    picked = curated_row(row)
    assert picked is not None
    assert picked["objects"]["category"] == ["zebra"]
    assert picked["objects"]["predicted_iou"] == pytest.approx([0.9])
    assert lost["objects"]["reject"] == [NO_MASK, NO_MASK]
    assert curated_row(lost) is None


@pytest.mark.parametrize("kind", ["sam2", "sam"])
def test_a_build_with_masks_of_a_model(models: dict[str, Path], kind: str, tmp_path: Path) -> None:
    from datasets import load_dataset
    from pycocotools import mask as coco_mask

    from acp.cli.build import build_recipe
    from acp.pipeline.recipe import load_recipe

    changes = [
        "scenes=2",
        f"segmenter.backend={kind}",
        f"segmenter.model={models[kind]}",
        "segmenter.device=cpu",
        "pick.min_side_px=1",
        "pick.min_visible=0",
        "pick.min_clis_i_instance=0",
    ]
    out = tmp_path / "acp" / "masks"
    list(build_recipe(load_recipe("tiny", changes), out, 1))
    rows = load_dataset(str(out), "raw", split="train")
    objects = [
        dict(zip(o, values, strict=True))
        for row in rows
        for o in [row["objects"]]
        for values in zip(*o.values(), strict=True)
    ]
    assert objects
    assert any(not each["reject"] for each in objects)
    for row in rows:
        masks = [coco_mask.decode(each) for each in row["objects"]["segmentation"]]
        if masks:
            assert np.sum(masks, axis=0).max() <= 1
            boxes = masks_to_xywh_px(np.array(masks, dtype=np.bool_))
            assert boxes.tolist() == row["objects"]["bbox"]
    assert all(0 <= each["predicted_iou"] <= 1 for each in objects)
    assert all(bool(each["area"]) or each["reject"] for each in objects)
    assert f"{kind}@sha256-" in rows[0]["provenance"]["segmenter"]
