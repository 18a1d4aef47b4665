"""The formats that priors are made of: COCO's (LVIS's too), Visual Genome's, plain relations."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from acp.annotations.coco import Caption, CocoFiles, Id, id_of, text_of
from acp.annotations.json_lists import WHOLE, Notify, records, unheard
from acp.annotations.reading import Annotations, BoxBuilder, Names, Relations, mark_of
from acp.clis.similarity import fold_name
from acp.core.errors import AcpError

_RELATION = (
    *("image_id", "width", "height", "subject", "predicate", "object"),
    *("subject_box", "object_box"),
)
_SIZE_MEND = "give image_data.json, which has the sizes of the images, as another FILE"


def read_coco(files: Sequence[Path], notify: Notify = unheard) -> Annotations:
    """Instances and captions of any number of files, of which the categories are taken by name.

    A caption of an image without boxes goes to the one image of the same id and file name that has
    some.

    Raises:
        AcpError: as `CocoFiles`, or there is no usable box in any file.
    """
    builder = BoxBuilder()
    coco = CocoFiles(files, builder.rejects, notify)
    said: list[Caption] = []
    seen: set[int] = set()
    for found in coco.annotations():
        if isinstance(found, Caption):
            said.append(found)
            continue
        width, height = coco.pictures[found.picture].size_wh or (None, None)
        label = coco.label(found.picture)
        image = builder.add_image(found.picture, label, width, height, found.where)
        name, box, key = fold_name(found.category), found.box_xywh_px, found.picture << 64
        place, mark = key | mark_of(f"{name} {box}"), found.id
        if place in seen:
            builder.rejects.add("box given twice", found.where)
            continue
        if mark is None or key | mark_of(mark) in seen:  # an id that several boxes have
            mark = None
        else:
            seen.add(key | mark_of(mark))
        if image is not None and builder.append(image, name, box, found.where, mark) is not None:
            seen.add(place)
    if not len(builder):
        why = builder.rejects.text() or "captions alone have no boxes; give a file of instances too"
        raise AcpError(f"{files[0]}: no usable box in it: {why}")
    names = [(picture.id, picture.file_name) for picture in coco.pictures]
    boxed = [(names[picture], image) for picture, image in builder.images.items()]
    alone = Counter(name for name, _ in boxed)
    twins = {name: image for name, image in boxed if alone[name] == 1}
    captions = []
    for each in said:
        image = builder.images.get(each.picture, twins.get(names[each.picture]))
        if image is None:
            builder.rejects.add("caption of an image without boxes", each.where)
        else:
            captions.append((image, each.text))
    captions.sort(key=lambda caption: caption[0])
    return Annotations(builder.table(), Relations.of([], ()), builder.rejects, captions=captions)


def _lacking(record: Mapping[str, Any], needed: Iterable[str]) -> str:
    """The first key that a record has not, or ""."""
    return next((key for key in needed if key not in record), "")


def folded(name: Any) -> str:
    """A category name as priors files have it, or "" if it is none."""
    return fold_name(text_of(name))


def normal_predicate(predicate: Any) -> str:
    """Lower case, single spaces; "" if it is no text.

    >>> normal_predicate(" Sitting  ON ")
    'sitting on'
    """
    return text_of(predicate).lower() if isinstance(predicate, str) else ""


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
            self.known[key] = self.builder.add_box(image, name, box, where)
        return self.known[key]

    def read(
        self, path: Path, notify: Notify, add: Callable[[Mapping[str, Any], str], None]
    ) -> None:
        """Have every record of a file added. Raises AcpError if none is of use."""
        before = len(self.rows)
        for _, index, record in records(path, (WHOLE,), notify):
            add(record, f"{path.name}: record {index}")
        if len(self.rows) == before:
            reason = self.builder.rejects.text() or "it is empty"
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
        found.read(path, notify, partial(_add_relation, path, found))
    return found.annotations(pairs_stated_only=True)


def _add_relation(path: Path, found: _Stated, record: Mapping[str, Any], where: str) -> None:
    builder = found.builder
    if lacking := _lacking(record, _RELATION):
        return builder.rejects.add(f"relation without {lacking!r}", where)
    key = id_of(record["image_id"])
    if key is None:
        return builder.rejects.add("image with an id that is neither number nor text", where)
    size = record["width"], record["height"]
    image = builder.add_image((path, key), str(key), *size, where)
    if image is None:
        return None
    subject, object_ = (
        found.box(image, record[end], record[f"{end}_box"], where) for end in ("subject", "object")
    )
    if subject is not None and subject == object_:
        name, box = folded(record["object"]), record["object_box"]
        object_ = builder.add_box(image, name, box, where, f"other {box}")
    return found.add(subject, record["predicate"], object_, where)


def read_visual_genome(files: Sequence[Path], notify: Notify = unheard) -> Annotations:
    """Visual Genome's relationships.json, with image_data.json for the sizes of the images.

    All pairs of an image's things get geometric predicates; things of the same name and box are
    one.

    Raises:
        AcpError: a file that is neither, no size of any image, or no usable relation.
    """
    sizes: dict[Id, tuple[Any, Any]] = {}
    relating: dict[Path, None] = {}
    for path in files:
        for _, _, record in records(path, (WHOLE,), notify):
            if "relationships" in record:
                relating[path] = None
                break
            if (key := _image_id(record)) is not None:
                sizes[key] = (record.get("width"), record.get("height"))
    if not relating:
        mend = "give Visual Genome's relationships.json and image_data.json"
        raise AcpError(f"{files[0]}: no record of it has 'relationships'; {mend}")
    found = _Stated(BoxBuilder())
    for path in relating:
        found.read(path, notify, partial(_add_image, sizes, found))
    return found.annotations(pairs_stated_only=False)


def _image_id(record: Mapping[str, Any]) -> Id | None:
    return id_of(record.get("image_id", record.get("id")))


def _add_image(
    sizes: Mapping[Id, tuple[Any, Any]], found: _Stated, record: Mapping[str, Any], where: str
) -> None:
    """One image of relationships.json; or of scene_graphs.json, which has its things apart."""
    key, relations = _image_id(record), record.get("relationships")
    rejects = found.builder.rejects
    if key is None or not isinstance(relations, list):
        return rejects.add("image without 'image_id' or 'relationships'", where)
    width, height = sizes.get(key, (record.get("width"), record.get("height")))
    if width is None or height is None:
        return rejects.add(f"image of unknown size: {_SIZE_MEND}", where)
    image = found.builder.add_image(key, str(key), width, height, where)
    if image is None:
        return None
    found.known.clear()  # things are shared within an image alone
    listed = record.get("objects")
    things = {
        id_of(each.get("object_id")): each
        for each in (listed if isinstance(listed, list) else ())
        if isinstance(each, dict)
    }
    for index, each in enumerate(relations):
        place = f"{where}, relationship {index}"
        relation = each if isinstance(each, dict) else {}
        ends = []
        for end in ("subject", "object"):
            thing = relation.get(end, things.get(id_of(relation.get(f"{end}_id"))))
            ends.append(_thing(thing, end, image, found, place))
        found.add(ends[0], relation.get("predicate"), ends[1], place)
    return None


def _thing(thing: Any, end: str, image: int, found: _Stated, where: str) -> int | None:
    if not isinstance(thing, dict) or _lacking(thing, "xywh"):
        found.builder.rejects.add(f"relation without a boxed {end!r}", where)
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
