"""From captions to stated relations of boxes: who is parsed, and which instances are meant."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from acp.annotations.boxes import (
    Annotations,
    BoxTable,
    IntArray,
    Names,
    StatedRelations,
    stated_relations,
)
from acp.annotations.caption_rules import CaptionParser, Triple, missing
from acp.annotations.reading import Notify, unheard
from acp.annotations.spellings import Spellings
from acp.core.errors import MissingRequirementError

AT_ONCE = 1024
"""Captions parsed together, whatever the number of processes."""

ParsedCaptions = list[list[Triple]]


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption worth parsing: its image, and how many boxes of each category that has."""

    image: int
    text: str
    boxes_of: Mapping[int, int]


Parse = Callable[[Iterable[Sequence[Caption]]], Iterator[ParsedCaptions]]
"""Batches of captions to their relations (subject's category, predicate, object's category)."""


def promising(annotations: Annotations) -> Iterator[Caption]:
    """Captions that name two things their image has, by image."""
    table = annotations.table
    spellings = Spellings(table.names)
    boxes = _BoxesByImage(table)
    grouped = itertools.groupby(annotations.captions, key=lambda caption: caption[0])
    for image, captions in grouped:
        categories, counts = np.unique(table.category[boxes.of(image)], return_counts=True)
        boxes_of = dict(zip(categories.tolist(), counts.tolist(), strict=True))
        if sum(boxes_of.values()) > 1:
            for _, text in captions:
                if spellings.may_relate(text, boxes_of):
                    yield Caption(image, text, boxes_of)


def relations_of_captions(
    annotations: Annotations, parse: Parse, notify: Notify = unheard
) -> StatedRelations:
    """What the captions say of annotated boxes; what several captions of an image say is one."""
    wanted = list(promising(annotations))
    batches = [wanted[at : at + AT_ONCE] for at in range(0, len(wanted), AT_ONCE)]
    boxes = _BoxesByImage(annotations.table)
    predicates = Names()
    found: dict[tuple[int, int, int], None] = {}
    done = 0
    for batch, parsed in zip(batches, parse(batches), strict=True):
        for caption, triples in zip(batch, parsed, strict=True):
            for subject, predicate, object_ in triples:
                pair = boxes.meant(caption.image, subject, object_)
                if pair is not None:
                    found[pair[0], pair[1], predicates(predicate)] = None
        done += len(batch)
        notify("captions", done, len(wanted))
    columns = np.array(list(found), dtype=np.int32).reshape(-1, 3)
    return stated_relations(columns[:, 0], columns[:, 1], columns[:, 2], predicates)


class _BoxesByImage:
    """Finds the boxes of an image, and which two of them a caption means."""

    def __init__(self, table: BoxTable) -> None:
        self._table = table
        self._order = np.argsort(table.image, kind="stable").astype(np.int32)
        images = np.arange(len(table.image_ids) + 1)
        self._starts = np.searchsorted(table.image[self._order], images)

    def of(self, image: int) -> IntArray:
        return self._order[self._starts[image] : self._starts[image + 1]]

    def meant(self, image: int, subject: int, object_: int) -> tuple[int, int] | None:
        """The boxes of a relation between two categories, or None if there are no two.

        The larger box of the category that has fewer, and that of the other which is nearest to
        it: centres apart in terms of the mean of the diagonals, as CLIS-L has it.
        """
        boxes = self.of(image)
        of_subject = boxes[self._table.category[boxes] == subject]
        of_object = boxes[self._table.category[boxes] == object_]
        if not (len(of_subject) and len(of_object)):
            return None
        if subject == object_:
            largest = self._largest(of_subject)
            others = of_subject[of_subject != largest]
            return (largest, self._nearest(largest, others)) if len(others) else None
        if len(of_subject) <= len(of_object):
            largest = self._largest(of_subject)
            return largest, self._nearest(largest, of_object)
        largest = self._largest(of_object)
        return self._nearest(largest, of_subject), largest

    def _largest(self, boxes: IntArray) -> int:
        return int(boxes[np.argmax(self._table.boxes_xywhn[boxes, 2:].prod(axis=1))])

    def _nearest(self, box: int, others: IntArray) -> int:
        if len(others) == 1:
            return int(others[0])
        a, b = self._table.boxes_xywhn[box], self._table.boxes_xywhn[others]
        apart = (b[:, :2] + b[:, 2:] / 2) - (a[:2] + a[2:] / 2)
        diagonals = np.hypot(*a[2:]) + np.hypot(b[:, 2], b[:, 3])
        return int(others[np.argmin(np.hypot(apart[:, 0], apart[:, 1]) / diagonals)])


def parse_by_rules(names: Sequence[str], processes: int) -> Parse:
    """A `Parse` by rules over spaCy's trees, on so many processes.

    Raises:
        MissingRequirementError: spaCy or its English model is not installed.
    """
    if problem := missing():
        raise MissingRequirementError(problem)

    def parse(batches: Iterable[Sequence[Caption]]) -> Iterator[ParsedCaptions]:
        tasks = [[(each.text, tuple(each.boxes_of)) for each in batch] for batch in batches]
        if processes == 1 or len(tasks) == 1:
            parser, spellings = CaptionParser(), Spellings(names)
            yield from (parser.relations(task, spellings) for task in tasks)
        elif tasks:
            with _one_blas_thread():
                yield from _in_processes(tasks, names, min(processes, len(tasks)))

    return parse


def _in_processes(
    tasks: Sequence[Sequence[tuple[str, tuple[int, ...]]]], names: Sequence[str], processes: int
) -> Iterator[ParsedCaptions]:
    import multiprocessing

    pool = ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), _start, (tuple(names),)
    )
    try:
        waiting: deque[Future[ParsedCaptions]] = deque()
        for task in tasks:
            waiting.append(pool.submit(_parse, task))
            if len(waiting) > 2 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Processes started here compute on one thread each: there are as many as there should be."""
    before = {name: os.environ.get(name) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")}
    os.environ.update(dict.fromkeys(before, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


_worker: list[Callable[[Sequence[tuple[str, tuple[int, ...]]]], ParsedCaptions]] = []


def _start(names: tuple[str, ...]) -> None:
    """Load the parser of a process, once; Ctrl-C is for the process that asked."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # spaCy imports torch where it is installed: 200 MB and seconds of each process for nothing.
    sys.modules.setdefault("torch", None)  # type: ignore[arg-type]
    parser, spellings = CaptionParser(), Spellings(names)
    _worker.append(lambda captions: parser.relations(captions, spellings))


def _parse(captions: Sequence[tuple[str, tuple[int, ...]]]) -> ParsedCaptions:
    return _worker[0](captions)
