"""The output head at the answer position, in float64.

The gradient of P(gold) at the head's input is a sum over the whole vocabulary in which large terms
nearly cancel, and every layer below amplifies its error. Matrix libraries add its tens of thousands of
float32 terms in an order that depends on how many rows they are given; errors of 1 % in single scores
were measured on the embedded model. The head sees one position per item, so it is cheap to take it
exactly: blocks of the vocabulary are widened to float64 one after the other, forward and backward, into
memory that is used again. The head's own product is then not needed.

For half-precision models the logits stay the model's own (rounded as it rounds them); the gradient is
taken here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

VOCABULARY_BLOCK = 1024
"""Vocabulary entries that are widened at once: few enough to stay in a cache."""


def can_read_out(head: nn.Module) -> bool:
    """Whether the head is a plain linear map of float weights, so that it can be taken here."""
    return type(head) is nn.Linear and head.weight.is_floating_point()


def takes_logits(hidden: torch.Tensor) -> bool:
    """Whether `read_out` takes the logits too, so that the head's own output is not used."""
    return hidden.dtype == torch.float32


def read_out(hidden: torch.Tensor, logits: torch.Tensor, head: nn.Linear) -> torch.Tensor:
    """The head's logits attached to `hidden` by the gradient of this file; float64 for a float32 head.

    `hidden` is (item, 1, width), `logits` the head's own output (item, 1, vocabulary), of any shape where
    `takes_logits`. No gradient goes to the head's own weights.
    """
    bias = None if head.bias is None else head.bias.detach()
    attached: torch.Tensor = _ReadOut.apply(  # type: ignore[no-untyped-call]
        hidden, logits.detach(), head.weight.detach(), bias
    )
    return attached


def _wide_blocks(weight: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
    """Blocks of the vocabulary in float64, each until the next is asked for."""
    size, width = weight.shape
    memory = weight.new_empty(min(VOCABULARY_BLOCK, size), width, dtype=torch.float64)
    for begin in range(0, size, VOCABULARY_BLOCK):
        block = slice(begin, min(begin + VOCABULARY_BLOCK, size))
        yield block, memory[: block.stop - begin].copy_(weight[block])


class _ReadOut(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any,
        hidden: torch.Tensor,
        logits: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
    ) -> torch.Tensor:
        context.save_for_backward(weight)
        context.hidden_dtype = hidden.dtype
        if not takes_logits(hidden):
            return logits.view_as(logits)
        rows = hidden[:, 0].double()
        exact = rows.new_empty(len(rows), len(weight))
        for block, wide in _wide_blocks(weight):
            torch.mm(rows, wide.T, out=exact[:, block])
        return (exact if bias is None else exact.add_(bias))[:, None]

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (weight,) = context.saved_tensors
        rows = gradient[:, 0].double()
        total = rows.new_zeros(len(rows), weight.shape[1])
        for block, wide in _wide_blocks(weight):
            total.addmm_(rows[:, block], wide)
        return total[:, None].to(context.hidden_dtype), None, None, None
