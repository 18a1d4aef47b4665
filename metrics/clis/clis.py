"""CLIS as a module of `evaluate`: it keeps rows, and `acp.clis` scores them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import evaluate

from acp.clis import kept_rows  # From: auto-cherry-picker

_DESCRIPTION = """\
CLIS scores generated images with boxes, and layouts before any image is made. CLIS-L compares the
layout of every stated relation with real layouts of the same relation in size, distance and
direction; CLIS-I has a captioner look at the image and each object, and a judge compare what it
says with what was asked for.
"""

_CITATION = """\
@misc{autocherrypicker2024,
  title = {Auto Cherry-Picker: Learning from High-quality Generative Data Driven by Language},
  year = {2024},
  eprint = {2406.20085},
  archivePrefix = {arXiv}
}
"""

_INPUTS = """
Args:
    predictions: rows of a data set of `acp build`, or dicts with `width`, `height`,
        `objects` (`category`, `bbox` [x, y, w, h], optional `attributes`), `relations` (`subject`,
        `predicate`, `object`), optional `caption` and `image`. Boxes are pixels, or shares of the
        image with width = height = 1.
    references: the priors, in place of `priors`: a path (or one a row, all the same), or a list of
        relation records.
    priors: a file of `acp priors build`; those inside the package if none is named.
    components: of "layout" and "image"; the default is ["layout"], which needs no model.
    variant: of CLIS-L: "paper" (default), "reference" or "acp".
    min_similarity: of categories, from which on a reference counts; 0.8 by default.
    explain: True adds `explanation`, the detail of every relation.
    captioner, judge: backends of CLIS-I by name, or {"backend": name, option: value}.
    image_settings: of CLIS-I, a dict.
    layout_weight: share of CLIS-L in CLIS where both are asked for; 0.5 by default.

Returns:
    Lists with one entry a row: `clis_l`, `clis_l_size`, `clis_l_distance`, `clis_l_direction`,
    `clis_l_confidence`, `clis_l_level`, `clis_l_references`, `clis_l_reason`, `clis_i`,
    `clis_i_global`, `clis_i_instances`, `clis_i_reason`, `clis`; the mean of each score as
    `mean_*`; how many have none as `unscored_*`; and what they were made with. Scores are 0-100
    (CLIS-L from -100), None where there is none.

Examples:
    >>> clis = evaluate.load("clis")
    >>> row = {"width": 1, "height": 1,
    ...        "objects": {"category": ["dog", "cat"],
    ...                    "bbox": [[0.1, 0.4, 0.3, 0.4], [0.6, 0.5, 0.2, 0.3]]},
    ...        "relations": {"subject": [0], "predicate": ["next to"], "object": [1]}}
    >>> clis.compute(predictions=[row])["clis_l"][0] > 50
    True
"""


class Clis(evaluate.Metric):  # type: ignore[misc]
    """Keeps rows as Arrow columns: `evaluate`'s own walk through nested values costs far more than
    the scoring."""

    writer: Any
    file_paths: Any
    filelocks: Any
    filelock: Any
    cache_file_name: Any
    _images_are_wanted = True

    def _info(self) -> evaluate.MetricInfo:
        info = evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=kept_rows.row_features(),
            homepage="https://arxiv.org/abs/2406.20085",
            license="Apache-2.0",
            reference_urls=["https://arxiv.org/abs/2406.20085"],
        )
        info.format = "arrow"  # columns for `_compute`; the constructor knows flat features alone
        return info

    def compute(
        self, *, predictions: Any = None, references: Any = None, **kwargs: Any
    ) -> dict[str, Any] | None:
        """Scores of the rows given here and of those added before.

        Raises:
            AcpError: rows, priors or options that are not what was expected.
        """
        alone = predictions is None
        options = kept_rows.check_options(references, alone=alone, **kwargs)
        self._images_are_wanted = "image" in options["components"]
        kept = None if alone else references
        try:
            return super().compute(predictions=predictions, references=kept, **options)
        except kept_rows.RowError:
            raise
        except BaseException:
            self._let_go()
            raise
        finally:
            self._images_are_wanted = True

    def add_batch(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> None:
        """Keep rows to be scored by `compute`.

        Raises:
            AcpError: what was expected of a row, what was given and where.
        """
        if kwargs:
            raise TypeError(f"add_batch takes predictions and references, not {', '.join(kwargs)}")
        table = kept_rows.keep_rows(predictions, references, images=self._images_are_wanted)
        self._open()
        self.writer.write_examples_on_file()  # what `add` gave comes first
        self.writer.write_table(table, writer_batch_size=max(1, len(table)))

    def add(self, *, prediction: Any = None, reference: Any = None, **kwargs: Any) -> None:
        """Keep one row to be scored by `compute`.

        Raises:
            AcpError: what was expected of the row, what was given and where.
        """
        if kwargs:
            raise TypeError(f"add takes prediction and reference, not {', '.join(kwargs)}")
        example = kept_rows.keep_row(prediction, reference)
        self._open()
        self.writer.write(example)

    def _open(self) -> None:
        if self.writer is None:
            self.selected_feature_format = self.features
            self._init_writer()

    def _compute(
        self,
        predictions: Any,
        references: Any,
        priors: Any = None,
        components: Any = None,
        variant: str | None = None,
        min_similarity: float | None = None,
        explain: bool | None = None,
        captioner: Any = None,
        judge: Any = None,
        image_settings: Any = None,
        layout_weight: float | None = None,
    ) -> dict[str, Any]:
        options = {
            "priors": priors,
            "components": components,
            "variant": variant,
            "min_similarity": min_similarity,
            "explain": explain,
            "captioner": captioner,
            "judge": judge,
            "image_settings": image_settings,
            "layout_weight": layout_weight,
        }
        return kept_rows.score_kept(predictions, references, options)

    def _let_go(self) -> None:
        """After a failure: no lock and no file of the rows stays."""
        self.writer = self.data = None
        for path in self.file_paths or filter(None, [self.cache_file_name]):
            with contextlib.suppress(OSError):
                Path(path).unlink(missing_ok=True)
        for lock in [*(self.filelocks or []), self.filelock]:
            if lock is not None:
                lock.release()
        self.file_paths = self.filelocks = self.filelock = self.cache_file_name = None
