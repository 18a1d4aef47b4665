"""What is in a fingerprint, and that nothing is done twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from acp.backends.base import Backend
from acp.backends.registry import RECIPE_KINDS
from acp.builder.release import work_folder
from acp.cli.build import build_recipe
from acp.core.files import sha256
from acp.executor import shards
from acp.executor.build import content_of, fingerprint_of, open_build
from acp.pipeline.pipeline import Pipeline
from acp.pipeline.recipe import Recipe, load_recipe, recipe_names
from support.digests import digests

FINGERPRINTS = {
    "demo": "585c56139381ee17",
    "lvis-longtail": "71e36d612b71d267",
    "tiny": "d2e7a91e15c5e584",
}
"""Without the versions of the models, which are those of the machine."""


def test_the_fingerprints_of_the_shipped_recipes_stay() -> None:
    pipelines = {name: Pipeline(load_recipe(name)) for name in recipe_names()}
    found = {name: fingerprint_of(content_of(each, {})) for name, each in pipelines.items()}
    assert found == FINGERPRINTS


def recipe(*overrides: str) -> Recipe:
    return load_recipe("tiny", ["scenes=3", "render.candidates=1", *overrides])


@pytest.mark.parametrize(
    "override", ["pick.min_side_px=1", "scenes=9", "residency=one", "data_set=me/x"]
)
def test_what_changes_no_shard_changes_no_fingerprint(tmp_path: Path, override: str) -> None:
    first = open_build(recipe(), tmp_path)
    assert open_build(recipe(override), tmp_path).fingerprint == first.fingerprint


def test_a_build_reads_and_constructs_everything_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Counter[str]()
    construct = Pipeline.__init__

    def counted(self: Pipeline, recipe: Recipe) -> None:
        made["pipelines"] += 1
        construct(self, recipe)
        made.update(type(each).__name__ for each in self.backends.values())

    monkeypatch.setattr(Pipeline, "__init__", counted)
    read = Counter[Path]()

    def read_once_more(path: Path) -> str:
        read[path] += 1
        return sha256(path)

    monkeypatch.setattr(shards, "sha256", read_once_more)
    out = tmp_path / "tiny"
    list(build_recipe(recipe(), out))
    assert made == {"pipelines": 1, "Sampler": 1, "CutPaste": 1, "Exact": 1, "Embedded": 1}
    assert [*read.values()] == [1] * 6  # three shards of two tables, as they were written
    read.clear()
    (out / "curated" / "train-00000-of-00001.parquet").unlink()
    list(build_recipe(recipe(), out))  # releases what an earlier start has made
    assert [*read.values()] == [1] * 6


def test_other_thresholds_make_no_image_and_load_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, other = tmp_path / "tiny", tmp_path / "other"
    list(build_recipe(recipe(), out))
    before = {path: path.stat().st_mtime_ns for path in work_folder(out).glob("shards/*/*")}
    strict = recipe("pick.min_clis_i_instance=90", "pick.min_visible=0.9")
    list(build_recipe(strict, other))
    pipeline = Pipeline(strict)
    for kind in RECIPE_KINDS:
        monkeypatch.setattr(type(pipeline.backends[kind]), "load", _must_not_load)
    list(build_recipe(strict, out))
    assert digests(out) == digests(other)
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert next(build_recipe(strict, out)).startswith("scenes      3")


def _must_not_load(backend: Backend) -> None:
    raise AssertionError(f"{backend.name} was loaded")
