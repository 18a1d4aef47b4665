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
