"""Fills the template of cards with what the folder of a data set holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from acp.core.errors import AcpError
from acp.core.licences import licence_of
from acp.dataset.card import limits, making, sample, tables
from acp.dataset.card.front_matter import front_matter
from acp.dataset.card.markdown import SAMPLE, SHEET, block, code, counted, number, one_line, text
from acp.dataset.card.statistics import Statistics, read_statistics, row
from acp.dataset.card.tables import histograms
from acp.dataset.receipt import Receipt
from acp.pipeline.recipe import Recipe, load_recipe


def render_card(folder: Path, receipt: Receipt, data_set: str) -> str:
    """The text of the card of the data set in `folder`; `data_set` is its id on the Hub.

    The same for the same folder, whenever and wherever. Reads no images but that of one row.

    Raises:
        AcpError: a table or the recipe cannot be read, or a table of the receipt is missing.
    """
    from jinja2 import Environment, StrictUndefined

    source = (resources.files("acp.cards") / "dataset.md").read_text(encoding="utf-8")
    environment = Environment(  # noqa: S701 - Markdown; the filters escape
        undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(text=text, code=code, number=number)
    _check_tables(folder, receipt)
    recipe = load_recipe(str(folder / "recipe.yaml"))
    found = read_statistics(folder)
    values = {
        **_basics(folder, receipt, data_set, recipe, found),
        **_tables(recipe, receipt, data_set, found),
        **_sample(folder),
    }
    return environment.from_string(source).render(values)


def _check_tables(folder: Path, receipt: Receipt) -> None:
    """A table that is not there would be counted as one without rows."""
    for name in sorted(receipt.sha256):
        if name.endswith(".parquet") and not (folder / name).is_file():
            raise AcpError(f"{folder / name}: missing; run acp build again")


def _basics(
    folder: Path, receipt: Receipt, data_set: str, recipe: Recipe, found: Statistics
) -> dict[str, Any]:
    licence = licence_of(model.licence for model in receipt.models.values())
    return {
        "card_data": front_matter(folder, data_set, licence, found.rows),
        "data_set": data_set,
        "recipe": recipe,
        "description": recipe.description.strip().removesuffix("."),
        "fingerprint": receipt.fingerprint,
        "licence": licence,
        "rows": found.rows,
        "objects": found.curated.total,
        "categories": len(found.curated.objects),
        "counted": counted,
        "sheet": (folder / SHEET).is_file(),
        "example": _example(found),
    }


def _example(found: Statistics) -> str:
    """A category to show filtering by: the most frequent one."""
    ranked = sorted(found.curated.objects.items(), key=lambda item: (-item[1], item[0]))
    return json.dumps(one_line(ranked[0][0]) if ranked else "zebra", ensure_ascii=False)


def _tables(recipe: Recipe, receipt: Receipt, data_set: str, found: Statistics) -> dict[str, Any]:
    return {
        "stages": making.stages_table(recipe, receipt.models),
        "thresholds": making.thresholds(recipe),
        "models": making.models_table(receipt.models),
        "rebuild": making.rebuild_command(recipe, data_set, receipt.version),
        "local_files": _told(making.local_files(recipe, receipt.models)),
        "unpinned": ", ".join(map(code, making.unpinned(recipe, receipt.models))),
        "outcome": tables.outcome_table(found),
        "reasons": tables.reasons_table(found),
        "frequencies": tables.frequencies_table(found.curated),
        "category_table": tables.categories_table(found.curated),
        "predicates": limits.predicates_table(found.curated),
        "proxy": making.has_proxy(recipe),
        "histograms": histograms(found.raw),
        "limits": limits.limits(recipe, receipt.models, found),
    }


def _told(files: Mapping[str, str]) -> str:
    return ", ".join(f"{code(key)} ({code(name)})" for key, name in files.items())


def _sample(folder: Path) -> dict[str, Any]:
    place = sample.choose(folder)
    if place is None:
        return {"sample": None}
    found = row(folder, place.config, place.index)
    return {
        "sample": found,
        "sample_config": place.config,
        "sample_index": place.index,
        "sample_of_several": len(found["objects"]["id"]) > 1,
        "sample_json": block(sample.as_json(found), "json"),
        "sample_picture": (folder / SAMPLE).is_file(),
    }
