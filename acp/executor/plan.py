"""What the rest of a recipe takes, carried forward from the scenes that a build has finished.

Seconds are those that the user's own machine took; nothing is assumed about others.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from acp.executor.shards import MARKER

STAGES = ("combine", "describe", "lay out", "render", "mask", "score")


@dataclass(frozen=True, slots=True)
class Measured:
    """What the finished scenes of a build took.

    `seconds` are by stage, and "load" for bringing models into memory, over all processes;
    `peak_bytes` the most GPU memory of each stage; `stored_bytes` what the shards take on disk.
    """

    scenes: int
    seconds: Mapping[str, float]
    peak_bytes: Mapping[str, int]
    stored_bytes: int


def measured_in(work: Path) -> Measured:
    """What the finished shards in the work folder of a build took; unreadable ones are left out."""
    counts, seconds, peaks, stored = Counter[str](), Counter[str](), Counter[str](), 0
    for marker in sorted(work.glob(f"shards/*/{MARKER}")):
        try:
            statistics = json.loads(marker.read_text(encoding="utf-8"))["statistics"]
            counts.update(statistics["counts"])
            seconds.update(statistics["seconds"])
            peaks |= Counter(statistics["peak_bytes"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        stored += sum(path.stat().st_size for path in marker.parent.iterdir())
    return Measured(counts["scenes"], dict(seconds), dict(peaks), stored)


def carried_forward(measured: Measured, scenes: int, processes: int = 1) -> Iterator[str]:
    """Lines that tell what `scenes` scenes take, given what some of the same recipe took.

    `processes` workers, each with a GPU or a core of its own, share them. Loading of models is
    counted once for each process, everything else by proportion.

    >>> some = Measured(10, {"render": 80.0, "score": 20.0, "load": 30.0}, {}, 4_000_000)
    >>> for line in carried_forward(some, 1000, processes=2):
    ...     print(line)
    measured    10 of 1,000 scenes: render 8.00 s, score 2.00 s a scene; loading 30 s
    time        1.4 hours on 2 processes, 1.4 hours of it left
    disk        0.4 GB for the shards, as much again for the data set
    """
    if not measured.scenes:
        yield "measured    no scene yet: build some with --limit first"
        return
    work = {stage: measured.seconds.get(stage, 0.0) for stage in STAGES}
    each = ", ".join(f"{k} {v / measured.scenes:.2f} s" for k, v in work.items() if v)
    load = measured.seconds.get("load", 0.0)
    share = f"{measured.scenes:,} of {scenes:,} scenes"
    yield f"measured    {share}: {each} a scene; loading {load:.0f} s"
    a_scene = sum(work.values()) / measured.scenes
    whole, left = (
        _spoken(n * a_scene / processes + load) for n in (scenes, scenes - measured.scenes)
    )
    on = "1 process" if processes == 1 else f"{processes} processes"
    yield f"time        {whole} on {on}, {left} of it left"
    if measured.peak_bytes:
        peaks = (f"{stage} {peak / 2**30:.1f}" for stage, peak in measured.peak_bytes.items())
        yield f"GPU GiB     {', '.join(peaks)} at most"
    stored = measured.stored_bytes / measured.scenes * scenes / 1e9
    yield f"disk        {stored:.1f} GB for the shards, as much again for the data set"


def _spoken(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.0f} minutes"
