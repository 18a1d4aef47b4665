"""Which columns hold what: those of ours, the convention of the field, or as `--column` says.

The convention: `image`, `width`, `height`, `image_id`, and `objects` with `bbox`, `category`,
`segmentation`, `area` and `id`, a struct of lists or a list of structs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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

    schema = features.arrow_schema
    at: dict[str, Path] = {}
    for part, usual in CONVENTION.items():
        path = tuple(named.get(part, usual).split("."))
        if _fits(part, schema, path):
            at[part] = path
        elif part in named:
            there = ", ".join(map(str, schema.names))
            raise AcpError(
                f"--column {part}={named[part]}: there is no such column, or its values are of "
                f"another type; the columns are {there}"
            )
    images = [name for name, each in features.items() if isinstance(each, Image)]
    alike = {part: at[part] for part in OF_OBJECTS if part in at}
    if ours and "objects" in schema.names:
        alike = _inner_lists(schema, ("objects",), _names(schema.field("objects").type))
    relation_lists = {}
    if "relations" in at:
        relation_lists = _inner_lists(schema, at["relations"], [*ENDS, "predicate"])
    return Columns(
        at,
        tuple(name for name in images if at.get("image") != (name,)),
        _classes(features, at.get("category")),
        alike,
        relation_lists,
        () if ours else tuple(_unread(schema, at, images)),
    )


def _inner_lists(schema: pa.Schema, path: Path, names: list[str]) -> dict[str, Path]:
    return {name: (*path, name) for name in names if element(schema, (*path, name)) is not None}


def _unread(schema: pa.Schema, at: Mapping[str, Path], images: list[str]) -> Iterable[str]:
    read = {".".join(path[:end]) for path in at.values() for end in range(1, len(path) + 1)}
    read |= set(images)
    for each in schema:
        inner = each.type.value_type if is_list(each.type) else each.type
        if each.name not in read:
            yield each.name
        elif _is(inner, "struct") and each.name not in images and (each.name,) not in at.values():
            fields = (f"{each.name}.{one.name}" for one in inner)
            yield from (name for name in fields if name not in read)


# Types.


def _is(type_: pa.DataType, *kinds: str) -> bool:
    import pyarrow.types

    return any(getattr(pyarrow.types, f"is_{kind}")(type_) for kind in kinds)


def is_list(type_: pa.DataType) -> bool:
    """Whether it is a list of any sort."""
    return _is(type_, "list", "large_list", "fixed_size_list")


def _is_number(type_: pa.DataType) -> bool:
    return _is(type_, "integer", "floating")


def _is_key(type_: pa.DataType) -> bool:
    return _is(type_, "integer", "string", "large_string")


def _is_image(type_: pa.DataType) -> bool:
    """Whether values are contents of files: bytes, or `{"bytes", "path"}`."""
    if not _is(type_, "struct"):
        return _is(type_, "binary", "large_binary")
    types = {each.name: each.type for each in type_}
    path = types.get("path")
    of_path = path is None or _is(path, "string", "large_string", "null")
    content = types.get("bytes")
    of_bytes = content is not None and _is(content, "binary", "large_binary")
    return of_bytes and of_path and set(types) <= {"bytes", "path"}


_KINDS: dict[str, Callable[[pa.DataType], bool]] = {
    "image": _is_image,
    "width": _is_number,
    "height": _is_number,
    "bbox": lambda type_: is_list(type_) and _is_number(type_.value_type),
    "category": _is_key,
    "segmentation": lambda type_: is_list(type_) or _is(type_, "struct"),
    "area": _is_number,
    "id": _is_key,
}


def _fits(part: str, schema: pa.Schema, path: Path) -> bool:
    if part == "relations":
        ends = [element(schema, (*path, end)) for end in ENDS]
        return all(end is not None and _is(end, "integer") for end in ends)
    found = (element if part in OF_OBJECTS else _value)(schema, path)
    return found is not None and _KINDS[part](found)


def _value(schema: pa.Schema, path: Path) -> pa.DataType | None:
    """The type of a column, or of a field of structs."""
    type_: Any = schema
    for name in path:
        if name not in ([*type_.names] if type_ is schema else _names(type_)):
            return None
        type_ = type_.field(name).type
    return type_


def element(schema: pa.Schema, path: Path) -> pa.DataType | None:
    """The type of the values in the lists of a path, of which one step may be a list; None if there
    are no such lists."""
    type_, inside = _value(schema, path[:1]), False
    for name in path[1:]:
        if type_ is not None and is_list(type_) and not inside:
            type_, inside = type_.value_type, True
        if type_ is None or name not in _names(type_):
            return None
        type_ = type_.field(name).type
    if inside or type_ is None:
        return type_
    return type_.value_type if is_list(type_) else None


def _names(type_: pa.DataType) -> list[str]:
    return [each.name for each in type_] if _is(type_, "struct") else []


def _classes(features: Features, path: Path | None) -> int:
    from datasets import ClassLabel

    found: Any = features
    for name in path or ():
        found = getattr(found, "feature", found)
        found = found.get(name) if isinstance(found, dict) else None
    found = found[0] if isinstance(found, list) and found else getattr(found, "feature", found)
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
