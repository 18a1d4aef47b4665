"""The examples of the documentation, run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import yaml

from acp.backends.base import RenderRequest
from acp.core.boxes import as_boxes
from acp.core.types import Rendering, Scene, SceneGraph, SceneObject
from acp.pipeline.pipeline import Pipeline
from acp.pipeline.recipe import Recipe, validated
from support.doc_blocks import ROOT, blocks, run


def test_the_example_of_a_backend_draws() -> None:
    (code,) = [block for block in blocks("docs/architecture.md", "python") if "Plain(" in block]
    plain = run(code)["Plain"]()
    graph = SceneGraph((SceneObject("dog"), SceneObject("cow")), (), "a dog and a cow")
    boxes = as_boxes([[0.1, 0.1, 0.5, 0.5], [0.3, 0.3, 0.5, 0.5]])
    (drawn,) = plain.render([RenderRequest(graph, boxes, (64, 48), 0)])
    assert isinstance(drawn, Rendering)
    assert drawn.masks is not None
    assert drawn.masks.any(axis=(1, 2)).all()
    assert not (drawn.masks[0] & drawn.masks[1]).any()


def test_the_example_of_the_stages_runs() -> None:
    (code,) = [b for b in blocks("docs/architecture.md", "python") if "pipeline.stages" in b]
    (scene,) = run(code)["scenes"]
    assert scene.graph.caption
    assert scene.layouts[0].reason == ""


def test_rows_go_into_pycocotools_as_the_docs_say(built: Path) -> None:
    (code,) = blocks("docs/data.md", "python")
    coco = run(code.replace("build/acp/lvis-synth", str(built)))["coco"]
    assert coco.getImgIds()
    for annotation in coco.loadAnns(coco.getAnnIds()):
        mask = coco.annToMask(annotation)
        rows, columns = np.nonzero(mask)
        x, y, w, h = annotation["bbox"]
        assert (columns.min(), rows.min()) == (x, y)
        assert (columns.max() - columns.min() + 1, rows.max() - rows.min() + 1) == (w, h)
        assert mask.sum() == annotation["area"]


def test_the_recipe_of_the_readme_is_valid() -> None:
    (text,) = blocks("README.md", "yaml")
    recipe: Recipe = validated(Recipe, yaml.safe_load(text), where="README.md")
    scenes = Pipeline(recipe).stages[0]([Scene(index, 0) for index in range(20)])
    concepts = {concept for scene in scenes for concept in scene.concepts}
    assert concepts == set(recipe.combine.concepts or ())


def test_files_and_folders_that_the_readme_names_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!http)([^)#]+)\)", text)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
