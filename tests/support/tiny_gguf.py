"""The tiny Llama as llama.cpp keeps models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.tiny_models import TEMPLATE, text_config, tokenizer

CONTROL, NORMAL = 3, 1


def save_gguf(path: Path, seed: int = 0) -> Any:
    """Write the model that `tiny_models.save_llm` saves, and return it."""
    import gguf
    import torch
    from transformers import LlamaForCausalLM

    words = tokenizer()
    config = text_config(len(words))
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config)
    writer = gguf.GGUFWriter(str(path), "llama")
    _add_shape(writer, config)
    _add_words(writer, words)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, weights in model.state_dict().items():
        values = weights.numpy()
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            values = _halves_side_by_side(values, config)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def _halves_side_by_side(values: Any, config: Any) -> Any:
    """llama.cpp turns neighbouring numbers, where transformers turns those of the two halves."""
    head = config.hidden_size // config.num_attention_heads
    return values.reshape(-1, 2, head // 2, values.shape[1]).swapaxes(1, 2).reshape(values.shape)


def _add_shape(writer: Any, config: Any) -> None:
    writer.add_context_length(512)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)


def _add_words(writer: Any, words: Any) -> None:
    known = sorted(words.get_vocab().items(), key=lambda item: item[1])
    special = set(words.added_tokens_encoder)
    merges = json.loads(words.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([token for token, _ in known])
    writer.add_token_types([CONTROL if token in special else NORMAL for token, _ in known])
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(words.bos_token_id)
    writer.add_eos_token_id(words.eos_token_id)
    writer.add_pad_token_id(words.pad_token_id)
    writer.add_chat_template(TEMPLATE)
