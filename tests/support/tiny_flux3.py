"""A FLUX 3 of a few thousand random weights, made from configurations and saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PROCESSORS = ("tokenizer", "prompt_upsampler_processor")
STATES = 8
"""The pipeline stacks the hidden states after layers 4, 8, ... 32, so the tiny one has 32 too."""


def save_processor(folder: Path) -> int:
    """Qwen's processor as the Hub has it, with the parts for pictures and videos; how many tokens
    it knows."""
    from support.tiny_vision import QWEN_TEMPLATE, QWEN_TOKENS, tokenizer

    words = tokenizer(QWEN_TOKENS, QWEN_TEMPLATE)
    words.model_max_length = 100_000
    words.save_pretrained(folder)
    size = {"shortest_edge": 256, "longest_edge": 16384}
    common = {"patch_size": 8, "temporal_patch_size": 2, "merge_size": 2, "size": size}
    for name, extra in (
        ("preprocessor_config.json", {"image_processor_type": "Qwen2VLImageProcessorFast"}),
        ("video_preprocessor_config.json", {"video_processor_type": "Qwen3VLVideoProcessor"}),
    ):
        text = json.dumps({**common, **extra, "processor_class": "Qwen3VLProcessor"})
        (folder / name).write_text(text, encoding="utf-8")
    return len(words)


def _vision(hidden: int) -> dict[str, Any]:
    return {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_heads": 2,
        "out_hidden_size": hidden,
        "num_position_embeddings": 16,
    }


def upsampler(size: int) -> Any:
    """A Qwen3.5 with one linear and one full attention layer."""
    from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration

    config = Qwen3_5Config(
        text_config={
            "vocab_size": size,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 2,
            "layer_types": ["linear_attention", "full_attention"],
            "initializer_range": 0.4,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "partial_rotary_factor": 1.0,
                "mrope_section": [2, 1, 1],
                "mrope_interleaved": True,
            },
        },
        vision_config=_vision(32),
        image_token_id=3,
        video_token_id=3,
        vision_start_token_id=3,
        vision_end_token_id=3,
    )
    return Qwen3_5ForConditionalGeneration(config)


def text_encoder(size: int) -> Any:
    """A Qwen3-VL."""
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    config = Qwen3VLConfig(
        text_config={
            "vocab_size": size,
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 32,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 8,
            "initializer_range": 0.4,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [2, 1, 1],
                "mrope_interleaved": True,
            },
        },
        vision_config={**_vision(16), "deepstack_visual_indexes": [0]},
        image_token_id=3,
        video_token_id=3,
        vision_start_token_id=3,
        vision_end_token_id=3,
    )
    return Qwen3VLForConditionalGeneration(config)


def transformer(distilled: bool) -> Any:
    """One block of each kind; the text weighs enough for a test to see it."""
    import torch
    from diffusers import Flux3Transformer2DModel

    model = Flux3Transformer2DModel(
        in_channels=16,
        cond_in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16 * STATES,
        timestep_channels=16,
        axes_dims_rope=(4, 4, 4, 4),
        flow_map=distilled,
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model


def vae() -> Any:
    """Four channels of latents, eight times smaller, as the real one packs them."""
    from diffusers import AutoencoderKLFlux2

    return AutoencoderKLFlux2(
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=64,
    )


def save_flux3(folder: Path, *, distilled: bool = True) -> Path:
    """All components with `modular_model_index.json`, as `save_pretrained` writes them."""
    import torch
    from diffusers import (
        Flux3AutoBlocks,
        Flux3DistilledAutoBlocks,
        Flux3DistilledModularPipeline,
        Flux3ModularPipeline,
    )

    kind = Flux3DistilledModularPipeline if distilled else Flux3ModularPipeline
    blocks = Flux3DistilledAutoBlocks if distilled else Flux3AutoBlocks
    sizes = {name: save_processor(folder / name) for name in PROCESSORS}
    size = sizes["tokenizer"]
    torch.manual_seed(0)
    pipeline = kind(blocks=blocks())
    pipeline.update_components(
        prompt_upsampler=upsampler(size).eval(),
        text_encoder=text_encoder(size).eval(),
        transformer=transformer(distilled).eval(),
        vae=vae().eval(),
    )
    pipeline.save_pretrained(str(folder), overwrite_modular_index=True)
    _name_processors(folder)
    return folder


def _name_processors(folder: Path) -> None:
    """Into the index; made here they would need torchvision, for the part that reads videos."""
    index = folder / "modular_model_index.json"
    saved = json.loads(index.read_text(encoding="utf-8"))
    for name in PROCESSORS:
        where = {
            "pretrained_model_name_or_path": str(folder),
            "subfolder": name,
            "revision": None,
            "variant": None,
            "type_hint": ["transformers", "Qwen3VLProcessor"],
        }
        saved[name] = ["transformers", "Qwen3VLProcessor", where]
    index.write_text(json.dumps(saved, indent=2), encoding="utf-8")
