"""The embedded scorer with its real models."""

from __future__ import annotations

import csv
import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acp.backends.base import ScoreRequest
from acp.backends.cutpaste.assets import asset_dir
from acp.backends.models.efficientnet import (
    CLASSES,
    class_names,
    evidence,
    knowable,
    members,
    probabilities,
)
from acp.backends.models.embedding import SentenceEmbedder
from acp.backends.models.torch_tools import torch_threads
from acp.backends.registry import backend_class
from acp.backends.score_embedded import Embedded, crop_xyxy, instance_score, views_xyxy
from acp.core.errors import AcpError
from acp.core.types import Failure, FloatArray, ImageArray, ImageScores, SceneGraph, SceneObject
from acp.core.vocabulary import categories

Picture = tuple[str, ImageArray, FloatArray]
STAMPS = ("zebra", "elephant", "binoculars")
PHOTOS = ("zebra", "elephant", "bear", "pizza", "toilet", "cat", "dog", "bench")


@pytest.fixture(scope="session")
def scorer() -> Embedded:
    loaded = Embedded()
    lacking = loaded.missing()
    if lacking:
        pytest.skip(f"{lacking[0].what} is missing: {lacking[0].mend}")
    loaded.load()
    return loaded


@pytest.fixture(scope="session")
def pictures() -> list[Picture]:
    """Real pictures of different categories: cut-outs on grey, or photographs of COCO."""
    try:
        return _stamp_pictures(asset_dir("tuxpaint-stamps-default"))
    except AcpError:
        folder = Path(__file__).resolve().parents[3] / "shared" / "data" / "coco_tiny"
        if not folder.is_dir():
            pytest.skip("neither the cut-outs nor ../shared/data are there")
        return _photo_pictures(folder)


def _stamp_pictures(folder: Path) -> list[Picture]:
    table = files("acp.data").joinpath("stamps.tsv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(table.splitlines(), delimiter="\t"))
    found = []
    for category in STAMPS:
        file = next(row["file"] for row in rows if row["category"] == category)
        stamp = Image.open(next(folder.rglob(Path(file).name))).convert("RGBA")
        stamp = stamp.crop(stamp.getchannel("A").getbbox())
        stamp.thumbnail((200, 200))
        image = Image.new("RGB", (320, 256), (120, 130, 110))
        image.paste(stamp, (60, 40), stamp)
        box = np.array([60, 40, *stamp.size], dtype=np.float32)
        found.append((category, np.asarray(image), box))
    return found


def _photo_pictures(folder: Path) -> list[Picture]:
    """The largest instance of each of some categories."""
    data = json.loads((folder / "instances.json").read_text(encoding="utf-8"))
    names = {each["id"]: each["name"] for each in data["categories"]}
    paths = {each["id"]: folder / "images" / each["file_name"] for each in data["images"]}
    largest = {names[a["category_id"]]: a for a in sorted(data["annotations"], key=_area)}
    return [
        (
            name,
            np.asarray(Image.open(paths[largest[name]["image_id"]]).convert("RGB")),
            np.array(largest[name]["bbox"], dtype=np.float32),
        )
        for name in PHOTOS
        if name in largest
    ][:3]


def _area(annotation: dict[str, float]) -> float:
    return annotation["area"]


def _request(picture: Picture, *more: str, caption: str = "") -> ScoreRequest:
    """The picture's category, and more that are looked for in the same box."""
    category, image, box = picture
    names = (category, *more)
    nouns = [categories()[name].noun if name in categories() else name for name in names]
    graph = SceneGraph(
        tuple(SceneObject(name) for name in names), (), caption or f"A photo of {nouns[0]}."
    )
    return ScoreRequest(image, graph, np.stack([box] * len(names)))


def _scores(result: ImageScores | Failure) -> ImageScores:
    assert isinstance(result, ImageScores)
    return result


def test_right_category_scores_above_wrong(scorer: Embedded, pictures: list[Picture]) -> None:
    for index, picture in enumerate(pictures):
        wrong = pictures[index - 1][0]
        right_score, wrong_score = _scores(
            scorer.score([_request(picture, wrong)])[0]
        ).clis_i_instances
        assert right_score is not None
        assert wrong_score is not None
        assert right_score >= 60 > wrong_score, picture[0]


def test_right_caption_scores_above_wrong(scorer: Embedded, pictures: list[Picture]) -> None:
    picture, other = pictures[0], pictures[1]
    right = _scores(scorer.score([_request(picture)])[0])
    swapped = _scores(scorer.score([_request((other[0], *picture[1:]))])[0])
    assert right.clis_i_global is not None
    assert swapped.clis_i_global is not None
    assert right.clis_i_global > swapped.clis_i_global
    assert right.clis_i is not None
    assert swapped.clis_i is not None
    assert right.clis_i > swapped.clis_i


def test_scores_do_not_depend_on_the_batch(scorer: Embedded, pictures: list[Picture]) -> None:
    requests = [_request(picture, "dog", "stop_sign") for picture in pictures]
    together = scorer.score(requests)
    alone = [scorer.score([request])[0] for request in reversed(requests)][::-1]
    assert together == alone


def test_a_fresh_scorer_gives_the_same(scorer: Embedded, pictures: list[Picture]) -> None:
    request = _request(pictures[0])
    assert Embedded().score([request]) == scorer.score([request])


def test_image_score_is_the_mean_of_global_and_instances(
    scorer: Embedded, pictures: list[Picture]
) -> None:
    found = _scores(scorer.score([_request(pictures[0], "dog")])[0])
    known = [score for score in found.clis_i_instances if score is not None]
    assert found.clis_i_global is not None
    assert found.clis_i == pytest.approx(
        0.5 * found.clis_i_global + 0.5 * sum(known) / len(known), abs=0.01
    )
    assert all(0 <= score <= 100 for score in known)


def test_what_cannot_be_scored_is_none(scorer: Embedded, pictures: list[Picture]) -> None:
    request = _request(pictures[0], "stop_sign", "dog", "dog")
    request.boxes_xywh_px[2, 2] = 0
    request.boxes_xywh_px[3] = (5000, 0, 10, 10)
    found = _scores(scorer.score([request])[0])
    assert found.clis_i_instances[0] is not None
    assert found.clis_i_instances[1:] == (None, None, None)
    unknown = _scores(scorer.score([_request(("stop_sign", *pictures[0][1:]))])[0])
    assert unknown.clis_i_instances == (None,)
    assert unknown.clis_i == unknown.clis_i_global


def test_no_requests_and_no_objects(scorer: Embedded) -> None:
    assert scorer.score([]) == []
    image = np.zeros((20, 30, 3), dtype=np.uint8)
    empty = ScoreRequest(image, SceneGraph((), (), "a photo"), np.zeros((0, 4), np.float32))
    assert _scores(scorer.score([empty])[0]).clis_i_instances == ()


@pytest.mark.parametrize(
    ("image", "boxes", "reason"),
    [
        (np.zeros((4, 4), np.uint8), np.zeros((1, 4)), r"expected an image of shape"),
        (np.zeros((0, 4, 3), np.uint8), np.zeros((1, 4)), r"expected an image of shape"),
        (np.zeros((4, 4, 3), np.float32), np.zeros((1, 4)), "expected an image of uint8"),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((2, 4)), r"expected boxes of shape (1, 4)"),
        (np.zeros((4, 4, 3), np.uint8), np.full((1, 4), np.nan), "expected finite boxes"),
    ],
)
def test_a_broken_request_fails_alone(
    scorer: Embedded, pictures: list[Picture], image: ImageArray, boxes: FloatArray, reason: str
) -> None:
    graph = SceneGraph((SceneObject("dog"),), (), "a dog")
    results = scorer.score([ScoreRequest(image, graph, boxes), _request(pictures[0])])
    assert isinstance(results[0], Failure)
    assert reason in results[0].reason
    assert isinstance(results[1], ImageScores)


def test_it_says_what_it_is() -> None:
    assert backend_class("scorer", "embedded") is Embedded
    assert Embedded.is_proxy
    info = Embedded().info()
    assert "proxy" in info.id
    assert info.licence == "apache-2.0"
    assert "absent" not in info.revision


def test_the_table_names_categories_and_classes() -> None:
    assert set(members()) <= set(categories())
    for category, classes in members().items():
        assert classes, category
        assert len(set(classes)) == len(classes), category
        assert all(0 <= index < CLASSES for index in classes), category
    names = class_names()
    assert names[members()["zebra"][0]] == "zebra"
    assert {names[index] for index in members()["umbrella"]} == {"umbrella"}
    assert not knowable("person")


def test_evidence_grows_with_the_probability() -> None:
    logits = np.zeros((3, CLASSES), dtype=np.float32)
    logits[:, members()["zebra"][0]] = (0, 5, 20)
    shares = probabilities(logits)
    assert shares.sum(axis=1) == pytest.approx(1, abs=1e-5)
    found = [evidence(share[None], "zebra") for share in shares]
    assert found == sorted(found)
    assert evidence(shares, "zebra") == found[-1]
    assert instance_score(found[0]) < 60 < instance_score(found[-1])
    assert np.isfinite(evidence(np.eye(CLASSES, dtype=np.float32)[:1], "zebra"))


def test_crops_stay_in_the_image() -> None:
    whole = np.array([0, 0, 30, 20], dtype=np.float32)
    assert crop_xyxy(whole, (30, 20)) == (0, 0, 30, 20)
    assert crop_xyxy(np.array([-10, -10, 4, 4], dtype=np.float32), (30, 20)) is None
    for left, top, right, bottom in views_xyxy((31, 17)):
        assert 0 <= left < right <= 31 + 1e-6
        assert 0 <= top < bottom <= 17 + 1e-6


def test_embeddings_are_unit_vectors_in_order(scorer: Embedded) -> None:
    embedder = SentenceEmbedder.load()
    texts = ["a photo of a cat", "a kitten", "an invoice for steel pipes and bolts", ""]
    vectors = embedder.encode(texts, batch_size=2)
    assert vectors.shape == (4, 384)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.3
    assert embedder.encode([texts[2]])[0] == pytest.approx(vectors[2], abs=1e-5)
    assert embedder.encode([]).shape == (0, 384)


def test_threads_are_put_back(scorer: Embedded) -> None:
    import torch

    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_kept_embeddings_are_those_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACP_HOME", str(tmp_path))
    embedder, texts = SentenceEmbedder.load(), ["a photo of a dog", "a photo of a cat"]
    made = embedder.encode_cached(texts)
    (kept,) = (tmp_path / "embeddings").glob("*.npy")
    assert np.array_equal(embedder.encode_cached(texts), made)
    kept.write_bytes(kept.read_bytes()[:100])
    assert np.array_equal(embedder.encode_cached(texts), made)
    assert np.array_equal(embedder.encode(texts), made)
