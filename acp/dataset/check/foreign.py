"""Exports of annotation tools: files of which `load_dataset` makes no boxes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from acp.core.files import leads_out
from acp.dataset.check.files import DataSet, hidden
from acp.dataset.check.problems import Problem, several
from acp.dataset.receipt import files_of

FORMATS = (
    ("COCO's JSON", ".json", rb'^\s*\{.*?"(images|annotations|categories)"\s*:\s*\['),
    ("LabelMe's JSON", ".json", rb'^\s*\{.*?"shapes"\s*:\s*\['),
    ("Pascal VOC's XML", ".xml", rb"<annotation[\s>]"),
    ("CVAT's XML", ".xml", rb"<annotations[\s>]"),
    ("YOLO's text", ".txt", rb"^\d+([ \t]+-?[\d.]+(e-?\d+)?){4,}\s*(\n|$)"),
    ("CSV", ".csv", rb"(?i)\bx_?min\b.*\by_?min\b"),
)
"""The name of each, how its files end, and what stands at their beginning."""
BEGINNING, TRIED = 1 << 16, 100


def exports(found: DataSet) -> Iterator[Problem]:
    """A problem for each format of annotation tools that files of a data set are in."""
    root = found.root
    named = map(found.place, found.claimed) if found.partial else files_of(root)
    names = [name for name in named if not hidden(name) and not leads_out(root / name, root)]
    for format_name, suffix, beginning in FORMATS:
        ending = (name for name in names if name.lower().endswith(suffix))
        those = [each for each in islice(ending, TRIED) if _begins(root / each, beginning)]
        if those:
            what = (
                f"annotations in {format_name}{several(those)}; load_dataset makes no boxes of it"
            )
            fix = "write them into metadata.jsonl beside the pictures, as docs/checking.md shows"
            if "COCO" in format_name:
                fix += "; acp priors build and acp cutouts read it as it is"
            yield Problem("format", those[0], what, fix)


def _begins(path: Path, beginning: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return bool(
                re.search(beginning, file.read(BEGINNING).removeprefix(b"\xef\xbb\xbf"), re.S)
            )
    except OSError:
        return False
