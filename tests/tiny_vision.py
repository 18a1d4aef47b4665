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
