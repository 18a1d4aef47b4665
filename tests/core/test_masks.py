"""Masks of others: decoded as pycocotools does, refused in words where they are broken."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from acp.core.masks import (
    BrokenMaskError,
    check_polygons,
    check_rle,
    decode_rle,
    polygons_to_mask,
    uncompressed,
)

SQUARE = [1.0, 1.0, 4.0, 1.0, 4.0, 3.0, 1.0, 3.0]
POINTS = [[1.0, 1.0], [4.0, 1.0], [4.0, 3.0], [1.0, 3.0]]


@settings(deadline=None, max_examples=60)
@given(arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_run_lengths_are_those_of_pycocotools(mask: Any) -> None:
    height, width = mask.shape
    code = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    runs = uncompressed(code["counts"]).tolist()
    for counts in (code["counts"], code["counts"].decode(), runs):
        rle = {"size": [height, width], "counts": counts}
        assert (decode_rle(rle, (width, height)) == mask).all()
        if not mask.any():
            with pytest.raises(BrokenMaskError, match="is empty"):
                check_rle(rle, (width, height))
            continue
        found = check_rle(rle, (width, height))
        assert found.box_xywh_px == tuple(coco_mask.toBbox(code))
        assert found.area == mask.sum()


WRAPPING = 3 * "PPPPPPPPPPP8" + 61 * "0"
"""64 runs of 2**58 pixels, compressed."""
SIDES = st.integers(1, 9) | st.integers(-(2**40), 2**40) | st.sampled_from([0, 2**16, 2**32, None])
COUNTS = (
    st.binary(max_size=30)
    | st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=90)
    | st.lists(st.integers(0, 9) | st.integers(-(2**63), 2**63) | st.none(), max_size=9)
)


@settings(deadline=None, max_examples=400)
@given(COUNTS, SIDES, SIDES)
@example([2**62] * 4, 0, 5)  # their sum wraps around to 0
@example(WRAPPING, 0, 5)  # which ended the process: pycocotools divides by the height
@example([2**32, 2**32], 2**17, 2**16)
@example([0, 2**32 - 1], 1, 2**32 - 1)
def test_no_counts_break_the_check(counts: Any, height: Any, width: Any) -> None:
    rle = {"size": [height, width], "counts": counts}
    with contextlib.suppress(BrokenMaskError):
        assert check_rle(rle).area == decode_rle(rle).sum()


@pytest.mark.parametrize(
    ("rle", "reason"),
    [
        ({"size": [2, 3], "counts": [6]}, "is empty"),
        ({"size": [2, 3], "counts": [1, 9]}, "its runs make 10 pixels of 2x3"),
        ({"size": [2, 3], "counts": [8, -2]}, "its runs make 6 pixels of 2x3"),
        ({"size": [3, 2], "counts": [1, 5]}, r"size \[3, 2\] \(width first\), the image 3x2"),
        ({"size": [2], "counts": [1, 5]}, "no RLE with size and counts"),
        ({"size": ["2", "3"], "counts": [1, 5]}, "no RLE with size and counts"),
        ({"size": [2, 3], "counts": [2**62] * 4}, f"its runs make {2**64} pixels of 2x3"),
        ({"size": [2, 3], "counts": ""}, "counts are cut off"),
        ({"size": [2, 3], "counts": "é"}, "counts are cut off"),
        ({"size": [2, 3], "counts": {"a": 1}}, "counts are cut off"),
        ({"size": [2, 3]}, "counts are cut off"),
        ({"size": [0, 0], "counts": []}, r"size \[0, 0\], which no image has"),
        ({"size": [100_000, 100_000], "counts": [10**10]}, "which no image has"),
        ({"size": [float("nan"), 3], "counts": [6]}, "no RLE with size and counts"),
        ({"size": [2, 3], "counts": [1, None]}, "counts are cut off"),
    ],
)
def test_broken_run_lengths(rle: dict[str, Any], reason: str) -> None:
    size_wh = (3, 2) if rle["size"] in ([2, 3], [3, 2]) else None
    with pytest.raises(BrokenMaskError, match=reason):
        check_rle(rle, size_wh)


@pytest.mark.parametrize("shape", [[SQUARE], SQUARE, POINTS, [POINTS], [POINTS, SQUARE]])
def test_polygons(shape: list[Any]) -> None:
    assert check_polygons(shape, (5, 5)).box_xywh_px == (1, 1, 3, 2)
    mask = polygons_to_mask(shape, (5, 6))
    assert mask.shape == (6, 5)
    assert mask[1:3, 1:4].all()
    assert mask.sum() == 6


def test_normalised_polygons() -> None:
    found = check_polygons([[value / 10 for value in SQUARE]], (10, 10), scale_wh=(10, 10))
    assert found.box_xywh_px == pytest.approx((1, 1, 3, 2))


@pytest.mark.parametrize(
    ("polygon", "reason"),
    [
        ([], "no polygon"),
        ([1.0, 2.0, 3.0], "3 numbers"),
        ([[1.0, 2.0], [3.0, 4.0]], "4 numbers"),
        (["a"] * 6, "something else than numbers"),
        ([None, 1.0, 2.0, 2.0, 3.0, 3.0], "not finite"),
        ([9.0, 9, 0, 0, 0, 9], "outside the image of 5x5"),
        ([2e8, 1, 0, 0, 0, 1], "outside the image of 5x5"),
        ([0.0, 0, 5, 5] * 500_000, "an outline of"),
    ],
)
def test_broken_polygons(polygon: list[Any], reason: str) -> None:
    for read in (check_polygons, polygons_to_mask):
        with pytest.raises(BrokenMaskError, match=reason):
            read([polygon], (5, 5))
