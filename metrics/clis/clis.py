"""CLIS as a module of `evaluate`."""

from __future__ import annotations

from typing import Any

import evaluate
from datasets import Features

from acp.backends import scoring  # From: auto-cherry-picker

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
    bbox_format: how boxes are written where not as [x, y, w, h]: "xyxy" (corners), "cxcywh",
        "yxyx", with "n" in shares ("xywhn"), "xyxy1000" and "yxyx1000" in thousandths.
    references: the priors, in place of `priors`: a path, or a list of relation records.
    priors: a file of `acp priors build`; those inside the package if none is named.
    components: of "layout" and "image"; the default is ["layout"], which needs no model.
    variant: of CLIS-L: "paper" (default), "reference" or "acp".
    min_similarity: of categories, from which on a reference counts; 0.8 by default.
    explain: True adds `explanation`, the detail of every relation.
    captioner, judge: backends of CLIS-I by name, or {"backend": name, option: value}.
    image_settings: of CLIS-I, a dict.
    layout_weight: share of CLIS-L in CLIS where both are asked for; 0.5 by default.

Returns:
    Lists with one entry a row: `clis_l`, `clis_l_percentile` (how many in a hundred real pairs
    score lower), `clis_l_size`, `clis_l_distance`, `clis_l_direction`, `clis_l_evidence` (how many
    references, each by how alike its categories are), `clis_l_level`, `clis_l_references`,
    `clis_l_reason`, `clis_i`, `clis_i_global`, `clis_i_instances`, `clis_i_reason`, `clis`; the
    mean of each score as `mean_*`; how many have none as `unscored_*`; and what they were made
    with. Scores are 0-100 (CLIS-L from -100), None where there is none.

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
    """Scores rows: those given to `compute` at once, those of `add` and `add_batch` later."""

    _references: Any = None
    """What `add` and `add_batch` named, until `compute`."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=Features({"predictions": scoring.row_features()}),
            homepage="https://arxiv.org/abs/2406.20085",
            license="Apache-2.0",
            reference_urls=["https://arxiv.org/abs/2406.20085"],
        )

    def compute(
        self, *, predictions: Any = None, references: Any = None, **options: Any
    ) -> dict[str, Any] | None:
        """Scores of the rows given here and of those added before.

        Raises:
            AcpError: rows, priors or options that are not what was expected.
        """
        references = self._references if references is None else references
        options["priors"] = scoring.named_priors(references, options.get("priors"))
        scoring.check_options(**options)  # before anything is done for nothing
        if predictions is not None and self.writer is None and self.num_process == 1:
            return self._compute(predictions, **options)
        self._references = None
        return super().compute(predictions=predictions, **options)

    def add_batch(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> None:
        """Keep rows to be scored by `compute`; `references` may name the priors.

        Raises:
            AcpError: what was expected of a row, what was given and where.
        """
        super().add_batch(predictions=scoring.stored(predictions), **kwargs)
        self._references = self._references if references is None else references

    def add(self, *, prediction: Any = None, reference: Any = None, **kwargs: Any) -> None:
        """Keep one row to be scored by `compute`; `reference` may name the priors.

        Raises:
            AcpError: what was expected of the row, what was given and where.
        """
        super().add(prediction=scoring.stored([prediction], "prediction")[0], **kwargs)
        self._references = self._references if reference is None else reference

    def _compute(self, predictions: Any, **options: Any) -> dict[str, Any]:
        return scoring.score(predictions, **options)
