"""The formats that priors are made of: COCO's (LVIS's too), Visual Genome's, plain relations."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acp.annotations.reading import (
    Annotations,
    BoxBuilder,
    Names,
    Notify,
    Relations,
    is_list,
    mark_of,
    records,
    unheard,
)
from acp.clis.similarity import fold_name
from acp.core.errors import AcpError

_COCO_IDS = ("id", "image_id", "category_id")
_RELATION = (
    *("image_id", "width", "height", "subject", "predicate", "object"),
    *("subject_box", "object_box"),
)
_SIZE_MEND = "give image_data.json, which has the sizes of the images, as another FILE"


def read_coco(files: Sequence[Path], notify: Notify = unheard) -> Annotations:
    """Instances and captions of any number of files, told apart by what they hold.

    The categories of all files are taken by name. Crowds are left out and counted.

    Raises:
        AcpError: a file that is neither, no file of instances, or one without a usable box.
    """
    kinds = {path: _coco_kind(path) for path in files}
    builder = BoxBuilder()
    seen: set[int] = set()
    for path in _of_kind("bbox", kinds):
        _read_instances(path, builder, seen, notify)
    if "bbox" not in kinds.values():
        raise AcpError(f"{files[0]}: captions alone have no boxes; give a file of instances too")
    captions = [
        each for path in _of_kind("caption", kinds) for each in _captions(path, builder, notify)
    ]
    captions.sort(key=lambda caption: caption[0])
    return Annotations(builder.table(), Relations.of([], ()), builder.rejects, captions=captions)


def _of_kind(kind: str, kinds: Mapping[Path, str]) -> list[Path]:
    return [path for path in kinds if kinds[path] == kind]


def _coco_kind(path: Path) -> str:
    """The key that tells what a file holds: "bbox" or "caption"."""
    if is_list(path):
        raise AcpError(f"{path}: expected COCO's JSON object with 'annotations', got a list")
    for first in records(path, "annotations.item"):
        for kind in ("bbox", "caption"):
            if kind in first:
                return kind
        raise AcpError(
            f"{path}: annotations[0] has neither 'bbox' nor 'caption'; give COCO's files"
        )
    raise AcpError(f"{path}: not in COCO's format, its list 'annotations' is missing or empty")


def _read_instances(path: Path, builder: BoxBuilder, seen: set[int], notify: Notify) -> None:
    def usable(key: str, *needed: str) -> Iterator[tuple[str, dict[str, Any]]]:
        return _coco_records(path, key, needed, builder, notify)

    categories = {
        record["id"]: builder.names[folded(record["name"])]
        for _, record in usable("categories", "id", "name")
        if folded(record["name"])
    }
    for where, record in usable("images", "id", "width", "height"):
        builder.add_image(record["id"], record["width"], record["height"], where)
    for what, found in (("categories", categories), ("images", builder.images)):
        if not found:
            raise AcpError(f"{path}: not in COCO's format, it has no usable {what!r}")
    before = len(builder)
    for where, record in usable("annotations", "image_id", "category_id", "bbox"):
        _add_instance(record, categories, builder, seen, where)
    if len(builder) == before:
        reasons = "; ".join(builder.rejects.counts) or "there are no annotations"
        raise AcpError(f"{path}: no usable box in it: {reasons}")


def _add_instance(
    record: Mapping[str, Any],
    categories: Mapping[int | str, int],
    builder: BoxBuilder,
    seen: set[int],
    where: str,
) -> None:
    image = builder.images.get(record["image_id"])
    category = categories.get(record["category_id"])
    mark = record.get("id")
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
    for where, record in _coco_records(path, "annotations", needed, builder, notify):
        image = builder.images.get(record["image_id"])
        text = record["caption"]
        if image is None:
            builder.rejects.add("caption of an unknown image", where)
        elif not isinstance(text, str) or not text.strip():
            builder.rejects.add("caption without words", where)
        else:
            yield image, " ".join(text.split())


def _coco_records(
    path: Path, key: str, needed: Sequence[str], builder: BoxBuilder, notify: Notify
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The records of a list that have the keys needed and hashable ids, with their places."""
    for index, record in enumerate(records(path, f"{key}.item", notify)):
        where = f"{path.name}: {key}[{index}]"
        if lacking := _lacking(record, needed):
            builder.rejects.add(f"{key} record without {lacking!r}", where)
        elif any(type(record.get(each, 0)) not in (int, str) for each in _COCO_IDS):
            builder.rejects.add(f"{key} record with an id that is neither number nor text", where)
        else:
            yield where, record


def _lacking(record: Mapping[str, Any], needed: Iterable[str]) -> str:
    """The first key that a record has not, or ""."""
    return next((key for key in needed if key not in record), "")


def folded(name: Any) -> str:
    """A category name as priors files have it, or "" if it is none."""
    return fold_name(name) if isinstance(name, str) else ""


def normal_predicate(predicate: Any) -> str:
    """Lower case, single spaces; "" if it is no text.

    >>> normal_predicate(" Sitting  ON ")
    'sitting on'
    """
    return " ".join(predicate.lower().split()) if isinstance(predicate, str) else ""


@dataclass
class _Stated:
    """Gathers stated relations, and boxes that several of them share."""

    builder: BoxBuilder
    predicates: Names = field(default_factory=Names)
    rows: array[int] = field(default_factory=lambda: array("i"))
    known: dict[int, int | None] = field(default_factory=dict)

    def add(self, subject: int | None, predicate: Any, object_: int | None, where: str) -> None:
        wording = normal_predicate(predicate)
        if not wording:
            self.builder.rejects.add("relation without a predicate", where)
        elif subject is not None and subject == object_:
            self.builder.rejects.add("relation of a thing to itself", where)
        elif subject is not None and object_ is not None:
            self.rows.extend((subject, object_, self.predicates[wording]))

    def box(self, image: int, name: Any, box: Any, where: str) -> int | None:
        """The index of a box that may have been met before."""
        name = folded(name)
        if not name:
            self.builder.rejects.add("thing without a name", where)
            return None
        key = mark_of(f"{image} {name} {box}")
        if self.known.get(key) is None:
            self.known[key] = self.builder.add_box(
                image, self.builder.names[name], box, None, where
            )
        return self.known[key]

    def read(
        self, path: Path, notify: Notify, add: Callable[[Mapping[str, Any], str], None]
    ) -> None:
        """Have every record of a file added. Raises AcpError if none is of use."""
        before = len(self.rows)
        for index, record in enumerate(records(path, "item", notify)):
            add(record, f"{path.name}: record {index}")
        if len(self.rows) == before:
            first = self.builder.rejects.first
            reason = next((f"{place}: {reason}" for reason, place in first.items()), "it is empty")
            raise AcpError(f"{path}: no usable relation in it; {reason}")

    def annotations(self, pairs_stated_only: bool) -> Annotations:
        stated = Relations.of(self.rows, self.predicates)
        return Annotations(
            self.builder.table(), stated, self.builder.rejects, pairs_stated_only=pairs_stated_only
        )


def read_relations(files: Sequence[Path], notify: Notify = unheard) -> Annotations:
    """A plain JSON list of relations with boxes in pixels; see `docs/priors.md`.

    What is stated is taken at its word: a box may lie beyond its image, and two things of a name
    may have the same box.

    Raises:
        AcpError: a file that is no list, or one without a single usable relation.
    """
    found = _Stated(BoxBuilder(anywhere=True))
    for path in files:
        if not is_list(path):
            raise AcpError(f"{path}: expected a JSON list of relations, got an object")
        found.read(path, notify, lambda record, where: _add_relation(record, found, where))
    return found.annotations(pairs_stated_only=True)


def _add_relation(record: Mapping[str, Any], found: _Stated, where: str) -> None:
    builder = found.builder
    if lacking := _lacking(record, _RELATION):
        return builder.rejects.add(f"relation without {lacking!r}", where)
    image = builder.add_image(record["image_id"], record["width"], record["height"], where)
    if image is None:
        return None
    subject, object_ = (
        found.box(image, record[end], record[f"{end}_box"], where) for end in ("subject", "object")
    )
    if subject is not None and subject == object_:
        name, box = builder.names[folded(record["object"])], record["object_box"]
        object_ = builder.add_box(image, name, box, f"other {box}", where)
    return found.add(subject, record["predicate"], object_, where)


def read_visual_genome(files: Sequence[Path], notify: Notify = unheard) -> Annotations:
    """Visual Genome's relationships.json, with image_data.json for the sizes of the images.

    All pairs of an image's things get geometric predicates; things of the same name and box are
    one.

    Raises:
        AcpError: a file that is neither, no size of any image, or no usable relation.
    """
    kinds = {path: _visual_genome_kind(path) for path in files}
    sizes = {
        _image_id(record): (record.get("width"), record.get("height"))
        for path in _of_kind("sizes", kinds)
        for record in records(path, "item", notify)
        if type(_image_id(record)) in (int, str)
    }
    found = _Stated(BoxBuilder())
    for path in _of_kind("relationships", kinds):
        found.read(path, notify, lambda record, where: _add_image(record, sizes, found, where))
    if "relationships" not in kinds.values():
        raise AcpError(f"{files[0]}: sizes alone are no relations; give relationships.json too")
    return found.annotations(pairs_stated_only=False)


def _image_id(record: Mapping[str, Any]) -> Any:
    return record.get("image_id", record.get("id"))


def _visual_genome_kind(path: Path) -> str:
    if not is_list(path):
        raise AcpError(f"{path}: expected Visual Genome's JSON list of images, got an object")
    problem = "empty"
    for first in records(path, "item"):
        if "relationships" in first:
            return "relationships"
        if first.keys() >= {"width", "height"}:
            return "sizes"
        problem = "record 0 has neither 'relationships' nor 'width' and 'height'"
        break
    raise AcpError(
        f"{path}: {problem}; give Visual Genome's relationships.json and image_data.json"
    )


def _add_image(
    record: Mapping[str, Any], sizes: Mapping[Any, Any], found: _Stated, where: str
) -> None:
    image_id, relations = _image_id(record), record.get("relationships")
    rejects = found.builder.rejects
    if type(image_id) not in (int, str) or not isinstance(relations, list):
        return rejects.add("image without 'image_id' or 'relationships'", where)
    width, height = sizes.get(image_id, (record.get("width"), record.get("height")))
    if width is None or height is None:
        return rejects.add(f"image of unknown size: {_SIZE_MEND}", where)
    image = found.builder.add_image(image_id, width, height, where)
    if image is None:
        return None
    found.known.clear()  # things are shared within an image alone
    for index, each in enumerate(relations):
        place = f"{where}, relationship {index}"
        relation = each if isinstance(each, dict) else {}
        ends = [_thing(relation, key, image, found, place) for key in ("subject", "object")]
        found.add(ends[0], relation.get("predicate"), ends[1], place)
    return None


def _thing(
    relation: Mapping[str, Any], key: str, image: int, found: _Stated, where: str
) -> int | None:
    thing = relation.get(key)
    if not isinstance(thing, dict) or _lacking(thing, "xywh"):
        found.builder.rejects.add(f"relation without a boxed {key!r}", where)
        return None
    names = thing.get("names") or [thing.get("name")]
    name = names[0] if isinstance(names, list) else names
    return found.box(image, name, [thing[side] for side in "xywh"], where)


Reader = Callable[[Sequence[Path], Notify], Annotations]
FORMATS: Mapping[str, Reader] = {
    "coco": read_coco,
    "lvis": read_coco,
    "visual-genome": read_visual_genome,
    "relations": read_relations,
}
