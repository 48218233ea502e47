"""How slow mixers with a state are where their kernels are missing.

Linear attention and state-space layers go through the tokens in order. Compiled kernels do that in one or a
few operations; without them transformers computes the same in a loop of small torch operations, and a layer
takes as long as starting them takes. They are counted in a pass without numbers, and compared with those of
the same model's attention.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from culnig.core.neurons import QUERY

if TYPE_CHECKING:
    from torch import nn

    from culnig.models.base import BoundModel

N_TOKENS = 128
"""Length of the prompt that is counted."""
SLOW = 1.5
"""Times as many operations as attention from which a fallback is said."""


def slow_mixers(skeleton: BoundModel) -> str | None:
    """A sentence about mixers that start many more operations than attention does; None if there are none."""
    mixers, attention = _parts(skeleton)
    if not mixers or not attention:
        return None
    try:
        counts = _operations(skeleton, {**mixers, **attention})
    except Exception:  # kernels that cannot run without numbers are there, so nothing is slow
        return None
    of_mixer, of_attention = (
        sum(counts[name] for name in parts) / len(parts) for parts in (mixers, attention)
    )
    if of_mixer < SLOW * of_attention:
        return None
    kinds = ", ".join(sorted({name.rpartition(".")[2] for name in mixers}))
    return (
        f"{len(mixers)} layers ({kinds}) run without the kernels made for them: for {N_TOKENS} "
        f"tokens each starts {of_mixer:,.0f} operations, an attention layer {of_attention:,.0f} "
        f"({of_mixer / of_attention:.1f} ×). Scores are the same. On a GPU install the packages that "
        "transformers names for this family (flash-linear-attention, causal-conv1d, mamba-ssm)"
    )


def _parts(skeleton: BoundModel) -> tuple[dict[str, nn.Module], dict[str, nn.Module]]:
    """Mixers with a state, and attentions, by name."""
    names = {id(module): name for name, module in skeleton.model.named_modules()}
    mixers: dict[str, nn.Module] = {}
    attention: dict[str, nn.Module] = {}
    for bound in skeleton.linears:
        modules = {piece.segment.module for piece in bound.slices}
        path = names[id(bound.linear)].rpartition(".")[0]
        if QUERY in modules:
            attention[path] = skeleton.model.get_submodule(path)
        elif not any(module.startswith(("mlp.", "self_attn.")) for module in modules):
            mixers[path] = skeleton.model.get_submodule(path)
    return mixers, attention


def _operations(skeleton: BoundModel, parts: dict[str, nn.Module]) -> dict[str, int]:
    """Operations that each part starts in a forward pass."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    from culnig.models.without_values import WithoutValues

    counts: dict[str, int] = defaultdict(int)
    inside: list[str] = []

    class Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            for name in inside:
                counts[name] += 1
            return function(*args, **(kwargs or {}))

    with contextlib.ExitStack() as stack:
        for name, part in parts.items():
            enter = part.register_forward_pre_hook(lambda module, inputs, name=name: inside.append(name))
            leave = part.register_forward_hook(lambda module, inputs, output: inside.remove(inside[-1]))
            stack.callback(enter.remove)
            stack.callback(leave.remove)
        stack.enter_context(torch.no_grad())
        stack.enter_context(WithoutValues())  # type: ignore[no-untyped-call]
        stack.enter_context(Counting())  # type: ignore[no-untyped-call]
        ids = torch.zeros((1, N_TOKENS), dtype=torch.long, device="meta")
        skeleton.model(input_ids=ids, use_cache=False)
    return counts
