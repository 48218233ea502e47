"""Steps of autograd's graph, and which of them a relevance rule is for.

A step is recognised by its name, such as `RsqrtBackward0`. Names that are not in these tables are unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

Node = Any
"""A step of autograd's graph."""

SCALES = ("RsqrtBackward", "SqrtBackward", "LinalgVectorNormBackward", "NormBackward")
"""Steps that make the size of a vector: the relevance rules hold their results fixed. So is a power of ±½."""
FUSED_NORMS = ("NativeLayerNormBackward", "FusedRmsNormBackward")
"""Norms in one step."""

PRODUCTS = ("Mul", "Div", "Mm", "Mv", "Addmm")
"""Steps of two factors; of a linear one, one factor is a weight."""

_LINEAR = """
Add Addmm Alias AsStrided Cat CheckpointFunction Clone ConstantPadNd Copy CopySlices Cumsum
Detach Expand Flip Fft Gather Index IndexAdd IndexCopy IndexPut IndexSelect Mean MmFunction Mm Mv Narrow Neg
Pad Permute Repeat RepeatInterleave ReshapeAlias Roll Rsub ScatterAdd Scatter Select Slice Split
SplitWithSizes Squeeze Stack Sub Sum T ToCopy Transpose Tril Triu Unbind Unflatten Unfold UnsafeSplit
UnsafeView Unsqueeze View ViewAsComplex ViewAsReal Linear Movedim Dropout NativeDropout Identity Contiguous
_Product RegisterPost
"""
"""RegisterPost: where a layer that is spread over processes begins, `RegisterPostBackwardFunction`."""
_ATTENTION = """
ScaledDotProduct Softmax SafeSoftmax Bmm Baddbmm MaskedFill MaskedScatter Where Clamp ClampMin ClampMax Tanh
Maximum Minimum Max Min
"""
"""Attention chooses by a softmax, and takes its own gradient (docs/method.md)."""
_KNOWN = frozenset([*_LINEAR.split(), *_ATTENTION.split()])
_OF_SIZES = frozenset([*_LINEAR.split(), "Clamp", "ClampMin", "Reciprocal", "Maximum", "Mul", "Div"])

MOST_STEPS = 60
"""More steps than a norm, or the inside of an MLP, has."""


def steps_between(output: torch.Tensor, sources: Sequence[torch.Tensor]) -> list[Node]:
    """The steps that made `output` from `sources` alone; none if there are many, or it has another source."""
    ends = {source.grad_fn for source in sources}
    steps: dict[Node, None] = {}
    remaining: list[Node] = [output.grad_fn]
    while remaining:
        step = remaining.pop()
        if step is None or step in ends or step in steps:
            continue
        if kind_of(step) == "AccumulateGrad":
            if any(step.variable is source for source in sources):  # as in a layer that is checkpointed
                continue
            return []
        if len(steps) >= MOST_STEPS:
            return []
        steps[step] = None
        remaining += [before for before, _ in step.next_functions]
    return list(steps)


def is_scale(step: Node) -> bool:
    """Whether a step makes the size of a vector."""
    name = type(step).__name__
    return name.startswith(SCALES) or (
        name.startswith("PowBackward") and getattr(step, "_saved_exponent", None) in (0.5, -0.5)
    )


def is_fused_norm(step: Node) -> bool:
    """Whether a step is a whole norm."""
    return type(step).__name__.startswith(FUSED_NORMS)


def kind_of(step: Node) -> str:
    """The name of what a step is the backward pass of."""
    return type(step).__name__.partition("Backward")[0]


def is_known(step: Node) -> bool:
    """Whether a step of one factor is linear, or a part of attention."""
    return kind_of(step) in _KNOWN or kind_of(step).startswith("ScaledDotProduct")


def is_size(step: Node) -> bool:
    """Whether a step is the size of a vector, or made from sizes alone."""
    if is_scale(step):
        return True
    before = [each for each, _ in step.next_functions if each is not None]
    return kind_of(step) in _OF_SIZES and bool(before) and all(map(is_size, before))


def weight_of_token(step: Node) -> Node | None:
    """The factor that is one number for a token, such as the weight that a router gives an expert."""
    if kind_of(step) not in ("Mul", "Div"):
        return None
    saved = getattr(step, "_saved_self", None), getattr(step, "_saved_other", None)
    for value, (factor, _) in zip(saved, step.next_functions, strict=True):
        if value is not None and value.shape[-1] == 1:
            return factor
    return None
