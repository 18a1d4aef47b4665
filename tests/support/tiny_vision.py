"""Random vision models of a few thousand weights, made from configurations and saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SIDE = 64
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def sam2_configs() -> dict[str, Any]:
    """Of a SAM 2 for pictures of 64 x 64."""
    from transformers import Sam2HieraDetConfig, Sam2VisionConfig

    backbone = Sam2HieraDetConfig(
        hidden_size=8,
        num_attention_heads=1,
        image_size=[SIDE, SIDE],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 2, 2],
        window_size_per_stage=[4, 4, 4, 2],
        window_positional_embedding_background_size=[4, 4],
        global_attention_blocks=[3],
        initializer_range=0.3,
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone.to_dict(),
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
        fpn_hidden_size=32,
        initializer_range=0.3,
    )
    decoder = {
        "hidden_size": 32,
        "mlp_dim": 32,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 16,
    }
    return {
        "vision_config": vision.to_dict(),
        "prompt_encoder_config": {
            "hidden_size": 32,
            "image_size": SIDE,
            "patch_size": 16,
            "mask_input_channels": 4,
        },
        "mask_decoder_config": decoder,
        "initializer_range": 0.3,
    }


def save_sam2(folder: Path, seed: int = 0) -> Path:
    """A SAM 2, with the files of a Hub's repository except those of the processor of videos."""
    import torch
    from transformers import Sam2Config, Sam2Model

    torch.manual_seed(seed)
    Sam2Model(Sam2Config(**sam2_configs())).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({**IMAGENET, "image_processor_type": "Sam2ImageProcessor"}), encoding="utf-8"
    )
    return folder


def save_sam2_video(folder: Path, seed: int = 0) -> Path:
    """The same as the Hub's repositories of SAM 2.1 hold it: as a model of videos."""
    import torch
    from transformers import Sam2VideoConfig, Sam2VideoModel

    torch.manual_seed(seed)
    memory = {
        "memory_attention_hidden_size": 32,
        "memory_attention_feed_forward_hidden_size": 32,
        "memory_attention_num_layers": 1,
        "memory_attention_num_attention_heads": 1,
        "memory_attention_rope_feat_sizes": [4, 4],
        "memory_encoder_hidden_size": 32,
        "memory_encoder_output_channels": 8,
        "mask_downsampler_embed_dim": 32,
        "memory_fuser_num_layers": 1,
        "memory_fuser_embed_dim": 32,
        "memory_fuser_intermediate_dim": 32,
        "image_size": SIDE,
    }
    Sam2VideoModel(Sam2VideoConfig(**sam2_configs(), **memory)).save_pretrained(folder)
    return folder


def save_sam(folder: Path, seed: int = 0) -> Path:
    """A SAM, with its processor."""
    import torch
    from transformers import SamConfig, SamImageProcessorPil, SamModel, SamProcessor

    torch.manual_seed(seed)
    config = SamConfig(
        vision_config={
            "hidden_size": 32,
            "output_channels": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": SIDE,
            "patch_size": 8,
            "mlp_dim": 64,
            "num_pos_feats": 16,
            "window_size": 4,
            "global_attn_indexes": [1],
            "initializer_range": 0.3,
        },
        prompt_encoder_config={
            "hidden_size": 32,
            "image_size": SIDE,
            "patch_size": 8,
            "mask_input_channels": 4,
        },
        mask_decoder_config={
            "hidden_size": 32,
            "mlp_dim": 32,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 16,
        },
        initializer_range=0.3,
    )
    SamModel(config).save_pretrained(folder)
    images = SamImageProcessorPil(
        size={"longest_edge": SIDE}, pad_size={"height": SIDE, "width": SIDE}
    )
    SamProcessor(images).save_pretrained(folder)
    return folder


QWEN_TEMPLATE = """
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else %}
{%- for part in message.content -%}
{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}
{%- endif %}{%- endfor %}{% endif %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}{% endif %}"""
QWEN_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


def tokenizer(specials: tuple[str, ...], template: str) -> Any:
    """Bytes and a few merges, with a model's own special tokens and template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from tokenizers.trainers import BpeTrainer
    from transformers import PreTrainedTokenizerFast

    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=320,
        special_tokens=["<pad>", "<|im_start|>", "<|im_end|>", *specials],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    bare.train_from_iterator(["describe the picture region left top right bottom dog"], trainer)
    found = PreTrainedTokenizerFast(
        tokenizer_object=bare,
        pad_token="<pad>",  # noqa: S106
        eos_token="<|im_end|>",  # noqa: S106
        padding_side="right",
        model_max_length=4096,
    )
    found.chat_template = template
    return found


TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
QWEN_VISION = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_heads": 2,
    "patch_size": 8,
    "out_hidden_size": 32,
}


def _save_qwen(folder: Path, model: Any, words: Any, patch: int) -> Path:
    """The model with the files of a Hub's repository of Qwen's."""
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    size = {"shortest_edge": (2 * patch) ** 2, "longest_edge": 64 * (2 * patch) ** 2}
    common = {"patch_size": patch, "temporal_patch_size": 2, "merge_size": 2, "size": size}
    for name, extra in (
        ("preprocessor_config.json", {"image_processor_type": "Qwen2VLImageProcessorFast"}),
        ("video_preprocessor_config.json", {"video_processor_type": "Qwen3VLVideoProcessor"}),
    ):
        text = json.dumps({**common, **extra, "processor_class": "Qwen3VLProcessor"})
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def _token_ids(words: Any) -> dict[str, int]:
    start, end, image, video = (words.convert_tokens_to_ids(token) for token in QWEN_TOKENS)
    return {
        "vision_start_token_id": start,
        "vision_end_token_id": end,
        "image_token_id": image,
        "video_token_id": video,
    }


def save_qwen3_vl(folder: Path) -> Path:
    """A Qwen3-VL."""
    import torch
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    words = tokenizer(QWEN_TOKENS, QWEN_TEMPLATE)
    text = {
        **TEXT,
        "vocab_size": len(words),
        "head_dim": 8,
        "initializer_range": 0.3,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": [2, 1, 1],
            "mrope_interleaved": True,
        },
    }
    vision = {
        **QWEN_VISION,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0],
        "initializer_range": 0.3,
    }
    config = Qwen3VLConfig(text_config=text, vision_config=vision, **_token_ids(words))
    torch.manual_seed(0)
    return _save_qwen(folder, Qwen3VLForConditionalGeneration(config), words, 8)


def save_qwen3_5(folder: Path) -> Path:
    """A Qwen3.5: attention that is linear in three layers of four."""
    import torch
    from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration

    words = tokenizer(QWEN_TOKENS, QWEN_TEMPLATE)
    text = {
        "vocab_size": len(words),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "initializer_range": 0.3,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
            "mrope_section": [2, 1, 1],
            "mrope_interleaved": True,
        },
    }
    vision = {
        **QWEN_VISION,
        "num_position_embeddings": 64,
        "initializer_range": 0.3,
    }
    config = Qwen3_5Config(text_config=text, vision_config=vision, **_token_ids(words))
    torch.manual_seed(0)
    return _save_qwen(folder, Qwen3_5ForConditionalGeneration(config), words, 8)


def _text_side(words: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(words),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        "projection_size": 32,
    }


def save_siglip(folder: Path) -> Path:
    """A SigLIP of pictures of a fixed size."""
    import torch
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel, SiglipProcessor

    words = tokenizer((), "")
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    }
    config = SiglipConfig(text_config=_text_side(words), vision_config=vision)
    torch.manual_seed(0)
    SiglipModel(config).save_pretrained(folder)
    images = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    SiglipProcessor(image_processor=images, tokenizer=words).save_pretrained(folder)
    return folder


def save_siglip2_naflex(folder: Path) -> Path:
    """A SigLIP 2 of pictures of any shape, cut into up to 24 patches."""
    import torch
    from transformers import (
        Siglip2Config,
        Siglip2ImageProcessorPil,
        Siglip2Model,
        Siglip2Processor,
        Siglip2Tokenizer,
    )

    names = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *"▁abcdefghijklmnopqrstuvwxyz"]
    names += [f"<0x{byte:02X}>" for byte in range(256)]
    words = Siglip2Tokenizer(vocab={name: place for place, name in enumerate(names)}, merges=[])
    words.padding_side = "right"
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "patch_size": 8,
        "num_patches": 16,
    }
    config = Siglip2Config(text_config=_text_side(words), vision_config=vision)
    torch.manual_seed(0)
    Siglip2Model(config).save_pretrained(folder)
    images = Siglip2ImageProcessorPil(patch_size=8, max_num_patches=24)
    Siglip2Processor(image_processor=images, tokenizer=words).save_pretrained(folder)
    return folder


def save_qwen2_5_vl(folder: Path) -> Path:
    """A Qwen2.5-VL."""
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    words = tokenizer(QWEN_TOKENS, QWEN_TEMPLATE)
    text = {
        **TEXT,
        "vocab_size": len(words),
        "initializer_range": 0.3,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": [2, 1, 1],
        },
    }
    vision = {
        **QWEN_VISION,
        "window_size": 32,
        "fullatt_block_indexes": [1],
        "initializer_range": 0.3,
    }
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, **_token_ids(words))
    torch.manual_seed(0)
    _save_qwen(folder, Qwen2_5_VLForConditionalGeneration(config), words, 8)
    for name in ("preprocessor_config.json", "video_preprocessor_config.json"):
        saved = json.loads((folder / name).read_text(encoding="utf-8"))
        if "video_processor_type" in saved:
            saved["video_processor_type"] = "Qwen2VLVideoProcessor"
        saved["processor_class"] = "Qwen2_5_VLProcessor"
        (folder / name).write_text(json.dumps(saved), encoding="utf-8")
    return folder


def save_idefics3(folder: Path) -> Path:
    """An Idefics3, SmolVLM's architecture: a picture becomes several, more for a larger one."""
    import torch
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessorPil,
        Idefics3Processor,
    )

    places = tuple(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7))
    marks = ("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>")
    template = QWEN_TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", "<image>")
    words = tokenizer((*marks, *places), template)
    text = {
        "model_type": "llama",
        **TEXT,
        "vocab_size": len(words),
        "initializer_range": 0.3,
        "pad_token_id": words.pad_token_id,
    }
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
        "initializer_range": 0.3,
    }
    config = Idefics3Config(
        text_config=text,
        vision_config=vision,
        image_token_id=words.convert_tokens_to_ids("<image>"),
        pad_token_id=words.pad_token_id,
        scale_factor=2,
    )
    torch.manual_seed(0)
    Idefics3ForConditionalGeneration(config).save_pretrained(folder)
    images = Idefics3ImageProcessorPil(
        size={"longest_edge": 64}, max_image_size={"longest_edge": 32}
    )
    Idefics3Processor(images, words, image_seq_len=4, chat_template=template).save_pretrained(
        folder
    )
    return folder
