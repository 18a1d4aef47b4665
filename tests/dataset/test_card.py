"""Cards of real builds and of folders with hostile or missing values."""

from __future__ import annotations

import html
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import Features, get_dataset_config_names, load_dataset
from huggingface_hub import DatasetCard
from hypothesis import given
from hypothesis import strategies as st

from acp.backends.registry import BACKENDS, RECIPE_KINDS
from acp.builder.release import work_folder
from acp.cli.build import build_recipe, summary
from acp.core.errors import AcpError
from acp.core.types import ModelInfo, Scene
from acp.dataset.card import render_card, write_card
from acp.dataset.card.limits import KNOWN
from acp.dataset.card.making import stages_table, thresholds
from acp.dataset.card.markdown import UNSEEN, as_page, code, split, text
from acp.dataset.card.sample import Place, choose
from acp.dataset.card.statistics import read_statistics, row
from acp.dataset.receipt import RECEIPT, Receipt, parse_receipt, read_receipt, write_receipt
from acp.executor.build import Build, open_build, published_recipe
from acp.executor.rows import CONFIGS, curated_row, features, image_row, picked_rows, scene_row
from acp.pipeline.pick import PickSettings
from acp.pipeline.recipe import load_recipe
from support.in_process import run_acp
from support.loopback_hub import Hub, serving
from support.scenes import SIZE_WH, make_candidate, make_scene

ACP = [sys.executable, "-m", "acp"]
MODELS = {kind: ModelInfo(f"me/{kind}", "1", "apache-2.0") for kind in RECIPE_KINDS}


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build in which scenes, candidates and objects of kept images were rejected."""
    return build(
        tmp_path_factory.mktemp("strict"),
        "scenes=6",
        "lay_out.min_side=0.25",
        "pick.min_clis_i_instance=90",
    )


@pytest.fixture(scope="module")
def nothing_picked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    limits = ("pick.min_clis_i=100", "pick.min_clis_l=100")
    return build(tmp_path_factory.mktemp("nothing"), "scenes=1", *limits)


@pytest.fixture(scope="module")
def all_rejected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("rejected"), "scenes=2", "lay_out.min_side=0.99")


def build(folder: Path, *overrides: str) -> Path:
    out = folder / "acp" / "tiny"
    list(build_recipe(load_recipe("tiny", overrides), out, 1))
    return out


def opened(folder: Path) -> Build:
    work = work_folder(folder)
    return open_build(load_recipe(str(work / "recipe.yaml")), work)


def card_of(folder: Path, data_set: str = "acp/tiny") -> str:
    receipt = read_receipt(folder)
    assert receipt is not None
    return render_card(folder, receipt, data_set)


def made_folder(
    folder: Path,
    rows: Sequence[Mapping[str, Any]] | None = None,
    models: Mapping[str, ModelInfo] = MODELS,
    recipe: str = "tiny",
    scene: Mapping[str, Any] | None = None,
    rows_per_group: int = 1000,
    **description: str,
) -> Path:
    """A data set of these rows of `raw` and one scene, as a build would have written it."""
    raw = list(make_rows(2) if rows is None else rows)
    provenance = {"recipe": recipe, "fingerprint": "f", "llm": "l@1"}
    tables: dict[str, list[Any]] = {
        "curated": [each for each in map(curated_row, raw) if each is not None],
        "raw": raw,
        "scene_graphs": [scene or scene_row(make_scene(make_candidate()), provenance)],
    }
    for config in CONFIGS:
        (folder / config).mkdir(parents=True)
        table = pa.Table.from_pylist(tables[config], features(config).arrow_schema)
        pq.write_table(
            table, folder / config / "train-00000-of-00001.parquet", row_group_size=rows_per_group
        )
    chosen = load_recipe(recipe, description)
    (folder / "recipe.yaml").write_text(published_recipe(chosen.resolved()), encoding="utf-8")
    receipt = Receipt("1.2.3", "0123456789abcdef", 1, models, {})
    write_card(folder, receipt, "me/made")
    write_receipt(folder, receipt)
    return folder


def make_rows(count: int, **changed: Any) -> list[dict[str, Any]]:
    """Rows of `raw`: scenes with a kept candidate and a beaten one each."""
    models = {kind: f"{kind}@1" for kind in RECIPE_KINDS}
    provenance = {"recipe": "tiny", "fingerprint": "f", **models}
    rows: list[dict[str, Any]] = []
    for scene_id in range(count):
        candidates = make_candidate(0, clis_i=60.0 + scene_id), make_candidate(1, clis_i=50.0)
        scene = make_scene(*candidates, scene_id=scene_id)
        measured = [image_row(scene, each, SIZE_WH, provenance) for each in candidates]
        rows += picked_rows(measured, PickSettings())
    return [{**each, **changed} for each in rows]


def front_matter(card: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(DatasetCard(card).data.to_yaml())
    assert found == yaml.safe_load(split(card)[0])
    return found


def prose_of(card: str) -> str:
    """The Markdown of a card without fenced blocks."""
    return re.sub(r"^(`{3,}).*?^\1$", "BLOCK", split(card)[1], flags=re.DOTALL | re.MULTILINE)


def flaws(card: str) -> list[str]:
    """Placeholders, empty places and broken tables."""
    marks = ("{{", "{%", "TODO", "FIXME", "[More Information Needed]")
    found = [mark for mark in marks if mark in card]
    prose = prose_of(card)
    found += re.findall(r"\b(?:None|nan|NaN|inf|null_count|undefined)\b|[{}]|\| *\|", prose)
    found += re.findall(r"^#+ [^\n]+\n+(?=#|\Z)", prose, flags=re.MULTILINE)  # an empty section
    found += re.findall(r"^[-*] *$|\n{3,}|\(\)|``$|: *\n\n(?=#)", prose, flags=re.MULTILINE)
    for block in re.findall(r"(?:^\|.*\n?)+", prose, flags=re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        found += [] if len(widths) == 1 and len(block.splitlines()) > 2 else [block]
    return found


@pytest.mark.parametrize("case", ["built", "strict", "nothing_picked", "all_rejected"])
def test_no_placeholder_survives(case: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(case)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert flaws(card) == []
    assert card == card_of(folder)


@pytest.mark.parametrize(
    "text_with_a_flaw",
    ["## A\n\n## B\ntext", "## A\n", "| a |  |\n", "score None", "nan %", "{'a': 1}", "{{ x }}"],
)
def test_flaws_are_seen(text_with_a_flaw: str) -> None:
    assert flaws(f"---\na: 1\n---\n{text_with_a_flaw}")


@pytest.mark.parametrize("case", ["built", "strict", "nothing_picked", "all_rejected"])
def test_counts_are_those_of_the_build(case: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(case)
    found = read_statistics(folder)
    rejects = {f"{level}: {reason}": n for (level, reason), n in found.rejects().items()}
    told = re.findall(r"^rejected +(\d+)  (.*)$", "\n".join(lines(folder)), re.MULTILINE)
    assert {reason: int(count) for count, reason in told} == rejects
    card = card_of(folder)
    for (level, reason), count in found.rejects().items():
        assert f"| {level} | {code(reason)} | {count} |" in card


def lines(folder: Path) -> list[str]:
    """What `acp build` says of it."""
    return list(summary(opened(folder), folder))


def test_the_strict_build_rejects_on_every_level(strict: Path) -> None:
    levels = {level for level, _ in read_statistics(strict).rejects()}
    assert levels == {"scene", "candidate", "object of a kept image"}


@pytest.mark.parametrize("case", ["built", "strict"])
def test_counts_are_those_of_the_rows(case: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(case)
    found = read_statistics(folder).curated
    rows = list(load_dataset(str(folder), split="train").remove_columns("image"))
    names = [name for each in rows for name in each["objects"]["category"]]
    assert found.objects == {name: names.count(name) for name in names}
    for name, images in found.images.items():
        assert images == sum(name in each["objects"]["category"] for each in rows)
    for letter, images in found.images_of_frequency.items():
        assert images == sum(letter in each["objects"]["frequency"] for each in rows)
    scores = [score for each in rows for score in each["objects"]["clis_i"]]
    assert found.unscored == scores.count(None)
    edges = [
        min(x, y) <= 0 or x + w >= each["width"] or y + h >= each["height"]
        for each in rows
        for x, y, w, h in each["objects"]["bbox"]
    ]
    assert found.at_edge == sum(edges)


@pytest.mark.parametrize("case", ["built", "strict", "nothing_picked", "all_rejected"])
def test_load_dataset_obeys_the_yaml(case: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(case)
    data = front_matter((folder / "README.md").read_text(encoding="utf-8"))
    assert data["license"] == "gpl-2.0"
    assert "license_name" not in data
    assert {"language", "tags", "task_categories", "size_categories", "pretty_name"} <= set(data)
    assert get_dataset_config_names(str(folder)) == list(CONFIGS)
    infos = {info["config_name"]: info for info in data["dataset_info"]}
    for config in CONFIGS:
        stream = load_dataset(str(folder), config, split="train", streaming=True)
        assert stream.features == features(config)
        assert Features._from_yaml_list(infos[config]["features"]) == features(config)
        (split_info,) = infos[config]["splits"]
        count = sum(1 for _ in stream)
        assert count == split_info["num_examples"] == read_statistics(folder).rows[config]
        if count:
            assert len(load_dataset(str(folder), config, split="train")) == count


LICENCES = [
    (["mit", "apache-2.0"], "apache-2.0", None),
    (["cc-by-nc-4.0", "apache-2.0"], "cc-by-nc-4.0", None),
    (["flux-non-commercial-license", "apache-2.0"], "other", "flux-non-commercial-license"),
    (["FLUX [dev] Non-Commercial", "gpl-2.0"], "other", "flux-dev-non-commercial-and-gpl-2.0"),
    (["creativeml-openrail-m", "gpl-2.0"], "other", "creativeml-openrail-m-and-gpl-2.0"),
    (["cc-by-nc-4.0", "gpl-2.0"], "other", "cc-by-nc-4.0-and-gpl-2.0"),
    (["unknown", "mit"], "other", "unknown"),
    (["", "mit"], "other", "unknown"),
    (["a: b\n- c", "mit"], "other", "a-b-c"),
    (["gemma", "llama3.1", "gpl-2.0", "house"], "other", "several-licences"),
]


@pytest.mark.parametrize(("licences", "licence", "name"), LICENCES)
def test_the_licence_is_the_strictest(
    tmp_path: Path, licences: list[str], licence: str, name: str | None
) -> None:
    kinds = zip(RECIPE_KINDS, [*licences, "mit", "mit"], strict=False)
    models = {kind: ModelInfo(f"me/{kind}", "1", each) for kind, each in kinds}
    card = (made_folder(tmp_path / "set", models=models) / "README.md").read_text(encoding="utf-8")
    data = front_matter(card)
    link = "https://huggingface.co/datasets/me/made#licence" if name else None
    told = (data["license"], data.get("license_name"), data.get("license_link"))
    assert told == (licence, name, link)
    assert f"## Licence\n\n`{name or licence}`" in card
    assert flaws(card) == []


HOSTILE = (
    "x | y `c` ``` <script>alert(1)</script> <img src=x onerror=alert(1)> [a](javascript:alert(1))"
    "![i](http://evil.example/t.png)\n---\n# Heading\n```\n| a |\n\n{{ 7 * 7 }}{% raw %}</details>"
    "\r\n- b http://evil.example www.evil.example me@evil.example @you $x$ \x1b[31m\u202e &lt; \\"
)


class Tags(HTMLParser):
    """The tags of a page in order, and all attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]


def hostile_folder(folder: Path, hostile: str) -> Path:
    rows = make_rows(2, caption=hostile)
    for each in rows:
        for key in ("category", "attributes"):
            each["objects"][key] = [f"{hostile}{place}" for place in range(2)]
        each["relations"]["predicate"] = [hostile]
        each["reject"] = "" if each["kept"] else hostile
    models = {kind: ModelInfo(hostile, hostile, hostile, hostile) for kind in RECIPE_KINDS}
    return made_folder(folder, rows, models, description=hostile)


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    pages = {}
    for name, value in {"tame": "word", "hostile": HOSTILE}.items():
        folder = hostile_folder(tmp_path / name, value)
        card = (folder / "README.md").read_text(encoding="utf-8")
        DatasetCard(card)
        assert [config["config_name"] for config in DatasetCard(card).data["configs"]] == list(
            CONFIGS
        )
        assert "49" not in prose_of(card)
        assert not UNSEEN.search(card.replace("\n", ""))
        pages[name] = Tags(as_page(card, folder, value))
    hostile, tame = pages["hostile"], pages["tame"]
    assert hostile.tags == tame.tags
    assert [each for each in hostile.attributes if each[0] == "a"] == [
        each for each in tame.attributes if each[0] == "a"
    ]
    assert {name for _, name, _ in hostile.attributes} == {name for _, name, _ in tame.attributes}
    assert not {"script", "iframe", "form"} & set(hostile.tags)
    images = [value for tag, name, value in hostile.attributes if (tag, name) == ("img", "src")]
    assert images
    assert all(value.startswith("data:image/jpeg;base64,") for value in images)


@given(st.text(alphabet="ab _*`|<>[](){}!#&\\~$:/.@-+=1\n\r\t\"'"))
def test_any_text_is_shown_as_it_is(value: str) -> None:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    shown = parser.render(f"| a | b |\n| --- | --- |\n| x{text(value)} | {code(value)} |\n")
    cells = re.findall(r"<td>(.*?)</td>", shown, flags=re.DOTALL)
    plain = " ".join(value.split())
    assert html.unescape(cells[0]) == "x" + plain
    told = html.unescape(re.sub(r"^<code>|</code>$", "", cells[1]))
    assert told.split() == (plain or "-").split()
    assert "<" not in re.sub(r"^<code>|</code>$", "", cells[1])
    alone = re.fullmatch(r"<p>([^<]*)</p>", parser.render(text(value)).strip() or "<p></p>")
    assert alone is not None
    assert html.unescape(alone[1]) == plain


def test_a_card_is_the_same_in_any_process(built: Path) -> None:
    cards = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [*ACP, "card", str(built)]
        cards.add(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
    assert cards == {(built / "README.md").read_bytes()}


def test_pictures_are_drawn_the_same_again(built: Path, tmp_path: Path) -> None:
    copy = tmp_path / "set"
    shutil.copytree(built, copy)
    receipt = read_receipt(copy)
    assert receipt is not None
    write_card(copy, receipt, "acp/tiny")
    for name in ("README.md", "sample.jpg"):
        assert (copy / name).read_bytes() == (built / name).read_bytes()
        assert name in receipt.sha256


def test_no_image_is_read_for_the_counts(tmp_path: Path) -> None:
    folder = made_folder(tmp_path / "set", make_rows(20))
    before = read_statistics(folder).counts(), choose(folder)
    for config in ("curated", "raw"):
        (file,) = (folder / config).glob("*.parquet")
        group = pq.ParquetFile(file).metadata.row_group(0)
        chunks = [group.column(place) for place in range(group.num_columns)]
        (chunk,) = (each for each in chunks if each.path_in_schema == "image.bytes")
        content = bytearray(file.read_bytes())
        start = chunk.dictionary_page_offset or chunk.data_page_offset
        content[start : start + chunk.total_compressed_size] = bytes(chunk.total_compressed_size)
        file.write_bytes(content)
    assert (read_statistics(folder).counts(), choose(folder)) == before


def test_the_sample_is_the_pick_of_median_clis(tmp_path: Path) -> None:
    folder = made_folder(tmp_path / "set", make_rows(5), rows_per_group=2)
    assert choose(folder) == Place("curated", 2)
    chosen = row(folder, "curated", 2)
    assert chosen["image_id"] == 2000
    assert [row(folder, "raw", index)["image_id"] for index in range(10)] == [
        scene * 1000 + candidate for scene in range(5) for candidate in range(2)
    ]
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "Row 2 (from 0) of `curated`" in card
    found = re.search(r"```json\n(.*?)\n```", card, flags=re.DOTALL)
    assert found is not None
    shown = json.loads(found[1])
    assert shown["image_id"] == 2000
    assert shown["objects"]["category"] == ["dog", "zebra"]
    assert max(len(each["counts"]) for each in shown["objects"]["segmentation"]) <= 49


def test_without_a_pick_the_sample_is_a_candidate(nothing_picked: Path, all_rejected: Path) -> None:
    place = choose(nothing_picked)
    assert place is not None
    assert place.config == "raw"
    assert "nothing was picked" in card_of(nothing_picked)
    assert (nothing_picked / "sample.jpg").is_file()
    assert 'load_dataset("acp/tiny", split' not in card_of(nothing_picked)
    assert choose(all_rejected) is None
    assert not (all_rejected / "sample.jpg").exists()
    assert "No candidate has an image" in card_of(all_rejected)


def test_candidates_without_masks_or_images_are_counted(tmp_path: Path) -> None:
    broken = replace(make_candidate(), jpeg=b"", instances=None, scores=None, reject="render: no")
    scene = make_scene(broken)
    provenance = {"recipe": "tiny", "fingerprint": "f", **dict.fromkeys(RECIPE_KINDS, "x@1")}
    measured = [image_row(scene, broken, SIZE_WH, provenance)]
    folder = made_folder(tmp_path / "set", picked_rows(measured, PickSettings()))
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert flaws(card) == []
    assert "| candidate | `render: no` | 1 |" in card


def test_a_long_tail_is_folded(tmp_path: Path) -> None:
    from acp.core.vocabulary import categories

    names = list(categories())
    rows = make_rows(len(names) // 2)
    for place, each in enumerate(rows):
        two = [names[place - place % 2], names[place - place % 2 + 1]]
        each["objects"]["category"] = two
        each["objects"]["frequency"] = [categories()[name].frequency for name in two]
        each["reject"] = "" if each["kept"] else f"pick: reason {place}"
    card = (made_folder(tmp_path / "set", rows) / "README.md").read_text(encoding="utf-8")
    assert flaws(card) == []
    assert "The other 1,182 categories, with their objects" in card
    assert "581 rarer reasons" in card
    assert "| any | 381 others | 381 |" in card
    assert len(prose_of(card).splitlines()) < 600


def test_the_cards_of_gpu_recipes(tmp_path: Path) -> None:
    models = {**MODELS, "renderer": ModelInfo("m/gligen", "abc", "creativeml-openrail-m")}
    models["scorer"] = ModelInfo("clis: me/llm + me/llm", "1+1", "apache-2.0", "captioner")
    folder = made_folder(tmp_path / "set", models=models, recipe="lvis-longtail")
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert flaws(card) == []
    assert DatasetCard(card).data["license"] == "creativeml-openrail-m"
    assert "pip install 'auto-cherry-picker[gpu]==" in card
    assert "The same model (`me/llm`) wrote the scenes and judged the images" in card
    assert "proxy" not in card
    unpinned = ("llm", "renderer", "segmenter", "scorer.captioner", "scorer.judge")
    assert f"to the Hub: {', '.join(map(code, unpinned))}." in card
    assert "CLIS = 0 \u00d7 CLIS-L + 1 \u00d7 CLIS-I" in card


def test_files_of_the_maker_are_told_by_their_last_name(tmp_path: Path) -> None:
    bank = {"backend": "cutpaste", "cutouts": "/home/somebody/my-bank"}
    local = {**MODELS, "llm": ModelInfo("tuned", "sha256-0123456789abcdef", "mit")}
    folder = made_folder(tmp_path / "set", models=local, renderer=bank)  # type: ignore[arg-type]
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "`renderer.cutouts` (`my-bank`), `llm` (`tuned`)" in card
    assert "somebody" not in card


@pytest.mark.parametrize("kind", RECIPE_KINDS)
def test_every_backend_has_its_known_failures(kind: str) -> None:
    assert {name for of, name in KNOWN if of == kind} == set(BACKENDS[kind])


def blocks(card: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", card, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("case", ["built", "nothing_picked", "all_rejected"])
def test_the_code_on_the_card_runs(
    case: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = request.getfixturevalue(case)
    monkeypatch.chdir(folder.parent.parent)  # where "acp/tiny" is a folder
    scope: dict[str, Any] = {}
    for each in blocks((folder / "README.md").read_text(encoding="utf-8"), "python"):
        exec(each, scope)  # noqa: S102 - the card's own code
    assert len(scope["scene_graphs"])
    if case != "all_rejected":
        assert "image" not in next(iter(scope["scores"]))
    if case == "built":
        assert scope["some"]
        assert {row["image_id"] for row in scope["good"]} == {
            row["image_id"] for row in scope["raw"] if (row["clis"] or 0) >= 80
        }
        annotations = scope["annotations"](scope["data"][0])["annotations"]
        assert [each["bbox"] for each in annotations] == scope["data"][0]["objects"]["bbox"]


def test_the_commands_on_the_card_make_the_same_bytes(built: Path, tmp_path: Path) -> None:
    (script,) = blocks((built / "README.md").read_text(encoding="utf-8"), "bash")
    commands = [line for line in script.splitlines() if not line.startswith("pip ")]
    assert [command.split()[0] for command in commands] == ["hf", "acp", "acp"]
    programs = Path(sys.executable).parent
    with serving(Hub(tmp_path / "hub")) as hub:
        hub.put_folder("acp/tiny", built)
        for command in commands:
            name, *arguments = shlex.split(command)
            subprocess.run(
                [programs / name, *arguments],
                cwd=tmp_path,
                env=hub.env(tmp_path / "cache"),
                check=True,
                capture_output=True,
            )
    again = tmp_path / "rebuild" / "acp" / "tiny"
    assert read_receipt(again) == read_receipt(built)
    for path in built.rglob("*.*"):
        if path.is_file():
            assert (again / path.relative_to(built)).read_bytes() == path.read_bytes()


def acp(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*ACP, "card", *arguments], capture_output=True, text=True, check=False)


def test_acp_card_writes_markdown_and_html(built: Path, tmp_path: Path) -> None:
    markdown, page = tmp_path / "new" / "card.md", tmp_path / "card.html"
    assert acp(str(built), "--repo", "me/other", "--out", str(markdown)).returncode == 0
    assert markdown.read_text(encoding="utf-8") == card_of(built, "me/other")
    assert "hf download me/other recipe.yaml" in markdown.read_text(encoding="utf-8")
    assert acp(str(built), "--out", str(page)).returncode == 0
    found = Tags(page.read_text(encoding="utf-8"))
    assert found.tags.count("img") == 2
    assert all(
        value.startswith(("data:", "https://arxiv.org/", "recipe.yaml"))
        for _, name, value in found.attributes
        if name in {"src", "href"}
    )


def test_mistakes_are_told_in_one_line(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken").mkdir()
    damaged = tmp_path / "damaged"
    shutil.copytree(built, damaged)
    next((damaged / "raw").iterdir()).write_bytes(b"PAR1")
    incomplete = tmp_path / "incomplete"
    shutil.copytree(built, incomplete)
    next((incomplete / "raw").iterdir()).unlink()
    cases = {
        (str(tmp_path / "absent"),): "no such folder",
        (str(incomplete),): "raw/train-00000-of-00001.parquet: missing; run acp build again",
        (str(tmp_path / "broken"),): "not a data set of acp build",
        (str(damaged),): "cannot be read",
        (str(built), "--out", "card.pdf"): "a card is a .md or a .html",
        (str(built), "--repo", "a b"): "--repo",
    }
    for arguments, told in cases.items():
        status, stdout, stderr = run_acp(["card", *arguments], capsys)
        assert (status, stdout) == (1, "")
        assert told in stderr
        assert len(stderr.splitlines()) == 1


def test_scores_without_a_value_leave_the_histograms_whole(tmp_path: Path) -> None:
    rows = make_rows(3, clis_l=None, clis_i=None, clis=None)
    folder = made_folder(tmp_path / "set", rows)
    assert flaws((folder / "README.md").read_text(encoding="utf-8")) == []
    values = read_statistics(folder).raw.scores["clis"][0]
    assert np.isnan(values).all()


def test_a_recipe_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    folder = made_folder(tmp_path / "set")
    (folder / "recipe.yaml").unlink()
    with pytest.raises(AcpError, match=r"recipe\.yaml"):
        card_of(folder)


def test_scenes_alone(tmp_path: Path) -> None:
    empty = scene_row(
        Scene(0, 1, ("dog",), reject="describe: no answer"),
        {"recipe": "tiny", "fingerprint": "f", "llm": "l@1"},
    )
    card = (made_folder(tmp_path / "set", [], scene=empty) / "README.md").read_text("utf-8")
    assert flaws(card) == []
    assert "| scene | `describe: no answer` | 1 |" in card


def test_the_version_that_built_the_data_is_told(tmp_path: Path) -> None:
    folder = made_folder(tmp_path / "set")
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert re.search(r"^pip install '?auto-cherry-picker(\[\w+\])?==1\.2\.3'?$", card, re.M)


def test_a_receipt_without_a_version_is_none_of_ours(built: Path) -> None:
    content = json.loads((built / RECEIPT).read_bytes())
    assert content["version"] == version("auto-cherry-picker")
    assert parse_receipt(json.dumps(content)) == read_receipt(built)
    del content["version"]
    assert parse_receipt(json.dumps(content)) is None


def alone(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with its first object alone."""
    objects = {key: values[:1] for key, values in row["objects"].items()}
    return {**row, "objects": objects, "relations": {key: [] for key in row["relations"]}}


@pytest.mark.parametrize("kept", [True, False])
def test_the_sample_is_told_as_what_it_is(tmp_path: Path, kept: bool) -> None:
    several = [{**each, "kept": kept} for each in make_rows(3)]
    for name, rows in (("several", several), ("alone", [alone(each) for each in several])):
        card = (made_folder(tmp_path / name, rows) / "README.md").read_text(encoding="utf-8")
        (told,) = re.findall("^Row . .*$", card, flags=re.M)
        assert ("with several objects" in told) == (name == "several")
        assert ("`curated`" in told) == kept


def test_thresholds_that_every_image_had_to_reach_are_told() -> None:
    def told(*overrides: str) -> str:
        return thresholds(load_recipe("tiny", overrides))

    assert "kept where CLIS-L is null or at least 0;" in told()
    assert "CLIS-L is null or at least -20;" in told("pick.min_clis_l=-20")
    assert "can be kept; of each" in told("pick.min_clis_l=-100")
    both = told("pick.min_clis_i=40", "pick.min_objects_share=0.5")
    assert "CLIS-I is null or at least 40 and CLIS-L" in both
    assert "the share of its objects that are labelled is at least 0.5" in both
    assert "its mask keeps to" not in both
    assert "its mask keeps to" in thresholds(load_recipe("lvis-longtail"))


def test_stages_tell_who_did_them_and_who_did_not() -> None:
    def row_of(stage: str, *overrides: str) -> str:
        table = stages_table(load_recipe("tiny", overrides), MODELS)
        (found,) = re.findall(rf"^\| {stage} \|.*$", table, flags=re.M)
        return str(found)

    assert "| `me/llm`, priors |" in row_of("describe")
    assert "| priors | llm_proposals 0," in row_of("lay out")
    assert "llm_proposals 2" in row_of("lay out", "llm.backend=smollm2")
    assert "(a proxy of CLIS-I)" in row_of("score")
    assert "by chance in place of CLIS-I" in row_of("score", "scorer.backend=random")
    assert "(CLIS-I)" in row_of("score", "scorer.backend=clis")
