"""CLIS-I of rows: their images, captions and objects as questions, a block of images at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from acp.backends.base import Backend, Captioner, Judge
from acp.backends.registry import make_backend
from acp.clis.image import (
    AnswerCache,
    ClisISettings,
    ImageRequest,
    ImageResult,
    instance_text,
    score_images,
)
from acp.clis.image_settings import Prompts
from acp.clis.row_images import image_rgb
from acp.clis.rows import RowColumns
from acp.core.config import validated
from acp.core.errors import AcpError, MissingRequirementError
from acp.core.types import Failure

if TYPE_CHECKING:
    from acp.clis.scoring import ScoreOptions

IMAGES_AT_ONCE = 64
"""Asked about together; decoded images are large."""


def image_lists(
    columns: RowColumns, options: ScoreOptions
) -> tuple[dict[str, Any], dict[str, str | None]]:
    """The lists of CLIS-I, an entry a row, and who made them.

    Raises:
        AcpError: no such captioner or judge, or one that is not installed.
    """
    captioner, judge = backends(options.captioner, options.judge)
    settings = validated(ClisISettings, dict(options.image_settings), where="image_settings")
    cache, found = AnswerCache(), []
    for start in range(0, len(columns), IMAGES_AT_ONCE):
        places = range(start, min(start + IMAGES_AT_ONCE, len(columns)))
        found += _block(columns, places, captioner, judge, settings, cache)
    counts = np.diff(columns.box_starts).tolist()
    judged = [_Judged.of(each, count) for each, count in zip(found, counts, strict=True)]
    names = ("clis_i", "clis_i_global", "clis_i_instances", "clis_i_reason")
    lists = {name: [getattr(each, name) for each in judged] for name in names}
    return lists, {
        "captioner": str(captioner.info()),
        "judge": str(judge.info()),
        "prompt_version": Prompts.of(settings).version,
    }


class _Judged(NamedTuple):
    """What is listed of a row."""

    clis_i: float | None
    clis_i_global: float | None
    clis_i_instances: list[float | None]
    clis_i_reason: str | None

    @classmethod
    def of(cls, result: ImageResult | Failure, objects: int) -> _Judged:
        if isinstance(result, Failure):
            return cls(None, None, [None] * objects, result.reason)
        said = [f"object {i}: {why}" for i, why in enumerate(result.instance_reasons) if why]
        reason = "; ".join([result.reason, *said] if result.reason else said)
        return cls(
            result.clis_i, result.clis_i_global, list(result.clis_i_instances), reason or None
        )


def backends(captioner: Any, judge: Any) -> tuple[Captioner, Judge]:
    """The captioner and the judge that a call names: by name, as `{"backend": name, **options}` or
    as they are; the judge is the captioner's namesake unless given.

    Raises:
        AcpError: there is none of that name, or it does not run here.
    """
    found = []
    for kind, given, base in (
        ("captioner", captioner, Captioner),
        ("judge", captioner if judge is None else judge, Judge),
    ):
        spec = {"backend": given} if isinstance(given, str) else given
        backend = spec if isinstance(spec, Backend) else make_backend(kind, _mapping(kind, spec))
        if not isinstance(backend, base):
            raise AcpError(f"{kind}: {type(backend).__name__} is none")
        for missing in backend.missing():
            raise MissingRequirementError(
                f"{kind} {backend.name}: {missing.what} is missing; {missing.mend}"
            )
        found.append(backend)
    return found[0], found[1]  # type: ignore[return-value]


def _mapping(kind: str, spec: Any) -> Mapping[str, Any]:
    if not isinstance(spec, Mapping):
        raise AcpError(f"{kind}: expected a name or a dict with backend, got {spec!r}")
    return spec


def _block(
    columns: RowColumns,
    places: range,
    captioner: Captioner,
    judge: Judge,
    settings: ClisISettings,
    cache: AnswerCache,
) -> list[ImageResult | Failure]:
    requests = [_request(columns, place) for place in places]
    asked = [request for request in requests if not isinstance(request, Failure)]
    answers = iter(score_images(asked, captioner, judge, settings, cache))
    return [each if isinstance(each, Failure) else next(answers) for each in requests]


def _request(columns: RowColumns, place: int) -> ImageRequest | Failure:
    image = columns.images[place]
    pixels = Failure("no image") if image is None else image_rgb(image)
    if isinstance(pixels, Failure):
        return pixels
    start, stop = columns.box_starts[place : place + 2].tolist()
    size = [columns.width[place], columns.height[place]] * 2
    names = columns.category.names
    return ImageRequest(
        pixels,
        columns.captions[place],
        tuple(
            instance_text(names[columns.category.codes[i]], columns.attributes[i])
            for i in range(start, stop)
        ),
        np.asarray(columns.boxes_xywh[start:stop] / size, dtype=np.float32),
    )
