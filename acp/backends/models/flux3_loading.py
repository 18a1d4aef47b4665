"""FLUX 3's modular pipeline in memory, taken apart into its three phases."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acp.backends.models.diffusion import silent, torch_dtype
from acp.backends.models.flux3_options import WHO, Flux3Options, guidance, upsampler_info
from acp.backends.models.gated import explaining_access
from acp.backends.models.local_models import device_of, model_info, telling, where_is
from acp.backends.models.torch_tools import no_progress_bars
from acp.core.errors import AcpError
from acp.core.types import ModelInfo

UPSAMPLER = ("prompt_upsampler", "prompt_upsampler_processor")


@dataclass(frozen=True, slots=True)
class Phases:
    """The steps of the pipeline that run one after another, with their components.

    `upsample` is None where the caption comes from the graph. `guided` says whether the model
    knows guidance. The three share their components.
    """

    upsample: Any
    encode: Any
    draw: Any
    guided: bool

    @property
    def device(self) -> Any:
        """Where the tensors of `draw` belong."""
        return self.draw._execution_device

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
    from diffusers import ModularPipeline

    with (
        explaining_access(options.model, WHO),
        telling(options, WHO),
        no_progress_bars(),
        silent(),
    ):
        info = model_info(options)
        where = where_is(options, info)
        manager = _manager(options)
        pipeline = ModularPipeline.from_pretrained(**where, components_manager=manager)
        blocks = pipeline.blocks
        if not getattr(blocks, "model_name", "").startswith("flux3"):
            raise AcpError(f"{WHO}: {options.model} is no FLUX 3: {type(pipeline).__name__}")
        blocks = blocks.get_workflow("text2image")
        pipeline.update_components(**_components(pipeline, blocks, options, info))
        _place(pipeline, manager, options)
        return _taken_apart(pipeline, blocks, options)


def _components(
    pipeline: Any, blocks: Any, options: Flux3Options, info: ModelInfo
) -> dict[str, Any]:
    """Each component of the steps that will run; those made from a configuration are there."""
    upsampler = upsampler_info(options, info)
    found = {}
    for name in blocks.component_names:
        spec = pipeline.get_component_spec(name)
        if spec.default_creation_method != "from_pretrained":
            continue
        if name in UPSAMPLER and options.caption == "graph":
            continue
        found[name] = _component(spec, options, info, upsampler if name in UPSAMPLER else None)
    return found


def _component(
    spec: Any, options: Flux3Options, info: ModelInfo, elsewhere: ModelInfo | None
) -> Any:
    import torch

    more: dict[str, Any] = {}
    if issubclass(spec.type_hint, torch.nn.Module):
        more = {"use_safetensors": True, "dtype": torch_dtype(options.dtype) or torch.bfloat16}
        if elsewhere is None:
            more["variant"] = options.variant
    if spec.pretrained_model_name_or_path in (None, options.model) and not _is_folder(options):
        # The index says nothing of revisions: without this, the newest would be taken.
        more |= {"pretrained_model_name_or_path": options.model, "revision": info.revision}
    if elsewhere is not None:
        more["revision"] = None if _is_local(options.upsampler) else elsewhere.revision
        if options.upsampler is not None:
            more["pretrained_model_name_or_path"] = options.upsampler
            own = Path(options.upsampler).expanduser() / spec.name
            more["subfolder"] = spec.name if own.is_dir() else ""
    return spec.load(**more)


def _is_folder(options: Flux3Options) -> bool:
    return _is_local(options.model)


def _is_local(name: str | None) -> bool:
    return name is not None and Path(name).expanduser().is_dir()


def _manager(options: Flux3Options) -> Any:
    """What moves whole models in and out of the GPU; None where nothing has to be moved."""
    from diffusers import ComponentsManager

    return ComponentsManager() if _offload(options) == "model" else None


def _offload(options: Flux3Options) -> str:
    return "none" if device_of(options.device).startswith("cpu") else options.offload


def _place(pipeline: Any, manager: Any, options: Flux3Options) -> None:
    import torch

    if options.attention_slicing:
        raise AcpError(f"{WHO}: the model knows no attention_slicing; use offload or vae_tiling")
    for wanted, method in ((options.vae_tiling, "tiling"), (options.vae_slicing, "slicing")):
        if wanted:
            getattr(pipeline.vae, f"enable_{method}")()
    if options.channels_last:
        pipeline.vae.to(memory_format=torch.channels_last)
    device = torch.device(device_of(options.device))
    offload = _offload(options)
    if offload == "none":
        pipeline.to(device)
    elif offload == "model":
        manager.enable_auto_cpu_offload(device=device)
    else:
        _stream_layers(pipeline, device)


def _stream_layers(pipeline: Any, device: Any) -> None:
    import torch
    from diffusers.hooks import apply_group_offloading

    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            apply_group_offloading(
                part, onload_device=device, offload_type="leaf_level", use_stream=False
            )


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

        guider = ClassifierFreeGuidance(guidance_scale=guidance(options))
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
