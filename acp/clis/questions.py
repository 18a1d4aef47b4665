"""What CLIS-I asks about an image, of whom, and how: settings, questions, answers kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, TypeVar

import numpy as np
from PIL import Image
from pydantic import Field, model_validator

from acp.core.cache import AnswerCache, answer_key
from acp.core.config import Settings
from acp.core.prompts import Prompt, load_prompt
from acp.core.seeds import derive_seed
from acp.core.types import BoxConvention, Failure, FloatArray, ImageArray, ModelInfo
from acp.core.vocabulary import categories, plain


class ClisISettings(Settings):
    """What CLIS-I asks and how it adds up; the weights are those of the paper."""

    global_weight: float = Field(0.5, ge=0, le=1, description="of the whole image")
    instances_weight: float = Field(0.5, ge=0, le=1, description="of the mean of the objects")
    region_weight: float = Field(0.8, ge=0, le=1, description="of the box on the full image")
    crop_weight: float = Field(0.2, ge=0, le=1, description="of the box cut out")
    box_convention: Literal["auto", BoxConvention] = Field(
        "auto",
        description="how the captioner is told of a box, auto: as its model was taught; see "
        "docs/clis_image.md",
    )
    caption_prompt: str | None = Field(
        None, description="path of a prompt file in place of acp/data/prompts/caption.md"
    )
    region_prompt: str | None = Field(None, description="likewise, of caption_region.md")
    judge_prompt: str | None = Field(None, description="likewise, of judge.md")
    max_caption_tokens: int = Field(128, ge=8, description="longest answer of the captioner")
    attempts: int = Field(3, ge=1, description="how often a question that fails is asked in all")
    retry_temperature: float = Field(
        0.7, ge=0, le=2, description="of repeated questions; the first takes the likeliest answer"
    )
    seed: int = Field(0, ge=0, description="of repeated questions")

    @classmethod
    def of(cls, options: Settings) -> ClisISettings:
        """Those among the options of a scorer that has them."""
        return cls(**options.model_dump(include=set(cls.model_fields)))

    @model_validator(mode="after")
    def _something_counts(self) -> ClisISettings:
        if not self.global_weight + self.instances_weight:
            raise ValueError("global_weight and instances_weight must not both be 0")
        if not self.region_weight + self.crop_weight:
            raise ValueError("region_weight and crop_weight must not both be 0")
        return self


@dataclass(frozen=True, slots=True)
class Prompts:
    """The three prompts of CLIS-I."""

    whole: Prompt
    region: Prompt
    judge: Prompt

    @classmethod
    def of(cls, settings: ClisISettings) -> Prompts:
        """Those of the package, or of the files that the settings name.

        Raises:
            AcpError: a file cannot be read, or holds other placeholders.
        """
        return cls(
            load_prompt(settings.caption_prompt or "caption", frozenset()),
            load_prompt(settings.region_prompt or "caption_region", frozenset({"box"})),
            load_prompt(settings.judge_prompt or "judge", frozenset({"expected", "caption"})),
        )

    @property
    def captions_version(self) -> str:
        """Of the two prompts of the captioner."""
        return f"{self.whole.version}-{self.region.version}"

    @property
    def version(self) -> str:
        """Of all three."""
        return f"{self.captions_version}-{self.judge.version}"


Box = tuple[float, float, float, float]
Chat = tuple[Mapping[str, str], ...]
Part = Literal["global", "region", "crop"]
LEAST_CROP_PX = 32
"""Captioners refuse smaller pictures: a crop with a shorter side is enlarged to it."""


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """An image (H, W, 3) and what it should show.

    `caption` is meant for the whole; `instances`, N texts such as "brown dog", for the objects in
    `boxes_xywhn` (N, 4).
    """

    image_rgb: ImageArray
    caption: str
    instances: tuple[str, ...]
    boxes_xywhn: FloatArray


@dataclass(frozen=True, slots=True)
class Question:
    """One question to a captioner: the image of its own, what it asks, what should be there.

    `instance` is the object's place in the request, None for the whole; `messages` the chat.
    """

    request: int
    instance: int | None
    part: Part
    image_rgb: ImageArray
    image_hash: str
    messages: Chat
    expected: str
    box_xywhn: Box | None = None


def box_text(box_xywhn: Box, size_wh: tuple[int, int], convention: BoxConvention) -> str:
    """A box as a captioner is told of it, inside the image, and how to read it.

    >>> box_text((0.1, 0.2, 0.5, 0.25), (640, 480), "xyxy_1000")
    '[100, 200, 600, 450] (left, top, right, bottom, on a scale of 0 to 1000)'
    >>> box_text((0.1, 0.2, 0.5, 0.25), (640, 480), "xyxy_px")
    '[64, 96, 384, 216] (left, top, right, bottom, in pixels of 640 x 480)'
    """
    left, top, right, bottom = clipped_xyxy(box_xywhn)
    width, height = size_wh
    sides, unit = _READINGS[convention]
    scale = {"px": (width, height), "norm": (1, 1)}.get(convention.split("_")[1], (1000, 1000))
    named = {"left": left * scale[0], "top": top * scale[1]}
    named |= {"right": right * scale[0], "bottom": bottom * scale[1]}
    write: Callable[[float], str] = "{:.3f}".format if scale == (1, 1) else "{:.0f}".format
    numbers = ", ".join(write(named[side]) for side in sides)
    return f"[{numbers}] ({', '.join(sides)}, {unit.format(width=width, height=height)})"


_XYXY, _YXYX = ("left", "top", "right", "bottom"), ("top", "left", "bottom", "right")
_READINGS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "xyxy_1000": (_XYXY, "on a scale of 0 to 1000"),
    "yxyx_1000": (_YXYX, "on a scale of 0 to 1000"),
    "xyxy_px": (_XYXY, "in pixels of {width} x {height}"),
    "xyxy_norm": (_XYXY, "as shares of the width and height"),
}


def box_problem(box_xywhn: Box) -> str:
    """Why nothing can be asked about a box, or an empty string.

    >>> box_problem((0.1, 0.1, 0.0, 0.2)), box_problem((1.2, 0.1, 0.1, 0.2))
    ('the box has no area', 'the box lies outside the image')
    """
    if not np.isfinite(box_xywhn).all():
        return "the box is not finite"
    if min(box_xywhn[2:]) <= 0:
        return "the box has no area"
    left, top, right, bottom = clipped_xyxy(box_xywhn)
    return "" if right > left and bottom > top else "the box lies outside the image"


def clipped_xyxy(box_xywhn: Box) -> Box:
    """`[x, y, w, h]` to `[x_min, y_min, x_max, y_max]`, cut off at the image's edges."""
    x, y, width, height = box_xywhn
    left, top, right, bottom = np.clip([x, y, x + width, y + height], 0.0, 1.0).tolist()
    return left, top, right, bottom


def crop_of(image_rgb: ImageArray, box_xywhn: Box) -> ImageArray:
    """The pixels that a box touches, enlarged if they are few."""
    height, width = image_rgb.shape[:2]
    left, top, right, bottom = clipped_xyxy(box_xywhn)
    x, y = int(left * width), int(top * height)
    # A hair less than a pixel, so that rounding of a box of whole pixels adds no row.
    end_x = max(x + 1, int(np.ceil(right * width - 1e-3)))
    end_y = max(y + 1, int(np.ceil(bottom * height - 1e-3)))
    crop = np.ascontiguousarray(image_rgb[y:end_y, x:end_x])
    scale = LEAST_CROP_PX / min(crop.shape[:2])
    if scale <= 1:
        return crop
    size_wh = (round(crop.shape[1] * scale), round(crop.shape[0] * scale))
    enlarged = Image.fromarray(crop).resize(size_wh, Image.Resampling.BICUBIC)
    return np.asarray(enlarged, dtype=np.uint8)


def image_hash(image_rgb: ImageArray) -> str:
    """A checksum of size and pixels."""
    digest = hashlib.sha256(str(image_rgb.shape).encode())
    digest.update(np.ascontiguousarray(image_rgb).tobytes())
    return digest.hexdigest()


def request_problem(request: ImageRequest) -> str:
    """What is wrong with a request, or an empty string."""
    image: Any = request.image_rgb
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        return "expected an image of uint8"
    if image.ndim != 3 or image.shape[2] != 3 or min(image.shape) < 1:
        return f"expected an image of shape (height, width, 3), got {image.shape}"
    expected = (len(request.instances), 4)
    found = request.boxes_xywhn.shape
    return "" if found == expected else f"expected boxes of shape {expected}, got {found}"


def questions_of(
    index: int,
    request: ImageRequest,
    whole: Chat,
    about_region: Callable[[Box, tuple[int, int]], Chat],
) -> Iterator[Question]:
    """The questions about one image: the whole, then region and crop of each askable object.

    `whole` is the chat about a picture, `about_region` makes the one about a box on an image of
    some width and height.
    """
    image = request.image_rgb
    hashed = image_hash(image)
    size_wh = (image.shape[1], image.shape[0])
    if request.caption.strip():
        yield Question(index, None, "global", image, hashed, whole, request.caption)
    for instance, (text, box) in enumerate(
        zip(request.instances, boxes_of(request.boxes_xywhn), strict=True)
    ):
        if box_problem(box) or not text.strip():
            continue
        region = about_region(box, size_wh)
        yield Question(index, instance, "region", image, hashed, region, text, box)
        crop = crop_of(image, box)
        yield Question(index, instance, "crop", crop, image_hash(crop), whole, text)


def boxes_of(boxes_xywhn: FloatArray) -> Sequence[Box]:
    """Rows of an (N, 4) array as tuples."""
    return [(x, y, w, h) for x, y, w, h in np.asarray(boxes_xywhn, dtype=np.float64).tolist()]


def instance_text(category: str, attributes: str) -> str:
    """What is expected of an object: its attribute phrase and the noun of its category.

    >>> instance_text("car_(automobile)", "red"), instance_text("Unicorn_foal", "")
    ('red car', 'unicorn foal')
    """
    known = categories().get(category)
    noun = known.noun if known else plain(category)
    return " ".join(filter(None, (" ".join(attributes.split()), noun)))


class Model(Protocol):
    """What CLIS-I needs of whoever answers; the backends of the package are such.

    `chunk`: how many requests are handed over at once.
    """

    chunk: ClassVar[int]

    def load(self) -> None:
        """Bring the model into memory; calling it again does nothing."""

    def info(self) -> ModelInfo:
        """Id, revision and licence; does not need `load()`."""
        ...

    def content_options(self) -> dict[str, Any]:
        """The options that decide what is answered."""
        ...


@dataclass(frozen=True, slots=True)
class CaptionRequest:
    """A question about an image (H, W, 3); the image belongs to the last of `messages`.

    `box_xywhn` is the region that is asked about, None for the whole image. Captioners that read
    the question find it there as well. `temperature` 0 asks for the likeliest answer.
    """

    image_rgb: ImageArray
    messages: tuple[Mapping[str, str], ...]
    seed: int
    max_new_tokens: int = 256
    temperature: float = 0.0
    box_xywhn: tuple[float, float, float, float] | None = None


class Captioner(Model, Protocol):
    """Image and question in, text out."""

    def reads_boxes_as(self, size_wh: tuple[int, int]) -> tuple[BoxConvention, tuple[int, int]]:
        """How the model reads boxes, and the size at which it sees an image of `size_wh`."""
        ...

    def caption(self, requests: Sequence[CaptionRequest]) -> list[str | Failure]:
        """Answers in the order of `requests`; each depends on its own request alone."""
        ...


@dataclass(frozen=True, slots=True)
class JudgeRequest:
    """How well `caption` agrees with `expected`; `messages` is the question in full.

    A judge that reads no questions compares the two texts. `temperature` 0 asks for the likeliest
    answer.
    """

    expected: str
    caption: str
    messages: tuple[Mapping[str, str], ...]
    seed: int
    temperature: float = 0.0


class Judge(Model, Protocol):
    """Expected text and caption in, agreement from 0 (none) to 5 (complete) out."""

    def judge(self, requests: Sequence[JudgeRequest]) -> list[int | Failure]:
        """Integers 0-5 in the order of `requests`; each depends on its own request alone."""
        ...


T = TypeVar("T")
HIGHEST = 5
"""What a judge says of complete agreement; 0 is none."""


def ask_all(
    keys: Sequence[str],
    ask: Callable[[Sequence[int], int], Sequence[T | Failure]],
    valid: Callable[[Any], bool],
    attempts: int,
    chunk: int,
    cache: AnswerCache | None,
) -> list[T | Failure]:
    """An answer for each key, in order.

    Args:
        keys: what makes a question the same as another.
        ask: given places in `keys` and the number of the attempt, answers for these places.
        valid: whether an answer (also one from the cache) is one.
        attempts: how often a question that fails is asked in all.
        chunk: questions handed to `ask`, and answers put into the cache, at once.
        cache: where answers are kept; None for nowhere.
    """
    first: dict[str, int] = {}
    for place, key in enumerate(keys):
        first.setdefault(key, place)
    known = cache.get([*first]) if cache else {}
    answers: dict[str, Any] = {key: value for key, value in known.items() if valid(value)}
    failures: dict[str, Failure] = {}
    for attempt in range(attempts):
        pending = [(key, place) for key, place in first.items() if key not in answers]
        for start in range(0, len(pending), chunk):
            block = pending[start : start + chunk]
            found = ask([place for _, place in block], attempt)
            fresh = dict(zip((key for key, _ in block), found, strict=True))
            good = {key: value for key, value in fresh.items() if valid(value)}
            failures |= {key: _failure(fresh[key]) for key in fresh.keys() - good.keys()}
            answers |= good
            if cache:
                cache.put(good)
    return [answers[key] if key in answers else failures[key] for key in keys]


def _failure(answer: Any) -> Failure:
    return answer if isinstance(answer, Failure) else Failure(f"no usable answer: {answer!r:.80}")


def ask_captioner(
    questions: Sequence[Question],
    captioner: Captioner,
    prompts: str,
    *,
    seed: int = 0,
    attempts: int = 3,
    retry_temperature: float = 0.7,
    max_new_tokens: int = 256,
    cache: AnswerCache | None = None,
) -> list[str | Failure]:
    """A text for each question; `prompts` is the version of the prompts they were made with."""
    identity = ("caption", *_identity(captioner), str(max_new_tokens), prompts)
    keys = [answer_key(*identity, each.image_hash, _words(each)) for each in questions]

    def ask(places: Sequence[int], attempt: int) -> list[str | Failure]:
        captioner.load()
        requests = [
            CaptionRequest(
                questions[place].image_rgb,
                questions[place].messages,
                derive_seed(seed, keys[place], attempt),
                max_new_tokens,
                retry_temperature if attempt else 0.0,
                questions[place].box_xywhn,
            )
            for place in places
        ]
        return [_one_line(answer) for answer in captioner.caption(requests)]

    return ask_all(keys, ask, is_caption, attempts, captioner.chunk, cache)


def ask_judge(
    pairs: Sequence[tuple[str, str]],
    judge: Judge,
    prompt: Prompt,
    *,
    seed: int = 0,
    attempts: int = 3,
    retry_temperature: float = 0.7,
    cache: AnswerCache | None = None,
) -> list[int | Failure]:
    """An integer 0-5 for each pair of an expected text and a caption."""
    texts = [(" ".join(expected.split()), caption) for expected, caption in pairs]
    identity = ("judge", *_identity(judge), prompt.version)
    keys = [answer_key(*identity, expected, caption) for expected, caption in texts]

    def ask(places: Sequence[int], attempt: int) -> list[int | Failure]:
        judge.load()
        requests = [
            JudgeRequest(
                expected,
                caption,
                prompt.messages(expected=expected, caption=caption),
                derive_seed(seed, keys[place], attempt),
                retry_temperature if attempt else 0.0,
            )
            for place in places
            for expected, caption in [texts[place]]
        ]
        return judge.judge(requests)

    return ask_all(keys, ask, is_judgement, attempts, judge.chunk, cache)


def is_judgement(value: Any) -> bool:
    """Whether this is an integer 0-5.

    >>> [is_judgement(value) for value in (3, 6, True, "3", 2.0)]
    [True, False, False, False, False]
    """
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= HIGHEST


def is_caption(value: Any) -> bool:
    """Whether this is a text with something in it."""
    return isinstance(value, str) and bool(value.strip())


def _identity(model: Model) -> tuple[str, str, str]:
    info = model.info()
    return info.id, info.revision, json.dumps(model.content_options(), sort_keys=True)


def _words(question: Question) -> str:
    return json.dumps([[*map(dict, question.messages)], question.box_xywhn])


def _one_line(answer: str | Failure) -> str | Failure:
    return answer if isinstance(answer, Failure) else " ".join(answer.split())
