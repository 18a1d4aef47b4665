"""Annotation files in, a priors file out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from acp.annotations.caption_llm import ParseByLLM, prompt_version
from acp.annotations.caption_rules import parser_info
from acp.annotations.captions import Parse, parse_by_rules, relations_of_captions
from acp.annotations.formats import FORMATS
from acp.annotations.geometric import PREDICATES, Keeper, geometric_rows
from acp.annotations.json_lists import Notify, unheard
from acp.annotations.reading import Annotations, BoxTable, Int32Array, Relations
from acp.backends.base import LLM
from acp.backends.models.embedding import SentenceEmbedder
from acp.clis.features import pair_geometry
from acp.clis.priors_file import GEOMETRIC, GEOMETRY, STATED, write_priors
from acp.clis.similarity import pack_vectors
from acp.core.errors import AcpError
from acp.core.types import FloatArray

MOST_VECTORS = 4096
"""Names outside the packaged vocabulary that get a vector; of more, those of most rows."""

_ROWS = 1 << 17


@dataclass(frozen=True)
class BuildOptions:
    """How a priors file is made.

    `captions_by`: "rules", the parser; "llm", the language model `llm`; "none".
    `max_geometric`: rows kept of each geometric (subject, predicate, object).
    `processes`: of the rule-based parser; they change nothing but the time it takes.
    """

    captions_by: str = "rules"
    llm: LLM | None = None
    max_geometric: int = 64
    processes: int = 2


@dataclass(frozen=True)
class BuildReport:
    """What came out: rows, what the file says of itself, and a line for each reason to leave
    something out."""

    rows: int
    info: Mapping[str, Any]
    left_out: Sequence[str] = field(default_factory=tuple)


def build_priors(
    file_format: str,
    files: Sequence[Path],
    out: Path,
    options: BuildOptions | None = None,
    notify: Notify = unheard,
) -> BuildReport:
    """Make a priors file of annotation files of one format. The same input gives the same bytes.

    Raises:
        AcpError: unknown format, wrong files, `out` cannot be written, or nothing to write.
        MissingRequirementError: a package for reading or parsing is not installed.
    """
    options = options or BuildOptions()
    reader = FORMATS.get(file_format)
    if reader is None:
        raise AcpError(f"--from {file_format}: unknown format (known: {', '.join(FORMATS)})")
    check_writable(out)
    annotations = reader(files, notify)
    stated, parser = _stated(annotations, options, notify)
    keeper = Keeper(annotations.table, options.max_geometric)
    for rows, done in geometric_rows(annotations):
        keeper.add(rows)
        notify("pairs", done, len(annotations.table))
    geometric = keeper.relations()
    if not len(stated) + len(geometric):
        why = f"; {text}" if (text := annotations.rejects.text()) else ""
        raise AcpError(f"{files[0]}: no image has two usable boxes, so there is no pair{why}")
    info = {
        "sources": [f"{file_format}: {path.name}" for path in files],
        "parser": parser,
        "counts": _counts(annotations, stated, geometric, keeper.seen),
    }
    vectors = pack_vectors(_names(annotations.table, stated, geometric), embed)
    batches = _batches(annotations.table, stated, geometric, notify)
    count = write_priors(out, batches, info, vectors)
    return BuildReport(count, info, tuple(annotations.rejects.lines()))


def embed(texts: Sequence[str]) -> FloatArray:
    """Unit vectors (N, D) of N names, for priors.

    Raises:
        MissingRequirementError: the sentence embedder is not installed.
    """
    return SentenceEmbedder.load().encode_cached(texts)


def check_writable(out: Path) -> None:
    """Raises AcpError if the file cannot be written: now, not when all the work is done."""
    if out.is_dir():
        raise AcpError(f"--out {out}: a folder; give the name of a file")
    probe = out.with_name(f".{out.name}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise AcpError(f"--out {out}: cannot be written: {reason}") from None


def _stated(
    annotations: Annotations, options: BuildOptions, notify: Notify
) -> tuple[Relations, Mapping[str, Any] | None]:
    """The relations of the file or of its captions, and who read the captions."""
    if not annotations.captions or options.captions_by == "none":
        return annotations.stated, None
    names = annotations.table.names
    parse: Parse
    if options.captions_by == "rules":
        parse, about = parse_by_rules(names, options.processes), parser_info()
    else:
        if options.llm is None:
            raise AcpError("--captions-by llm: name a language model with --llm")
        options.llm.load()
        parse = ParseByLLM(names, options.llm, annotations.rejects)
        model = options.llm.info()
        about = {"by": "llm", "model": str(model), "licence": model.licence}
        about["prompt"] = prompt_version()
    return relations_of_captions(annotations, parse, notify), about


def _counts(
    annotations: Annotations, stated: Relations, geometric: Relations, seen: Mapping[str, int]
) -> dict[str, Any]:
    kept = np.bincount(geometric.predicate, minlength=len(PREDICATES)).tolist()
    return {
        "images": len(annotations.table.image_ids),
        "boxes": len(annotations.table),
        "captions": len(annotations.captions),
        "stated": len(stated),
        "geometric_seen": dict(seen),
        "geometric_kept": dict(zip(PREDICATES, kept, strict=True)),
        "left_out": dict(sorted(annotations.rejects.counts.items())),
    }


def _names(table: BoxTable, stated: Relations, geometric: Relations) -> list[str]:
    """The categories that occur in rows, the most frequent first."""
    ends = (stated.subject, stated.object, geometric.subject, geometric.object)
    counts = np.bincount(table.category[np.concatenate(ends)], minlength=len(table.names))
    order = np.argsort(-counts, kind="stable")[:MOST_VECTORS]
    return [table.names[index] for index in order if counts[index]]


def _batches(
    table: BoxTable, stated: Relations, geometric: Relations, notify: Notify
) -> Iterator[Mapping[str, Any]]:
    """Columns of a priors file: stated relations first, each kind in the order of the input."""
    total, done = len(stated) + len(geometric), 0
    for relations, source in ((stated, STATED), (geometric, GEOMETRIC)):
        for begin in range(0, len(relations), _ROWS):
            yield _columns(table, relations, slice(begin, begin + _ROWS), source)
            done += min(_ROWS, len(relations) - begin)
            notify("writing", done, total)


def _columns(table: BoxTable, relations: Relations, part: slice, source: str) -> Mapping[str, Any]:
    subject, object_ = relations.subject[part], relations.object[part]
    geometry = pair_geometry(table.boxes_xywhn[subject], table.boxes_xywhn[object_])
    return {
        "subject": _texts(table.category[subject], table.names),
        "predicate": _texts(relations.predicate[part], relations.predicates),
        "object": _texts(table.category[object_], table.names),
        **{name: getattr(geometry, name) for name in GEOMETRY},
        "source": _texts(np.zeros(len(subject), np.int32), [source]),
        "image_id": [table.image_ids[image] for image in table.image[subject]],
    }


def _texts(indices: Int32Array, texts: Sequence[str]) -> Any:
    import pyarrow as pa

    used, places = np.unique(indices, return_inverse=True)
    dictionary = pa.array([texts[index] for index in used], pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(places.astype(np.int32)), dictionary)
