"""Requests to a server, several at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TypeVar

R = TypeVar("R")
A = TypeVar("A")

_GRACE_S = 1.0
"""How long answers on their way are waited for when something has gone wrong."""


def in_threads(requests: Sequence[R], ask: Callable[[R], A], most: int) -> list[A]:
    """`ask` of each request, at most `most` at once, in order; the first exception ends all.

    An interrupt ends it too, whatever the threads wait for: they end with the process.

    >>> in_threads([1, 2, 3], lambda number: number * 2, most=2)
    [2, 4, 6]
    """
    todo: SimpleQueue[tuple[int, R]] = SimpleQueue()
    done: SimpleQueue[tuple[int, A] | BaseException] = SimpleQueue()
    for numbered in enumerate(requests):
        todo.put(numbered)
    stop = Event()

    def work() -> None:
        while not stop.is_set():
            try:
                place, request = todo.get_nowait()
            except Empty:
                return
            try:
                done.put((place, ask(request)))
            except BaseException as error:  # raised where the answers are waited for
                done.put(error)
                return

    threads = [Thread(target=work, daemon=True) for _ in range(min(most, len(requests)))]
    for thread in threads:
        thread.start()
    try:
        return _gathered(done, len(requests))
    finally:
        stop.set()
        _wait(threads)


def _gathered(done: SimpleQueue[tuple[int, A] | BaseException], count: int) -> list[A]:
    found: dict[int, A] = {}
    while len(found) < count:
        each = done.get()
        if isinstance(each, BaseException):
            raise each
        found[each[0]] = each[1]
    return [found[place] for place in range(count)]


def _wait(threads: Sequence[Thread]) -> None:
    deadline = time.monotonic() + _GRACE_S
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
