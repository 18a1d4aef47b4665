"""GLIGEN with random weights at its real size or tiny, and the same scenes by the stock pipeline.

Saved to a folder and loaded by what users run, so that this is what is measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from acp.backends.base import RenderRequest
from acp.backends.models.diffusion import generators
from acp.clis.questions import instance_text
from acp.core.boxes import xywh_to_xyxy
from acp.core.seeds import rng
from acp.core.types import SceneGraph, SceneObject
from acp.core.vocabulary import categories

Size = Literal["real", "tiny"]
# "real": Stable Diffusion 1.4 with gated layers, as masterful/gligen-1-4-generation-text-box.
UNET: dict[str, dict[str, Any]] = {
    "real": {
        "sample_size": 64,
        "block_out_channels": (320, 640, 1280, 1280),
        "attention_head_dim": 8,
        "cross_attention_dim": 768,
    },
    "tiny": {  # norms of many numbers each: of few, they blow rounding errors up
        "sample_size": 16,
        "norm_num_groups": 4,
        "block_out_channels": (32, 32, 64, 64),
        "attention_head_dim": 4,
        "cross_attention_dim": 32,
        "layers_per_block": 1,
    },
}
VAE: dict[str, dict[str, Any]] = {
    "real": {
        "block_out_channels": (128, 256, 512, 512),
        "layers_per_block": 2,
        "sample_size": 512,
    },
    "tiny": {
        "block_out_channels": (16, 16, 32, 32),
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "sample_size": 128,
    },
}
TEXT: dict[str, dict[str, Any]] = {
    "real": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "projection_dim": 768,
    },
    "tiny": {
        "hidden_size": 32,
        "intermediate_size": 37,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "projection_dim": 32,
    },
}
SCHEDULER: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "skip_prk_steps": True,
    "steps_offset": 1,
    "set_alpha_to_one": False,
}


def gligen_pipeline(size: Size, folder: Path, dtype: str = "float16") -> Path:
    """A GLIGEN of random weights, saved to `folder` as safetensors with its gates open."""
    import torch
    from diffusers import (
        AutoencoderKL,
        PNDMScheduler,
        StableDiffusionGLIGENPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel

    words = clip_tokenizer()
    ends = {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id}
    text = CLIPTextConfig(
        vocab_size=49408,
        pad_token_id=words.pad_token_id,
        hidden_act="quick_gelu",
        **ends,
        **TEXT[size],
    )
    torch.manual_seed(0)
    with _default_dtype(getattr(torch, dtype)):
        unet = UNet2DConditionModel(attention_type="gated", **UNET[size])
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            **VAE[size],
        )
        encoder = CLIPTextModel(text)
    for name, weight in unet.named_parameters():
        if name.endswith(("alpha_attn", "alpha_dense")):  # shut, boxes would have no effect
            weight.data.fill_(1.0)
    pipeline = StableDiffusionGLIGENPipeline(
        vae=vae,
        text_encoder=encoder,
        tokenizer=words,
        unet=unet,
        scheduler=PNDMScheduler(**SCHEDULER),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def clip_tokenizer() -> Any:
    """A CLIP tokenizer of words that captions use: about a token a word, as the real one."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    alphabet = [*letters, *(f"{letter}</w>" for letter in letters)]
    nouns = [category.noun for category in categories().values()]
    texts = [*nouns, *("a photo of the and in on next to left right above below of",) * 50]
    merges: dict[tuple[str, str], None] = {}
    for word in dict.fromkeys(word for text in texts for word in text.lower().split()):
        if word.isascii() and word.isalpha():
            merges.update(dict.fromkeys(_steps([*word[:-1], f"{word[-1]}</w>"])))
    joined = dict.fromkeys(left + right for left, right in merges)
    special = ["<|startoftext|>", "<|endoftext|>"]
    vocab = {word: i for i, word in enumerate([*alphabet, *joined, *special])}
    return CLIPTokenizer(vocab=vocab, merges=[*merges], model_max_length=77)


def _steps(letters: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The merges that join letters from the right."""
    done = letters[-1]
    for letter in reversed(letters[:-1]):
        yield letter, done
        done = letter + done


def requests(count: int, size_wh: tuple[int, int], seed: int = 0) -> list[RenderRequest]:
    """Scenes of two to six objects, each different."""
    draw = rng(seed, "benchmark scenes")
    names = [*categories()]
    return [_request(draw, names, size_wh, i) for i in range(count)]


def _request(
    draw: np.random.Generator, names: Sequence[str], size_wh: tuple[int, int], seed: int
) -> RenderRequest:
    chosen = draw.choice(len(names), int(draw.integers(2, 7)), replace=False)
    objects = tuple(SceneObject(names[int(i)]) for i in chosen)
    said = [instance_text(each.category, "") for each in objects]
    graph = SceneGraph(objects, (), f"a photo of {', '.join(said[:-1])} and {said[-1]}")
    sides = draw.uniform(0.15, 0.5, (len(objects), 2))
    corners = draw.uniform(0, 1, (len(objects), 2)) * (1 - sides)
    boxes = np.concatenate([corners, sides], axis=1).astype(np.float32)
    return RenderRequest(graph, boxes, size_wh, seed)


def stock_pipeline(folder: Path, dtype: str, device: str) -> Any:
    """The pipeline of diffusers, as its documentation loads it."""
    import torch
    from diffusers import StableDiffusionGLIGENPipeline

    pipeline = StableDiffusionGLIGENPipeline.from_pretrained(
        folder, dtype=getattr(torch, dtype), safety_checker=None, use_safetensors=True
    ).to(device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def stock_image(
    pipeline: Any,
    request: RenderRequest,
    steps: int = 50,
    guidance_scale: float = 7.5,
    beta: float = 0.3,
    candidates: int = 1,
) -> npt.NDArray[np.float32]:
    """One scene in one call, as the authors do; its first candidate, (H, W, 3), 0 to 1."""
    objects = request.graph.objects
    width, height = request.size_wh
    images = pipeline(
        request.graph.caption,
        height=height,
        width=width,
        num_inference_steps=steps,
        guidance_scale=guidance_scale,
        gligen_scheduled_sampling_beta=beta,
        gligen_phrases=[instance_text(each.category, each.attributes) for each in objects],
        gligen_boxes=xywh_to_xyxy(request.boxes_xywhn).tolist(),
        num_images_per_prompt=candidates,
        generator=generators([request.seed + i for i in range(candidates)]),
        output_type="np",
    ).images
    return np.asarray(images[0], dtype=np.float32)


@contextmanager
def _default_dtype(dtype: Any) -> Iterator[None]:
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
