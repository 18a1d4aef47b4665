"""Batches that halve themselves where memory runs out."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import pytest
import torch

from acp.backends.models.batches import Batches
from acp.core.errors import AcpError
from acp.core.types import Failure


class Model:
    """Doubles numbers; has room for `room` of them at once."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sizes: list[int] = []

    def __call__(self, numbers: Sequence[int]) -> list[int | Failure]:
        self.sizes.append(len(numbers))
        if len(numbers) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if 13 in numbers:
            raise ValueError("unlucky")
        return [2 * number for number in numbers]


@pytest.mark.parametrize("count", [0, 1, 7, 16])
def test_answers_come_in_order_whatever_fits(count: int) -> None:
    for room in (1, 3, 100):
        assert Batches(8, "model").run(range(-count, 0), Model(room)) == [
            2 * i for i in range(-count, 0)
        ]


def test_the_size_is_halved_once_and_for_good() -> None:
    model, batches = Model(room=3), Batches(8, "model")
    batches.run(range(8), model)
    assert (model.sizes, batches.size) == ([8, 4, 2, 2, 2, 2], 2)
    batches.run(range(4), model)
    assert model.sizes[6:] == [2, 2]


def test_what_fails_alone_is_a_failure_with_its_reason() -> None:
    answers = Batches(8, "model").run([1, 13, 2, 3], Model(room=8))
    assert answers == [2, Failure("ValueError: unlucky"), 4, 6]


def test_no_room_for_one_is_told_with_the_mend() -> None:
    with pytest.raises(AcpError, match=r"renderer 'x': out of memory with a single.*; set offload"):
        Batches(4, "renderer 'x'", "set offload").run([1], Model(room=0))


def test_a_broken_device_is_no_reject() -> None:
    def broken(numbers: Sequence[int]) -> list[int | Failure]:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(torch.AcceleratorError):
        Batches(4, "model").run([1, 2], broken)


def test_the_batch_that_was_too_large_is_gone_before_the_next() -> None:
    held: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    def work(numbers: Sequence[int]) -> list[int | Failure]:
        alive.append(sum(each() is not None for each in held))
        activations = torch.zeros(10)
        held.append(weakref.ref(activations))
        if len(numbers) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return [*numbers]

    assert Batches(4, "model").run([1], work) == [1]
    assert Batches(4, "model").run(range(4), work) == [0, 1, 2, 3]
    assert alive == [0] * len(alive)
