"""CLIS of rows with its captioner and judge by name: `acp.clis.score` knows no backends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from acp.backends.base import Backend, Captioner, Judge
from acp.backends.registry import make_backend
from acp.clis.priors import load_priors
from acp.clis.priors import named_priors as named_priors
from acp.clis.rows import Row, columns_of, row_list
from acp.clis.rows import row_features as row_features
from acp.clis.rows import stored as stored
from acp.clis.score import ScoreOptions, score_columns
from acp.core.errors import AcpError, MissingRequirementError


def score_options(**options: Any) -> ScoreOptions:
    """Checked options of `score`, with captioner and judge as backends.

    Raises:
        AcpError: an option or a value that there is none of, or a backend that does not run here.
    """
    checked = ScoreOptions.of(**options)
    if "image" not in checked.components:
        return checked
    captioner, judge = backends(checked.captioner, checked.judge)
    return replace(checked, captioner=captioner, judge=judge)


def check_options(**options: Any) -> None:
    """Raises AcpError for options of `score` that it would refuse, wrong priors too."""
    load_priors(score_options(**options).priors)


def score(rows: Iterable[Row], **options: Any) -> dict[str, Any]:
    """CLIS of rows.

    Args:
        rows: dicts as `acp build` publishes them, or plain ones with normalised boxes and
            width = height = 1; see `acp.clis.rows`.
        **options: `priors` (the path of a file of `acp priors build`, relation records, or None for
            those inside the package); `bbox_format`, how boxes are written, one of
            `acp.core.boxes.BOX_FORMATS` (`[x, y, w, h]`; without it rows whose boxes plainly are
            something else have no score); `components` of "layout" and "image" (["layout"]);
            `variant` of CLIS-L, "paper" (default), "reference" or "acp"; `min_similarity` of
            categories for a reference to count (0.8); `explain`, whether the detail of every
            relation is given; `captioner` and `judge` of CLIS-I, by name or as `{"backend": name,
            option: value}` (the judge is the captioner's unless given); `image_settings` of CLIS-I
            (`acp.clis.questions`); `layout_weight`, the share of CLIS-L in CLIS (0.5).

    Returns:
        Lists with an entry a row, in order: `clis_l`, `clis_l_percentile` (how many in a hundred
        real pairs of the priors score lower), its parts `clis_l_size`,
        `clis_l_distance`, `clis_l_direction` (at most 100; -100 or more but in `reference`, 0 or
        more in `acp`), `clis_l_evidence` (how many references, each by how alike its categories
        are), `clis_l_level` and `clis_l_references` (what answered for the relation of least
        evidence, and how many), `clis_i`,
        `clis_i_global` (0-100), `clis_i_instances` (a list), `clis`, and `clis_l_reason` and
        `clis_i_reason` where a score is None; `mean_*` of each score and `unscored_*`, how many
        have none; and `variant`, `components`, `priors`, `captioner`, `judge`, `prompt_version`.
        `explanation`, if asked for: a list a row, a dict a relation.

    Raises:
        RowError: a row that is none, with its place.
        AcpError: unknown options, no such priors, a backend that is not installed.

    >>> boxes = {"category": ["dog", "cat"], "bbox": [[0.1, 0.4, 0.3, 0.4], [0.6, 0.5, 0.2, 0.3]]}
    >>> said = {"subject": [0], "predicate": ["next to"], "object": [1]}
    >>> result = score([{"width": 1, "height": 1, "objects": boxes, "relations": said}])
    >>> result["clis_l"][0] > 50, result["unscored_clis_l"]
    (True, 0)
    """
    return score_columns(columns_of(row_list(rows)), score_options(**options))


def backends(captioner: Any, judge: Any) -> tuple[Captioner, Judge]:
    """The captioner and the judge that a call names: by name, as `{"backend": name, **options}` or
    as they are; the judge is the captioner's namesake unless given.

    Raises:
        AcpError: there is none of that name, or it does not run here.
    """
    found = []
    for kind, given, base in (
        ("captioner", captioner, Captioner),
        ("judge", captioner if judge is None else judge, Judge),
    ):
        spec = {"backend": given} if isinstance(given, str) else given
        backend = spec if isinstance(spec, Backend) else make_backend(kind, _mapping(kind, spec))
        if not isinstance(backend, base):
            raise AcpError(f"{kind}: {type(backend).__name__} is none")
        for missing in backend.missing():
            raise MissingRequirementError(
                f"{kind} {backend.name}: {missing.what} is missing; {missing.mend}"
            )
        found.append(backend)
    return found[0], found[1]  # type: ignore[return-value]


def _mapping(kind: str, spec: Any) -> Mapping[str, Any]:
    if not isinstance(spec, Mapping):
        raise AcpError(f"{kind}: expected a name or a dict with backend, got {spec!r}")
    return spec
