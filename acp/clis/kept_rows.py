"""All that the module of `evaluate` calls: rows kept as Arrow, and scored later.

A copy of `metrics/clis/clis.py` may be older or newer than this package, so this stays small.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from acp.clis.priors import load_priors, named_priors, reference_column
from acp.clis.row_arrow import from_arrow, row_features, stored_row, to_table
from acp.clis.row_checks import RowError, normal_row
from acp.clis.rows import columns_of, row_list
from acp.clis.scoring import ScoreOptions, score_columns

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["RowError", "check_options", "keep_row", "keep_rows", "row_features", "score_kept"]


def check_options(references: Any, *, alone: bool, **options: Any) -> dict[str, Any]:
    """The options of `acp.clis.score`, checked before rows are encoded for nothing.

    Args:
        references: what names the priors beside `options["priors"]`.
        alone: whether no rows come with `references`; they name the priors of all then.
        options: of `acp.clis.scoring.ScoreOptions`.

    Raises:
        AcpError: an option, a value or a file that there is none of.
    """
    count = len(references) or 1 if isinstance(references, list | tuple) else 1
    named = named_priors(reference_column(references, count), options.get("priors"))
    checked = ScoreOptions.of(**{**options, "priors": named})
    found = checked.priors if checked.priors is None else load_priors(checked.priors)
    if alone or references is None:
        is_path = isinstance(checked.priors, str | Path)
        options["priors"] = checked.priors if is_path else found
    return {**options, "components": checked.components}


def keep_rows(predictions: Any, references: Any, *, images: bool) -> pa.Table:
    """Rows, and what names their priors, as a table of `row_features()`.

    Raises:
        RowError: what was expected of a row, what was given and where.
    """
    rows = row_list(predictions, "predictions")
    columns = columns_of(rows, "predictions")
    return to_table(columns, reference_column(references, len(rows)), images=images)


def keep_row(prediction: Any, reference: Any) -> dict[str, Any]:
    """The same of one row.

    Raises:
        RowError: as above.
    """
    row = stored_row(normal_row(prediction, "prediction"))
    return {"predictions": row, "references": reference_column(reference, 1)[0]}


def score_kept(predictions: Any, references: Any, options: dict[str, Any]) -> dict[str, Any]:
    """`acp.clis.score` of the columns that were kept.

    Raises:
        AcpError: the rows name other priors than the call.
    """
    named = references.unique().to_pylist()
    options = {**options, "priors": named_priors(named, options.get("priors"))}
    return score_columns(from_arrow(predictions), ScoreOptions.of(**options))
