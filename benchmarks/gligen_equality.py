"""How far GLIGEN's batches are from one by one and from diffusers' own pipeline, on any CPU.

    python benchmarks/gligen_equality.py [--steps 10]

A tiny random model with open gates, float32, four different scenes a batch, each scheduler that
`renderer.scheduler` knows. Printed is the largest difference of any pixel, 0 to 1; the last column
is the smallest that wrong boxes make to any of the images: the others have to be far below it.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from _models import gligen_pipeline, requests, stock_image, stock_pipeline

from acp.backends.models.torch_tools import torch_threads
from acp.backends.render_gligen import Gligen, GligenOptions, Row, SchedulerName
from acp.core.types import Failure, FloatArray

SIZE_WH = (64, 64)


def apart(one: Sequence[FloatArray], other: Sequence[FloatArray]) -> list[float]:
    """The largest difference of each pair of images."""
    return [float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True)]


def drawn(backend: Gligen, rows: Sequence[Row]) -> list[FloatArray]:
    """Float images of the rows, in one batch."""
    return [image for image in backend.draw(rows) if not isinstance(image, Failure)]


def differences(folder: Path, scheduler: Any, steps: int) -> Iterator[float]:
    """To one by one, to the stock pipeline, and to wrong boxes."""
    import diffusers

    asked = requests(4, SIZE_WH)
    backend = Gligen(
        GligenOptions(model=str(folder), dtype="float32", steps=steps, scheduler=scheduler)
    )
    backend.load()
    found = [backend.row_of(each) for each in asked]
    # A forward takes rows of one number of windows; these captions fit into one.
    rows = [row for row in found if not isinstance(row, Failure) and len(row.caption) == 1]
    together = drawn(backend, rows)
    yield max(apart(together, [image for row in rows for image in drawn(backend, [row])]))
    stock = stock_pipeline(folder, "float32", "cpu")
    config = {"clip_sample": False, **stock.scheduler.config}
    stock.scheduler = getattr(diffusers, scheduler).from_config(config)
    yield max(apart(together, [stock_image(stock, each, steps) for each in asked]))
    wrong = [replace(row, boxes_xyxyn=row.boxes_xyxyn[:, ::-1].copy()) for row in rows]
    yield min(apart(together, drawn(backend, wrong)))


def main() -> None:
    parser = argparse.ArgumentParser(description="GLIGEN's batches against one by one and stock")
    parser.add_argument("--steps", type=int, default=10)
    steps = parser.parse_args().steps
    print("| scheduler | to one by one | to the stock pipeline | wrong boxes, at least |")
    print("| --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as name, torch_threads(1):
        folder = gligen_pipeline("tiny", Path(name), "float32")
        for scheduler in get_args(SchedulerName):
            alone, stock, wrong = differences(folder, scheduler, steps)
            print(f"| {scheduler} | {alone:.1e} | {stock:.1e} | {wrong:.1e} |", flush=True)


if __name__ == "__main__":
    main()
