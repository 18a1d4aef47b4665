from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acp.core import boxes


def test_nothing_in_nothing_out() -> None:
    none = boxes.as_boxes([])
    assert boxes.xywhn_to_xywh_px(none, (64, 48)).shape == (0, 4)
    assert boxes.inside(none).shape == (0,)
    assert boxes.sides_shared(none, none).shape == (0, 2)
    assert boxes.masks_to_xywh_px(np.zeros((0, 4, 4), dtype=bool)).shape == (0, 4)


@pytest.mark.parametrize("wrong", [[1, 2, 3, 4], [[1, 2, 3]], [[1, 2, 3, float("nan")]]])
def test_wrong_boxes_are_named(wrong: list[object]) -> None:
    with pytest.raises(ValueError, match="record r17"):
        boxes.as_boxes(wrong, "record r17")


@given(st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 4), max_size=5))
def test_pixels_and_back(values: list[tuple[float, ...]]) -> None:
    given_boxes = boxes.as_boxes(values)
    there = boxes.xywhn_to_xywh_px(given_boxes, (640, 480))
    assert np.allclose(boxes.xywh_px_to_xywhn(there, (640, 480)), given_boxes, atol=1e-6)


def test_an_empty_mask_has_a_box_of_zeros() -> None:
    assert boxes.masks_to_xywh_px(np.zeros((1, 4, 4), dtype=bool)).tolist() == [[0, 0, 0, 0]]


FORMS = {
    "xywh": [320, 120, 64, 240],
    "xyxy": [320, 120, 384, 360],
    "yxyx": [120, 320, 360, 384],
    "cxcywh": [352, 240, 64, 240],
    "xywhn": [0.5, 0.25, 0.1, 0.5],
    "xyxyn": [0.5, 0.25, 0.6, 0.75],
    "yxyxn": [0.25, 0.5, 0.75, 0.6],
    "cxcywhn": [0.55, 0.5, 0.1, 0.5],
    "xyxy1000": [500, 250, 600, 750],
    "yxyx1000": [250, 500, 750, 600],
}


@pytest.mark.parametrize("box_format", boxes.BOX_FORMATS)
def test_every_format_is_read(box_format: str) -> None:
    found = boxes.to_xywh_px([FORMS[box_format]], box_format, [[640, 480]])
    assert found == pytest.approx(np.array([FORMS["xywh"]]))
    assert boxes.in_words(box_format).endswith(("pixels", "of the image"))


@pytest.mark.parametrize(
    ("form", "size", "said"),
    [
        ("xyxy", (640, 480), "xyxy"),
        ("xywhn", (640, 480), "xywhn"),
        ("xyxy1000", (640, 480), "xyxy1000"),
        ("xywh", (640, 480), None),
        ("xywhn", (1, 1), None),
    ],
)
def test_other_formats_are_told_by_the_boxes_that_leave_their_images(
    form: str, size: tuple[int, int], said: str | None
) -> None:
    chance = np.random.default_rng(0)
    start = chance.uniform(0, 0.8, (50, 2))
    shares = np.concatenate([start, chance.uniform(0.1, 1, (50, 2)) * (1 - start)], axis=1)
    scale = {"": (640, 480), "n": (1, 1), "1000": (1000, 1000)}[form[4:]]
    stored = shares * (*scale, *scale)
    if form.startswith("xyxy"):
        stored[:, 2:] += stored[:, :2]
    fits = boxes.box_fits(stored, np.array([size] * 50))
    assert boxes.other_format(fits, "xywh") == said
    assert fits["all"] == 50


def test_formats_of_no_boxes_are_not_guessed() -> None:
    fits = boxes.box_fits(np.zeros((0, 4)), np.zeros((0, 2)))
    assert boxes.other_format(fits, "xywh") is None
