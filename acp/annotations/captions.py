"""From captions to stated relations of boxes: who is parsed, and which instances are meant."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from acp.annotations.caption_rules import CaptionParser, Triple, missing
from acp.annotations.json_lists import Notify, unheard
from acp.annotations.reading import Annotations, BoxTable, Int32Array, Names, Relations
from acp.annotations.spellings import Spellings
from acp.clis.features import pair_features
from acp.core.errors import MissingRequirementError

AT_ONCE = 1024
"""Captions parsed together, whatever the number of processes."""

ParsedCaptions = list[list[Triple]]
Task = Sequence[tuple[str, tuple[int, ...]]]
"""Captions, each with the categories of its image."""


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
) -> Relations:
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
                if pair := boxes.meant(caption.image, subject, object_):
                    found[pair[0], pair[1], predicates[predicate]] = None
        done += len(batch)
        notify("captions", done, len(wanted))
    return Relations.of(list(found), predicates)


class _BoxesByImage:
    """Finds the boxes of an image, and which two of them a caption means."""

    def __init__(self, table: BoxTable) -> None:
        self._table = table
        self._order = np.argsort(table.image, kind="stable").astype(np.int32)
        images = np.arange(len(table.image_ids) + 1)
        self._starts = np.searchsorted(table.image[self._order], images)

    def of(self, image: int) -> Int32Array:
        return self._order[self._starts[image] : self._starts[image + 1]]

    def meant(self, image: int, subject: int, object_: int) -> tuple[int, int] | None:
        """The boxes of a relation between two categories, or None if there are no two.

        The larger box of the category that has fewer, and that of the other which is nearest to
        it: centres apart in terms of the mean of the diagonals, as CLIS-L has it.
        """
        boxes = self.of(image)
        of_subject, of_object = (
            boxes[self._table.category[boxes] == category] for category in (subject, object_)
        )
        subject_first = len(of_subject) <= len(of_object)
        few, many = (of_subject, of_object) if subject_first else (of_object, of_subject)
        if not len(few):
            return None
        xywhn = self._table.boxes_xywhn
        largest = int(few[np.argmax(xywhn[few, 2:].prod(axis=1))])
        others = many[many != largest]
        if not len(others):
            return None
        apart = pair_features(xywhn[np.full(len(others), largest)], xywhn[others]).distance
        nearest = int(others[np.argmin(apart)])
        return (largest, nearest) if subject_first else (nearest, largest)


def parse_by_rules(names: Sequence[str], processes: int) -> Parse:
    """A `Parse` by rules over spaCy's trees, on so many processes.

    Raises:
        MissingRequirementError: spaCy or its English model is not installed.
    """
    if problem := missing():
        raise MissingRequirementError(problem)

    def parse(batches: Iterable[Sequence[Caption]]) -> Iterator[ParsedCaptions]:
        tasks = [[(each.text, tuple(each.boxes_of)) for each in batch] for batch in batches]
        count = min(processes, len(tasks))
        if count > 1:
            context = multiprocessing.get_context("spawn")
            with _one_blas_thread(), ProcessPoolExecutor(count, context, _start, (names,)) as pool:
                yield from pool.map(_parse, tasks)
        elif tasks:
            yield from map(_parser(names), tasks)

    return parse


def _parser(names: Sequence[str]) -> Callable[[Task], ParsedCaptions]:
    return partial(CaptionParser().relations, spellings=Spellings(names))


@contextlib.contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Processes started here compute on one thread each: there are as many as there should be."""
    threads = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
    before = {name: os.environ[name] for name in threads if name in os.environ}
    os.environ.update(dict.fromkeys(threads, "1"))
    try:
        yield
    finally:
        for name in threads:
            del os.environ[name]
        os.environ.update(before)


_worker: list[Callable[[Task], ParsedCaptions]] = []


def _start(names: Sequence[str]) -> None:
    """Load the parser of a process, once; Ctrl-C is for the process that asked."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # spaCy imports torch where it is installed: 200 MB and seconds of each process for nothing.
    sys.modules.setdefault("torch", None)  # type: ignore[arg-type]
    _worker.append(_parser(names))


def _parse(task: Task) -> ParsedCaptions:
    return _worker[0](task)
