"""The tiny gated decoder and its tokenizer, built from transformers' own classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from culnig import registry
from culnig.models.base import BoundModel, bind_model
from culnig.validation.settings import PlantedSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PAD, END, UNKNOWN = "<pad>", "<end>", "<unknown>"
HIDDEN = 64
HEADS = 4
MAX_TOKENS = 64
EXPERTS_OF_TOKEN = 2
"""Experts that each token is routed to, where there are several."""
INITIAL_WEIGHTS = 0.1
"""Standard deviation; the usual 0.02 would make a model of this size nearly linear."""


def build_tokenizer(words: Sequence[str]) -> PreTrainedTokenizerBase:
    """A tokenizer with one vocabulary entry per word; white space separates words."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    entries = (PAD, END, UNKNOWN, *words)
    vocabulary = {entry: number for number, entry in enumerate(entries)}
    tokenizer: Any = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, unk_token=UNKNOWN
    )


def build_decoder(settings: PlantedSettings, words: Sequence[str]) -> BoundModel:
    """An untrained Llama for these words, or a Mixtral, bound; the process's random state is unchanged."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig, MixtralConfig

    tokenizer = build_tokenizer(words)
    sizes: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": HIDDEN,
        "intermediate_size": settings.mlp_width // settings.experts,
        "num_hidden_layers": settings.layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "max_position_embeddings": MAX_TOKENS,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": 1,
        "initializer_range": INITIAL_WEIGHTS,
    }
    config = (
        LlamaConfig(**sizes)
        if settings.experts == 1
        else MixtralConfig(
            **sizes,
            num_local_experts=settings.experts,
            num_experts_per_tok=min(EXPERTS_OF_TOKEN, settings.experts),
        )
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = AutoModelForCausalLM.from_config(config).eval()  # type: ignore[no-untyped-call]
    return bind_model(f"planted (seed {settings.seed})", model, tokenizer, registry.adapters())
