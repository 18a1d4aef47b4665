"""Speed and memory of the GPU backends: models of the real architecture and size, random weights.

    python benchmarks/gpu.py                           # on a GPU, about 10 minutes
    python benchmarks/gpu.py --size tiny               # the same code on a CPU, a minute

Weights do not change the speed, so none are fetched: each model is built from its configuration,
saved to a folder and loaded back by the backend that a recipe names. In one run:

- images: `gligen` (SD 1.4's size, 512 px, 50 steps, float16), batches of different scenes with and
  without compilation, against diffusers' own pipeline called once a scene; what that gives with
  four candidates of a scene in a call is shown too;
- masks: `sam2` (SAM 2.1 large), images with four boxes each, batches against one by one;
- captions: `transformers` (about 2 B), batches against one by one.

The first row of each table is what the others are compared with.
"""

from __future__ import annotations

import argparse
import gc
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from _models import gligen_pipeline, requests, stock_image, stock_pipeline
from _vision_models import save_sam2, save_vlm

from acp.backends.base import CaptionRequest, RenderRequest, SegmentRequest
from acp.backends.registry import make_backend
from acp.core.boxes import as_boxes
from acp.core.types import Failure, FloatArray, Rendering


@dataclass(frozen=True)
class Way:
    """How fast one way of doing it was: items a second, peak memory, seconds before the first."""

    name: str
    per_s: float
    peak_gb: float
    first_s: float
    difference: str = ""


@dataclass(frozen=True)
class Sizes:
    """How much is done. `dtype` is what diffusion and captions are measured in."""

    side_px: int
    steps: int
    images: int
    batches: tuple[int, ...]
    compiled: tuple[int, ...]
    tokens: int
    rounds: int
    dtype: str


REAL = Sizes(512, 50, 16, (1, 4, 8, 16), (8, 16), 64, 3, "float16")
TINY = Sizes(64, 4, 8, (1, 4, 8), (), 8, 2, "float32")


def measure(name: str, work: Callable[[], Any], sizes: Sizes) -> tuple[Way, Any]:
    """`work` does all items of a part: the median of the rounds after a first call."""
    _reset_peak()
    started = time.perf_counter()
    work()
    first, seconds, result = time.perf_counter() - started, [], None
    for _ in range(sizes.rounds):
        started = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - started)
    return Way(name, sizes.images / float(np.median(seconds)), _peak_gb(), first), result


def _reset_peak() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _peak_gb() -> float:
    """Peak memory of the GPU, or of the process where there is none."""
    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated()) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


@contextmanager
def backend(kind: str, **spec: Any) -> Iterator[Any]:
    """A loaded backend; its memory is given back at the end."""
    made = make_backend(kind, spec)
    made.load()
    try:
        yield made
    finally:
        made.unload()
        _reset_peak()


def images(folder: Path, sizes: Sizes) -> list[Way]:
    """GLIGEN: the stock pipeline, then our batches."""
    asked = requests(sizes.images, (sizes.side_px, sizes.side_px))
    options = {"model": str(folder), "steps": sizes.steps, "dtype": sizes.dtype}
    ways, expected = _stock_ways(folder, asked, sizes)
    fast = {"compile": True, "channels_last": True}
    plans: list[tuple[int, dict[str, bool]]] = [(batch, {}) for batch in sizes.batches]
    plans += [(batch, fast) for batch in sizes.compiled]
    for batch, more in plans:
        name = f"gligen, batches of {batch}{', compiled, channels last' * bool(more)}"
        with backend("renderer", backend="gligen", batch_size=batch, **options, **more) as ours:
            way, drawn = measure(name, partial(ours.render, asked), sizes)
        ways.append(replace(way, difference=_grey_levels(drawn, expected)))
    return ways


def _stock_ways(
    folder: Path, asked: Sequence[RenderRequest], sizes: Sizes
) -> tuple[list[Way], list[FloatArray]]:
    pipeline = stock_pipeline(folder, sizes.dtype, device())
    one, images = measure(
        "diffusers, once a scene",
        lambda: [stock_image(pipeline, each, sizes.steps) for each in asked],
        sizes,
    )
    four, _ = measure(
        "diffusers, once a scene, 4 candidates a call",
        lambda: [stock_image(pipeline, e, sizes.steps, candidates=4) for e in asked[::4]],
        sizes,
    )
    return [one, four], images


def _grey_levels(drawn: Sequence[Rendering | Failure], expected: Sequence[FloatArray]) -> str:
    """Mean and greatest difference of images, in grey levels of 255."""
    failed = next((each for each in drawn if isinstance(each, Failure)), None)
    if failed:
        return f"failed: {failed.reason}"
    found = np.stack([each.image_rgb for each in drawn if isinstance(each, Rendering)])
    apart = np.abs(found.astype(np.float32) - np.stack(expected) * 255)
    return f"mean {apart.mean():.2f}, most {apart.max():.1f} grey levels"


def equality(folder: Path, sizes: Sizes) -> str:
    """Our batch in float32 against the stock pipeline one by one."""
    asked, steps = requests(4, (sizes.side_px, sizes.side_px)), min(sizes.steps, 10)
    pipeline = stock_pipeline(folder, "float32", device())
    expected = [stock_image(pipeline, each, steps) for each in asked]
    del pipeline
    _reset_peak()
    options = {"model": str(folder), "steps": steps, "dtype": "float32", "batch_size": 4}
    with backend("renderer", backend="gligen", **options) as ours:
        drawn = ours.render(asked)
    return f"float32, {steps} steps, 4 scenes in a batch: {_grey_levels(drawn, expected)}"


def masks(folder: Path, sizes: Sizes) -> list[Way]:
    """SAM 2: images of four boxes each."""
    draw = np.random.default_rng(0)
    shape = (sizes.side_px, sizes.side_px, 3)
    boxes = as_boxes([[x, y, 0.35, 0.35] for x in (0.1, 0.55) for y in (0.1, 0.55)])
    asked = [
        SegmentRequest(Rendering(draw.integers(0, 256, shape, dtype=np.uint8)), boxes)
        for _ in range(sizes.images)
    ]
    ways, first = list[Way](), None
    for batch in sizes.batches:
        spec = {"backend": "sam2", "model": str(folder), "batch_size": batch}
        with backend("segmenter", **spec) as ours:
            way, found = measure(f"sam2, batches of {batch}", partial(ours.segment, asked), sizes)
        first = first or found
        same = np.mean([np.mean(a.masks == b.masks) for a, b in zip(found, first, strict=True)])
        ways.append(replace(way, difference=f"{same:.4%} of the pixels agree"))
    return ways


def captions(folder: Path, sizes: Sizes) -> list[Way]:
    """A captioner: one question about each image."""
    draw = np.random.default_rng(0)
    shape = (sizes.side_px, sizes.side_px, 3)
    words = ({"role": "user", "content": "Describe the picture in one sentence."},)
    asked = [
        CaptionRequest(draw.integers(0, 256, shape, dtype=np.uint8), words, i, sizes.tokens)
        for i in range(sizes.images)
    ]
    ways, first = list[Way](), None
    for batch in sizes.batches:
        spec = {"backend": "transformers", "model": str(folder), "batch_size": batch}
        with backend("captioner", **spec) as ours:
            way, found = measure(
                f"transformers, batches of {batch}", partial(ours.caption, asked), sizes
            )
        first = first or found
        same = sum(a == b for a, b in zip(found, first, strict=True))
        ways.append(replace(way, difference=f"{same} of {len(found)} answers the same"))
    return ways


def table(part: str, ways: Sequence[Way]) -> Iterator[str]:
    """Markdown lines; ratios to the first way."""
    unit = "images of 4 masks" if part == "masks" else part
    yield f"| way | {unit} a second | times the first | peak memory | first call | difference |"
    yield "| --- | ---: | ---: | ---: | ---: | --- |"
    for way in ways:
        yield (
            f"| {way.name} | {way.per_s:.2f} | {way.per_s / ways[0].per_s:.1f} "
            f"| {way.peak_gb:.1f} GB | {way.first_s:.0f} s | {way.difference} |"
        )


def quiet() -> None:
    """No bars and warnings between the tables."""
    import diffusers
    import transformers

    for package in (diffusers, transformers):
        package.utils.logging.set_verbosity_error()
        package.utils.logging.disable_progress_bar()


def device() -> str:
    """Where this runs."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def hardware() -> str:
    """Device and versions."""
    import torch

    cuda = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if cuda else f"no GPU, {platform.machine()} CPU"
    packages = ("torch", "diffusers", "transformers", "accelerate")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{device}; {versions}" + (f", CUDA {torch.version.cuda}" if cuda else "")


PARTS: dict[str, tuple[Callable[[Path, Any], Any], Callable[[Path, Sizes], list[Way]]]] = {
    "images": (lambda folder, size: gligen_pipeline(size, folder), images),
    "masks": (save_sam2, masks),
    "captions": (save_vlm, captions),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="speed and memory of the GPU backends")
    parser.add_argument("--size", choices=("real", "tiny"), default="real")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--compile", action="store_true", help="with --size tiny too: minutes")
    arguments = parser.parse_args()
    sizes = REAL if arguments.size == "real" else TINY
    if arguments.compile:
        sizes = replace(sizes, compiled=(8,))
    quiet()
    print(f"{hardware()}\n{sizes}\n", flush=True)
    found: dict[str, list[Way]] = {}
    for part in arguments.parts:
        save, run = PARTS[part]
        with tempfile.TemporaryDirectory() as name:
            save(Path(name), arguments.size)
            found[part] = run(Path(name), sizes)
            print(*table(part, found[part]), "", sep="\n", flush=True)
            if part == "images":
                print(equality(Path(name), sizes), "\n", flush=True)


if __name__ == "__main__":
    main()
