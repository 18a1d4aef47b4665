"""How a recipe says what a pipeline is called with: values with places for parts of the layout.

A string may hold places in braces. One that is nothing but a place becomes the value itself: a
number for `"{width}"`, a list of four for `"{box}"`. `{each: VALUE}` is a list with VALUE for every
object, `{json: VALUE}` is VALUE as JSON text; everything else is passed on as it stands.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any, Literal

from pydantic import Field

from acp.backends.base import RenderRequest
from acp.backends.models.flux3_caption import ids, noun, phrase
from acp.core.boxes import in_convention
from acp.core.config import Settings

SHARED = ("width", "height", "steps", "guidance_scale")
"""Places that are the same for all requests of a batch."""
OF_SCENE = (*SHARED, "caption", "setting", "negative_prompt", "seed")
OF_OBJECT = ("box", "phrase", "noun", "category", "attributes", "id", "number")


class BoxConvention(Settings):
    """How the pipeline writes a box."""

    order: Literal["xyxy", "xywh", "yxyx", "cxcywh"] = Field(
        "xyxy", description="two corners, a corner and the size, or the middle and the size"
    )
    unit: Literal["normalised", "thousandths", "pixels"] = Field(
        "normalised", description="0-1, 0-1000, or pixels"
    )
    origin: Literal["corner", "centre"] = Field(
        "corner", description="where coordinates count from: top left, or the middle of the image"
    )
    whole: bool = Field(False, description="rounded to whole numbers")

    def written(self, request: RenderRequest) -> list[list[float]] | list[list[int]]:
        """The boxes of a request, [4 numbers each]."""
        found: list[list[float]] = in_convention(
            request.boxes_xywhn, request.size_wh, self.order, self.unit, self.origin
        ).tolist()
        return [[round(value) for value in box] for box in found] if self.whole else found


@dataclass(frozen=True, slots=True)
class Constants:
    """What a recipe sets for all requests."""

    steps: int
    guidance_scale: float
    negative_prompt: str


def check(value: Any, *, inside_each: bool = False) -> None:
    """Whether `value` can be filled in.

    Raises:
        ValueError: a place that there is not, or one of an object outside `each`.
    """
    if isinstance(value, str):
        for place in places(value):
            _check_place(place, inside_each)
    elif _special(value) == "each" and inside_each:
        raise ValueError("`each` inside `each`")
    elif isinstance(value, dict):
        within = inside_each or _special(value) == "each"
        for part in value.values():
            check(part, inside_each=within)
    elif isinstance(value, list):
        for part in value:
            check(part, inside_each=inside_each)


def used(value: Any) -> set[str]:
    """The places in `value`, and "each" where it lists the objects.

    >>> sorted(used({"a": {"each": {"b": "{box}"}}, "c": 1}))
    ['box', 'each']
    """
    if isinstance(value, str):
        return set(places(value))
    if isinstance(value, dict):
        special = {"each"} if _special(value) == "each" else set()
        return special.union(*(used(part) for part in value.values()))
    if isinstance(value, list):
        return set().union(*(used(part) for part in value))
    return set()


def filled_in(
    value: Any, request: RenderRequest, convention: BoxConvention, constants: Constants
) -> Any:
    """`value` with the places filled from a request."""
    width, height = request.size_wh
    scene = {
        "width": width,
        "height": height,
        "steps": constants.steps,
        "guidance_scale": constants.guidance_scale,
        "negative_prompt": constants.negative_prompt,
        "caption": request.graph.caption,
        "setting": request.graph.setting,
        "seed": request.seed,
    }
    return _filled(value, scene, [*_objects(request, convention)])


def places(text: str) -> list[str]:
    """The places in a string, in their order.

    Raises:
        ValueError: braces that do not match, or more than a name between them.

    >>> places("{caption}, in {{braces}}"), places("{width}")
    (['caption'], ['width'])
    """
    found = []
    for _, name, layout, conversion in Formatter().parse(text):
        if name is not None:
            if layout or conversion or not name.isidentifier():
                raise ValueError(f"{text!r}: a place is a name in braces; write {{{{ for a brace")
            found.append(name)
    return found


def _check_place(place: str, inside_each: bool) -> None:
    known = (*OF_SCENE, *OF_OBJECT) if inside_each else OF_SCENE
    if place in known:
        return
    if place in OF_OBJECT:
        raise ValueError(f"{{{place}}} belongs to an object: put it inside `each`")
    near = difflib.get_close_matches(place, known, n=1)
    hint = f"did you mean {{{near[0]}}}?" if near else f"known: {', '.join(known)}"
    raise ValueError(f"there is no place {{{place}}}; {hint}")


def _special(value: Any) -> str | None:
    """ "each" or "json" where `value` is a mapping of that single key."""
    if isinstance(value, dict) and len(value) == 1:
        key = next(iter(value))
        return key if key in {"each", "json"} else None
    return None


def _objects(request: RenderRequest, convention: BoxConvention) -> Iterator[Mapping[str, Any]]:
    names = ids(request.graph, request.boxes_xywhn)
    boxes = convention.written(request)
    for number, (item, box) in enumerate(zip(request.graph.objects, boxes, strict=True), 1):
        yield {
            "box": box,
            "phrase": phrase(item),
            "noun": noun(item),
            "category": item.category,
            "attributes": item.attributes,
            "id": names[number - 1],
            "number": number,
        }


def _filled(value: Any, scene: Mapping[str, Any], objects: list[Mapping[str, Any]]) -> Any:
    special = _special(value)
    if special == "each":
        return [_filled(value["each"], {**scene, **item}, objects) for item in objects]
    if special == "json":
        return json.dumps(_filled(value["json"], scene, objects), ensure_ascii=False)
    if isinstance(value, str):
        return _text(value, scene)
    if isinstance(value, dict):
        return {key: _filled(part, scene, objects) for key, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, scene, objects) for part in value]
    return value


def _text(text: str, values: Mapping[str, Any]) -> Any:
    found = places(text)
    if len(found) == 1 and text == f"{{{found[0]}}}":
        return values[found[0]]
    return Formatter().vformat(text, (), values)
