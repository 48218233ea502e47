"""Tiny random models of real families, with a byte-level tokenizer made on the spot."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    Gemma3Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    Phi3Config,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    SiglipVisionConfig,
)

from culnig import registry
from culnig.core.items import Item
from culnig.models.base import BoundModel, bind_model

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

_SMALL: dict[str, Any] = {
    "vocab_size": 260,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
    # the usual 0.02 makes a model of this size nearly linear and its gradients tiny
    "initializer_range": 0.3,
}

_GEMMA = _SMALL | {
    "head_dim": 8,
    "sliding_window": 16,
    "layer_types": ["sliding_attention"] * 2 + ["full_attention"],
}
_PLAIN = {name: value for name, value in _SMALL.items() if name != "num_key_value_heads"}

CONFIGS: dict[str, Any] = {
    "llama": LlamaConfig(**_SMALL),
    "smollm2": LlamaConfig(**_SMALL, tie_word_embeddings=True),  # SmolLM2 is a Llama with tied embeddings
    "qwen3": Qwen3Config(**_SMALL, head_dim=8),
    "qwen2": Qwen2Config(**_SMALL),
    "mistral": MistralConfig(**_SMALL),
    "falcon3": LlamaConfig(**_SMALL, head_dim=16),  # Falcon3 is a Llama with wide heads
    "phi3": Phi3Config(**_SMALL),
    "olmo2": Olmo2Config(**_SMALL),
    "gemma3": Gemma3TextConfig(**_GEMMA),
}
"""Families with a gated MLP."""

PLAIN_CONFIGS: dict[str, Any] = {
    "gpt2": GPT2Config(
        vocab_size=260,
        n_embd=24,
        n_inner=40,
        n_layer=3,
        n_head=4,
        n_positions=1024,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=1,
    ),
    "gpt_neox": GPTNeoXConfig(**_PLAIN),
}
"""Families with a plain MLP."""


def gemma3_multimodal_config() -> Gemma3Config:
    """The wrapper of Gemma 3: a text decoder beside a vision tower."""
    vision = SiglipVisionConfig(
        hidden_size=16,
        intermediate_size=20,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
    )
    return Gemma3Config(text_config=CONFIGS["gemma3"], vision_config=vision, mm_tokens_per_image=4)


ALL_CONFIGS: dict[str, Any] = {
    **CONFIGS,
    **PLAIN_CONFIGS,
    "gemma3_multimodal": gemma3_multimodal_config(),
}


def byte_tokenizer(chat_template: str | None = CHAT_TEMPLATE) -> PreTrainedTokenizerFast:
    """One token per byte: labels are single entries, nothing has to be trained."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<pad>": 0, "<end>": 1} | {symbol: 2 + place for place, symbol in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>")
    fast.chat_template = chat_template
    return fast


def _attention(family: str) -> dict[str, str]:
    """Eager attention where the configuration caps attention scores, which sdpa cannot."""
    cap = getattr(ALL_CONFIGS[family].get_text_config(), "attn_logit_softcapping", None)
    return {"attn_implementation": "eager"} if cap else {}


def tiny_model(family: str = "llama", *, seed: int = 0, dtype: torch.dtype = torch.float32) -> BoundModel:
    """A bound tiny model with random weights."""
    torch.manual_seed(seed)
    config = deepcopy(ALL_CONFIGS[family])
    model = AutoModelForCausalLM.from_config(config, **_attention(family)).to(dtype).eval()
    return bind_model(f"tiny-{family}", model, byte_tokenizer(), registry.adapters())


def tiny_items(n: int = 7, cultures: tuple[str, ...] = ("Spain", "China", "Iran")) -> list[Item]:
    """Short items of different lengths, file order mixed in length and culture."""
    return [
        Item(
            id=f"item-{number}",
            question_id=f"question-{number // 2}",
            culture=cultures[number % len(cultures)],
            split="identify",
            prompt="What is eaten there " + "so often " * ((5 * number) % 7) + f"in place {number}?",
            options=("A", "B", "C", "D"),
            answer="ABCD"[(number * 3) % 4],
            topic="Food",
        )
        for number in range(n)
    ]
