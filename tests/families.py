"""A tiny configuration, and random weights, for every causal family that transformers maps.

Each comes from the family's own configuration class: its sizes are made small, all else is as the class
has it. Where the small sizes do not fit each other, or the defaults leave out what the family is known for,
`CHANGES` says what else is set.
"""

from __future__ import annotations

from typing import Any

import torch

HIDDEN, LAYERS, HEADS, KEY_HEADS, HEAD_WIDTH = 32, 4, 4, 2, 8

_SIZES = """
260 vocab_size decoder_vocab_size vocab_size_per_layer_input unpadded_vocab_size
32 hidden_size d_model n_embd embedding_size emb_dim embedding_dim word_embed_proj_dim out_hidden_size
32 input_embedding_size output_embedding_size backbone_hidden_size lru_width attention_hidden_size
32 ple_embed_dim embed_dim num_hiddens
48 intermediate_size ffn_dim n_inner decoder_ffn_dim encoder_ffn_dim ffn_hidden_size dff dim_ff
48 feed_forward_size intermediate_size_mlp shared_intermediate_size dense_intermediate_size d_inner
24 moe_intermediate_size shared_expert_intermediate_size moe_shared_expert_intermediate_size
24 shared_experts_intermediate_size expert_ffn_hidden_size
4 num_hidden_layers n_layer n_layers num_layers decoder_layers encoder_layers num_decoder_layers
4 num_encoder_layers num_blocks depth
4 num_attention_heads n_head n_heads num_heads decoder_attention_heads encoder_attention_heads
4 attention_heads num_encoder_attention_heads num_decoder_attention_heads swa_num_attention_heads
4 index_n_heads linear_num_value_heads linear_num_heads
4 num_experts num_local_experts n_routed_experts moe_num_experts
2 num_key_value_heads swa_num_key_value_heads num_kv_heads linear_num_key_heads num_query_groups
2 num_experts_per_tok moe_topk num_experts_per_token moe_k n_group topk_group num_expert_group
8 head_dim swa_head_dim global_head_dim d_head dim_head kv_channels v_head_dim qk_nope_head_dim
8 qk_rope_head_dim index_head_dim linear_key_head_dim linear_value_head_dim attention_head_size
8 attention_head_dim linear_head_dim rotary_dim mamba_d_state ssm_state_size state_size chunk_size
8 mamba_chunk_size mamba_d_head mamba_head_dim mamba_headdim hidden_size_per_layer_input laurel_rank
8 router_hidden_size mamba_n_heads mamba_num_heads n_mamba_heads hc_lowrank adapter_rank
12 kv_lora_rank q_lora_rank o_lora_rank
1024 max_position_embeddings n_positions n_ctx model_max_length max_seq_len context_length
1024 max_target_positions max_source_positions
16 sliding_window sliding_window_size attention_window_size local_attention window_size
16 attention_chunk_size image_size patch_size
"""
SIZES = {name: int(size) for size, *names in map(str.split, _SIZES.strip().splitlines()) for name in names}
"""Sizes by the names that configurations have for them."""

SIZE = 0.5
"""Of an embedding, and of what a linear module makes of inputs of size 1. Steeper models differ more from a
line than finite differences allow, and enlarge the noise of float32."""

_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
_EVERY_HEAD = {"num_key_value_heads": HEADS}
_DENSE = {"num_experts": 1, "num_experts_per_tok": 1}
_HEAD = {"head_dim": HEAD_WIDTH}

CHANGES: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [2]},
    "cohere_compass_text": {
        "layer_types": ["sliding_attention"] * 3 + ["full_attention"],
        "rope_parameters": dict.fromkeys(("sliding_attention", "full_attention"), _ROPE),
    },
    "dots3_note_audio_encoder": {"adapter_input_size": HIDDEN, "adapter_out_dim": HIDDEN},
    "dots3_note_vision_encoder": {
        "mlp_layer_types": ["dense"] * LAYERS,
        "adapter_in_dim": HIDDEN,
        "adapter_out_dim": HIDDEN,
    },
    "dbrx": {"attn_config": {"rope_theta": 10000.0, "kv_n_heads": 2}},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "falcon_h1": {"mamba_d_ssm": 64},
    "gemma3n_text": {
        "num_kv_shared_layers": 2,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
    },
    "gemma4_assistant": {
        "text_config": {
            "model_type": "gemma4_text",
            "hidden_size_per_layer_input": 0,
            "vocab_size_per_layer_input": 0,
            "use_double_wide_mlp": False,
        }
    },
    "gemma4_text": {"num_kv_shared_layers": 2, "layer_types": ["sliding_attention", "full_attention"] * 2},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "hunyuan_v1_dense": _HEAD,
    "hunyuan_v1_moe": _HEAD,
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2": {"full_attn_idxs": [1], "block_auto_adjust_ff_dim": False},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "mamba2": {"num_heads": 8, "head_dim": 8},
    "minicpm3": {"dim_model_base": HIDDEN},
    "ministral": _HEAD,
    "nemotron": {"num_key_value_heads": KEY_HEADS},
    "qwen4_exp_text": {
        "indexer_n_heads": 4,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 64,
        "indexer_compress_ratio": 4,
    },
    "nemotron_h": {"layers_block_type": ["linear_attention", "mlp", "full_attention", "moe"]},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"layers_block_type": ["linear_attention", "hybrid"] * 2, "attention_head_dim": 16},
    "zamba2": {"layers_block_type": ["linear_attention", "hybrid"] * 2},
    "zaya": {"num_experts_per_tok": 1},
}
"""What else is set, by name of the family."""

FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert, a decoder": ("bert", {"is_decoder": True}),
    "falcon, new layout": ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon, a key for each head": ("falcon", {"multi_query": False, "alibi": True, "num_kv_heads": HEADS}),
    "gpt_bigcode, a key for each head": ("gpt_bigcode", {"multi_query": False}),
    "granitemoehybrid, no experts": (
        "granitemoehybrid",
        {"num_local_experts": 0, "layer_types": ["mamba", "attention"] * 2},
    ),
    "jamba, one expert": ("jamba", _DENSE | CHANGES["jamba"]),
    "nemotron_h, no experts": (
        "nemotron_h",
        {"layers_block_type": ["linear_attention", "mlp", "full_attention", "mlp"]},
    ),
    "qwen3_next, no experts": ("qwen3_next", {"mlp_only_layers": [0, 1, 2, 3]}),
    "kimi_linear, no experts": (
        "kimi_linear",
        {"mlp_layer_types": ["dense"] * LAYERS, "layer_types": ["linear_attention", "full_attention"] * 2},
    ),
    "gemma4_text, keys as values": ("gemma4_text", {"attention_k_eq_v": True, "num_kv_shared_layers": 0}),
}
"""Other forms of some families that published models have, with the family and what is set."""


def families() -> list[str]:
    """Every name that transformers maps to a causal language model, and the further forms."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return sorted([*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *FORMS])


def configuration(name: str) -> Any:
    """The tiny configuration of a family or form."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    family, changes = FORMS.get(name, (name, CHANGES.get(name, {})))
    return _shrunk(CONFIG_MAPPING[family], changes)


def _shrunk(kind: Any, changes: dict[str, Any]) -> Any:
    try:
        default = kind()
    except Exception:  # classes whose own defaults contradict each other
        return kind(**changes)
    fields = default.to_dict()
    values: dict[str, Any] = {
        name: SIZES[name]
        for name, value in fields.items()
        if name in SIZES and isinstance(value, int | list) and not isinstance(value, bool)
    }
    if "kv_lora_rank" in fields:
        values |= _EVERY_HEAD
    changes = dict(changes)
    for name in getattr(kind, "sub_configs", {}) or {}:
        part = getattr(default, name, None)
        if part is not None:
            own = _shrunk(type(part), CHANGES.get(type(part).model_type, {}) | changes.pop(name, {}))
            values[name] = own.to_dict() | {"model_type": type(part).model_type}
    for name, value in (("pad_token_id", 0), ("bos_token_id", 1), ("eos_token_id", 1)):
        if fields.get(name) is not None:
            values[name] = value
    return kind(**values | changes)


def randomise(model: Any, seed: int = 0) -> None:
    """Weights by which each layer changes the hidden state a little; norms stay as they are."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = {id(part.weight) for part in model.modules() if isinstance(part, torch.nn.Embedding)}
    with torch.no_grad():
        for name, own in model.named_parameters():
            if own.is_floating_point() and own.ndim >= 2:
                size = SIZE if id(own) in embeddings else SIZE * own.shape[-1] ** -0.5
                own.copy_(torch.randn(own.shape, generator=generator) * size)
            elif own.is_floating_point() and name.endswith("bias"):
                own.copy_(torch.randn(own.shape, generator=generator) * 0.1)
