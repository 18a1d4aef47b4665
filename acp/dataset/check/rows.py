"""The rows of all shards, checked by several workers; the answers come in the order of the rows.

Images are decoded outside of Python's lock, so a few threads share the work without copies of it;
the rest, a third of the time, holds the lock, so many workers are processes.
"""

from __future__ import annotations

import signal
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_context
from typing import TYPE_CHECKING

import numpy as np

from acp.core.errors import AcpError
from acp.dataset.check.batch import Outcome, Plan, check_batch
from acp.dataset.check.columns import Columns, find_columns, sides_of
from acp.dataset.check.conventions import COCO, Convention, choose
from acp.dataset.check.found import Found
from acp.dataset.check.images import BrokenImageError, content_of, decode
from acp.dataset.check.problems import Problem
from acp.dataset.check.reading import Shard, batches, reason_of
from acp.dataset.check.values import IntArray, Numbers, at, boxes_of, numbers, values_of

if TYPE_CHECKING:
    import pyarrow as pa

MOST_THREADS = 4
SMALL_BYTES = 100_000_000
"""Of files; with fewer, processes cost more to start than they save."""
MOSTLY = 0.5
SAMPLE_BOXES = 4000
SAMPLE_ROWS = 2000
SAMPLE_IMAGES = 200
"""Fewer, where sizes have to be read off the images, or all columns are read."""


def check_rows(
    plans: Iterable[tuple[Shard, Plan]], processes: int, size: int
) -> Iterator[tuple[Shard, Outcome | Problem]]:
    """Check every row of the shards, in their order; `size` is that of their files in bytes.

    Raises:
        AcpError: a worker was ended from outside.
    """
    with _pool(processes, size) as pool:
        waiting: deque[tuple[Shard, Problem | Future[Outcome]]] = deque()
        for shard, plan in plans:
            for each in batches(shard):
                task = each if isinstance(each, Problem) else _submit(pool, plan, shard, *each)
                waiting.append((shard, task))
                if len(waiting) > 2 * processes:
                    yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())


def _pool(processes: int, size: int) -> Executor:
    if processes <= MOST_THREADS or size < SMALL_BYTES:
        return ThreadPoolExecutor(processes)
    return ProcessPoolExecutor(processes, get_context("spawn"), initializer=_leave_ctrl_c)


def _leave_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends the others


def _submit(
    pool: Executor, plan: Plan, shard: Shard, first: int, batch: pa.RecordBatch
) -> Future[Outcome]:
    if isinstance(pool, ProcessPoolExecutor):  # a slice that is pickled takes all rows with it
        packed = batch.serialize().to_pybytes()
        return pool.submit(_unpacked, plan, shard.place, first, packed, batch.schema)
    return pool.submit(_checked, plan, shard.place, first, batch)


def _unpacked(plan: Plan, place: str, first: int, packed: bytes, schema: pa.Schema) -> Outcome:
    import pyarrow as pa

    return _checked(plan, place, first, pa.ipc.read_record_batch(packed, schema))


def _checked(plan: Plan, place: str, first: int, batch: pa.RecordBatch) -> Outcome:
    """What stands in the files of others may be anything; it must not hide the next problem."""
    try:
        return check_batch(plan, place, first, batch)
    except Exception as error:  # of numpy, pyarrow and the formats, each has its own
        what = f"rows {first} to {first + len(batch) - 1} cannot be checked: {reason_of(error)}"
        problem = Problem("rows", place, what, "write them as load_dataset reads them")
        return Outcome([problem], Counter(rows=len(batch)))


def _result(shard: Shard, each: Problem | Future[Outcome]) -> tuple[Shard, Outcome | Problem]:
    try:
        return shard, each if isinstance(each, Problem) else each.result()
    except BrokenProcessPool:
        raise AcpError(
            f"{shard.place}: a process that checked it was ended from outside (out of memory?); "
            "take fewer, as with --nproc 2"
        ) from None


def plans_of(found: Found, shards: list[Shard]) -> tuple[list[Plan], float]:
    """How the shards of a configuration are checked, each by its own columns, and the share of a
    sample of its boxes that fits the convention taken; -1 if they are not of four numbers."""
    each = [find_columns(shard.features, shard.schema) for shard in shards]
    if not found.ours:
        each = [_really_parallel(own, shard) for own, shard in zip(each, shards, strict=True)]
    convention, share = COCO, 1.0
    objects = each[0].objects
    if not found.ours and objects is not None and "bbox" in objects.fields:
        alike = [shard for shard, own in zip(shards, each, strict=True) if own == each[0]]
        convention, share = _convention(found, each[0], alike)
        if share < 0:
            each = [_without_boxes(columns) for columns in each]
    return [Plan(columns, found.root, convention, found.ours) for columns in each], share


def _without_boxes(columns: Columns) -> Columns:
    group = columns.objects
    if group is None:
        return columns
    fields = {role: name for role, name in group.fields.items() if role != "bbox"}
    return replace(columns, objects=replace(group, fields=fields) if fields else None)


def _really_parallel(columns: Columns, shard: Shard) -> Columns:
    """Without the lists that have a value for something else than an object, such as key points."""
    group = columns.objects
    if group is None or len(group.parallel) < 2:
        return columns
    most_rows = SAMPLE_ROWS if shard.path is not None else SAMPLE_IMAGES
    lengths: list[IntArray] = []
    for each in batches(shard, [group.path[0]] if group.path else list(group.parallel)):
        if isinstance(each, Problem) or sum(len(rows) for rows in lengths) >= most_rows:
            break
        found = [values_of(each[1], group, name).lengths for name in group.parallel]
        lengths.append(np.stack(found, axis=1))
    if not lengths:
        return columns
    counts = np.concatenate(lengths)
    main = group.parallel.index(group.fields.get("bbox", next(iter(group.fields.values()))))
    some = counts[counts.max(axis=1) > 0]
    if not len(some):
        return columns
    alike = (some == some[:, [main]]).mean(axis=0) >= MOSTLY
    kept = tuple(name for name, good in zip(group.parallel, alike, strict=True) if good)
    return replace(columns, objects=replace(group, parallel=kept))


def _convention(found: Found, columns: Columns, shards: list[Shard]) -> tuple[Convention, float]:
    order, normalised = sides_of(columns)
    boxes, sizes, four = _sample(found, columns, shards)
    if four < MOSTLY:
        return COCO, -1
    return choose(boxes, sizes, order, "normalised" if normalised else "")


def _sample(found: Found, columns: Columns, shards: list[Shard]) -> tuple[Numbers, Numbers, float]:
    """Boxes of the first rows of each shard, with the sizes of their images, and the share of the
    boxes that are of four numbers."""
    boxes, sizes, counts = [np.zeros((0, 4))], [np.zeros((0, 2))], [np.zeros(0, np.int64)]
    said = columns.width is not None and columns.height is not None
    for shard in shards:
        most_rows = SAMPLE_ROWS if said and shard.path is not None else SAMPLE_IMAGES
        rows = 0
        for each in batches(shard, _names(columns, said)):
            if isinstance(each, Problem) or rows >= most_rows:
                break
            rows += len(each[1])
            found_boxes, found_sizes, found_counts = _boxes_and_sizes(found, columns, each[1], said)
            boxes.append(found_boxes)
            sizes.append(found_sizes)
            counts.append(found_counts[found_counts >= 0])
        if sum(map(len, boxes)) >= SAMPLE_BOXES:
            break
    lengths = np.concatenate(counts)
    four = float((lengths == 4).mean()) if len(lengths) else 1.0
    return np.concatenate(boxes), np.concatenate(sizes), four


def _names(columns: Columns, said: bool) -> list[str]:
    group = columns.objects
    assert group is not None  # noqa: S101 - told by the caller
    names = {group.path[0]} if group.path else {group.fields["bbox"]}
    if said:
        names |= {path[0] for path in (columns.width, columns.height) if path}
    elif columns.image is not None:
        names.add(columns.image)
    return sorted(names)


def _boxes_and_sizes(
    found: Found, columns: Columns, batch: pa.RecordBatch, said: bool
) -> tuple[Numbers, Numbers, IntArray]:
    group = columns.objects
    assert group is not None  # noqa: S101 - told by the caller
    lists = values_of(batch, group, group.fields["bbox"])
    boxes, counts = boxes_of(lists.values, group.box_sides)
    if said and columns.width and columns.height:
        sizes = np.stack([numbers(at(batch, columns.width)), numbers(at(batch, columns.height))], 1)
    else:
        sizes = np.array([_size(found, columns, batch, row) for row in range(len(batch))])
    return boxes, sizes.reshape(-1, 2)[lists.rows], counts


def _size(found: Found, columns: Columns, batch: pa.RecordBatch, row: int) -> tuple[float, float]:
    if columns.image is None:
        return (np.nan, np.nan)
    try:
        value = batch.column(columns.image)[row].as_py()
        content = content_of(value[0] if isinstance(value, list) and value else value, found.root)
        size = decode(content or b"", whole=False)
    except BrokenImageError:
        return (np.nan, np.nan)
    return (size.height, size.width) if size.turned else (size.width, size.height)
