"""The output head at the answer position, in float64.

The gradient of P(gold) at the head's input is a sum over the whole vocabulary in which large terms nearly
cancel, and every layer below amplifies its error. Matrix libraries add the tens of thousands of float32 terms
in an order that depends on the number of rows, which changed single scores of the embedded model by 1 %. The
head sees one position per item, so an exact product is cheap: blocks of the vocabulary are widened to float64
one after the other, forward and backward, in one buffer. The head's own product is then not needed.

For half-precision models the logits stay the model's own, with its rounding; only the gradient is computed
here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module

from culnig.models.base import own_class

VOCABULARY_BLOCK, DEVICE_BLOCK = 1024, 8192
"""Vocabulary entries that are widened at once. On a CPU they stay in the processor's cache; on other devices
blocks are larger, because each starts two kernels."""


def can_read_out(head: Any) -> bool:
    """Whether the head is a plain linear map of float weights, which `read_out` can compute.

    A head with a forward method or forward hooks of its own may compute anything. Those of accelerate only
    move tensors between devices, and that of FSDP2 frees gathered weights. Call this before culnig puts its
    own hooks on the head.
    """
    if own_class(head) is not nn.Linear or not head.weight.is_floating_point():
        return False
    n_harmless = int(own_class(head) is not type(head))
    forward = head.__dict__.get("forward")
    if forward is not None and hasattr(head, "_hf_hook"):
        forward = head.__dict__.get("_old_forward")
    is_plain = forward is None or getattr(forward, "__func__", None) is nn.Linear.forward
    has_hooks = len(head._forward_hooks) > n_harmless or module._global_forward_hooks
    return is_plain and not has_hooks


def takes_logits(hidden: torch.Tensor) -> bool:
    """Whether `read_out` computes the logits too, so that the head's own output is not used."""
    return hidden.dtype == torch.float32


def read_out(hidden: torch.Tensor, logits: torch.Tensor, head: nn.Linear) -> torch.Tensor:
    """The head's logits, attached to `hidden` with the gradient of this file; float64 for a float32 head.

    `hidden` is (item, 1, width), `logits` the head's own output (item, 1, vocabulary), of any shape where
    `takes_logits`. No gradient goes to the head's own weights.
    """
    bias = None if head.bias is None else head.bias.detach()
    attached: torch.Tensor = _ReadOut.apply(  # type: ignore[no-untyped-call]
        hidden, logits.detach(), head.weight.detach(), bias
    )
    return attached


def _wide_blocks(weight: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
    """Blocks of the vocabulary in float64; each is valid until the next is requested."""
    size, width = weight.shape
    step = min(size, VOCABULARY_BLOCK if weight.device.type == "cpu" else DEVICE_BLOCK)
    memory = weight.new_empty(step, width, dtype=torch.float64)
    for begin in range(0, size, step):
        block = slice(begin, min(begin + step, size))
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
            return logits.clone()  # no views: some families change their logits in place
        rows = hidden[:, 0].double()
        exact = rows.new_empty(len(rows), 1, len(weight))
        for block, wide in _wide_blocks(weight):
            torch.mm(rows, wide.T, out=exact[:, 0, block])
        return exact if bias is None else exact.add_(bias)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (weight,) = context.saved_tensors
        rows = gradient[:, 0].double()
        total = rows.new_zeros(len(rows), weight.shape[1])
        for block, wide in _wide_blocks(weight):
            total.addmm_(rows[:, block], wide)
        return total[:, None].to(context.hidden_dtype), None, None, None
