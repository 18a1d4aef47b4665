"""COCO's and LVIS's formats: instances, and captions of the same images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from acp.annotations.boxes import Annotations, BoxBuilder, Names, folded, mark_of, stated_relations
from acp.annotations.reading import Notify, Rejects, first_record, is_list, records, unheard
from acp.core.errors import AcpError

_NEEDED = {
    "images": ("id", "width", "height"),
    "categories": ("id", "name"),
    "annotations": ("image_id", "category_id", "bbox"),
}


def read_coco(files: Sequence[Path], notify: Notify = unheard) -> Annotations:
    """Instances and captions of any number of files, told apart by what they hold.

    The categories of all files are taken by name. Crowds are left out and counted.

    Raises:
        AcpError: a file that is neither, no file of instances, or one without a usable box.
    """
    kinds = {path: _kind(path) for path in files}
    builder = BoxBuilder(Rejects())
    seen: set[int] = set()
    for path, kind in kinds.items():
        if kind == "instances":
            _read_instances(path, builder, seen, notify)
    if "instances" not in kinds.values():
        raise AcpError(f"{files[0]}: captions alone have no boxes; give a file of instances too")
    captions = [
        caption
        for path, kind in kinds.items()
        if kind == "captions"
        for caption in _captions(path, builder, notify)
    ]
    return Annotations(
        builder.table(),
        stated_relations([], [], [], Names()),
        builder.rejects,
        captions=sorted(captions, key=lambda caption: caption[0]),
    )


def _kind(path: Path) -> str:
    if is_list(path):
        raise AcpError(f"{path}: expected COCO's JSON object with 'annotations', got a list")
    prefix, record = first_record(path, "annotations.item")
    if not prefix:
        raise AcpError(f"{path}: not in COCO's format, its list 'annotations' is missing or empty")
    keys = set(record) if isinstance(record, dict) else set()
    for kind, mark in (("instances", "bbox"), ("captions", "caption")):
        if mark in keys:
            return kind
    raise AcpError(f"{path}: annotations[0] has neither 'bbox' nor 'caption'; give COCO's files")


def _read_instances(path: Path, builder: BoxBuilder, seen: set[int], notify: Notify) -> None:
    categories = {
        record["id"]: builder.names(folded(record["name"]))
        for _, record in _records(path, "categories", builder.rejects, notify)
        if folded(record["name"])
    }
    for where, record in _records(path, "images", builder.rejects, notify):
        builder.add_image(record["id"], record["width"], record["height"], where)
    for what, found in (("categories", categories), ("images", builder.images)):
        if not found:
            raise AcpError(f"{path}: not in COCO's format, it has no usable {what!r}")
    before = len(builder)
    for where, record in _records(path, "annotations", builder.rejects, notify):
        _add_box(record, categories, builder, seen, where)
    if len(builder) == before:
        reasons = "; ".join(builder.rejects.counts) or "there are no annotations"
        raise AcpError(f"{path}: no usable box in it: {reasons}")


def _add_box(
    record: dict[str, Any],
    categories: dict[Any, int],
    builder: BoxBuilder,
    seen: set[int],
    where: str,
) -> None:
    image = builder.images.get(record["image_id"])
    category = categories.get(record["category_id"])
    mark = record["id"] if type(record.get("id")) in (int, str) else None
    key = (image or 0) << 64 | mark_of(mark) if mark is not None else -1
    if image is None:
        builder.rejects.add("box of an unknown image", where)
    elif category is None:
        builder.rejects.add("box of an unknown category", where)
    elif record.get("iscrowd"):
        builder.rejects.add("crowd", where)
    elif key in seen:
        builder.rejects.add("annotation id given twice", where)
    elif builder.add_box(image, category, record["bbox"], mark, where) is not None and key >= 0:
        seen.add(key)


def _captions(path: Path, builder: BoxBuilder, notify: Notify) -> Iterator[tuple[int, str]]:
    needed = ("image_id", "caption")
    for where, record in _records(path, "annotations", builder.rejects, notify, needed):
        image = builder.images.get(record["image_id"])
        text = record["caption"]
        if image is None:
            builder.rejects.add("caption of an unknown image", where)
        elif not isinstance(text, str) or not text.strip():
            builder.rejects.add("caption without words", where)
        else:
            yield image, " ".join(text.split())


def _records(
    path: Path, key: str, rejects: Rejects, notify: Notify, needed: Sequence[str] = ()
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The records of a list that have the keys needed and hashable ids, with their places."""
    for index, record in enumerate(records(path, f"{key}.item", notify)):
        where = f"{path.name}: {key}[{index}]"
        lacking = [each for each in needed or _NEEDED[key] if each not in _keys(record)]
        if lacking:
            rejects.add(f"{key} record without {lacking[0]!r}", where)
        elif any(type(record.get(each, 0)) not in (int, str) for each in _IDS):
            rejects.add(f"{key} record with an id that is neither number nor text", where)
        else:
            yield where, record


_IDS = ("id", "image_id", "category_id")


def _keys(record: Any) -> Any:
    return record if isinstance(record, dict) else ()
