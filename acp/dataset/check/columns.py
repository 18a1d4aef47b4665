"""Which columns of a table hold images, sizes, objects, relations and ids: told by names and types.

Objects may be a struct of lists, a list of structs, or lists side by side at the top; all of them,
or the size, may stand in a struct `json` (WebDataset).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features

Path = tuple[str, ...]
_BOX = re.compile(
    r"(\w+_)?(bbox|bboxes|box|boxes|bndbox|bounding_box|bounding_boxes)"
    r"(_?(xyxyn?|xywhn?|cxcywhn?|yxyxn?))?"
)
_IMAGE = re.compile(r"(\w+_)?(image|img|jpe?g|png|webp|picture|photo|image_?bytes)")
_ROLES = {
    "segmentation": re.compile(r"segmentations?|segm|rles?|polygons?|masks?"),
    "area": re.compile(r"areas?"),
    "id": re.compile(r"(object_|annotation_|ann_|bbox_)?ids?"),
    "category": re.compile(r"categor(y|ies)(_ids?)?|labels?|class(es)?"),
}
_SIDES = (
    ("xywh", ("x", "y", "w", "h")),
    ("xywh", ("x", "y", "width", "height")),
    ("xyxy", ("xmin", "ymin", "xmax", "ymax")),
    ("xyxy", ("x_min", "y_min", "x_max", "y_max")),
    ("xyxy", ("x1", "y1", "x2", "y2")),
)


@dataclass(frozen=True, slots=True)
class Group:
    """Where the objects of a row are. `fields`: role (bbox, segmentation, ...) to the field."""

    path: Path
    style: Literal["lists", "structs"]
    fields: Mapping[str, str]
    parallel: tuple[str, ...] = ()
    classes: Mapping[str, int] = field(default_factory=dict)
    """Fields of classes, with how many classes there are."""
    box_sides: tuple[str, ...] = ()
    """Names of the four numbers, if a box is a struct."""

    @property
    def label(self) -> str:
        """The objects as they are named in a line."""
        return ".".join(self.path)


@dataclass(frozen=True, slots=True)
class Columns:
    """What can be checked in the rows of a configuration."""

    images: tuple[str, ...] = ()
    width: Path | None = None
    height: Path | None = None
    image_id: Path | None = None
    objects: Group | None = None
    relations: Group | None = None

    @property
    def image(self) -> str | None:
        """The image that the size and the boxes belong to."""
        return self.images[0] if self.images else None


def find_columns(features: Features, schema: pa.Schema) -> Columns:
    """The columns of a table that a check knows how to read."""
    return Columns(
        images=tuple(_images(features, schema)),
        width=_number(schema, ("width", "image_width", "img_width")),
        height=_number(schema, ("height", "image_height", "img_height")),
        image_id=_place(schema, ("image_id",)),
        objects=_objects(features, schema),
        relations=_relations(schema),
    )


def sides_of(columns: Columns) -> tuple[str, str]:
    """The order of a box that names tell, or "", and whether the name says that it is normalised
    ("n")."""
    group = columns.objects
    if group is None or "bbox" not in group.fields:
        return "", ""
    for order, names in _SIDES:
        if names == group.box_sides:
            return order, ""
    match = _BOX.fullmatch(group.fields["bbox"].lower())
    told = (match.group(4) or "") if match else ""
    return told.rstrip("n"), "n" if told.endswith("n") else ""


def _images(features: Features, schema: pa.Schema) -> Iterator[str]:
    from datasets import Image

    declared = [name for name, feature in features.items() if isinstance(feature, Image)]
    lists = [n for n, f in features.items() if isinstance(getattr(f, "feature", None), Image)]
    guessed = [f.name for f in schema if f.name not in declared and _looks_like_image(f)]
    yield from sorted(declared, key=lambda name: name not in ("image", "img"))
    yield from (*guessed, *lists)


def _looks_like_image(field_: pa.Field) -> bool:
    """By name and type, where no feature tells."""
    name, type_ = field_.name.lower(), field_.type
    if is_list(type_):
        name, type_ = name.removesuffix("s"), type_.value_type
    return _IMAGE.fullmatch(name) is not None and _is_file(type_)


def _is_file(type_: pa.DataType) -> bool:
    """Whether values are contents of files: bytes, or `{"bytes", "path"}`."""
    import pyarrow as pa

    types = pa.types
    if types.is_struct(type_):
        fields = {inner.name: inner.type for inner in type_}
        path = fields.get("path", pa.string())
        named = any(is_(path) for is_ in (types.is_string, types.is_large_string, types.is_null))
        only = {"bytes"} <= set(fields) <= {"bytes", "path"}
        return only and named and _is_bytes(fields["bytes"])
    return _is_bytes(type_)


def _is_bytes(type_: pa.DataType) -> bool:
    import pyarrow.types as kinds

    return bool(
        kinds.is_binary(type_) or kinds.is_large_binary(type_) or kinds.is_binary_view(type_)
    )


def unread(columns: Columns, schema: pa.Schema) -> Iterator[str]:
    """Columns that hold files or name images, none of which is looked into."""
    import pyarrow as pa

    for each in schema:
        if each.name in columns.images:
            continue
        type_ = each.type.value_type if is_list(each.type) else each.type
        if _is_file(type_):
            yield f"{each.name} holds files that are taken for no images, so none is opened"
        elif _IMAGE.fullmatch(each.name.lower()) and (
            pa.types.is_string(type_) or pa.types.is_large_string(type_)
        ):
            yield f"{each.name} holds strings, no images, so none is opened"
        elif _BOX.fullmatch(each.name.lower()) and _box_sides(each.type) is not None:
            yield f"{each.name} is one box a row, which is not compared with the image"


def _scopes(schema: pa.Schema) -> Iterator[tuple[Path, list[pa.Field]]]:
    import pyarrow as pa

    yield (), list(schema)
    for each in schema:
        if each.name == "json" and pa.types.is_struct(each.type):
            yield (each.name,), list(each.type)


def _place(schema: pa.Schema, names: tuple[str, ...]) -> Path | None:
    for path, fields in _scopes(schema):
        for name in names:
            if any(each.name == name for each in fields):
                return (*path, name)
    return None


def _number(schema: pa.Schema, names: tuple[str, ...]) -> Path | None:
    import pyarrow as pa

    path = _place(schema, names)
    fields: Any = schema
    for name in path or ():
        found = fields.field(name)
        fields = found.type
    return path if path and (pa.types.is_integer(fields) or pa.types.is_floating(fields)) else None


def is_list(type_: pa.DataType) -> bool:
    """Whether it is a list of any sort."""
    import pyarrow.types as kinds

    return bool(
        kinds.is_list(type_) or kinds.is_large_list(type_) or kinds.is_fixed_size_list(type_)
    )


def _objects(features: Features, schema: pa.Schema) -> Group | None:
    groups = [group for group in _groups(features, schema) if group.fields]
    named = [group for group in groups if group.path[-1:] == ("objects",)]
    boxed = [g for g in groups if {"bbox", "segmentation"} & set(g.fields)]
    return next(iter([*[g for g in boxed if g in named], *boxed, *named]), None)


def _groups(features: Features, schema: pa.Schema) -> Iterator[Group]:
    import pyarrow as pa

    for path, fields in _scopes(schema):
        for each in fields:
            place = (*path, each.name)
            if pa.types.is_struct(each.type):
                inner = [(f.name, f.type.value_type) for f in each.type if is_list(f.type)]
                yield _group(features, place, "lists", inner)
            elif is_list(each.type) and pa.types.is_struct(each.type.value_type):
                inner = [(f.name, f.type) for f in each.type.value_type]
                yield _group(features, place, "structs", inner)
        beside = [(f.name, f.type.value_type) for f in fields if is_list(f.type)]
        group = _group(features, path, "lists", beside)
        if "bbox" in group.fields:
            yield group


def _group(
    features: Features,
    path: Path,
    style: Literal["lists", "structs"],
    inner: list[tuple[str, pa.DataType]],
) -> Group:
    roles: dict[str, str] = {}
    sides: tuple[str, ...] = ()
    for name, type_ in inner:
        found = _box_sides(type_)
        if _BOX.fullmatch(name.lower()) and found is not None and "bbox" not in roles:
            roles["bbox"], sides = name, found
        for role, pattern in _ROLES.items():
            if pattern.fullmatch(name.lower()) and role not in roles and _fits(role, type_):
                roles[role] = name
    names = [name for name, _ in inner]
    at_top = not path or path[-1] == "json"
    parallel = [n for n in names if n in roles.values()] if at_top else names
    classes = {name: count for name in names if (count := _classes(features, (*path, name)))}
    return Group(path, style, roles, tuple(parallel) if style == "lists" else (), classes, sides)


def _fits(role: str, type_: pa.DataType) -> bool:
    import pyarrow as pa

    if role == "segmentation":
        return is_list(type_) or pa.types.is_struct(type_)
    if role == "area":
        return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_))
    return not is_list(type_) and not pa.types.is_struct(type_)


def _box_sides(type_: pa.DataType) -> tuple[str, ...] | None:
    """The names of the numbers of a box: () for a list of numbers, None for what is no box."""
    import pyarrow as pa

    def number(kind: pa.DataType) -> bool:
        return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))

    if is_list(type_):
        return () if number(type_.value_type) else None
    if pa.types.is_struct(type_):
        fields = {each.name: each.type for each in type_}
        for _, names in _SIDES:
            if set(names) <= set(fields) and all(number(fields[name]) for name in names):
                return names
    return None


def _classes(features: Features, path: Path) -> int:
    from datasets import ClassLabel

    found: Any = features
    for name in path:
        found = getattr(found, "feature", found)
        found = found.get(name) if isinstance(found, dict) else None
    found = getattr(found, "feature", found)
    return len(found.names) if isinstance(found, ClassLabel) and found.names else 0


def _relations(schema: pa.Schema) -> Group | None:
    import pyarrow as pa

    for path, fields in _scopes(schema):
        for each in fields:
            if each.name not in ("relations", "relationships"):
                continue
            if pa.types.is_struct(each.type):
                inner = {f.name: f.type.value_type for f in each.type if is_list(f.type)}
                style: Literal["lists", "structs"] = "lists"
            elif is_list(each.type) and pa.types.is_struct(each.type.value_type):
                inner, style = {f.name: f.type for f in each.type.value_type}, "structs"
            else:
                continue
            names = [name for name in ("subject", "object") if name in inner]
            ends = {name: name for name in names if pa.types.is_integer(inner[name])}
            if len(ends) == 2:
                parallel = tuple(inner) if style == "lists" else ()
                return Group((*path, each.name), style, ends, parallel)
    return None
