"""SAM 2.1 large and Qwen3-VL-2B with random weights, at their real size or tiny.

Saved to a folder with the files that their repositories on the Hub have, and loaded by what users
run, so that this is what is measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from acp.core.vocabulary import categories

Size = Literal["real", "tiny"]
# "real": facebook/sam2.1-hiera-large.
HIERA: dict[str, dict[str, Any]] = {
    "real": {
        "hidden_size": 144,
        "num_attention_heads": 2,
        "blocks_per_stage": [2, 6, 36, 4],
        "embed_dim_per_stage": [144, 288, 576, 1152],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "window_size_per_stage": [8, 4, 16, 8],
        "global_attention_blocks": [23, 33, 43],
    },
    "tiny": {
        "hidden_size": 8,
        "num_attention_heads": 1,
        "image_size": [64, 64],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 2, 2],
        "window_size_per_stage": [4, 4, 4, 2],
        "window_positional_embedding_background_size": [4, 4],
        "global_attention_blocks": [3],
    },
}
SAM2: dict[str, dict[str, dict[str, Any]]] = {
    "real": {
        "vision_config": {"backbone_channel_list": [1152, 576, 288, 144]},
        "prompt_encoder_config": {},
        "mask_decoder_config": {},
    },
    "tiny": {
        "vision_config": {
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
            "fpn_hidden_size": 32,
        },
        "prompt_encoder_config": {"hidden_size": 32, "image_size": 64, "mask_input_channels": 4},
        "mask_decoder_config": {
            "hidden_size": 32,
            "mlp_dim": 32,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 16,
        },
    },
}
# "real": Qwen/Qwen3-VL-2B-Instruct.
TEXT: dict[str, dict[str, Any]] = {
    "real": {
        "vocab_size": 151936,
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 262144,
        "rope_parameters": {"rope_theta": 5e6, "mrope_section": [24, 20, 20]},
    },
    "tiny": {
        "vocab_size": 2048,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "rope_parameters": {"rope_theta": 1e4, "mrope_section": [2, 1, 1]},
    },
}
VISION: dict[str, dict[str, Any]] = {
    "real": {
        "depth": 24,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_heads": 16,
        "out_hidden_size": 2048,
        "deepstack_visual_indexes": [5, 11, 17],
    },
    "tiny": {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "out_hidden_size": 32,
        "deepstack_visual_indexes": [0],
    },
}
SPECIAL = {
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
}
TEMPLATE = """
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else %}
{%- for part in message.content -%}
{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}
{%- endif %}{%- endfor %}{% endif %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant:{% endif %}"""
"""Ends in no blank: with random weights that are tied, the model repeats its last token."""


def save_sam2(folder: Path, size: Size, device: str = "cpu") -> int:
    """A SAM 2 for `segmenter: {backend: sam2}`; answers with its number of parameters.

    Real: 216,924,865. The 224,446,642 of SAM 2.1 large count its memory of videos too.
    """
    import torch
    from transformers import Sam2Config, Sam2HieraDetConfig, Sam2Model, Sam2VisionConfig

    parts = dict(SAM2[size])
    backbone = Sam2HieraDetConfig(**HIERA[size]).to_dict()
    vision = Sam2VisionConfig(backbone_config=backbone, **parts.pop("vision_config"))
    config = Sam2Config(vision_config=vision.to_dict(), **parts)
    with _fresh(torch.float32, device):
        model = Sam2Model(config)
    model.save_pretrained(folder)
    _write(folder, "preprocessor_config.json", {"image_processor_type": "Sam2ImageProcessorFast"})
    return int(model.num_parameters())


def save_vlm(folder: Path, size: Size, device: str = "cpu") -> int:
    """A Qwen3-VL in bfloat16 for `captioner: {backend: transformers}`; answers with its number of
    parameters (real: 2,127,532,032)."""
    import torch
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    text = TEXT[size]
    words = _tokenizer(text["vocab_size"])
    rope = {"rope_type": "default", "mrope_interleaved": True, **text["rope_parameters"]}
    config = Qwen3VLConfig(
        text_config={**text, "rope_parameters": rope},
        vision_config=VISION[size],
        tie_word_embeddings=True,
        **{name: words.convert_tokens_to_ids(token) for name, token in SPECIAL.items()},
    )
    with _fresh(torch.bfloat16, device):
        model = Qwen3VLForConditionalGeneration(config)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    common = {
        "patch_size": 16,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "size": {"shortest_edge": 65536, "longest_edge": 16777216},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "processor_class": "Qwen3VLProcessor",
    }
    images = {**common, "image_processor_type": "Qwen2VLImageProcessorFast"}
    videos = {**common, "video_processor_type": "Qwen3VLVideoProcessor"}
    _write(folder, "preprocessor_config.json", images)
    _write(folder, "video_preprocessor_config.json", videos)
    return int(model.num_parameters())


@contextmanager
def _fresh(dtype: Any, device: str) -> Iterator[None]:
    """New models have random weights of `dtype` and stand on `device`, the same at each call."""
    import torch

    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)


def _tokenizer(count: int) -> Any:
    """`count` tokens: merges of English words, so that prompts are about as long as in life, and
    after them words that never occur, so that whatever the model says is a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from tokenizers.trainers import BpeTrainer
    from transformers import PreTrainedTokenizerFast

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *SPECIAL.values()]
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=1500,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words = "Describe the picture in one sentence. What is in the region left top right bottom"
    bare.train_from_iterator(
        [*([words] * 9), *(each.noun for each in categories().values())], trainer
    )
    saved = json.loads(bare.to_str())
    vocabulary = saved["model"]["vocab"]
    vocabulary |= {f"w{place}": place for place in range(len(vocabulary), count)}
    found = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(saved)),
        pad_token="<|endoftext|>",  # noqa: S106
        eos_token="<|im_end|>",  # noqa: S106
        model_max_length=32768,
    )
    found.chat_template = TEMPLATE
    return found


def _write(folder: Path, name: str, values: dict[str, Any]) -> None:
    (folder / name).write_text(json.dumps(values, indent=2), encoding="utf-8")
