"""A tiny Llama as a GGUF file, written with the package gguf: tokenizer data and quantized weights."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
from tokenizers import pre_tokenizers

LAYERS, WIDTH, MLP, HEADS, KEY_HEADS = 2, 64, 96, 4, 2


def _vocabulary() -> tuple[list[str], list[str]]:
    """Tokens (special ones, bytes, two merged) and merges; some are not ASCII, as in every byte-level BPE."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = ["Ġ t", "Ġt h"]
    return ["<|end|>", "<|im|>", *alphabet, *(merge.replace(" ", "") for merge in merges)], merges


def write_gguf(
    path: Path,
    seed: int = 0,
    *,
    drop: str = "",
    add: tuple[str, ...] = (),
    scaling: str = "",
    factor: float = 8,
) -> Path:
    """Write the file, without the tensor `drop` and with further ones; returns its path.

    `scaling` is declared for the rotary embedding, `factor` the value of `rope_freqs.weight`.
    """
    tokens, merges = _vocabulary()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(512)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(MLP)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    if scaling:
        writer.add_rope_scaling_type(gguf.RopeScalingType(scaling))
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_merges(merges)
    writer.add_token_scores([0.1 * index for index in range(len(tokens))])
    writer.add_token_types([3, 3] + [1] * (len(tokens) - 2))
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_pad_token_id(1)
    writer.add_add_bos_token(False)
    writer.add_chat_template("{% for m in messages %}<|im|>{{ m['content'] }}{% endfor %}")
    rng = np.random.default_rng(seed)
    for name, shape in (_shapes(len(tokens)) | dict.fromkeys(add, (WIDTH,))).items():
        if name == drop:
            continue
        if name == "rope_freqs.weight":
            writer.add_tensor(name, np.full(shape, factor, dtype=np.float32))
            continue
        values = (0.3 * rng.standard_normal(shape)).astype(np.float32)
        if len(shape) == 2 and "blk" in name:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _shapes(n_tokens: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (n_tokens, WIDTH),
        "output_norm.weight": (WIDTH,),
    }
    key_width = WIDTH // HEADS * KEY_HEADS
    for layer in range(LAYERS):
        block = {
            "attn_norm": (WIDTH,),
            "ffn_norm": (WIDTH,),
            "attn_q": (WIDTH, WIDTH),
            "attn_k": (key_width, WIDTH),
            "attn_v": (key_width, WIDTH),
            "attn_output": (WIDTH, WIDTH),
            "ffn_gate": (MLP, WIDTH),
            "ffn_up": (MLP, WIDTH),
            "ffn_down": (WIDTH, MLP),
        }
        shapes |= {f"blk.{layer}.{name}.weight": shape for name, shape in block.items()}
    return shapes
