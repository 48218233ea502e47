"""Scores the plain way, sharing no code with the engine's: one item at a time, by `autograd.grad`.

Nothing here uses hooks on gradients, batches, padding, the kernels or the layout's order; modules are
found by name in the model. The output head alone is taken in float64, at the last token, the only one that
counts: its gradient is a sum over the vocabulary whose float32 value depends on how many rows the matrix
library is given, by up to 1 % in single scores of the embedded model, so it is no yardstick.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from culnig.core.items import Item

AGGREGATE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "max": lambda contribution: contribution.amax(0),
    "sum": lambda contribution: contribution.double().sum(0),
    "mean": lambda contribution: contribution.double().mean(0),
    "last": lambda contribution: contribution[-1],
    "absmax": lambda contribution: contribution.gather(0, contribution.abs().argmax(0)[None]).squeeze(0),
}


def token_ids(tokenizer: Any, item: Item) -> tuple[list[int], int]:
    """Ids of the prompt up to the answer, and the id of the gold label."""
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": item.prompt}], tokenize=False, add_generation_prompt=True
    )
    ids = tokenizer.encode(text + item.answer_prefix, add_special_tokens=False)
    gold = tokenizer.encode(text + item.answer_prefix + item.answer, add_special_tokens=False)
    assert gold[:-1] == ids
    return ids, gold[-1]


def in_float64(head: Any, inputs: tuple[torch.Tensor, ...], logits: torch.Tensor) -> torch.Tensor:
    """A hook of the output head."""
    bias = 0.0 if head.bias is None else head.bias.detach().double()
    return inputs[0][:, -1:].double() @ _doubled(head.weight, head.weight._version).T + bias


@functools.lru_cache(1)
def _doubled(weight: torch.Tensor, version: int) -> torch.Tensor:
    """A head's weights as they are in this version: those of the embedded model are many to convert."""
    return weight.detach().double()


def item_scores(
    model: Any, tokenizer: Any, item: Item, aggregator: str = "max"
) -> tuple[float, dict[str, NDArray[np.float64]]]:
    """P(gold) and, per linear module by its full name, s(n) of every output, shape (neuron,)."""
    ids, gold = token_ids(tokenizer, item)
    outputs: dict[str, torch.Tensor] = {}

    def keeping(name: str) -> Callable[..., None]:
        def keep(module: Any, inputs: Any, output: torch.Tensor) -> None:
            outputs[name] = output

        return keep

    wanted = ("q_proj", "k_proj", "v_proj", "qkv_proj", "gate_proj", "up_proj", "gate_up_proj")
    wanted += ("c_attn", "c_fc", "query_key_value", "dense_h_to_4h")
    handles = [
        module.register_forward_hook(keeping(name))
        for name, module in model.named_modules()
        if name.endswith(wanted)
    ]
    handles.append(model.get_output_embeddings().register_forward_hook(in_float64))
    logits = model(input_ids=torch.tensor([ids])).logits
    probability = torch.softmax(logits[0, -1], -1)[gold]
    gradients = torch.autograd.grad(probability, list(outputs.values()))
    for handle in handles:
        handle.remove()
    scores = {
        name: AGGREGATE[aggregator](output.detach()[0].float() * gradient[0].float()).double().numpy()
        for (name, output), gradient in zip(outputs.items(), gradients, strict=True)
    }
    return float(probability.detach()), scores


def culture_sums(
    model: Any,
    tokenizer: Any,
    items: Sequence[Item],
    *,
    control: bool = False,
    aggregator: str = "max",
) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Σ w per culture and linear module; control items are clamped at zero after the weighting."""
    sums: dict[str, dict[str, NDArray[np.float64]]] = {}
    for item in items:
        probability, scores = item_scores(model, tokenizer, item, aggregator)
        for name, score in scores.items():
            weighted = probability * score
            if control:
                weighted = np.maximum(weighted, 0.0)
            of_culture = sums.setdefault(item.culture, {})
            of_culture[name] = of_culture.get(name, 0.0) + weighted
    return sums
