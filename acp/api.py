"""What a Python user calls: data sets, scores and priors. Each name is also one of `acp` itself.

import acp

recipe = acp.load_recipe("tiny", {"scenes": 4})
dataset = acp.build(recipe, out="build/tiny")
dataset.check()
dataset.push("me/tiny", tag="v1.0")
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from acp.annotations.build import BuildOptions
from acp.annotations.build import build_priors as write_priors
from acp.backends.registry import make_backend
from acp.builder.release import make_data_set
from acp.clis.priors import Priors
from acp.core.errors import AcpError
from acp.dataset.card.render import render_card
from acp.dataset.check import Report, check_data_set
from acp.dataset.pictures import show_data_set
from acp.dataset.receipt import Receipt, read_receipt
from acp.hub.data_set import push_data_set
from acp.hub.publish import Published
from acp.hub.target import Target
from acp.pipeline.recipe import Recipe, load_recipe


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set in a folder, as `build` writes it.

    Attributes:
        path: the folder; `datasets.load_dataset(path)` opens it.
    """

    path: Path

    def load(self, config: str = "curated") -> Any:
        """The rows of a configuration as a `datasets.Dataset`.

        Args:
            config: "curated" (picked images with the objects that passed), "raw" (all candidates,
                with scores and reasons) or "scene_graphs" (all scenes with their layouts).
        """
        from datasets import load_dataset

        return load_dataset(str(self.path), config, split="train")

    def receipt(self) -> Receipt:
        """Which build the folder holds: version, fingerprint, models, a checksum for each file.

        Raises:
            AcpError: the folder is not a data set of ours.
        """
        found = read_receipt(self.path)
        if found is None:
            raise AcpError(f"{self.path}: not a data set of acp build; it has no receipt")
        return found

    def check(self) -> Report:
        """Read everything as a reader would; `ok` and `problems` of the report say how it went."""
        return check_data_set(str(self.path))

    def card(self, repo: str | None = None) -> str:
        """The card of the data set as Markdown, filled from its recipe, receipt and tables.

        Args:
            repo: "owner/name" that the card is to name; that of the recipe if None.
        """
        receipt = self.receipt()
        name = repo or load_recipe(self.path / "recipe.yaml").data_set
        return render_card(self.path, receipt, name)

    def show(self, out: str | Path | None = None, scenes: int = 12) -> Any:
        """A contact sheet: candidates with boxes, masks and scores; picks have a green frame.

        Args:
            out: a .jpg or .png to write; none if None.
            scenes: how many scenes are drawn.

        Returns:
            The picture, a `PIL.Image.Image`.
        """
        from PIL import Image

        with tempfile.TemporaryDirectory() as folder:
            path = Path(out) if out is not None else Path(folder) / "sheet.png"
            show_data_set(str(self.path), path, scenes)
            with Image.open(path) as picture:
                return picture.copy()

    def push(
        self,
        repo: str,
        *,
        tag: str | None = None,
        revision: str | None = None,
        private: bool = False,
        create_pr: bool = False,
        dry_run: bool = False,
    ) -> Published:
        """Check the data set and put it on the Hub in one commit.

        Args:
            repo: "owner/name" of the data set on the Hub; made if it is not there.
            tag: for the commit.
            revision: branch to commit to; the main one if None.
            private: whether a repository that is made is private.
            create_pr: propose the commit as a pull request.
            dry_run: send nothing, only say what would be sent.

        Raises:
            AcpError: the check found problems, or the Hub refused; nothing is half done.
        """
        target = Target(repo, "dataset", revision, tag, private, create_pr)
        _, published = push_data_set(self.path, target, self._check_all, dry_run=dry_run)
        return published

    def _check_all(self) -> None:
        report = self.check()
        if not report.ok:
            first = report.problems[0]
            raise AcpError(f"{self.path}: nothing was sent; the check found {first}")


def build(
    recipe: Recipe | str,
    out: str | Path | None = None,
    *,
    processes: int | Literal["auto"] = 1,
    limit: int | None = None,
) -> Dataset:
    """Make the data set of a recipe, or go on where an earlier build of it ended.

    What is finished is kept in `OUT.work` beside the folder, whatever happens; the same recipe and
    seed give the same bytes, whatever the number of processes.

    Args:
        recipe: from `load_recipe`, or its name or path.
        out: folder of the data set; `build/<data_set of the recipe>` if None.
        processes: how many share the work; "auto" for one a GPU, or a core.
        limit: make only the first scenes; a later build goes on from there.

    Raises:
        AcpError: a wrong recipe, something that is not installed, a folder that holds something
            else, or work that failed.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     dataset = build(load_recipe("tiny", {"scenes": 1}), out=f"{folder}/one")
    ...     len(dataset.load("raw")), dataset.check().ok
    (2, True)
    """
    if isinstance(recipe, str):
        recipe = load_recipe(recipe)
    folder = Path(out) if out is not None else Path("build") / recipe.data_set
    if limit is not None:
        recipe = recipe.model_copy(update={"scenes": min(limit, recipe.scenes)})
    make_data_set(recipe, folder, processes)
    return Dataset(folder)


def build_priors(
    files: Sequence[str | Path],
    format: str = "coco",
    out: str | Path | None = None,
    *,
    captions_by: str = "none",
    llm: Mapping[str, Any] | None = None,
) -> Priors:
    """Priors of real annotations: how related things are laid out in them.

    Args:
        files: annotation files of one format.
        format: "coco", "lvis", "visual-genome" or "relations".
        out: a .parquet to keep them in, for `Priors.load` and `acp score --priors`.
        captions_by: what reads relations out of captions: "rules", "llm" or "none".
        llm: a language model as a recipe names it: `{"backend": name, option: value}`.

    Raises:
        AcpError: a file that is not of the format, or has no two boxes in an image.

    >>> import json
    >>> stated = {"image_id": 17, "width": 640, "height": 480, "subject": "dog",
    ...           "predicate": "riding", "object": "skateboard",
    ...           "subject_box": [200, 120, 150, 180], "object_box": [180, 280, 220, 60]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "relations.json"
    ...     _ = path.write_text(json.dumps([stated]), encoding="utf-8")
    ...     build_priors([path], format="relations").triple(0)
    ('dog', 'riding', 'skateboard')
    """
    model = make_backend("llm", llm) if llm is not None else None
    options = BuildOptions(captions_by=captions_by, llm=model)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(out) if out is not None else Path(folder) / "priors.parquet"
        write_priors(format, [Path(file) for file in files], path, options)
        return Priors.load(path)
