"""`acp score`: a data set in, the same rows with scores as columns out, and what they add up to."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acp.clis.rows import columns_of
from acp.clis.score import (
    IMAGE_SCORES,
    LAYOUT_SCORES,
    SAME,
    ScoreOptions,
    means,
    score_columns,
    seems_otherwise,
)
from acp.core.errors import AcpError
from acp.core.files import sha256
from acp.dataset.pictures import plot_scores
from acp.dataset.receipt import files_of
from acp.dataset.score_tables import Part, read_parts

if TYPE_CHECKING:
    import pyarrow as pa

PLOT = "scores.png"
RECEIPT = "scores.json"
"""What was scored and how; also what tells a folder of ours from another."""
OURS = re.compile(r"(README\.md|scores\.(json|png)|data/[^/]+-[0-9a-f]{16}\.parquet)$")
"""The files that are written, and that a new run replaces."""

NUMBERS = (*LAYOUT_SCORES, *IMAGE_SCORES, "clis")
REASONS = ("clis_l_reason", "clis_i_reason")


@dataclass
class Scored:
    """The scores so far, by name, without the rows; and who made them."""

    lists: dict[str, list[Any]] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    def add(self, result: dict[str, Any]) -> None:
        for name in (*NUMBERS, "clis_i_instances", *REASONS):
            self.lists.setdefault(name, []).extend(result[name])
        self.about = {key: result[key] for key in SAME}

    def summary(self) -> dict[str, Any]:
        """Means, how many rows have no score, and for what reasons."""
        reasons = {
            name: dict(Counter(map(_kind, filter(None, self.lists[name]))).most_common())
            for name in REASONS
        }
        return {"rows": len(self.lists["clis"]), **means(self.lists), **reasons, **self.about}


def _kind(reason: str) -> str:
    """A reason without what differs from row to row.

    >>> _kind("the box of object 1 (dog) has no area")
    'the box of some object has no area'
    """
    return re.sub(r"\b(object|relation) \d+( \([^)]*\))?", r"some \1", reason)


def score_data_set(
    name: str,
    out: Path,
    options: ScoreOptions,
    *,
    config: str | None = None,
    split: str = "train",
    plot: bool = True,
) -> dict[str, Any]:
    """Score a folder or a Hub data set into the folder `out`: parquet with the scores as columns, a
    card, `scores.json` and `scores.png`. Returns what `scores.json` holds.

    `out` holds all of it or what it held before. A column of the name of a score becomes
    `<name>_before`.

    Raises:
        AcpError: the data set cannot be opened or has no objects, `out` holds something else, or an
            option is wrong.
    """
    out = out.expanduser().resolve()
    check_out(out)
    if out.exists() and out.resolve() == Path(name).expanduser().resolve():
        raise AcpError(f"{out}: is what is scored; choose another --out")
    if not re.fullmatch(r"\w+([.-]\w+)*", split):
        raise AcpError(f"split: expected a name such as train, got {split!r}")
    staged = out.with_name(f".{out.name}.partial")
    shutil.rmtree(staged, ignore_errors=True)
    (staged / "data").mkdir(parents=True)
    try:
        scored = _write(read_parts(name, config, split), staged, split, options, name)
        shown = Path(name).name if Path(name).is_absolute() else name
        summary = {"data_set": shown, "split": split, **scored.summary()}
        if plot:
            _plot(scored, staged / PLOT, shown, split)
        _write_card(staged, split, summary)
        (staged / RECEIPT).write_text(json.dumps(summary, indent=1), encoding="utf-8")
        if out.exists():
            shutil.rmtree(out)
        staged.rename(out)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return summary


def check_out(out: Path) -> None:
    """Refuse to replace what is no scored data set, or holds files of the user.

    Raises:
        AcpError: `out` exists and holds something else.
    """
    if out.is_file():
        raise AcpError(f"{out}: is a file; choose another --out")
    there = list(files_of(out)) if out.is_dir() else []
    strange = there if there and RECEIPT not in there else [n for n in there if not OURS.match(n)]
    if strange:
        what = f"holds {strange[0]}, which acp score did not make"
        raise AcpError(f"{out}: {what}; move it, or choose another --out")


def _write(
    parts: Iterator[Part],
    staged: Path,
    split: str,
    options: ScoreOptions,
    name: str,
) -> Scored:
    import pyarrow.parquet as pq
    from datasets.table import table_cast

    scored, writer, fits = Scored(), None, Counter[str]()
    read_as = options.bbox_format or "xywh"
    path = staged / "data" / f"{split}-00000-of-00001.parquet"
    try:
        for part in parts:
            columns = columns_of(part.rows, keep_wrong=True)
            fits.update(columns.fits())
            if options.bbox_format is None and (said := seems_otherwise(fits)):
                raise AcpError(f"{name}: {said}, with --bbox-format")
            result = score_columns(columns, replace(options, bbox_format=read_as))
            scored.add(result)
            whole = _with_scores(part, result)
            if writer is None:
                writer = pq.ParquetWriter(path, whole.schema)
            writer.write_table(table_cast(whole, writer.schema))
    finally:
        if writer is not None:
            writer.close()
    if writer is None:
        raise AcpError(f"{name}: no rows in split {split!r}")
    # The checksum in the name: `datasets` tells two folders of one name apart by nothing else.
    path.rename(path.with_name(f"{path.stem}-{sha256(path)[:16]}.parquet"))
    return scored


def _with_scores(part: Part, result: dict[str, Any]) -> pa.Table:
    """The table with a column a score, in a schema that says so to `datasets`."""
    import pyarrow as pa
    from datasets import Features, List, Value

    added: dict[str, Any] = dict.fromkeys(NUMBERS, Value("float64"))
    added |= {"clis_i_instances": List(Value("float64"))}
    added |= dict.fromkeys(REASONS, Value("string"))
    names = [f"{name}_before" if name in added else name for name in part.features]
    kept = dict(zip(names, part.features.values(), strict=True))
    schema = Features({**kept, **added}).arrow_schema
    columns = [pa.array(result[name], schema.field(name).type) for name in added]
    return pa.table([*part.table.columns, *columns], names=[*names, *added]).cast(schema)


def _plot(scored: Scored, path: Path, name: str, split: str) -> None:
    lists = dict(scored.lists)
    lists["clis_i_instances"] = [each for row in lists["clis_i_instances"] for each in row]
    asked = scored.about["components"]
    shown = {
        key: lists[key]
        for key in (*NUMBERS, "clis_i_instances")
        if key == "clis" or ("image" if key.startswith("clis_i") else "layout") in asked
    }
    told = [f"{name} ({split})", f"variant {scored.about['variant']}"]
    told += [f"{scored.about[key]}" for key in ("captioner", "judge") if scored.about[key]]
    plot_scores(shown, path, ", ".join(told))


_CARD = """---
configs:
- config_name: default
  data_files:
  - split: {split}
    path: {path}
---
# Scores of {name}

The rows of `{name}`, split `{split}`, with CLIS as columns: `clis_l` and its parts, `clis_i`,
`clis`, and `clis_l_reason` and `clis_i_reason` where there is no score. A column that had one of
these names before is `<name>_before`. `scores.json` says how they were made.

{table}
"""


def _write_card(staged: Path, split: str, summary: Mapping[str, Any]) -> None:
    """The card: which files are the data (the plot is not), and the means."""
    lines = ["| score | mean |", "| --- | --- |"]
    means_of = {key.removeprefix("mean_"): summary[key] for key in summary if key[:5] == "mean_"}
    lines += [f"| {key} | {value:.2f} |" for key, value in means_of.items() if value is not None]
    lines += ["", f"![distribution of the scores]({PLOT})"] * (staged / PLOT).is_file()
    name = re.sub(r"[^\w./-]", "_", str(summary["data_set"]))
    (data,) = staged.glob("data/*.parquet")
    path = data.relative_to(staged).as_posix()
    text = _CARD.format(split=split, path=path, name=name, table="\n".join(lines))
    (staged / "README.md").write_text(text, encoding="utf-8")
