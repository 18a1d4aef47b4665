"""What a second push costs after a small edit: 5 rows of 1,500 dropped and 50 captions changed.

    python benchmarks/push_bytes.py [--rows 1500]

Everything is real but the Hub, which stands on loopback: `acp push` with Xet for the whole data
set, and for `curated` alone uploads of the same rows as they could have been written instead.
`new` are the bytes that the second push stored (with Xet) or sent (plain LFS); the share is of
what the first one stored.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from acp.builder.release import release
from acp.core.types import Scene
from support.loopback_hub import Hub, serving
from support.synthetic_scenes import finish_build

REPO = "acp/lvis-synth"
UPLOAD = """
import sys
from huggingface_hub import HfApi
HfApi().create_repo(sys.argv[1], repo_type="dataset", exist_ok=True)
HfApi().upload_folder(repo_id=sys.argv[1], folder_path=sys.argv[2], repo_type="dataset")
"""


def edited(scene: Scene, rows: int) -> Scene | None:
    """None for five scenes, another caption for fifty, spread over all."""
    if scene.graph is None or scene.scene_id % (rows // 5) == rows // 10:
        return None
    if scene.scene_id % (rows // 50) == 7:
        graph = replace(scene.graph, caption=f"Seen from afar: {scene.graph.caption}")
        return replace(scene, graph=graph)
    return scene


def data_sets(folder: Path, rows: int) -> tuple[Path, Path]:
    """The data set before and after the edit, as `acp build` writes them."""
    for name in ("before", "after"):
        build = finish_build(
            folder / f"{name}.work",
            rows,
            ["scenes_per_shard=50"],
            (lambda scene: edited(scene, rows)) if name == "after" else lambda scene: scene,
        )
        release(build, folder / name)
        shutil.rmtree(build.work)
    return folder / "before", folder / "after"


def curated(data_set: Path, out: Path, **options: Any) -> Path:
    """`curated` of a data set: its files as they are, or in one file of other parquet options."""
    if not options:
        shutil.copytree(data_set / "curated", out / "curated")
        return out
    (out / "curated").mkdir(parents=True)
    table = pa.concat_tables(map(pq.read_table, sorted((data_set / "curated").glob("*.parquet"))))
    pq.write_table(table, out / "curated" / "train.parquet", **options)
    return out


def hundred_images() -> dict[str, Any]:
    """The options of `datasets` for the columns of `curated`, but for smaller row groups."""
    from datasets.arrow_writer import get_parquet_column_options

    from acp.executor.rows import features

    found = features("curated")
    columns = get_parquet_column_options(found, found.arrow_schema)
    layout = {"use_content_defined_chunking": True, "write_page_index": True}
    return {**layout, **columns, "row_group_size": 100}


def pushed(folder: Path, releases: tuple[Path, Path], *, xet: bool, acp: bool) -> tuple[int, int]:
    """Bytes that the first push stored, and those that the second added."""
    counts = [0]
    with serving(Hub(folder / "hub", xet=xet)) as hub:
        for each in releases:
            cache = folder / f"cache{len(counts)}"  # as from another machine
            if acp:
                ran = hub.acp(["push", str(each), "--repo", REPO], cache)
            else:
                ran = hub.run(UPLOAD, cache, REPO, str(each))
            if ran.returncode:
                raise SystemExit(ran.stderr)
            counts.append(hub.xet_bytes() if xet else sum(size for _, size in hub.received))
    return counts[1], counts[2] - counts[1]


def measured(folder: Path, rows: int) -> Iterator[tuple[str, int, int]]:
    """What was pushed, the bytes of the first push, the bytes of the second."""
    whole = data_sets(folder, rows)
    yield "whole data set, Xet", *pushed(folder / "whole", whole, xet=True, acp=True)
    written: dict[str, tuple[dict[str, Any], bool]] = {
        "curated, Xet": ({}, True),
        "  row groups of 100 images": (hundred_images(), True),
        "  snappy, no chunking": ({"compression": "snappy"}, True),
        "curated, plain LFS": ({}, False),
    }
    for number, (name, (options, xet)) in enumerate(written.items()):
        place = folder / str(number)
        before, after = (curated(each, place / each.name, **options) for each in whole)
        yield name, *pushed(place, (before, after), xet=xet, acp=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1500, help="at least 500")
    rows = parser.parse_args().rows
    print(f"{'':<28}{'first push':>12}{'new bytes':>12}{'share':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for name, first, new in measured(Path(folder), rows):
            print(f"{name:<28}{first / 1e6:>9.1f} MB{new / 1e6:>9.2f} MB{new / first:>8.1%}")


if __name__ == "__main__":
    main()
