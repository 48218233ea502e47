"""The random model and the prompts of the device check, whole and `--dry`."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from culnig import registry
from culnig.core.items import Item
from culnig.inference.batches import DEFAULT_TOKEN_BUDGET
from culnig.models.base import BoundModel, bind_model

TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@dataclass(frozen=True)
class Size:
    """How large everything is."""

    shape: dict[str, int]
    """The model of `scoring` and `repeat`."""
    small: dict[str, int]
    """The model of `command`, which is saved and loaded."""
    n_prompts: int
    mean_tokens: int
    budgets: tuple[int, ...]
    n_captum: int
    n_repeat: int
    n_command: int
    rounds: int
    matmul: int


def llama(
    vocabulary: int, width: int, mlp: int, layers: int, heads: int, key_value_heads: int
) -> dict[str, int]:
    """The sizes of a Llama, by the names of its configuration."""
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads,
    }


WHOLE = Size(
    shape=llama(128_256, 4096, 14_336, 32, 32, 8),
    small=llama(8192, 1024, 3584, 8, 8, 4),
    n_prompts=400,
    mean_tokens=128,
    budgets=(DEFAULT_TOKEN_BUDGET, 16_384),
    n_captum=64,
    n_repeat=100,
    n_command=400,
    rounds=3,
    matmul=8192,
)
DRY = Size(
    shape=llama(2048, 32, 48, 2, 2, 1),
    small=llama(2048, 32, 48, 2, 2, 1),
    n_prompts=6,
    mean_tokens=40,
    budgets=(256, 1024),
    n_captum=2,
    n_repeat=4,
    n_command=120,
    rounds=1,
    matmul=64,
)


@functools.cache
def tokenizer() -> PreTrainedTokenizerFast:
    """Trained on the built-in questions."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        special_tokens=["<pad>", "<end>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator((item.prompt for item in questions()), trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=trained, pad_token="<pad>", eos_token="<end>")
    fast.chat_template = TEMPLATE
    return fast


@functools.cache
def questions() -> list[Item]:
    """The built-in items."""
    return [item for item in registry.benchmark("everyday").read(None) if item.split == "identify"]


def random_model(shape: dict[str, int], device: str) -> Any:
    """A Llama with random weights: bfloat16 on a GPU."""
    torch.manual_seed(0)
    config = LlamaConfig(
        **shape, max_position_embeddings=4096, pad_token_id=0, bos_token_id=None, eos_token_id=1
    )
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    with torch.device(device):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return model.eval()


@functools.cache
def bound_model(dry: bool) -> BoundModel:
    """The model of `scoring` and `repeat`."""
    model = random_model((DRY if dry else WHOLE).shape, "cpu" if dry else "cuda")
    model.requires_grad_(False)  # captum would compute gradients of weights
    return bind_model("random-llama", model, tokenizer(), registry.adapters())


def prompts(n: int, mean_tokens: int) -> list[Item]:
    """Built-in questions after some of their neighbours' text, of `mean_tokens` tokens on average."""
    random = np.random.default_rng(0)
    own = tokenizer()
    made = []
    for number in range(n):
        item = questions()[number * 7 % len(questions())]
        wanted = max(8.0, random.normal(mean_tokens, mean_tokens / 4))
        tokens = own.encode(item.prompt)
        before = iter(questions()[number % 97 :] * 2)
        context: list[int] = []
        while len(context) + len(tokens) + 16 < wanted:  # 16: the chat template
            context += own.encode(next(before).prompt)
        context = context[: max(0, int(wanted) - len(tokens) - 16)]
        made.append(replace(item, id=f"{number}-{item.id}", prompt=own.decode(context) + item.prompt))
    return made
