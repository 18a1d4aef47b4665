"""Batches of requests through a model, as large as its memory allows."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from acp.core.errors import AcpError, reason_of
from acp.core.types import Failure

R = TypeVar("R")
A = TypeVar("A")


class Batches:
    """Hands requests to a model in batches of at most `largest`.

    Where memory runs out, the batch size is halved for good and the batch is tried again. A batch
    that fails for another reason is tried again in halves; what fails alone is a `Failure`.
    `who` names the backend in errors, `hint` says what helps if one request is too much.
    """

    def __init__(self, largest: int, who: str, hint: str = "use a smaller model or image") -> None:
        self.size, self._who, self._hint = largest, who, hint

    def run(
        self, requests: Sequence[R], work: Callable[[Sequence[R]], Sequence[A | Failure]]
    ) -> list[A | Failure]:
        """`work` of all requests, in their order.

        Raises:
            AcpError: a single request does not fit into memory.
        """
        done: list[A | Failure] = []
        while len(done) < len(requests):
            batch = requests[len(done) : len(done) + self.size]
            answers = self._answers(batch, work)
            if answers is None:
                # Outside of any `except`: an error's traceback keeps the tensors of the batch.
                self._shrink(len(batch))
            done += answers or []
        return done

    def _answers(
        self, batch: Sequence[R], work: Callable[[Sequence[R]], Sequence[A | Failure]]
    ) -> list[A | Failure] | None:
        """None where memory ran out."""
        try:
            return [*work(batch)]
        except (ArithmeticError, LookupError, RuntimeError, ValueError) as error:
            if ran_out_of_memory(error):
                return None
            if is_device_broken(error):
                raise
            if len(batch) == 1:
                return [Failure(reason_of(error, 200))]
        middle = len(batch) // 2
        first = self._answers(batch[:middle], work)
        second = None if first is None else self._answers(batch[middle:], work)
        return None if first is None or second is None else first + second

    def _shrink(self, failed: int) -> None:
        from accelerate.utils.memory import clear_device_cache

        clear_device_cache(garbage_collection=True)
        if failed == 1:
            raise AcpError(f"{self._who}: out of memory with a single request; {self._hint}")
        self.size = failed // 2


def in_groups(
    rows: Sequence[R | Failure],
    shape: Callable[[R], Hashable],
    work: Callable[[list[R]], Sequence[A | Failure]],
) -> list[A | Failure]:
    """`work` of the rows that share a shape together; what is a `Failure` already stays one.

    >>> in_groups(["a", Failure("no"), "bb", "c"], len, lambda words: [len(words)] * len(words))
    [2, Failure(reason='no'), 1, 2]
    """
    answers: dict[int, A | Failure] = {}
    groups: dict[Hashable, dict[int, R]] = {}
    for index, row in enumerate(rows):
        if isinstance(row, Failure):
            answers[index] = row
        else:
            groups.setdefault(shape(row), {})[index] = row
    for group in groups.values():
        answers.update(zip(group, work([*group.values()]), strict=True))
    return [answers[index] for index in range(len(rows))]


def ran_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, of a GPU or of the CPU."""
    import torch
    from accelerate.utils.memory import should_reduce_batch_size

    return isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error)


def is_device_broken(error: Exception) -> bool:
    """Whether the GPU itself failed: nothing else can then be done in this process."""
    import torch

    return isinstance(error, getattr(torch, "AcceleratorError", ()))
