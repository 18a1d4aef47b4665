"""What pipelines of diffusers share: options, loading, memory, prompts, chance, and pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from PIL import Image
from pydantic import Field, model_validator

from acp.backends.models import local_models
from acp.backends.models.local_models import LocalModelOptions, device_of, telling, where_is
from acp.backends.models.torch_tools import no_progress_bars
from acp.core.errors import AcpError
from acp.core.types import Failure, ModelInfo, Rendering

PACKAGES = dict.fromkeys(("torch", "diffusers", "transformers", "accelerate"), local_models.MEND)
OUT_OF_MEMORY = "use offload: model, vae_tiling: true, float16 or smaller images"
SPEED_ONLY = local_models.SPEED_ONLY | {
    "attention_slicing",
    "channels_last",
    "compile",
    "offload",
    "vae_slicing",
}
T = TypeVar("T")


class DiffusionOptions(LocalModelOptions):
    """What every diffusion pipeline can be told.

    `dtype: auto` is that of the saved denoiser. Where there is no GPU, `offload` changes nothing:
    everything is in main memory already.
    """

    variant: str | None = Field(None, description='files of the weights to take, such as "fp16"')
    steps: int = Field(50, ge=1, le=1000, description="denoising steps")
    guidance_scale: float = Field(
        7.5, ge=0, description="classifier-free guidance; up to 1: none, and half the work"
    )
    negative_prompt: str = Field("", description="what should not be seen; needs guidance")
    compile: bool = Field(
        False, description="torch.compile the denoiser; the last batch is filled up; speed only"
    )
    channels_last: bool = Field(False, description="memory format of the weights; speed only")
    attention_slicing: bool = Field(
        False, description="attention in slices: less memory, slower; speed only"
    )
    vae_slicing: bool = Field(
        False, description="decode image by image: less memory, slower; speed only"
    )
    vae_tiling: bool = Field(
        False, description="decode large images in tiles: much less memory, slightly other pixels"
    )
    offload: Literal["none", "model", "sequential"] = Field(
        "none",
        description="what waits in main memory while it is not needed: whole models, or every "
        "layer (very slow); nothing where there is no GPU; speed only",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> DiffusionOptions:
        if self.compile and self.offload != "none":
            raise ValueError("compile needs offload: none")
        return self


def load_pipeline(
    options: DiffusionOptions, info: ModelInfo, who: str, cls: Any, **more: Any
) -> Any:
    """The pipeline `cls` of diffusers on its device, at the revision of `info`.

    Weights are read from safetensors; where a model has none, from torch files as tensors alone
    (`weights_only`), so that no code of a pickle runs. `who` names the backend in errors, `more`
    is what else `from_pretrained` is told.

    Raises:
        AcpError: no such model, another kind of pipeline, or one that cannot be loaded.
    """
    where = where_is(options, info)
    which = {**where, "use_safetensors": None, **more, "variant": options.variant}
    with telling(options, who, partial(_explained, cls)), no_progress_bars(), silent():
        dtype = torch_dtype(options.dtype) or _saved_dtype(options, cls, which)
        return _placed(cls.from_pretrained(**which, dtype=dtype), options, who)


def _placed(pipeline: Any, options: DiffusionOptions, who: str) -> Any:
    import torch

    pipeline.set_progress_bar_config(disable=True)
    if options.attention_slicing:
        pipeline.enable_attention_slicing()
    for wanted, method in ((options.vae_tiling, "tiling"), (options.vae_slicing, "slicing")):
        enable = getattr(getattr(pipeline, "vae", None), f"enable_{method}", None)
        if wanted and enable is not None:
            enable()
        elif wanted:
            raise AcpError(f"{who}: the decoder of this model knows no {method}; drop vae_{method}")
    device = device_of(options.device)
    denoiser = "unet" if getattr(pipeline, "unet", None) is not None else "transformer"
    if options.channels_last:
        for part in (denoiser, "vae"):
            getattr(pipeline, part).to(memory_format=torch.channels_last)
    if options.offload == "none" or torch.device(device).type == "cpu":
        pipeline.to(device)
    elif options.offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.enable_sequential_cpu_offload(device=device)
    if options.compile:
        setattr(pipeline, denoiser, torch.compile(getattr(pipeline, denoiser)))
    return pipeline


def torch_dtype(name: str) -> Any:
    """The torch dtype of an option; None for "auto": as the weights were saved."""
    import torch

    return None if name == "auto" else getattr(torch, name)


def _saved_dtype(options: DiffusionOptions, cls: Any, which: dict[str, Any]) -> Any:
    """That of the denoiser: left to themselves, only some of the parts keep theirs."""
    import torch
    from safetensors import safe_open

    folder = Path(options.model).expanduser()
    if not folder.is_dir():
        rest = {**which}
        folder = Path(cls.download(rest.pop("pretrained_model_name_or_path"), **rest))
    mark = f".{options.variant}" if options.variant else ""
    for part in ("unet", "transformer"):
        for file in sorted(folder.glob(f"{part}/diffusion_pytorch_model{mark}[.-]*safetensors")):
            with safe_open(file, "pt") as weights:
                name = weights.get_slice(next(iter(weights.keys()))).get_dtype()
            return {"F16": torch.float16, "BF16": torch.bfloat16}.get(name, torch.float32)
    return torch.float32


def check_tokenizer(tokenizer: Any, text_encoder: Any, which: str) -> None:
    """Make sure that texts become tokens, and that what is too long for the encoder is known.

    Raises:
        AcpError: `which` has no vocabulary; libraries make an empty one where files are missing.
    """
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise AcpError(f"{which} has no vocabulary; its folder tokenizer is missing or incomplete")
    # Not all tokenizers say how much their encoder reads.
    longest = int(text_encoder.config.max_position_embeddings)
    tokenizer.model_max_length = min(tokenizer.model_max_length, longest)


def windows(text: str, tokenizer: Any) -> tuple[str, ...] | Failure:
    """`text` in as few parts as possible (at least one), cut between words, that a CLIP text
    encoder reads in full: it takes 75 tokens and drops the rest unasked."""
    room = tokenizer.model_max_length - 2  # it adds a first and a last token
    parts, used = [""], 0
    for word, count in zip(text.split(), token_counts(text.split(), tokenizer), strict=True):
        if count > room:
            return Failure(
                f"a word of the prompt has {count} tokens of at most {room}: {word[:40]!r}"
            )
        if used + count > room:
            parts.append("")
            used = 0
        parts[-1] = f"{parts[-1]} {word}".lstrip()
        used += count
    return tuple(parts)


def token_counts(texts: Sequence[str], tokenizer: Any) -> list[int]:
    """How many tokens each text has, without the first and last that the encoder adds."""
    if not texts:
        return []
    return [len(ids) for ids in tokenizer([*texts], add_special_tokens=False).input_ids]


def encoded(pipeline: Any, prompts: Sequence[Sequence[str]], count: int) -> tuple[Any, Any]:
    """Embeddings of prompts in windows, one after another, (R, count x 77, D), and the pooled one
    of each prompt's first window, (R, P), or None where the pipeline has none.

    Prompts with fewer than `count` windows are filled up with empty ones.
    """
    flat = [part for prompt in prompts for part in [*prompt, *[""] * (count - len(prompt))]]
    output = pipeline.encode_prompt(
        flat,
        device=pipeline._execution_device,
        num_images_per_prompt=1,
        do_classifier_free_guidance=False,
    )
    embeddings = output[0].reshape(len(prompts), -1, output[0].shape[-1])
    pooled = output[2].reshape(len(prompts), count, -1)[:, 0] if len(output) > 2 else None
    return embeddings, pooled


def generators(seeds: Sequence[int]) -> list[Any]:
    """A generator for each seed, on the CPU: noise is then the same on every device."""
    import torch

    return [torch.Generator("cpu").manual_seed(seed) for seed in seeds]


def filled(batch: Sequence[T], size: int, options: DiffusionOptions) -> list[T]:
    """`batch`, with its last item repeated up to `size` if the model is compiled.

    Rows do not touch each other, and another batch size would compile everything anew.
    """
    return [*batch, *[batch[-1]] * (size - len(batch) if options.compile else 0)]


def to_rendering(image: Any, size_wh: tuple[int, int]) -> Rendering | Failure:
    """The image of a pipeline as uint8 RGB, scaled to `size_wh` if it has another size.

    It may be floats (H, W, 3) from 0 to 1, uint8 (H, W, 3), or a picture of Pillow. Numbers that
    are no image, and one that is all black, are a `Failure`: half precision gives them where it
    overflows, and a safety checker leaves black.

    >>> to_rendering(np.full((8, 8, 3), 0.5), (8, 8)).image_rgb[0, 0].tolist()
    [128, 128, 128]
    >>> to_rendering(np.zeros((8, 8, 3)), (8, 8)).reason
    'the image is all black'
    """
    if not isinstance(image, Image.Image):
        array = np.asarray(image)
        if not np.isfinite(array).all():
            return Failure("the model gave no finite numbers; try dtype: float32 or bfloat16")
        if array.dtype != np.uint8:
            array = (array.clip(0, 1) * 255).round().astype(np.uint8)
        image = Image.fromarray(array)
    if image.size != size_wh:
        image = image.resize(size_wh, Image.Resampling.LANCZOS)
    pixels = np.array(image.convert("RGB"))
    return Rendering(pixels) if pixels.any() else Failure("the image is all black")


def _explained(cls: Any, reason: str) -> tuple[str, str]:
    if "were passed" in reason:  # parts that its model_index.json does not name
        reason = f"it is no {cls.__name__}"
    if "safetensors" in reason or "variant" in reason:
        return reason, "check `variant`, or name a `revision` or a folder that has such weights"
    return reason, ""


@contextmanager
def silent() -> Iterator[None]:
    """diffusers warns of pipelines it calls deprecated, of parts that are left out, of casts it
    makes itself; what matters is raised."""
    from diffusers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(before)
