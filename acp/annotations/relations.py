"""Formats that state relations: Visual Genome's, and a plain list of them."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acp.annotations.boxes import (
    Annotations,
    BoxBuilder,
    Names,
    StatedRelations,
    folded,
    mark_of,
    stated_relations,
)
from acp.annotations.reading import Notify, Rejects, first_record, is_list, records, unheard
from acp.core.errors import AcpError

_RELATION = ("image_id", "width", "height", "subject", "predicate", "object")
_BOXES = ("subject_box", "object_box")
_SIZE_MEND = "give image_data.json, which has the sizes of the images, as another FILE"


def normal_predicate(predicate: Any) -> str:
    """Lower case, single spaces; "" if it is no text.

    >>> normal_predicate(" Sitting  ON ")
    'sitting on'
    """
    return " ".join(predicate.lower().split()) if isinstance(predicate, str) else ""


@dataclass
class _Relations:
    """Gathers stated relations, and boxes that several of them share."""

    builder: BoxBuilder
    predicates: Names = field(default_factory=Names)
    subject: array[int] = field(default_factory=lambda: array("i"))
    object: array[int] = field(default_factory=lambda: array("i"))
    predicate: array[int] = field(default_factory=lambda: array("i"))

    def add(self, subject: int | None, predicate: str, object_: int | None, where: str) -> None:
        if not predicate:
            self.builder.rejects.add("relation without a predicate", where)
        elif subject is not None and subject == object_:
            self.builder.rejects.add("relation of a thing to itself", where)
        elif subject is not None and object_ is not None:
            self.subject.append(subject)
            self.object.append(object_)
            self.predicate.append(self.predicates(predicate))

    def stated(self) -> StatedRelations:
        return stated_relations(self.subject, self.object, self.predicate, self.predicates)


def read_relations(files: Sequence[Path], notify: Notify = unheard) -> Annotations:
    """A plain JSON list of relations with boxes in pixels; see `docs/priors.md`.

    What is stated is taken at its word: a box may lie beyond its image, and two things of a name
    may have the same box.

    Raises:
        AcpError: a file that is no list, or one without a single usable relation.
    """
    found = _Relations(BoxBuilder(Rejects(), anywhere=True))
    known: dict[int, int | None] = {}
    for path in files:
        if not is_list(path):
            raise AcpError(f"{path}: expected a JSON list of relations, got an object")
        before = len(found.subject)
        for index, record in enumerate(records(path, "item", notify)):
            _add_relation(record, found, known, f"{path.name}: record {index}")
        _check_some(path, found, before)
    return Annotations(
        found.builder.table(), found.stated(), found.builder.rejects, pairs_stated_only=True
    )


def _add_relation(record: Any, found: _Relations, known: dict[int, int | None], where: str) -> None:
    rejects = found.builder.rejects
    keys = record if isinstance(record, dict) else {}
    lacking = [key for key in (*_RELATION, *_BOXES) if key not in keys]
    if lacking:
        return rejects.add(f"relation without {lacking[0]!r}", where)
    width, height = record["width"], record["height"]
    image = found.builder.add_image(record["image_id"], width, height, where)
    if image is None:
        return None
    ends = []
    for name_key, box_key in zip(("subject", "object"), _BOXES, strict=True):
        name, box = folded(record[name_key]), record[box_key]
        ends.append(_shared_box(image, name, box, found.builder, known, where))
    if ends[0] is not None and ends[0] == ends[1]:
        ends[1] = found.builder.add_box(
            image, found.builder.names(name), box, f"other {box}", where
        )
    found.add(ends[0], normal_predicate(record["predicate"]), ends[1], where)
    return None


def _shared_box(
    image: int,
    name: str,
    box: Any,
    builder: BoxBuilder,
    known: dict[int, int | None],
    where: str,
) -> int | None:
    """The index of a box that may have been met before."""
    if not name:
        builder.rejects.add("thing without a name", where)
        return None
    key = mark_of(f"{image} {name} {box}")
    if known.get(key) is None:
        known[key] = builder.add_box(image, builder.names(name), box, None, where)
    return known[key]


def read_visual_genome(files: Sequence[Path], notify: Notify = unheard) -> Annotations:
    """Visual Genome's relationships.json, with image_data.json for the sizes of the images.

    All pairs of an image's things get geometric predicates; things of the same name and box are
    one.

    Raises:
        AcpError: a file that is neither, no size of any image, or no usable relation.
    """
    kinds = {path: _kind(path) for path in files}
    sizes = dict(
        each for path, kind in kinds.items() if kind == "sizes" for each in _sizes(path, notify)
    )
    found = _Relations(BoxBuilder(Rejects()))
    for path, kind in kinds.items():
        if kind == "relationships":
            before = len(found.subject)
            for index, record in enumerate(records(path, "item", notify)):
                _add_image(record, sizes, found, f"{path.name}: record {index}")
            _check_some(path, found, before)
    if "relationships" not in kinds.values():
        raise AcpError(f"{files[0]}: sizes alone are no relations; give relationships.json too")
    return Annotations(found.builder.table(), found.stated(), found.builder.rejects)


def _kind(path: Path) -> str:
    if not is_list(path):
        raise AcpError(f"{path}: expected Visual Genome's JSON list of images, got an object")
    prefix, record = first_record(path, "item")
    keys = record if isinstance(record, dict) else {}
    if "relationships" in keys:
        return "relationships"
    if {"width", "height"} <= set(keys):
        return "sizes"
    what = "record 0 has neither 'relationships' nor 'width' and 'height'" if prefix else "empty"
    raise AcpError(f"{path}: {what}; give Visual Genome's relationships.json and image_data.json")


def _sizes(path: Path, notify: Notify) -> Iterator[tuple[Any, tuple[Any, Any]]]:
    for record in records(path, "item", notify):
        keys = record if isinstance(record, dict) else {}
        image = keys.get("image_id", keys.get("id"))
        if type(image) in (int, str):
            yield image, (keys.get("width"), keys.get("height"))


def _add_image(record: Any, sizes: dict[Any, Any], found: _Relations, where: str) -> None:
    keys = record if isinstance(record, dict) else {}
    image_id, relations = keys.get("image_id", keys.get("id")), keys.get("relationships")
    rejects = found.builder.rejects
    if type(image_id) not in (int, str) or not isinstance(relations, list):
        return rejects.add("image without 'image_id' or 'relationships'", where)
    width, height = sizes.get(image_id, (keys.get("width"), keys.get("height")))
    if width is None or height is None:
        return rejects.add(f"image of unknown size: {_SIZE_MEND}", where)
    image = found.builder.add_image(image_id, width, height, where)
    if image is None:
        return None
    known: dict[int, int | None] = {}
    for index, relation in enumerate(relations):
        place = f"{where}, relationship {index}"
        subject, object_ = (
            _thing(relation, key, image, found.builder, known, place)
            for key in ("subject", "object")
        )
        predicate = relation.get("predicate") if isinstance(relation, dict) else ""
        found.add(subject, normal_predicate(predicate), object_, place)
    return None


def _thing(
    relation: Any,
    key: str,
    image: int,
    builder: BoxBuilder,
    known: dict[int, int | None],
    where: str,
) -> int | None:
    thing = relation.get(key) if isinstance(relation, dict) else None
    if not isinstance(thing, dict) or any(side not in thing for side in "xywh"):
        builder.rejects.add(f"relation without a boxed {key!r}", where)
        return None
    names = thing.get("names") or [thing.get("name")]
    name = names[0] if isinstance(names, list) else names
    box = [thing[side] for side in "xywh"]
    return _shared_box(image, folded(name), box, builder, known, where)


def _check_some(path: Path, found: _Relations, before: int) -> None:
    if len(found.subject) == before:
        rejects = found.builder.rejects
        reasons = [f"{rejects.first[reason]}: {reason}" for reason in rejects.counts]
        raise AcpError(f"{path}: no usable relation in it; {(reasons or ['it is empty'])[0]}")
