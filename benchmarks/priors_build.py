"""Seconds and memory of `acp priors build` on a generated data set of the size of COCO train.

    python benchmarks/priors_build.py [--images 118000] [--folder FOLDER] [--nproc 2]

Writes an instances file (118,000 images, 860,000 boxes of 80 categories, with polygons) and a
captions file (five captions an image, from templates, of the length of COCO's) into a temporary
folder, runs the command in a process of its own, with and without captions, and prints the time,
the time that processors worked on it (which other work on the machine does not change much), the
peak of the memory of all its processes together and the rows written. `--data FOLDER` runs it
on a folder with instances.json and captions.json instead. The generated files are the same each
time.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np

BOXES_PER_IMAGE = 1.016 * 860_000 / 118_000  # no image gets more than 93, as in COCO
CAPTIONS_PER_IMAGE = 5
PLACES = ("street", "beach", "kitchen", "field", "living room", "park", "parking lot", "bathroom")
LOOKS = ("brown", "white", "large", "small", "young", "old", "red", "black and white", "wooden")
ACTS = (
    "sitting on", "standing next to", "riding", "holding", "looking at", "in front of", "with",
    "lying beside", "walking past", "behind", "on top of", "near", "carrying", "eating", "under",
)  # fmt: skip
OF_TWO = (
    "A {look} {a} {act} a {b} in a {place}.",
    "A {a} is {act} a {look} {b} while people look on.",
    "There is a {a} {act} the {look} {b} at the side of a {place}.",
    "Two {look} things and a {a} {act} some {b} near a {place}.",
)
OF_FEWER = (
    "A {look} {a} in the middle of a {place} on a sunny day.",
    "The {place} is full of {look} things and looks rather crowded.",
    "A close up of a {look} {a} that was taken in a {place}.",
    "An image of a {place} with lots of different {look} items.",
)
SHARE_OF_TWO = 0.43
"""Captions that name two things of their image, as found in 250 real ones."""


def category_names() -> list[str]:
    """80 plain names, the first of them "person" as in COCO."""
    from acp.core.vocabulary import categories

    common = [c for c in categories().values() if c.frequency == "f" and "(" not in c.name]
    nouns = [c.noun for c in sorted(common, key=lambda c: -c.instance_count)]
    return ["person", *[noun for noun in nouns if noun != "person"][:79]]


def write_data(folder: Path, images: int) -> tuple[Path, Path]:
    """Instances and captions of so many images."""
    rng = np.random.default_rng(0)
    names = category_names()
    weights = 1 / np.arange(1, len(names) + 1)
    counts = np.clip(np.rint(rng.lognormal(1.52, 0.95, images)), 0, 93).astype(int)
    counts = np.clip(np.rint(counts * (BOXES_PER_IMAGE / counts.mean())), 0, 93).astype(int)
    sizes = np.where(rng.random(images)[:, None] < 0.7, (640, 480), (480, 640))
    instances, captions = folder / "instances.json", folder / "captions.json"
    with instances.open("w") as boxes_file, captions.open("w") as captions_file:
        _images(boxes_file, sizes)
        captions_file.write('{"images": [], "annotations": [')
        boxes_file.write('"annotations": [')
        number = 0
        for image, count in enumerate(counts):
            kinds = rng.choice(len(names), size=min(count, 4), p=weights / weights.sum())
            chosen = rng.choice(kinds, size=count) if count else kinds
            for text in _boxes(rng, image, sizes[image], chosen, number):
                boxes_file.write(text if number == 0 else "," + text)
                number += 1
            for place in range(CAPTIONS_PER_IMAGE):
                caption = _caption(rng, [names[k] for k in dict.fromkeys(chosen.tolist())])
                record = {"image_id": image, "id": image * 10 + place, "caption": caption}
                captions_file.write(("," if image or place else "") + json.dumps(record))
        boxes_file.write('], "categories": ')
        json.dump([{"id": i + 1, "name": name} for i, name in enumerate(names)], boxes_file)
        boxes_file.write("}")
        captions_file.write("]}")
    print(f"{images} images, {number} boxes, {images * CAPTIONS_PER_IMAGE} captions")
    return instances, captions


def _images(file: TextIO, sizes: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> None:
    file.write('{"info": {}, "licenses": [], "images": [')
    for image, (width, height) in enumerate(sizes.tolist()):
        name = f"{image:012d}.jpg"
        record = {
            "license": 3,
            "file_name": name,
            "coco_url": f"http://images.example.org/train2017/{name}",
            "height": height,
            "width": width,
            "date_captured": "2013-11-14 11:18:45",
            "id": image,
        }
        file.write(("," if image else "") + json.dumps(record))
    file.write("], ")


def _boxes(
    rng: np.random.Generator,
    image: int,
    size_wh: np.ndarray[tuple[int], np.dtype[np.int64]],
    kinds: np.ndarray[tuple[int], np.dtype[np.int64]],
    first: int,
) -> Iterator[str]:
    count = len(kinds)
    sides = np.clip(rng.lognormal(-2.0, 0.9, (count, 2)), 0.01, 1) * size_wh
    corners = rng.random((count, 2)) * (size_wh - sides)
    corners_of_polygons = np.clip(rng.poisson(22, count), 4, 120)
    for place in range(count):
        (x, y), (w, h) = corners[place].tolist(), sides[place].tolist()
        angles = np.linspace(0, 2 * np.pi, corners_of_polygons[place], endpoint=False)
        points = np.stack([x + w * (0.5 + np.cos(angles) / 2), y + h * (0.5 + np.sin(angles) / 2)])
        record = {
            "segmentation": [points.T.round(2).ravel().tolist()],
            "area": round(w * h * 0.78, 4),
            "iscrowd": int((first + place) % 86 == 0 and count > 20),
            "image_id": image,
            "bbox": [round(x, 2), round(y, 2), round(w, 2), round(h, 2)],
            "category_id": int(kinds[place]) + 1,
            "id": first + place + 1,
        }
        yield json.dumps(record)


def _caption(rng: np.random.Generator, names: Sequence[str]) -> str:
    look, place = LOOKS[rng.integers(len(LOOKS))], PLACES[rng.integers(len(PLACES))]
    if len(names) > 1 and rng.random() < SHARE_OF_TWO * 1.4:
        a, b = rng.permutation(len(names))[:2]
        act = ACTS[rng.integers(len(ACTS))]
        template = OF_TWO[rng.integers(len(OF_TWO))]
        return template.format(look=look, place=place, act=act, a=names[a], b=names[b])
    template = OF_FEWER[rng.integers(len(OF_FEWER))]
    return template.format(look=look, place=place, a=names[0] if names else "thing")


def measure(files: Sequence[Path], out: Path, nproc: int) -> None:
    """Run the command and print what it took."""
    command = [sys.executable, "-m", "acp", "priors", "build", "--from", "coco"]
    command += [*map(str, files), "--out", str(out), "--nproc", str(nproc)]
    begun, used, peak = time.perf_counter(), _cpu_seconds(), 0
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while running.poll() is None:
        peak = max(peak, sum(_resident(pid) for pid in _family(running.pid)))
        time.sleep(0.2)
    seconds = time.perf_counter() - begun
    assert running.stdout is not None  # noqa: S101 (for the type checker)
    print(*(f"    {line.rstrip()}" for line in running.stdout), sep="\n")
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    what = "with captions" if len(files) > 1 else "boxes alone"
    print(
        f"{what}: {megabytes:.0f} MB in {seconds:.0f} s ({_cpu_seconds() - used:.0f} s of processor"
        f" time), at most {peak / 2**20:.0f} MiB"
    )


def _family(pid: int) -> Iterator[int]:
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from _family(int(child))


def _cpu_seconds() -> float:
    """Of all processes that have ended, and of their own."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _resident(pid: int) -> int:
    """Bytes of memory that a process has; 0 if it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * 4096


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and memory of acp priors build.")
    parser.add_argument("--images", type=int, default=118_000)
    parser.add_argument("--data", type=Path, help="instances.json and captions.json to use instead")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary one if none")
    parser.add_argument("--nproc", type=int, default=2, help="processes that parse captions")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        if arguments.data:
            files = (arguments.data / "instances.json", arguments.data / "captions.json")
        else:
            files = write_data(folder, arguments.images)
        measure(files[:1], folder / "priors.parquet", arguments.nproc)
        measure(files, folder / "priors.parquet", arguments.nproc)


if __name__ == "__main__":
    main()
