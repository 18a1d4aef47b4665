"""A picture of scores: how CLIS, its two halves and their parts are distributed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from acp.core.errors import MissingRequirementError

TITLES = {
    "clis": "CLIS",
    "clis_l": "CLIS-L, layout",
    "clis_l_size": "size",
    "clis_l_distance": "distance",
    "clis_l_direction": "direction",
    "clis_i": "CLIS-I, image",
    "clis_i_global": "whole image",
    "clis_i_instances": "objects",
}
INK, BARS, MEAN = "#1f2328", "#4363d8", "#b42318"
COLUMNS, BINS = 3, 40


def plot_scores(scores: Mapping[str, Sequence[float | None]], path: Path, subtitle: str) -> None:
    """Write histograms of the scores there are, a panel each, as a PNG.

    Args:
        scores: by the names of `TITLES`; None is counted and told.
        path: of the picture.
        subtitle: what was scored and how.

    Raises:
        MissingRequirementError: matplotlib is not installed.
    """
    figure_type = _figure_type()
    found = {name: _numbers(scores[name]) for name in TITLES if name in scores}
    shown = {name: values for name, values in found.items() if len(values)}
    rows = max(1, -(-len(shown) // COLUMNS))
    figure = figure_type(figsize=(4 * COLUMNS, 2.6 * rows + 0.8), dpi=110, layout="constrained")
    figure.suptitle(subtitle, fontsize=11, color=INK)
    axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axis, (name, values) in zip(axes, shown.items(), strict=False):
        _panel(axis, TITLES[name], values, len(scores[name]) - len(values))
    for axis in axes[len(shown) :]:
        axis.set_axis_off()
    if not shown:
        axes[0].text(0.5, 0.5, "nothing could be scored", ha="center", color=INK)
    figure.savefig(path, format="png", metadata={"Software": None})


def _panel(axis: Any, title: str, values: np.ndarray, unscored: int) -> None:
    low = min(0.0, 10 * np.floor(values.min() / 10))
    axis.hist(values, bins=np.linspace(low, 100, BINS + 1), color=BARS)
    axis.axvline(values.mean(), color=MEAN, linewidth=1.5)
    axis.set_xlim(low, 100)
    axis.set_title(title, fontsize=10, loc="left", color=INK)
    told = f"mean {values.mean():.1f}, n = {len(values)}"
    axis.set_title(told + (f", none {unscored}" if unscored else ""), fontsize=8, loc="right")
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)
    axis.yaxis.get_major_locator().set_params(integer=True)


def _numbers(values: Sequence[float | None]) -> np.ndarray:
    return np.array([value for value in values if value is not None], dtype=np.float64)


def _figure_type() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingRequirementError(
            "matplotlib is missing; install auto-cherry-picker[plot], or give --no-plot"
        ) from None
    return Figure
