"""CLIS-I from questions to scores, with the embedded models and a real server on loopback."""

from __future__ import annotations

import contextlib
import itertools
import json
import multiprocessing
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acp.backends.base import ScoreRequest
from acp.backends.captioner_openai import OpenAICaptioner, OpenAICaptionerOptions
from acp.backends.judge_llm import OpenAIJudge
from acp.backends.registry import make_backend
from acp.backends.score_clip_text import ClipText
from acp.backends.score_clis import Clis
from acp.backends.score_embedded import EmbeddedCaptioner, EmbeddedJudge
from acp.backends.score_random import Random
from acp.clis.image import (
    ClisISettings,
    ImageRequest,
    ImageResult,
    check_same_judges,
    score_images,
)
from acp.clis.questions import box_problem, box_text, crop_of
from acp.core.cache import AnswerCache, answer_key
from acp.core.errors import AcpError
from acp.core.types import ImageScores, SceneGraph, SceneObject
from acp.pipeline.recipe import load_recipe
from support.vlm_server import Server, image_of, question_of, serving

pytest.importorskip("openai")
IMAGE = np.zeros((100, 200, 3), dtype=np.uint8)
IMAGE[20:60, 20:120] = (200, 30, 30)
BOXES = np.array([[0.1, 0.2, 0.5, 0.4], [0.6, 0.1, 0.2, 0.8]], dtype=np.float32)
REQUEST = ImageRequest(IMAGE, "a red dog beside a cat", ("red dog", "cat"), BOXES)
REGION = "[100, 200, 600, 600] (left, top, right, bottom, on a scale of 0 to 1000)"


class Model:
    """What the server says: a caption by what is asked, and a grade by what is judged."""

    def __init__(self, grades: dict[str, str] | None = None) -> None:
        self.grades = grades or {}
        self.mute = ""

    def __call__(self, body: dict[str, Any]) -> str:
        question = question_of(body)
        if "response_format" in body:
            meant = question.split("Meant: ")[1].split("\n")[0]
            said = question.split("Described: ")[1].split("\n")[0]
            kind = said.split()[0]
            return self.grades.get(f"{meant}/{kind}", self.grades.get(kind, '{"answer": 4}'))
        pixels = image_of(body)
        if pixels is None:
            return "OK."
        kind = "region" if "region" in question else "whole" if pixels.shape[1] == 200 else "crop"
        return "" if kind == self.mute else f"{kind} seen"


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def server(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("ACP_HOME", str(tmp_path / "home"))
    with serving(model) as found:
        yield found


@pytest.fixture
def captioner(server: Server) -> OpenAICaptioner:
    options = OpenAICaptionerOptions(
        base_url=server.url, image_format="png", max_retries=1, cache=False
    )
    return OpenAICaptioner(options)


@pytest.fixture
def judge(server: Server) -> OpenAIJudge:
    return OpenAIJudge(OpenAIJudge.options_type(base_url=server.url, max_retries=1, cache=False))


def judged(server: Server) -> list[str]:
    return [question_of(body) for body in server.chats if "response_format" in body]


def captioned(server: Server) -> list[dict[str, Any]]:
    return [body for body in server.chats if "response_format" not in body]


def test_weights_are_those_of_the_paper(
    model: Model, captioner: OpenAICaptioner, judge: OpenAIJudge
) -> None:
    model.grades = {"whole": '{"answer": 3}', "region": '{"answer": 5}', "crop": '{"answer": 1}'}
    (found,) = score_images([REQUEST], captioner, judge)
    assert found.clis_i_global == 60
    assert found.clis_i_instances == (0.8 * 100 + 0.2 * 20,) * 2
    assert found.clis_i == 0.5 * 60 + 0.5 * 84
    assert (found.reason, found.instance_reasons) == ("", ("", ""))
    assert found.parts[0, "region"].caption == "region seen"
    settings = ClisISettings(region_weight=0.5, crop_weight=0.5, global_weight=0.0)
    (other,) = score_images([REQUEST], captioner, judge, settings)
    assert other.clis_i == other.clis_i_instances[0] == 60


def test_regions_carry_their_coordinates_and_crops_their_pixels(
    server: Server, captioner: OpenAICaptioner, judge: OpenAIJudge
) -> None:
    score_images([REQUEST], captioner, judge)
    bodies = captioned(server)
    regions = [question_of(body) for body in bodies if "region" in question_of(body)]
    assert sum(REGION in question for question in regions) == 1
    assert sum("[600, 100, 800, 900]" in question for question in regions) == 1
    images = [image for body in bodies if (image := image_of(body)) is not None]
    shapes = sorted(image.shape[:2] for image in images)
    assert shapes == sorted([(100, 200)] * 3 + [(40, 100), (80, 40)])
    (crop,) = [image for image in images if image.shape[:2] == (40, 100)]
    assert (crop == IMAGE[20:60, 20:120]).all()
    assert all("Meant: red dog\n" in each or "cat" in each for each in judged(server))


def test_all_captions_are_asked_before_the_first_judgement(
    server: Server, captioner: OpenAICaptioner, judge: OpenAIJudge
) -> None:
    score_images([REQUEST, REQUEST], captioner, judge)
    kinds = ["response_format" in body for body in server.chats]
    assert kinds == sorted(kinds)


def test_the_same_question_is_asked_once(
    server: Server, captioner: OpenAICaptioner, judge: OpenAIJudge
) -> None:
    twice = ImageRequest(IMAGE, "a red dog beside a cat", ("red dog",), BOXES[:1])
    results = score_images([REQUEST, twice, REQUEST], captioner, judge)
    assert len(captioned(server)) == 1 + 2 + 2
    assert len(judged(server)) == 1 + 2 + 2
    assert results[0] == results[2]
    assert results[1].clis_i_instances == results[0].clis_i_instances[:1]


@pytest.mark.parametrize("nonsense", ["seven", '{"answer": 7}', '{"ans', "", '{"answer": 2.5}'])
def test_nonsense_is_asked_again_and_the_other_part_then_counts(
    server: Server, model: Model, captioner: OpenAICaptioner, judge: OpenAIJudge, nonsense: str
) -> None:
    model.grades = {"red dog/crop": nonsense, "region": '{"answer": 5}'}
    (found,) = score_images([REQUEST], captioner, judge)
    assert found.clis_i_instances == (100.0, 0.8 * 100 + 0.2 * 80)
    assert found.instance_reasons[0].startswith("crop: judge: ")
    assert found.instance_reasons[0].endswith("the other part stands for both")
    asked = [body for body in server.chats if "Described: crop" in question_of(body)]
    again = [body for body in asked if "Meant: red dog" in question_of(body)]
    assert [body["temperature"] for body in again] == [0.0, 0.7, 0.7]
    assert len({body["seed"] for body in again}) == 3


def test_a_grade_that_comes_late_is_taken(
    model: Model, captioner: OpenAICaptioner, judge: OpenAIJudge, server: Server
) -> None:
    answers = itertools.chain(["what?"], itertools.repeat('{"answer": 2}'))
    alone = ImageRequest(IMAGE, "a red dog", (), BOXES[:0])
    server.answer = lambda body: next(answers) if "response_format" in body else "whole"
    (found,) = score_images([alone], captioner, judge)
    assert (found.clis_i, found.clis_i_global, found.reason) == (40, 40, "")


def test_what_is_unscored_is_neither_dropped_nor_zero(
    model: Model, captioner: OpenAICaptioner, judge: OpenAIJudge
) -> None:
    model.grades = {"red dog/region": "no", "red dog/crop": "no", "whole": '{"answer": 5}'}
    (found,) = score_images([REQUEST], captioner, judge)
    assert found.clis_i_instances == (None, 80.0)
    assert found.clis_i == 0.5 * 100 + 0.5 * 80
    assert found.reason == "1 of 2 objects not scored"
    model.grades |= {"cat/region": "no", "cat/crop": "no"}
    (found,) = score_images([REQUEST], captioner, judge)
    assert (found.clis_i, found.reason) == (100, "2 of 2 objects not scored")
    model.grades |= {"whole": "no"}
    (found,) = score_images([REQUEST], captioner, judge)
    assert found.clis_i is None
    assert found.reason.startswith("global: judge: ")


def test_a_mute_captioner_is_a_reason_too(
    server: Server, model: Model, captioner: OpenAICaptioner, judge: OpenAIJudge
) -> None:
    model.mute = "region"
    (found,) = score_images([REQUEST], captioner, judge)
    assert found.clis_i_instances == (80.0, 80.0)
    assert found.instance_reasons[0].startswith("region: captioner: ")
    assert sum("region" in question_of(body) for body in captioned(server)) == 2 * 3


def test_boxes_that_cannot_be_asked_about(captioner: OpenAICaptioner, judge: OpenAIJudge) -> None:
    boxes = np.array(
        [[0.1, 0.1, 0, 0.2], [np.nan, 0, 1, 1], [1.5, 0, 0.1, 1], [-0.2, -0.2, 0.5, 0.5]],
        dtype=np.float32,
    )
    request = ImageRequest(IMAGE, "", ("a", "b", "c", "d"), boxes)
    (found,) = score_images([request], captioner, judge)
    assert found.instance_reasons == (
        "the box has no area",
        "the box is not finite",
        "the box lies outside the image",
        "",
    )
    assert found.clis_i_instances == (None, None, None, 80.0)
    assert found.clis_i == 80
    assert found.reason == "global: no caption was given; 3 of 4 objects not scored"


@pytest.mark.parametrize(
    ("image", "boxes", "problem"),
    [
        (IMAGE.astype(np.float32), BOXES, "uint8"),
        (IMAGE[..., 0], BOXES, "(height, width, 3)"),
        (IMAGE, BOXES[:1], "expected boxes of shape (2, 4), got (1, 4)"),
    ],
)
def test_a_wrong_shape_is_a_reason_and_spares_the_others(
    image: Any, boxes: Any, problem: str, captioner: OpenAICaptioner, judge: OpenAIJudge
) -> None:
    wrong = ImageRequest(image, "a dog", ("dog", "cat"), boxes)
    bad, good = score_images([wrong, REQUEST], captioner, judge)
    assert problem in bad.reason
    assert (bad.clis_i, bad.clis_i_instances) == (None, (None, None))
    assert good.clis_i == 80


def test_nothing_to_score(captioner: OpenAICaptioner, judge: OpenAIJudge) -> None:
    assert score_images([], captioner, judge) == []


def test_answers_are_kept_and_asked_no_more(
    server: Server, captioner: OpenAICaptioner, judge: OpenAIJudge, tmp_path: Path
) -> None:
    cache = AnswerCache(tmp_path / "folder" / "answers.sqlite")
    first = score_images([REQUEST], captioner, judge, cache=cache)
    asked = len(server.chats)
    assert asked == 10
    again = AnswerCache(cache.path)
    assert score_images([REQUEST], captioner, judge, cache=again) == first
    assert len(server.chats) == asked
    shorter = ClisISettings(max_caption_tokens=20)
    score_images([REQUEST], captioner, judge, shorter, again)
    assert len(server.chats) == asked + 5  # other captions; the same texts to judge


def test_failures_are_not_kept(
    server: Server, model: Model, captioner: OpenAICaptioner, judge: OpenAIJudge, tmp_path: Path
) -> None:
    cache = AnswerCache(tmp_path / "answers.sqlite")
    model.grades = {"whole": "no"}
    (found,) = score_images([REQUEST], captioner, judge, cache=cache)
    assert found.clis_i_global is None
    model.grades = {}
    (found,) = score_images([REQUEST], captioner, judge, cache=cache)
    assert found.clis_i_global == 80


def test_another_prompt_is_another_question(
    server: Server, captioner: OpenAICaptioner, judge: OpenAIJudge, tmp_path: Path
) -> None:
    cache = AnswerCache(tmp_path / "answers.sqlite")
    own = tmp_path / "judge.md"
    own.write_text("## user\nMeant: $expected\nDescribed: $caption\nGrade:\n", encoding="utf-8")
    (plain,) = score_images([REQUEST], captioner, judge, cache=cache)
    settings = ClisISettings(judge_prompt=str(own))
    (other,) = score_images([REQUEST], captioner, judge, settings, cache)
    assert len(judged(server)) == 10
    assert len(captioned(server)) == 5
    assert plain.judged_by.prompts != other.judged_by.prompts
    with pytest.raises(AcpError, match="not comparable"):
        check_same_judges([plain.judged_by, other.judged_by])


def test_a_server_that_goes_away_stops_all(server: Server, captioner: OpenAICaptioner) -> None:
    judge = OpenAIJudge(OpenAIJudge.options_type(base_url="http://127.0.0.1:9/v1", max_retries=0))
    with pytest.raises(AcpError, match="cannot be reached"):
        score_images([REQUEST], captioner, judge)


def test_who_scored_is_in_the_result(captioner: OpenAICaptioner, judge: OpenAIJudge) -> None:
    (found,) = score_images([REQUEST], captioner, judge)
    name = "Qwen/Qwen3.5-9B@served-model-2026-01"
    assert (found.judged_by.captioner, found.judged_by.judge) == (name, name)
    assert found.scores.made_by == str(found.judged_by)
    assert found.judged_by.prompts in found.scores.made_by


def test_scores_of_different_judges_are_not_mixed() -> None:
    check_same_judges([])
    check_same_judges(["a", None, "a", ""])
    with pytest.raises(AcpError, match=r"rows: made by 2 different judges.*\(1\) a; \(2\) b"):
        check_same_judges(["a", "b", "a", None], where="rows")


# The embedded models


@pytest.fixture(scope="module")
def embedded() -> tuple[EmbeddedCaptioner, EmbeddedJudge]:
    return EmbeddedCaptioner(), EmbeddedJudge()


def test_embedded_models_know_a_category(
    embedded: tuple[EmbeddedCaptioner, EmbeddedJudge], shared_data: Path
) -> None:
    requests = [coco_request(shared_data, name) for name in ("elephant", "teddy bear", "umbrella")]
    right = score_images(requests, *embedded)
    assert [score_images([request], *embedded)[0] for request in requests] == right
    wrong = score_images([coco_request(shared_data, "elephant", "umbrella")], *embedded)
    assert total(right[0]) > total(wrong[0])
    assert "proxy" in str(right[0].judged_by)


def coco_request(folder: Path, category: str, called: str = "") -> ImageRequest:
    """The largest object of a category, alone."""
    from PIL import Image

    coco = json.loads((folder / "coco_tiny" / "instances.json").read_text())
    ids = {each["name"]: each["id"] for each in coco["categories"]}
    found = [each for each in coco["annotations"] if each["category_id"] == ids[category]]
    if not found:
        pytest.skip(f"no {category} there")
    largest = max(found, key=lambda each: each["area"])
    image = next(each for each in coco["images"] if each["id"] == largest["image_id"])
    path = next((folder / "coco_tiny").rglob(image["file_name"]))
    sides = np.array([image["width"], image["height"]] * 2)
    pixels = np.asarray(Image.open(path).convert("RGB"))
    box = np.array([largest["bbox"]]) / sides
    name = called or category
    return ImageRequest(pixels, f"a photo of a {name}", (name,), box.astype(np.float32))


def total(result: ImageResult) -> float:
    assert result.clis_i is not None
    return result.clis_i


# The scorers of a recipe

GRAPH = SceneGraph((SceneObject("dog", "red"), SceneObject("cat")), (), "a red dog beside a cat")
SCORE_REQUEST = ScoreRequest(IMAGE, GRAPH, BOXES * np.array([200, 100, 200, 100], np.float32))


def test_a_recipe_names_captioner_and_judge(server: Server) -> None:
    spec = f"{{backend: openai, base_url: '{server.url}', concurrency: 2}}"
    override = f"scorer={{backend: clis, cache: false, captioner: {spec}, judge: {spec}}}"
    recipe = load_recipe("tiny", [override])
    scorer = recipe.backend("scorer")
    assert isinstance(scorer, Clis)
    assert not scorer.is_proxy
    (found,) = scorer.score([SCORE_REQUEST])
    assert isinstance(found, ImageScores)
    assert (found.clis_i, found.clis_i_instances) == (80, (80, 80))
    assert "Qwen/Qwen3.5-9B" in found.made_by
    assert scorer.info().id == "clis: Qwen/Qwen3.5-9B + Qwen/Qwen3.5-9B"
    assert "prompts-" in scorer.info().revision
    assert recipe.resolved()["scorer"]["judge"]["concurrency"] == 2
    content = scorer.content_options()
    assert "concurrency" not in content["judge"]
    assert "cache" not in content


def test_a_build_says_who_judged(tmp_path: Path) -> None:
    from datasets import load_dataset

    from acp.cli.build import build_recipe

    spec = (
        "{backend: clis, cache: false, captioner: {backend: embedded}, judge: {backend: embedded}}"
    )
    recipe = load_recipe("tiny", [f"scorer={spec}", "scenes=1", "pick.min_clis_i_instance=0"])
    list(build_recipe(recipe, tmp_path / "built", 1))
    rows = load_dataset(str(tmp_path / "built"), "raw", split="train")
    for row in rows:
        assert row["provenance"]["scorer"].startswith("clis: efficientnet-lite0 labels (proxy)")
        assert "prompts-" in row["provenance"]["scorer"]
        assert 0 <= row["clis_i"] <= 100
    card = (tmp_path / "built" / "README.md").read_text(encoding="utf-8")
    assert "are a proxy** (captioner and judge of CLIS-I)" in card


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"captioner": {"backend": "opnai"}},
            "scorer: captioner.backend: there is no captioner 'opnai'",
        ),
        (
            {"judge": {"backend": "openai", "modl": "x"}},
            "unknown key 'judge.modl'; did you mean 'judge.model'",
        ),
        ({"judge": {}}, "judge.backend: expected one of embedded"),
        ({"region_weight": 0.0, "crop_weight": 0.0}, "must not both be 0"),
        ({"box_convention": "xywh"}, "box_convention"),
        ({"judge_prompt": "no/such/file.md"}, "cannot be read"),
    ],
)
def test_mistakes_in_the_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(AcpError) as caught:
        make_backend("scorer", {"backend": "clis", **options})
    assert message in str(caught.value)


def test_clip_text_compares_captions_without_a_judge(server: Server) -> None:
    spec = {"backend": "openai", "base_url": server.url}
    scorer = make_backend("scorer", {"backend": "clip-text", "captioner": spec, "cache": False})
    assert isinstance(scorer, ClipText)
    server.answer = lambda body: "a red dog" if "region" in question_of(body) else "a grey cat"
    (found,) = scorer.score([SCORE_REQUEST])
    assert isinstance(found, ImageScores)
    assert judged(server) == []
    dog, cat = found.clis_i_instances
    assert dog is not None
    assert cat is not None
    assert 0 < cat < dog < 100
    assert "MiniLM" in found.made_by
    assert scorer.missing() == []


def test_random_depends_on_the_item_alone() -> None:
    other = ScoreRequest(IMAGE[::-1].copy(), GRAPH, SCORE_REQUEST.boxes_xywh_px)
    first = Random().score([SCORE_REQUEST, other])
    assert Random().score([other]) == first[1:]
    assert first[0] != first[1]
    assert Random(Random.options_type(seed=1)).score([SCORE_REQUEST]) != first[:1]


def test_thresholds_of_the_paper_are_those_of_the_recipe() -> None:
    assert load_recipe("lvis-longtail").pick.min_clis_i_instance == 60


# Small parts


def test_boxes_in_the_conventions_of_models() -> None:
    box = (0.1, 0.2, 0.5, 0.4)
    assert box_text(box, (200, 100), "xyxy_1000") == REGION
    assert box_text(box, (200, 100), "yxyx_1000").startswith("[200, 100, 600, 600] (top, left")
    assert box_text(box, (200, 100), "xyxy_px").startswith("[20, 20, 120, 60] (left")
    assert box_text(box, (200, 100), "xyxy_norm").startswith("[0.100, 0.200, 0.600, 0.600]")
    assert box_text((-1, -1, 3, 3), (200, 100), "xyxy_1000").startswith("[0, 0, 1000, 1000]")


def test_crops_hold_what_the_box_touches_and_are_never_tiny() -> None:
    image = np.arange(100 * 200 * 3, dtype=np.uint32).reshape(100, 200, 3).astype(np.uint8)
    assert (crop_of(image, (0.25, 0.5, 0.5, 0.5)) == image[50:, 50:150]).all()
    assert crop_of(image, (0.5, 0.5, 0.001, 0.001)).shape == (32, 32, 3)
    assert crop_of(image, (0.0, 0.5, 1.0, 0.01)).shape == (32, 6400, 3)
    assert box_problem((0.1, 0.1, 0.2, float("inf"))) == "the box is not finite"


def test_the_cache_survives_damage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "answers.sqlite"
    path.write_text("no database at all, but long enough to be looked at" * 40)
    cache = AnswerCache(path)
    assert cache.get(["a"]) == {}
    cache.put({"a": 1})
    assert cache.get(["a"]) == {}
    assert sum("answers are not kept" in record.message for record in caplog.records) == 1
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    AnswerCache(in_the_way / "answers.sqlite").put({"a": 1})
    assert in_the_way.read_text() == ""


def test_a_locked_cache_is_not_to_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("acp.core.cache._BUSY_SECONDS", 0.05)
    cache = AnswerCache(tmp_path / "answers.sqlite")
    cache.put({"a": 1})
    with contextlib.closing(sqlite3.connect(cache.path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        cache.put({"b": 2})
    assert "database is locked; end what holds it" in caplog.text
    assert AnswerCache(cache.path).get(["a", "b"]) == {"a": 1}


def test_values_that_are_no_json_are_asked_again(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "answers.sqlite")
    cache.put({"a": 3, "b": "text"})
    with sqlite3.connect(cache.path) as connection:
        connection.execute("UPDATE answers SET value = '{' WHERE key = 'a'")
    assert cache.get(["a", "b", "c"]) == {"b": "text"}
    cache.put({"a": 4})
    assert cache.get(["a"]) == {"a": 4}


def _write(path: str, number: int) -> None:
    cache = AnswerCache(path)
    for step in range(20):
        cache.put({answer_key(str(number), str(step)): number})


def test_processes_share_the_cache(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write, args=(str(path), number)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    keys = [answer_key(str(number), str(step)) for number in range(3) for step in range(20)]
    assert len(AnswerCache(path).get(keys)) == 60
