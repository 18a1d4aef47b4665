"""FLUX 3: its options, which weights they mean, and its modular pipeline in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from acp.backends.models.diffusion import DiffusionOptions, silent, torch_dtype
from acp.backends.models.local_models import (
    LocalModelOptions,
    device_of,
    model_info,
    named,
    telling,
    where_is,
)
from acp.backends.models.torch_tools import no_progress_bars
from acp.core.errors import AcpError, reason_of
from acp.core.types import ModelInfo

WHO = "renderer 'flux3'"
INDEX = "modular_model_index.json"
GUIDANCE = 4.0
UPSAMPLER = ("prompt_upsampler", "prompt_upsampler_processor")


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

    @property
    def guidance(self) -> float:
        """The scale for a model that knows guidance."""
        return GUIDANCE if self.guidance_scale is None else self.guidance_scale


def flux3_info(options: Flux3Options) -> ModelInfo:
    """Id, revision and licence; those of the prompt upsampler beside them, where it is used."""
    info = model_info(options)
    upsampler = _upsampler_info(options, info)
    if upsampler is None:
        return info
    # The model's own licence stays: that of the upsampler binds its weights, not its captions.
    revision = f"{info.revision}+{upsampler.id}@{upsampler.revision}"
    return ModelInfo(info.id, revision, info.licence, f"captions by {upsampler.id}")


@dataclass(frozen=True, slots=True)
class Phases:
    """The steps of the pipeline that run one after another; they share their components.

    `upsample` is None where the caption comes from the graph. `guided` says whether the model
    knows guidance.
    """

    upsample: Any
    encode: Any
    draw: Any
    guided: bool

    @property
    def multiple(self) -> int:
        """Pixels that a side must be a multiple of."""
        return int(self.draw.vae_scale_factor) * 2

    def tokens(self, caption: str) -> int:
        """How long the text encoder finds the caption, its template and all."""
        words = self.encode.tokenizer
        messages = [{"role": "user", "content": caption}]
        text = words.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return len(words.tokenizer(text)["input_ids"])


def load_phases(options: Flux3Options) -> Phases:
    """The pipeline with its components on their devices.

    Raises:
        AcpError: no such model, no access to it, another kind of pipeline, or options it lacks.
    """
    from diffusers import ComponentsManager, ModularPipeline

    with telling(options, WHO), no_progress_bars(), silent():
        info = model_info(options)
        upsampler = _upsampler_info(options, info)
        # What moves whole models in and out of the GPU.
        manager = ComponentsManager() if _offload(options) == "model" else None
        where = where_is(options, info)
        pipeline = ModularPipeline.from_pretrained(**where, components_manager=manager)
        blocks = pipeline.blocks
        if not getattr(blocks, "model_name", "").startswith("flux3"):
            raise AcpError(f"{WHO}: {options.model} is no FLUX 3: {type(pipeline).__name__}")
        blocks = blocks.get_workflow("text2image")
        for name in blocks.component_names:
            spec = pipeline.get_component_spec(name)
            needless = name in UPSAMPLER and options.caption == "graph"
            # Those made from a configuration are there.
            if spec.default_creation_method == "from_pretrained" and not needless:
                elsewhere = upsampler if name in UPSAMPLER else None
                how = _how_to_load(spec, options, info, elsewhere)
                pipeline.update_components(**{name: spec.load(**how)})
        _place(pipeline, manager, options)
        return _taken_apart(pipeline, blocks, options)


def _how_to_load(
    spec: Any, options: Flux3Options, info: ModelInfo, elsewhere: ModelInfo | None
) -> dict[str, Any]:
    import torch

    how: dict[str, Any] = {}
    if issubclass(spec.type_hint, torch.nn.Module):
        how = {"use_safetensors": True, "dtype": torch_dtype(options.dtype) or torch.bfloat16}
        if elsewhere is None:
            how["variant"] = options.variant
    if elsewhere is not None:
        how["revision"] = None if _is_folder(options.upsampler) else elsewhere.revision
        if options.upsampler is not None:
            own = Path(options.upsampler).expanduser() / spec.name
            how["pretrained_model_name_or_path"] = options.upsampler
            how["subfolder"] = spec.name if own.is_dir() else ""
    of_the_model = spec.pretrained_model_name_or_path in (None, options.model)
    if elsewhere is None and of_the_model and not _is_folder(options.model):
        # The index says nothing of revisions: without this, the newest would be taken.
        how |= {"pretrained_model_name_or_path": options.model, "revision": info.revision}
    return how


def _upsampler_info(options: Flux3Options, info: ModelInfo) -> ModelInfo | None:
    """Where the prompt upsampler comes from, if that is not the model's own folder or repo.

    Raises:
        AcpError: the model is no FLUX 3, or the Hub does not give it.
    """
    index = _index(options, info)
    if options.caption == "graph":
        return None
    name, revision = options.upsampler, options.upsampler_revision
    if name is None:
        spec = (index.get("prompt_upsampler") or [None, None, {}])[2]
        name = spec.get("pretrained_model_name_or_path") or options.model
        revision = revision or spec.get("revision")
        own = Path(options.model).expanduser() / (spec.get("subfolder") or "prompt_upsampler")
        if name == options.model or own.is_dir():
            return None
    return model_info(LocalModelOptions(model=name, revision=revision))


def _index(options: Flux3Options, info: ModelInfo) -> Mapping[str, Any]:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import GatedRepoError

    model, path = options.model, Path(options.model).expanduser() / INDEX
    try:
        if not _is_folder(model):
            path = Path(hf_hub_download(model, INDEX, revision=info.revision))
        index: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except GatedRepoError:
        raise AcpError(
            f"{WHO}: the Hub does not give {model}: accept its licence on "
            f"https://huggingface.co/{model}, then log in: hf auth login"
        ) from None
    except (OSError, ValueError) as error:
        reason = reason_of(error)
        raise AcpError(f"{WHO}: no {INDEX} of {model} ({reason}); is it a FLUX 3?") from None
    return index


def _is_folder(name: str | None) -> bool:
    return name is not None and Path(name).expanduser().is_dir()


def _offload(options: Flux3Options) -> str:
    return "none" if device_of(options.device).startswith("cpu") else options.offload


def _place(pipeline: Any, manager: Any, options: Flux3Options) -> None:
    import torch

    if options.attention_slicing:
        raise AcpError(f"{WHO}: the model knows no attention_slicing; use offload or vae_tiling")
    if options.vae_tiling:
        pipeline.vae.enable_tiling()
    if options.vae_slicing:
        pipeline.vae.enable_slicing()
    if options.channels_last:
        pipeline.vae.to(memory_format=torch.channels_last)
    device = torch.device(device_of(options.device))
    offload = _offload(options)
    if offload == "none":
        pipeline.to(device)
    elif offload == "model":
        manager.enable_auto_cpu_offload(device=device)
    else:
        stream_layers(pipeline, device)


def stream_layers(pipeline: Any, device: Any) -> None:
    """Keep the weights in main memory; each layer goes to `device` while it works."""
    import torch
    from diffusers.hooks import apply_group_offloading

    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            apply_group_offloading(part, onload_device=device, offload_type="leaf_level")


def _taken_apart(pipeline: Any, blocks: Any, options: Flux3Options) -> Phases:
    steps = blocks.sub_blocks
    upsample, encode = steps.pop("prompt_upsampler"), steps.pop("text_encoder")
    guided = "guider" in blocks.component_names
    unused = [name for name in ("guidance_scale", "negative_prompt") if getattr(options, name)]
    if unused and not guided:
        raise AcpError(
            f"{WHO}: {options.model} is distilled and takes no guidance; drop {', '.join(unused)}"
        )
    if guided:
        from diffusers import ClassifierFreeGuidance

        guider = ClassifierFreeGuidance(guidance_scale=options.guidance)
        pipeline.update_components(guider=guider)
    if options.compile:
        pipeline.transformer.compile()
    return Phases(
        None if options.caption == "graph" else _phase(pipeline, upsample),
        _phase(pipeline, encode, guider=guided),
        _phase(pipeline, blocks),
        guided,
    )


def _phase(pipeline: Any, block: Any, *, guider: bool = False) -> Any:
    phase = type(pipeline)(blocks=block)
    names = [name for name in phase.component_names if getattr(pipeline, name, None) is not None]
    phase.update_components(**{name: getattr(pipeline, name) for name in names})
    if guider:
        # Not a component of the encoder, which asks it whether the negative prompt is needed.
        phase.guider = pipeline.guider
    phase.set_progress_bar_config(disable=True)
    return phase
