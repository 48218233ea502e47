"""A batch on the meta device: the scoring loop's forward and backward pass with sizes instead of numbers.

The code that will score runs here too (reader, capture, checkpointing). A dispatch mode sees every tensor
that is made and freed, so the memory that a family's backward pass needs is counted and not guessed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from culnig.inference.answers import AnswerReader, frozen, gold_probabilities
from culnig.inference.batches import Batch
from culnig.inference.encoding import EncodedItem
from culnig.inference.live_bytes import LiveBytes
from culnig.models.base import BoundModel
from culnig.models.without_values import WithoutValues
from culnig.planning.depth import over_all_layers, over_layers
from culnig.scoring.capture import Capture
from culnig.scoring.checkpointing import checkpointed


def peak_batch_bytes(
    skeleton: BoundModel, n_items: int, n_tokens: int, *, capture: bool = True, checkpointing: bool = False
) -> int:
    """Peak bytes of a batch of `n_items` prompts of `n_tokens`, weights not counted."""
    depths = [skeleton.layout.n_layers]
    return peaks_by_depth(skeleton, n_items, n_tokens, depths, capture=capture, checkpointing=checkpointing)[
        0
    ]


def peaks_by_depth(
    skeleton: BoundModel,
    n_items: int,
    n_tokens: int,
    depths: Sequence[int],
    *,
    capture: bool = True,
    checkpointing: bool = False,
) -> list[int]:
    """As `peak_batch_bytes`, with the first layers only, for each number of layers in `depths`."""

    def trace() -> int:
        with (
            LiveBytes(skeleton.model) as live,
            WithoutValues(),  # type: ignore[no-untyped-call]
            _fused_attention(),
        ):
            _run(skeleton, n_items, n_tokens, capture=capture, checkpointing=checkpointing)
        return int(live.peak)

    return over_layers(skeleton, trace, depths)


def batch_flops(skeleton: BoundModel, n_items: int, n_tokens: int) -> int:
    """Floating-point operations of one batch, forward and backward."""

    def trace() -> int:
        with FlopCounterMode(display=False) as counter, WithoutValues():  # type: ignore[no-untyped-call]
            _run(skeleton, n_items, n_tokens, capture=False, checkpointing=False)
        return int(counter.get_total_flops())

    return over_all_layers(skeleton, trace)


def _run(skeleton: BoundModel, n_items: int, n_tokens: int, *, capture: bool, checkpointing: bool) -> None:
    batch = Batch(tuple(range(n_items)), (EncodedItem.of_prompt((0,) * n_tokens),) * n_items)
    with (
        checkpointed(skeleton) if checkpointing else contextlib.nullcontext(),
        AnswerReader(skeleton) as reader,
        Capture(skeleton, lambda segment, activation, gradient: None) if capture else _backward(skeleton),
    ):
        p_gold = gold_probabilities(batch, reader.logits(batch).softmax(-1))
        p_gold.sum().backward()  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _backward(skeleton: BoundModel) -> Any:
    """A backward pass to activations without the capture."""
    embeddings = skeleton.model.get_input_embeddings()
    handle = embeddings.register_forward_hook(lambda module, inputs, output: output.requires_grad_(True))
    with frozen(skeleton.model):
        yield
    handle.remove()


@contextlib.contextmanager
def _fused_attention() -> Iterator[None]:
    """Attention as devices run it, block by block; the meta device would hold every attention weight.

    Replaced where families look it up. A torch-function mode does not work: checkpointing computes layers
    again inside the backward pass, where modes are suspended.
    """
    original = functional.scaled_dot_product_attention

    def fused(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
        attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
        causal, mask = kwargs.get("is_causal", False), kwargs.get("attn_mask")
        return attend(query, key, value, 0.0, causal, attn_mask=mask)[0]

    functional.scaled_dot_product_attention = fused
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = original
