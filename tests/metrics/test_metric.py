"""The module of `evaluate`: as loaded by people, with `evaluate`'s own files and locks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import acp
from acp.clis.priors import write_priors
from acp.clis.score import merge
from acp.clis.similarity import fold_name
from acp.core.errors import AcpError
from support.clis_rederivation import Reference, Score, evidence, image_score, pair_score

ROOT = Path(__file__).resolve().parents[2]
MODULE = str(ROOT / "metrics" / "clis")
PREDICATES = ("riding", "left of", "next to")
NAMES = ("person", "horse", "dog")
Box = tuple[float, float, float, float]

Pair = tuple[str, str, str, Box, Box]


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """`evaluate`'s folders of their own, for this process and those it starts."""
    from evaluate import config

    home = tmp_path_factory.mktemp("hf")
    with pytest.MonkeyPatch.context() as patch:
        for name, folder in (("HF_HOME", home), ("HF_MODULES_CACHE", home / "modules")):
            patch.setenv(name, str(folder))
        patch.setattr(config, "HF_MODULES_CACHE", home / "modules")
        patch.setattr(config, "HF_METRICS_CACHE", home / "metrics")
        # First, before the folder of modules that other tests may have put there.
        patch.syspath_prepend(home / "modules")
        for name in [name for name in sys.modules if name.startswith("evaluate_modules")]:
            patch.delitem(sys.modules, name)
        yield


def load(**options: Any) -> Any:
    import evaluate

    return evaluate.load(MODULE, **options)


def random_box(rng: np.random.Generator) -> Box:
    x, y, w, h = rng.uniform(0, 0.6), rng.uniform(0, 0.6), *rng.uniform(0.02, 0.4, 2)
    return float(x), float(y), float(w), float(h)


@pytest.fixture(scope="module")
def real_pairs() -> list[Pair]:
    rng = np.random.default_rng(1)
    return [
        (
            str(rng.choice(NAMES)),
            str(rng.choice(PREDICATES)),
            str(rng.choice(NAMES)),
            random_box(rng),
            random_box(rng),
        )
        for _ in range(400)
    ]


@pytest.fixture(scope="module")
def priors_file(real_pairs: Sequence[Pair], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("priors") / "priors.parquet"
    columns: dict[str, Any] = {
        "subject": [fold_name(pair[0]) for pair in real_pairs],
        "predicate": [pair[1] for pair in real_pairs],
        "object": [fold_name(pair[2]) for pair in real_pairs],
        "source": ["stated"] * len(real_pairs),
        "image_id": [str(place) for place in range(len(real_pairs))],
    }
    a, b = (np.array([pair[place] for pair in real_pairs]) for place in (3, 4))
    columns |= {"subject_w": a[:, 2], "subject_h": a[:, 3], "object_w": b[:, 2]}
    columns |= {"object_h": b[:, 3]}
    offset = (b[:, :2] + b[:, 2:] / 2) - (a[:, :2] + a[:, 2:] / 2)
    columns |= {"dx": offset[:, 0], "dy": offset[:, 1]}
    write_priors(path, [columns], {"sources": ["test"]})
    return path


def make_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of three objects and one to three relations."""
    rng = np.random.default_rng(seed)
    rows = []
    for place in range(count):
        ends = [(0, 1), (1, 2), (2, 0)][: 1 + place % 3]
        rows.append(
            {
                "width": 1,
                "height": 1,
                "caption": f"scene {place}",
                "objects": {
                    "category": [str(name) for name in rng.permutation(NAMES)],
                    "attributes": ["", "", ""],
                    "bbox": [list(random_box(rng)) for _ in range(3)],
                },
                "relations": {
                    "subject": [a for a, _ in ends],
                    "predicate": [str(rng.choice(PREDICATES)) for _ in ends],
                    "object": [b for _, b in ends],
                },
                "image": None,
            }
        )
    return rows


def by_hand(row: dict[str, Any], real_pairs: Sequence[Pair]) -> Score:
    """The authors' score of a row, from the re-derivation. The three names are not similar."""
    objects, relations = row["objects"], row["relations"]
    found = []
    for a, predicate, b in zip(*relations.values(), strict=True):
        names = objects["category"][a], predicate, objects["category"][b]
        references = [Reference(pair[3], pair[4]) for pair in real_pairs if pair[:3] == names]
        boxes = objects["bbox"][a], objects["bbox"][b]
        score = pair_score(*boxes, references, "reference")
        found.append((score, evidence(references)))
    return image_score(found)


def test_the_reference_variant_is_exact_through_evaluate(
    real_pairs: Sequence[Pair], priors_file: Path
) -> None:
    rows = make_rows(60)
    result = load().compute(
        predictions=rows, priors=str(priors_file), components=["layout"], variant="reference"
    )
    expected = [by_hand(row, real_pairs) for row in rows]
    for name, part in (("clis_l", "total"), ("clis_l_size", "size")):
        assert result[name] == pytest.approx([getattr(s, part) for s in expected], abs=1e-6)
    assert result["clis_l_distance"] == pytest.approx([s.distance for s in expected], abs=1e-6)
    assert result["clis_l_direction"] == pytest.approx([s.direction for s in expected], abs=1e-6)
    assert result["clis"] == result["clis_l"]
    assert result["mean_clis_l"] == pytest.approx(np.mean(result["clis_l"]))
    assert result["variant"] == "reference"
    assert result["priors"]["name"] == str(priors_file)
    assert len(result["priors"]["sha256"]) == 16


def test_the_result_is_that_of_the_plain_function(priors_file: Path) -> None:
    rows = make_rows(7)
    options: dict[str, Any] = {"priors": str(priors_file), "explain": True}
    assert load().compute(predictions=rows, **options) == acp.score(rows, **options)


def test_rows_given_one_by_one_in_batches_and_at_once(priors_file: Path) -> None:
    rows, metric = make_rows(8), load()
    metric.add(prediction=rows[0])
    metric.add_batch(predictions=rows[1:3])
    metric.add(prediction=rows[3])
    metric.add(prediction=rows[4])
    metric.add_batch(predictions=iter(rows[5:7]))
    metric.add_batch(predictions=[])
    assert len(metric) == 7
    mixed = metric.compute(predictions=rows[7:], priors=str(priors_file))
    assert mixed == acp.score(rows, priors=priors_file) | {"priors": mixed["priors"]}
    assert metric.compute(predictions=rows, priors=str(priors_file)) == mixed


@pytest.mark.parametrize("in_memory", [False, True])
def test_no_rows(in_memory: bool) -> None:
    result = load(keep_in_memory=in_memory).compute(predictions=[])
    assert result["clis_l"] == []
    assert result["mean_clis_l"] is None
    assert result["unscored_clis_l"] == 0


def test_kept_in_memory(priors_file: Path) -> None:
    rows = make_rows(3)
    result = load(keep_in_memory=True).compute(predictions=rows, priors=str(priors_file))
    assert result == acp.score(rows, priors=str(priors_file))


def test_what_has_no_score_is_none_with_a_reason() -> None:
    good, empty, broken, crossed = make_rows(4)
    del empty["relations"]
    broken["objects"]["bbox"][0] = [0.1, 0.1, 0.0, 0.2]
    crossed["objects"]["bbox"][0] = [float("nan"), 0.1, 0.2, 0.2]
    result = load().compute(predictions=[good, empty, broken, crossed])
    assert result["clis_l"][0] is not None
    assert result["clis_l_reason"][0] is None
    assert result["clis_l"][1:] == [None] * 3
    assert all(result["clis_l_reason"][1:])
    assert result["unscored_clis_l"] == 3
    assert result["mean_clis_l"] == result["clis_l"][0]
    assert result["clis_i"] == [None] * 4
    assert result["clis_i_instances"] == [[None] * 3] * 4
    json.dumps(result, allow_nan=False)


@pytest.mark.parametrize("variant", ["paper", "reference", "acp"])
def test_every_variant_scores_every_box(variant: str) -> None:
    boxes = [[0.0, 0.0, 1.0, 1.0], [0.5, 0.5, 1e-9, 1e-9], [0.3, 0.2, 0.5, 0.8], [0, 0, 1, 1]]
    row = {
        "objects": {"category": ["dog", "cat", "zebra", "no such thing"], "bbox": boxes},
        "relations": {
            "subject": [[0, 1, 2, 3]],
            "predicate": ["next to"],
            "object": [[0, 1, 2, 3]],
        },
    }
    rows = [row, *make_rows(3)]
    result = load().compute(predictions=rows, variant=variant, explain=True)
    assert [len(details) for details in result["explanation"]] == [12, 1, 2, 3]  # none with itself
    for score, reason in zip(result["clis_l"], result["clis_l_reason"], strict=True):
        assert (score is None or score == 0) if reason else -100 <= score <= 100
    json.dumps(result, allow_nan=False)


def test_no_relations_is_0_in_the_reference_variant_alone() -> None:
    row = {"objects": {"category": ["dog"], "bbox": [[0, 0, 1, 1]]}}
    metric = load()
    assert metric.compute(predictions=[row])["clis_l"] == [None]
    result = metric.compute(predictions=[row], variant="reference")
    assert result["clis_l"] == [0.0]
    assert result["clis_l_reason"][0]


def test_the_explanation_says_why(priors_file: Path) -> None:
    row = make_rows(3)[2]
    result = load().compute(predictions=[row], priors=str(priors_file), explain=True)
    (details,) = result["explanation"]
    assert [each["predicate"] for each in details] == row["relations"]["predicate"]
    for each in details:
        names = [row["objects"]["category"][each[f"{end}_index"]] for end in ("subject", "object")]
        assert [each["subject"], each["object"]] == names
        assert each["level"] == "triple"
        assert each["references"] > 5
        assert 0 <= each["percentile"] <= 100
        assert each["reason"] is None
        near = each["nearest"]
        assert (near["subject"], near["predicate"]) == (each["subject"], each["predicate"])
        assert near["image_id"].isdigit()
        assert 0 < near["subject_w"] < 1
    assert sum(each["weight"] for each in details) == pytest.approx(1)
    json.dumps(result, allow_nan=False)


def boxes_in(scale: Sequence[float], *, corners: bool = False) -> list[dict[str, Any]]:
    """Rows of 640x480 whose boxes, in shares of the image, are written in another way."""
    rows = make_rows(4)
    for row in rows:
        boxes = np.array(row["objects"]["bbox"])
        boxes[:, 2:] += boxes[:, :2] if corners else 0
        row["objects"]["bbox"] = (boxes * scale).tolist()
    return [{**row, "width": 640, "height": 480} for row in rows]


@pytest.mark.parametrize(
    ("box_format", "rows", "said"),
    [
        ("xyxy", boxes_in([640, 480] * 2, corners=True), "corners [x_min, y_min, x_max, y_max]"),
        ("xywhn", boxes_in([1] * 4), "[x, y, w, h] in shares of the image"),
        ("xyxy1000", boxes_in([1000] * 4, corners=True), "corners [x_min, y_min, x_max, y_max]"),
    ],
)
def test_boxes_of_another_format_are_told_and_not_scored(
    box_format: str, rows: list[dict[str, Any]], said: str
) -> None:
    result = load().compute(predictions=rows)
    assert result["clis_l"] == [None] * 4
    assert all(
        reason.startswith(f"the boxes look like {said}") for reason in result["clis_l_reason"]
    )
    assert f"give the bbox format {box_format}" in result["clis_l_reason"][0]
    read = load().compute(predictions=rows, bbox_format=box_format)
    assert read["clis_l"] == pytest.approx(acp.score(make_rows(4))["clis_l"])


def test_a_data_set_with_class_labels_is_taken_as_it_is() -> None:
    from datasets import ClassLabel, Dataset, List

    rows = make_rows(2)
    data = Dataset.from_list([{**row, "image": None} for row in rows])
    features = data.features.copy()
    features["objects"]["category"] = List(ClassLabel(names=list(NAMES)))
    assert load().compute(predictions=data.cast(features)) == load().compute(predictions=rows)


def test_a_percentile_stands_beside_each_score() -> None:
    near, far = make_rows(1)[0], make_rows(1)[0]
    for row, box in ((near, [0.45, 0.35, 0.35, 0.5]), (far, [0.1, 0.9, 0.35, 0.1])):
        row["objects"] |= {"category": ["cat", "dog"], "attributes": ["", ""]}
        row["objects"]["bbox"] = [[0.1, 0.4, 0.3, 0.4], box]
        row["relations"]["predicate"] = ["next to"]
    result = load().compute(predictions=[near, far, {**near, "relations": None}], variant="acp")
    one, other, none = result["clis_l_percentile"]
    assert one > other + 3
    assert none is None
    assert result["mean_clis_l_percentile"] == pytest.approx((one + other) / 2)


def test_the_priors_are_named_by_references_or_by_name(
    real_pairs: Sequence[Pair], priors_file: Path
) -> None:
    rows, path, metric = make_rows(4), str(priors_file), load()
    expected = metric.compute(predictions=rows, priors=path)
    assert metric.compute(predictions=rows, references=path) == expected
    assert metric.compute(predictions=rows, references=[path] * 4) == expected
    assert metric.compute(predictions=rows, references=[path] * 4, priors=path) == expected
    metric.add_batch(predictions=rows, references=[path, None, path, None])
    assert metric.compute() == expected
    metric.add_batch(predictions=rows)
    assert metric.compute(references=path) == expected
    for row in rows:
        metric.add(prediction=row, reference=path)
    assert metric.compute() == expected
    keys = ("subject", "predicate", "object", "subject_box", "object_box")
    records = [dict(zip(keys, pair, strict=True)) for pair in real_pairs]
    for given in ({"priors": records}, {"references": records}):
        found = metric.compute(predictions=rows, **given)
        assert found["clis_l"] == pytest.approx(expected["clis_l"], abs=1e-9)
        assert found["priors"]["name"] == "400 relation records"


def test_one_call_has_one_set_of_priors(priors_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.parquet"
    other.write_bytes(priors_file.read_bytes())
    with pytest.raises(AcpError, match="priors: expected one, got"):
        load().compute(predictions=make_rows(1), references=str(other), priors=str(priors_file))


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"variant": "papr"}, "there is no variant 'papr'; did you mean 'paper'?"),
    ({"components": ["layuot"]}, "there is no component 'layuot'; did you mean 'layout'?"),
    ({"components": []}, "components: expected some of layout, image, got none"),
    ({"explian": True}, "there is no option 'explian'; did you mean 'explain'?"),
    ({"priors": "nowhere.parquet"}, "nowhere.parquet: no such priors file"),
    ({"priors": 7}, "priors: expected a path, relation records or None, got int"),
    ({"priors": [{"subject": "dog"}]}, "priors[0].predicate: expected a string, got None"),
    ({"references": []}, "references: expected the path of one priors file"),
    ({"variant": ["paper"]}, "there is no variant ['paper']"),
    ({"components": 5}, "components: expected some of layout, image, got none"),
    ({"bbox_format": "xyx"}, "there is no bbox format 'xyx'; did you mean"),
    ({"image_settings": 5}, "image_settings: expected a dict, got 5"),
    ({"min_similarity": 2}, "min_similarity: expected a number from 0 to 1, got 2"),
    ({"components": ["image"]}, "captioner: the component 'image' needs one"),
    ({"components": ["image"], "captioner": "embeded"}, "there is no captioner 'embeded'"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_wrong_options_are_told_and_cost_nothing(options: dict[str, Any], message: str) -> None:
    metric = load(experiment_id=f"wrong-{abs(hash(message))}")
    metric.add_batch(predictions=make_rows(2))
    with pytest.raises(AcpError) as caught:
        metric.compute(**options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    if "embeded" not in message:
        assert len(metric.compute()["clis_l"]) == 2  # the rows are still there


def test_a_wrong_row_is_told_and_costs_nothing() -> None:
    metric = load(experiment_id="wrong-row")
    metric.add_batch(predictions=make_rows(2))
    wrong = make_rows(5)
    wrong[3]["objects"]["bbox"][1] = [0.1, 0.2, 0.3]
    place = r"^predictions\[3\].objects.bbox\[1\]: expected 4 numbers \[x, y, w, h\], got 3$"
    with pytest.raises(ValueError, match=place):
        metric.add_batch(predictions=wrong)
    with pytest.raises(ValueError, match=place):
        metric.compute(predictions=wrong)
    with pytest.raises(ValueError, match=r"^prediction\[0\]\.objects: expected a dict"):
        metric.add(prediction={"width": 1})
    assert len(metric.compute()["clis_l"]) == 2


def test_nothing_stays_behind(tmp_path: Path) -> None:
    metric = load(cache_dir=str(tmp_path))
    metric.compute(predictions=make_rows(1))
    with pytest.raises(AcpError, match="there is no captioner 'nobody'"):
        metric.compute(predictions=make_rows(1), components=["image"], captioner="nobody")
    assert not list(tmp_path.rglob("*.arrow"))
    assert metric.compute(predictions=make_rows(1))["clis_l"]


def test_results_of_different_makers_are_not_merged(priors_file: Path) -> None:
    rows = make_rows(6)
    first, second = (acp.score(part, priors=priors_file) for part in (rows[:2], rows[2:]))
    assert merge([first, second]) == acp.score(rows, priors=priors_file)
    with pytest.raises(AcpError, match="variant: results with 'paper' and with 'reference'"):
        merge([first, acp.score(rows, priors=priors_file, variant="reference")])
    with pytest.raises(AcpError, match="judge: results with 'a@1' and with 'b@1' are not compara"):
        merge([first | {"judge": "a@1"}, second | {"judge": "b@1"}])
    with pytest.raises(AcpError, match="no results"):
        merge([])


def test_rows_of_a_built_data_set_are_taken_as_they_are(built: Path) -> None:
    from datasets import load_dataset

    data = load_dataset(str(built), "raw", split="train")
    result = load().compute(predictions=data)
    assert len(result["clis_l"]) == len(data)
    assert result == load().compute(predictions=list(data))
    assert any(score is not None for score in result["clis_l"])


def test_image_and_layout_together() -> None:
    from acp.backends.scoring import backends

    try:
        backends("embedded", "embedded")
    except AcpError as error:
        pytest.skip(str(error))
    row = make_rows(1)[0] | {"image": Image.new("RGB", (96, 64), "green")}
    bare = make_rows(1)[0] | {"clis_i": 50.0, "provenance": {"scorer": "another@1"}}
    options: dict[str, Any] = {"components": ["layout", "image"], "captioner": "embedded"}
    with pytest.warns(UserWarning, match="1 rows carry CLIS-I of another@1"):
        result = load().compute(predictions=[row, bare], **options)
    assert result["clis_i"][1] is None
    assert result["clis_i_reason"][1] == "no image"
    assert result["clis"][1] is None
    assert 0 <= result["clis_i"][0] <= 100
    assert result["clis"][0] == pytest.approx((result["clis_l"][0] + result["clis_i"][0]) / 2)
    assert len(result["clis_i_instances"][0]) == 3
    assert result["captioner"]
    assert result["judge"]
    assert result["prompt_version"]


BLOCKER = """
import importlib.machinery, sys

class Blocked:
    names = ("torch", "transformers", "spacy", "matplotlib")
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name in self.names else None
    def create_module(self, spec):
        raise ImportError(f"{spec.name} is not to be imported")
    def exec_module(self, module):
        pass

sys.meta_path.insert(0, Blocked())
"""
"""Layouts need none of these; besides, `evaluate` starts faster without them."""

WORKER = f"""
{BLOCKER}
import json, sys
import evaluate
module, rows, process, cache, priors = sys.argv[1:]
metric = evaluate.load(
    module, num_process=2, process_id=int(process), experiment_id="pair", cache_dir=cache
)
rows = json.loads(rows)
for row in rows[:2]:
    metric.add(prediction=row)
metric.add_batch(predictions=rows[2:])
print(json.dumps(metric.compute(priors=priors)))
"""


def test_two_processes_share_their_rows(priors_file: Path, tmp_path: Path) -> None:
    rows = make_rows(9)
    load()  # the module is in the cache before both want it
    workers = [
        subprocess.Popen(
            [
                *(sys.executable, "-c", WORKER, MODULE, json.dumps(part), str(process)),
                *(str(tmp_path), str(priors_file)),
            ],
            stdout=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        for process, part in enumerate((rows[:4], rows[4:]))
    ]
    first, second = (worker.communicate(timeout=100)[0] for worker in workers)
    assert [worker.returncode for worker in workers] == [0, 0]
    assert json.loads(second) is None
    expected = acp.score(rows, priors=str(priors_file))
    assert json.loads(first) == json.loads(json.dumps(expected))
    assert not list(tmp_path.rglob("*.arrow"))


def run_python(code: str, folder: Path, **environment: str) -> str:
    """What a fresh process in `folder` prints."""
    done = subprocess.run(
        [sys.executable, "-c", BLOCKER + code],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


WITHOUT_TORCH = f"""
import json, sys
import evaluate
rows = json.load(open("rows.json"))
result = evaluate.load({MODULE!r}).compute(predictions=rows)
import acp
assert acp.score(rows) == result
assert not any(name in sys.modules for name in Blocked.names)
print(result["unscored_clis_l"])
"""


def test_layouts_need_no_torch(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(json.dumps(make_rows(2)), encoding="utf-8")
    assert run_python(WITHOUT_TORCH, tmp_path).split() == ["0"]


def test_the_plain_import_is_light(tmp_path: Path) -> None:
    code = (
        "import sys, acp.clis, acp.cli; print(*{'datasets', 'pyarrow', 'torch'} & {*sys.modules})"
    )
    assert run_python(code, tmp_path).split() == []


BY_NAME = """
import evaluate
row = {{"objects": {{"category": ["dog"], "bbox": [[0, 0, 1, 1]]}}}}
for name in {names!r}:
    metric = evaluate.load(name)
    print(type(metric).__module__.split(".")[2], metric.compute(predictions=[row])["clis_l"])
"""


def test_the_bare_name_works_anywhere_after_install(tmp_path: Path) -> None:
    environment = {
        "HF_HOME": str(tmp_path / "hf"),
        "HF_MODULES_CACHE": str(tmp_path / "hf" / "modules"),
        "HF_HUB_OFFLINE": "1",
    }
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    install = (
        "import sys; sys.argv = ['acp', 'metric', 'install']; import acp.cli.main; acp.cli.main()"
    )
    told = run_python(
        install.replace("acp.cli.main()", "acp.cli.main.app()"), folder, **environment
    )
    assert 'evaluate.load("clis")' in told
    found = run_python(BY_NAME.format(names=["clis", "acp/clis"]), folder, **environment)
    assert found.split() == ["evaluate-metric--clis", "[None]", "acp--clis", "[None]"]


def test_the_module_says_what_to_install(tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "clis"
    shutil.copytree(MODULE, folder)
    module = folder / "clis.py"
    module.write_text(module.read_text().replace("from acp.backends", "from acpp.backends"))
    import evaluate

    with pytest.raises(ImportError, match="pip install auto-cherry-picker"):
        evaluate.load(str(folder))


def test_the_card_is_that_of_a_space() -> None:
    import yaml

    text = (Path(MODULE) / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(text.split("---")[1])
    assert front["sdk"] == "gradio"
    assert {"evaluate", "metric"} <= set(front["tags"])
    assert (Path(MODULE) / front["app_file"]).is_file()
    result = acp.score([])
    for name in result:
        assert name.startswith(("mean_", "unscored_")) or f"`{name}`" in text, name


def test_the_examples_of_the_docs_run(monkeypatch: pytest.MonkeyPatch) -> None:
    import re

    monkeypatch.chdir(ROOT)
    text = (ROOT / "docs" / "metric.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 3
    for code in examples:
        exec(code, {"__name__": "example"})  # noqa: S102 - our own documentation
