"""CLIS of rows, rows in and lists out: what `acp.clis.score`, the module of `evaluate`, the command
and the Space call."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from acp.clis.layout import VARIANTS, score_batch
from acp.clis.priors import PriorsLike, load_priors
from acp.clis.results import clis_lists, explained, layout_lists, means, not_asked, priors_identity
from acp.clis.rows import Row, RowColumns, columns_of, row_list
from acp.core.errors import AcpError, did_you_mean

COMPONENTS = ("layout", "image")


@dataclass(frozen=True, slots=True)
class ScoreOptions:
    """What to score and how; see `score`."""

    priors: PriorsLike = None
    components: tuple[str, ...] = ("layout",)
    variant: str = "paper"
    min_similarity: float = 0.8
    explain: bool = False
    captioner: Any = None
    judge: Any = None
    image_settings: Mapping[str, Any] = field(default_factory=dict)
    layout_weight: float = 0.5

    @classmethod
    def of(cls, **options: Any) -> ScoreOptions:
        """Checked options; None stands for the default.

        Raises:
            AcpError: an option or a value that there is none of.

        >>> ScoreOptions.of(varaint="paper")
        Traceback (most recent call last):
        ...
        acp.core.errors.AcpError: there is no option 'varaint'; did you mean 'variant'?
        """
        for name in options:
            _known("option", name, [each.name for each in fields(cls)])
        given = {name: value for name, value in options.items() if value is not None}
        if "components" in given:
            given["components"] = _components(given["components"])
        found = cls(**given)
        _known("variant", found.variant, VARIANTS)
        for name in ("min_similarity", "layout_weight"):
            value = getattr(found, name)
            if not isinstance(value, int | float) or not 0 <= value <= 1:
                raise AcpError(f"{name}: expected a number from 0 to 1, got {value!r}")
        if "image" in found.components and found.captioner is None:
            raise AcpError(
                "captioner: the component 'image' needs one, for example captioner='embedded', "
                "judge='embedded'"
            )
        return found


def score(rows: Iterable[Row], **options: Any) -> dict[str, Any]:
    """CLIS of rows.

    Args:
        rows: dicts as `acp build` publishes them, or plain ones with normalised boxes and
            width = height = 1; see `acp.clis.rows`.
        **options: `priors` (the path of a file of `acp priors build`, relation records, or None for
            those inside the package); `components` of "layout" and "image" (default ["layout"]);
            `variant` of CLIS-L, "paper" (default), "reference" or "acp"; `min_similarity` of
            categories for a reference to count (0.8); `explain`, whether the detail of every
            relation is given; `captioner` and `judge` of CLIS-I, by name or as `{"backend": name,
            option: value}` (the judge is the captioner's unless given); `image_settings` of CLIS-I
            (`acp.clis.image_settings`); `layout_weight`, the share of CLIS-L in CLIS (0.5).

    Returns:
        Lists with an entry a row, in order: `clis_l` and its parts `clis_l_size`,
        `clis_l_distance`, `clis_l_direction` (at most 100; -100 or more but in `reference`, 0 or
        more in `acp`), `clis_l_confidence` (>= 0), `clis_l_level` and `clis_l_references`
        (what answered for the relation of least confidence, and how many), `clis_i`,
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
    checked = ScoreOptions.of(**options)
    return score_columns(columns_of(row_list(rows)), checked)


def score_columns(columns: RowColumns, options: ScoreOptions) -> dict[str, Any]:
    """`score` of rows that are columns already."""
    lists = not_asked(columns, [name for name in COMPONENTS if name not in options.components])
    about: dict[str, Any] = {"variant": None, "components": list(options.components)}
    about |= dict.fromkeys(("priors", "captioner", "judge", "prompt_version"))
    if "layout" in options.components:
        priors, batch = load_priors(options.priors), columns.layouts()
        found = score_batch(
            batch, priors, variant=options.variant, min_similarity=options.min_similarity
        )
        lists |= layout_lists(found)
        about |= {"variant": options.variant, "priors": priors_identity(priors)}
        if options.explain:
            lists["explanation"] = explained(batch, found, priors)
    if "image" in options.components:
        from acp.clis.image_rows import image_lists

        images, made_by = image_lists(columns, options)
        _warn_of_others(columns, made_by)
        lists, about = lists | images, about | made_by
    lists["clis"] = clis_lists(lists, options.components, options.layout_weight)
    return {**lists, **means(lists), **about}


def _warn_of_others(columns: RowColumns, made_by: Mapping[str, Any]) -> None:
    """Rows that carry CLIS-I already: what is not to be compared with what."""
    others = sorted({scorer for scorer in columns.scorers if scorer})
    if others:
        count = sum(map(bool, columns.scorers))
        warnings.warn(
            f"{count} rows carry CLIS-I of {', '.join(others[:3])}; those scores are not used here "
            f"and not comparable with these of {made_by['captioner']} and {made_by['judge']}",
            stacklevel=3,
        )


def _components(value: Any) -> tuple[str, ...]:
    given = [value] if isinstance(value, str) else list(value)
    if not given:
        raise AcpError(f"components: expected some of {', '.join(COMPONENTS)}, got none")
    for name in given:
        _known("component", name, COMPONENTS)
    return tuple(name for name in COMPONENTS if name in given)


def _known(kind: str, name: Any, names: Sequence[str]) -> None:
    if name not in names:
        raise AcpError(f"there is no {kind} {name!r}; {did_you_mean(name, names)}")
