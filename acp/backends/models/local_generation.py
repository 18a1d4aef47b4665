"""Batches of prompts through a local model; each answer depends on its own request and seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, TypeVar

from acp.backends.models.batches import Batches
from acp.backends.models.local_models import LocalModel
from acp.core.types import Failure

R = TypeVar("R")


def generate(
    loaded: LocalModel,
    inputs: Mapping[str, Any],
    temperatures: Sequence[float],
    seeds: Sequence[int],
    max_new_tokens: int,
    processors: Sequence[Any] = (),
) -> list[str]:
    """The new text of each row of `inputs`, padded on the left.

    A temperature of 0 takes the likeliest token; others sample with the row's own seed.
    """
    import torch
    from transformers import GenerationConfig, LogitsProcessorList

    model, tokenizer = loaded.model, loaded.tokenizer
    config = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=stop_tokens(loaded),
        bos_token_id=tokenizer.bos_token_id,
    )
    chain = LogitsProcessorList(processors)
    if any(temperatures):
        chain.append(row_noise(temperatures, seeds, model.device))
    inputs = {name: _moved(value, model) for name, value in inputs.items()}
    with torch.inference_mode():
        tokens = model.generate(**inputs, generation_config=config, logits_processor=chain)
    fresh = tokens[:, inputs["input_ids"].shape[1] :]
    texts: list[str] = tokenizer.batch_decode(fresh, skip_special_tokens=True)
    return texts


def stop_tokens(loaded: LocalModel) -> list[int]:
    """The tokens that end an answer: what the model was saved with, and the tokenizer's own."""
    found = getattr(loaded.model.generation_config, "eos_token_id", None)
    known = found if isinstance(found, list) else [found]
    return sorted({each for each in (*known, loaded.tokenizer.eos_token_id) if each is not None})


def row_noise(temperatures: Sequence[float], seeds: Sequence[int], device: Any) -> Any:
    """A logits processor that samples by noise: the likeliest of logits / T + Gumbel noise is a
    draw at temperature T, and each row has a generator of its own."""
    import torch
    from transformers import LogitsProcessor

    generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    class RowNoise(LogitsProcessor):  # type: ignore[misc]
        def __call__(self, input_ids: Any, scores: Any) -> Any:
            for row, temperature in enumerate(temperatures):
                if temperature > 0:
                    draw = torch.empty_like(scores[row], dtype=torch.float32)
                    draw.exponential_(generator=generators[row])
                    scores[row] = scores[row] / temperature - draw.log().to(scores.dtype)
            return scores

    return RowNoise()


def _moved(value: Any, model: Any) -> Any:
    if not hasattr(value, "to"):
        return value
    return value.to(model.device, model.dtype if value.is_floating_point() else value.dtype)


def in_batches(
    requests: Sequence[R],
    limit: Callable[[R], int],
    length: Callable[[R], int],
    batches: Batches,
    answer: Callable[[Sequence[R]], Sequence[str | Failure]],
) -> list[str | Failure]:
    """`answer` of batches of requests, in the order of the requests.

    Requests of a batch have the same `limit` of new tokens and a like `length`, by which batches
    pad little.

    Raises:
        AcpError: a single request does not fit into memory.
    """
    found: dict[int, str | Failure] = {}
    order = sorted(
        range(len(requests)), key=lambda place: (limit(requests[place]), length(requests[place]))
    )
    for _, group in groupby(order, key=lambda place: limit(requests[place])):
        places = [*group]
        answers = batches.run([requests[place] for place in places], answer)
        found.update(zip(places, answers, strict=True))
    return [found[place] for place in range(len(requests))]


def chats(
    loaded: LocalModel, conversations: Sequence[Sequence[Mapping[str, Any]]]
) -> Sequence[Sequence[Mapping[str, Any]]]:
    """Messages of plain text in the form that the model's template reads."""
    if not loaded.multimodal:
        return conversations
    return [
        [{"role": m["role"], "content": _parts(m["content"])} for m in conversation]
        for conversation in conversations
    ]


def _parts(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
