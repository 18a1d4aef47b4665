"""Random diffusion pipelines of some ten thousand weights, made from configurations and saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ACT = "quick_gelu"


def clip_tokenizer() -> Any:
    """Letters without merges: every letter is a token, so texts are soon too long."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    special = ["<|startoftext|>", "<|endoftext|>"]
    vocab = {word: i for i, word in enumerate([*words, *special])}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=77)


def _text_config(vocab: int, **more: Any) -> Any:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=vocab,
        hidden_size=32,
        intermediate_size=37,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=77,
        bos_token_id=vocab - 2,
        eos_token_id=vocab - 1,
        pad_token_id=vocab - 1,
        initializer_range=0.3,  # texts that differ make embeddings that differ
        **more,
    )


def _vae(**more: Any) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(16, 16, 32, 32),  # as the real ones: a factor of 8
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=64,
        **more,
    )


def _unet(**more: Any) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        sample_size=8,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        **more,
    )


def open_gates(unet: Any) -> None:
    """A new model has its gates shut: boxes would have no effect."""
    from diffusers.models.attention import GatedSelfAttentionDense

    for module in unet.modules():
        if isinstance(module, GatedSelfAttentionDense):
            module.alpha_attn.data.fill_(1.0)
            module.alpha_dense.data.fill_(1.0)
    unet.position_net.linears[-1].weight.data.mul_(20)  # boxes that differ give other pictures


def save_gligen(folder: Path, *, flagged: bool | None = None, variant: str | None = None) -> Path:
    """A GLIGEN; with a safety checker that flags all images or none, or without one."""
    import torch
    from diffusers import PNDMScheduler, StableDiffusionGLIGENPipeline
    from transformers import CLIPTextModel

    words = clip_tokenizer()
    torch.manual_seed(0)
    unet = _unet(attention_head_dim=4, attention_type="gated")
    open_gates(unet)
    checker = None if flagged is None else _checker(flagged)
    pipeline = StableDiffusionGLIGENPipeline(
        vae=_vae(),
        text_encoder=CLIPTextModel(_text_config(len(words), hidden_act=ACT)),
        tokenizer=words,
        unet=unet,
        scheduler=PNDMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            skip_prk_steps=True,
            steps_offset=1,
            set_alpha_to_one=False,
        ),
        safety_checker=checker,
        feature_extractor=_feature_extractor() if checker is not None else None,
        requires_safety_checker=checker is not None,
    )
    pipeline.save_pretrained(folder, variant=variant)
    return folder


def _checker(flagged: bool) -> Any:
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig

    small = {
        "hidden_size": 32,
        "intermediate_size": 37,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
    }
    config = CLIPConfig(
        text_config={**small, "vocab_size": 100},
        vision_config={**small, "image_size": 32, "patch_size": 16},
        projection_dim=32,
    )
    checker = StableDiffusionSafetyChecker(config)
    # Thresholds of a cosine: -2 flags everything, 2 nothing.
    checker.concept_embeds_weights.data.fill_(-2.0 if flagged else 2.0)
    checker.special_care_embeds_weights.data.fill_(2.0)
    return checker


def _feature_extractor() -> Any:
    from transformers import CLIPImageProcessorPil

    return CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


def save_sdxl_refiner(folder: Path) -> Path:
    """An SDXL refiner: image to image, the second text encoder alone."""
    import torch
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLImg2ImgPipeline
    from transformers import CLIPTextModelWithProjection

    words = clip_tokenizer()
    torch.manual_seed(1)
    pipeline = StableDiffusionXLImg2ImgPipeline(
        vae=_vae(force_upcast=True),
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=CLIPTextModelWithProjection(
            _text_config(len(words), hidden_act="gelu", projection_dim=32)
        ),
        tokenizer_2=words,
        unet=_unet(
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            transformer_layers_per_block=(1, 2),
            projection_class_embeddings_input_dim=8 * 5 + 32,
        ),
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            steps_offset=1,
            timestep_spacing="leading",
        ),
        requires_aesthetics_score=True,
        force_zeros_for_empty_prompt=False,
        add_watermarker=False,
    )
    pipeline.save_pretrained(folder)
    return folder
