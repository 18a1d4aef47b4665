"""Which columns hold what: those of ours, the convention of the field, or as `--column` says.

The convention: `image`, `width`, `height`, `image_id`, and `objects` with `bbox`, `category`,
`segmentation`, `area` and `id`, a struct of lists or a list of structs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from acp.core.errors import AcpError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features

Path = tuple[str, ...]
CONVENTION = {
    "image": "image",
    "width": "width",
    "height": "height",
    "bbox": "objects.bbox",
    "category": "objects.category",
    "segmentation": "objects.segmentation",
    "area": "objects.area",
    "id": "objects.id",
    "relations": "relations",
}
"""Where each part is looked for, unless `--column PART=WHERE` names another place."""
OF_OBJECTS = ("bbox", "category", "segmentation", "area", "id")
ENDS = ("subject", "object")
DEEPEST = 8


def named_columns(pairs: Iterable[str]) -> dict[str, str]:
    """What `--column` says, by part.

    Raises:
        AcpError: no pair, or a part that is not checked.

    >>> named_columns(["bbox=annotations.box"])
    {'bbox': 'annotations.box'}
    """
    named = {}
    for pair in pairs:
        part, equals, place = pair.partition("=")
        if not (equals and place):
            raise AcpError(f"--column {pair}: expected PART=WHERE, such as bbox=objects.boxes")
        if part not in CONVENTION:
            raise AcpError(f"--column {pair}: no part {part!r}; {did_you_mean(part, CONVENTION)}")
        named[part] = place
    return named


@dataclass(frozen=True, slots=True)
class Columns:
    """What of a table can be checked.

    Attributes:
        at: the path of each part of `CONVENTION` that is there and of a fitting type.
        images: further columns of images, which are decoded, too.
        classes: how many names the classes of `category` have; 0 if it has none.
        alike: by name, the lists that have a value for each object.
        relation_lists: by name, the lists that have a value for each relation.
        unread: what is not looked into, each as it is named in a line.
    """

    at: Mapping[str, Path]
    images: tuple[str, ...] = ()
    classes: int = 0
    alike: Mapping[str, Path] = field(default_factory=dict)
    relation_lists: Mapping[str, Path] = field(default_factory=dict)
    unread: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The columns that are looked into."""
        return sorted({*self.images, *(path[0] for path in self.at.values())})

    @property
    def understood(self) -> bool:
        """Whether there is anything to check."""
        return bool(self.images or {"image", "relations", *OF_OBJECTS} & set(self.at))


def columns_of(features: Features, named: Mapping[str, str], *, ours: bool = False) -> Columns:
    """The columns of a table with these features.

    Raises:
        AcpError: a column that was named is not there, or of another type.
    """
    from datasets import Image

    nodes = dict(_nodes(features.arrow_schema))
    at: dict[str, Path] = {}
    for part, usual in CONVENTION.items():
        path = tuple(named.get(part, usual).split("."))
        if _fits(part, nodes, path):
            at[part] = path
        elif part in named:
            raise AcpError(
                f"--column {part}={named[part]}: there is no such column, or its values are of "
                f"another type; the columns are {', '.join(map(str, features))}"
            )
    images = {name for name, each in features.items() if isinstance(each, Image)}
    alike = {part: at[part] for part in OF_OBJECTS if part in at}
    lists = {path: path[-1] for path, (_, depth) in nodes.items() if depth}
    if ours:
        alike = {name: path for path, name in lists.items() if path[:-1] == ("objects",)}
    related = {name: path for path, name in lists.items() if path[:-1] == at.get("relations")}
    return Columns(
        at,
        tuple(name for name in features if name in images and at.get("image") != (name,)),
        _classes(features, at.get("category")),
        alike,
        {name: path for name, path in related.items() if name in (*ENDS, "predicate")},
        () if ours else tuple(_unread(nodes, at, images)),
    )


def _unread(nodes: Iterable[Path], at: Mapping[str, Path], images: set[str]) -> Iterator[str]:
    read = {path[:end] for path in at.values() for end in range(1, len(path) + 1)}
    read |= {(name,) for name in images}
    whole = {*at.values(), *((name,) for name in images)}
    for path in nodes:
        parent = path[:-1]
        if path not in read and (not parent or (parent in read and parent not in whole)):
            yield ".".join(path)


Node = tuple["pa.DataType", int]


def _nodes(
    fields: Iterable[pa.Field], above: Path = (), lists: int = 0
) -> Iterator[tuple[Path, Node]]:
    """Columns and fields by their paths: the type of the values, and in how many lists they are."""
    for each in fields:
        type_, depth = each.type, lists
        while _is(type_, "list", "large_list", "fixed_size_list"):
            type_, depth = type_.value_type, depth + 1
        path = (*above, each.name)
        yield path, (type_, depth)
        if _is(type_, "struct") and len(path) < DEEPEST:
            yield from _nodes(type_, path, depth)


def _is(type_: pa.DataType, *kinds: str) -> bool:
    import pyarrow.types

    return any(getattr(pyarrow.types, f"is_{kind}")(type_) for kind in kinds)


def _is_image(type_: pa.DataType) -> bool:
    """Whether values are contents of files: bytes, or `{"bytes", "path"}`."""
    if not _is(type_, "struct"):
        return _is(type_, "binary", "large_binary")
    types = {each.name: each.type for each in type_}
    path, content = types.get("path"), types.get("bytes")
    of_path = path is None or _is(path, "string", "large_string", "null")
    of_bytes = content is not None and _is(content, "binary", "large_binary")
    return of_bytes and of_path and set(types) <= {"bytes", "path"}


NUMBER, KEY = ("integer", "floating"), ("integer", "string", "large_string")
_KINDS = {"width": (0, NUMBER), "height": (0, NUMBER), "bbox": (2, NUMBER), "category": (1, KEY)}
_KINDS |= {"area": (1, NUMBER), "id": (1, KEY)}
"""In how many lists the values of a part are, and of which types they may be."""


def _fits(part: str, nodes: Mapping[Path, Node], path: Path) -> bool:
    if part == "relations":
        ends = [nodes.get((*path, end)) for end in ENDS]
        return all(end is not None and end[1] == 1 and _is(end[0], "integer") for end in ends)
    if path not in nodes:
        return False
    type_, lists = nodes[path]
    if part == "image":
        return not lists and _is_image(type_)
    if part == "segmentation":
        return lists > 1 or (lists == 1 and _is(type_, "struct"))
    depth, kinds = _KINDS[part]
    return lists == depth and _is(type_, *kinds)


def _classes(features: Features, path: Path | None) -> int:
    from datasets import ClassLabel

    found: Any = features
    for name in path or ():
        found = getattr(found, "feature", found)
        found = found.get(name) if isinstance(found, dict) else None
    found = getattr(found, "feature", found)
    return len(found.names or ()) if isinstance(found, ClassLabel) else 0


def value_at(value: Any, path: Path) -> Any:
    """What stands at a path of a row; where a list is on the way, the list of what is in each.

    >>> value_at({"objects": [{"id": 1}, {"id": 2}]}, ("objects", "id"))
    [1, 2]
    """
    for place, name in enumerate(path):
        if isinstance(value, list):
            return [value_at(each, path[place:]) for each in value]
        value = value.get(name) if isinstance(value, dict) else None
    return value
