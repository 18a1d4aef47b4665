"""What a recipe can say of FLUX 3, and which weights that means."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from acp.backends.models.diffusion import DiffusionOptions
from acp.backends.models.gated import explaining_access
from acp.backends.models.local_models import LocalModelOptions, model_info, named
from acp.core.errors import AcpError
from acp.core.types import ModelInfo

WHO = "renderer 'flux3'"
INDEX = "modular_model_index.json"
GUIDANCE = 4.0


class Flux3Options(DiffusionOptions):
    """Which FLUX 3, and who writes its captions."""

    model: str = Field("black-forest-labs/flux-3-image-klein", description="id, or a folder")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "bfloat16", description="of the weights; auto: bfloat16, as they are published"
    )
    steps: int = Field(16, ge=1, le=1000, description="denoising steps; the Base model wants 50")
    guidance_scale: float | None = Field(  # type: ignore[assignment]
        None, ge=0, description="classifier-free guidance of the Base model (4); Klein has none"
    )
    batch_size: int = Field(
        4, ge=1, description="most images at once; halved where memory runs out; speed only"
    )
    caption: Literal["upsampler", "graph"] = Field(
        "upsampler",
        description="who writes the caption: the model's prompt upsampler, or nobody: that of the "
        "scene graph in the same form, without loading a second model of 9 B",
    )
    upsampler: str | None = Field(
        None, description="id or folder of the prompt upsampler; none: the one the model names"
    )
    upsampler_revision: str | None = Field(None, description="branch, tag or commit on the Hub")
    max_new_tokens: int = Field(3584, ge=1, description="longest caption of the upsampler")
    _named_too = field_validator("upsampler")(named)


def guidance(options: Flux3Options) -> float:
    """The scale for a model that knows guidance."""
    return GUIDANCE if options.guidance_scale is None else options.guidance_scale


def flux3_info(options: Flux3Options) -> ModelInfo:
    """Id, revision and licence; those of the prompt upsampler beside them, where it is used."""
    with explaining_access(options.model, WHO):
        found = model_info(options)
        upsampler = upsampler_info(options, found)
    if upsampler is None:
        return found
    # The model's own licence stays: that of the upsampler binds its weights, not its captions.
    revision = f"{found.revision}+{upsampler.id}@{upsampler.revision}"
    return ModelInfo(found.id, revision, found.licence, f"captions by {upsampler.id}")


def upsampler_info(options: Flux3Options, info: ModelInfo) -> ModelInfo | None:
    """Where the prompt upsampler comes from, if that is not the model's own folder or repo."""
    if options.caption == "graph":
        return None
    named, revision = options.upsampler, options.upsampler_revision
    if named is None:
        spec = _index(options, info).get("prompt_upsampler") or [None, None, {}]
        named = spec[2].get("pretrained_model_name_or_path") or options.model
        revision = revision or spec[2].get("revision")
        own = Path(options.model).expanduser() / (spec[2].get("subfolder") or "prompt_upsampler")
        if named == options.model or own.is_dir():
            return None
    return model_info(LocalModelOptions(model=named, revision=revision))


def _index(options: Flux3Options, info: ModelInfo) -> Mapping[str, Any]:
    folder = Path(options.model).expanduser()
    path = folder / INDEX
    try:
        if not folder.is_dir():
            from huggingface_hub import hf_hub_download

            path = Path(hf_hub_download(options.model, INDEX, revision=info.revision))
        found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise AcpError(f"{WHO}: {options.model} has no {INDEX}: it is no FLUX 3") from None
    return found
