"""Prompts of any length for CLIP text encoders, which read 75 tokens and drop the rest unasked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from acp.core.errors import AcpError
from acp.core.types import Failure


def check_tokenizer(tokenizer: Any, text_encoder: Any, which: str) -> None:
    """Make sure that texts become tokens, and that what is too long for the encoder is known.

    `which` names the backend and the model in errors.

    Raises:
        AcpError: there is no vocabulary; libraries make an empty one where its files are missing.
    """
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise AcpError(f"{which} has no vocabulary; its folder tokenizer is missing or incomplete")
    # Not all tokenizers say how much their encoder reads.
    longest = int(text_encoder.config.max_position_embeddings)
    tokenizer.model_max_length = min(tokenizer.model_max_length, longest)


def windows(text: str, tokenizer: Any) -> tuple[str, ...] | Failure:
    """`text` in as few parts as possible that the encoder reads in full, cut between words.

    Returns:
        At least one part; a `Failure` if a single word has too many tokens.
    """
    room = tokenizer.model_max_length - 2  # it adds a first and a last token
    parts: list[list[str]] = [[]]
    used = 0
    for word, count in zip(text.split(), token_counts(text.split(), tokenizer), strict=True):
        if count > room:
            return Failure(
                f"a word of the prompt has {count} tokens of at most {room}: {word[:40]!r}"
            )
        if used + count > room:
            parts.append([])
            used = 0
        parts[-1].append(word)
        used += count
    return tuple(" ".join(part) for part in parts)


def token_counts(texts: Sequence[str], tokenizer: Any) -> list[int]:
    """How many tokens each text has, without the first and last that the encoder adds."""
    if not texts:
        return []
    return [len(ids) for ids in tokenizer([*texts], add_special_tokens=False).input_ids]


def encoded(pipeline: Any, prompts: Sequence[Sequence[str]], count: int) -> tuple[Any, Any]:
    """Embeddings of prompts given in windows, as `pipeline.encode_prompt` makes them.

    Prompts with fewer than `count` windows are filled up with empty ones.

    Returns:
        The windows' embeddings one after another, (R, count x 77, D), and the pooled embedding of
        each prompt's first window, (R, P), or None where the pipeline has none.
    """
    flat = [part for prompt in prompts for part in [*prompt, *[""] * (count - len(prompt))]]
    found = pipeline.encode_prompt(
        flat,
        device=pipeline._execution_device,
        num_images_per_prompt=1,
        do_classifier_free_guidance=False,
    )
    embeddings = found[0].reshape(len(prompts), -1, found[0].shape[-1])
    pooled = found[2].reshape(len(prompts), count, -1)[:, 0] if len(found) > 2 else None
    return embeddings, pooled
