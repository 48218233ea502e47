"""How torch computes attention: without copies of keys and values on the CPU, reproducibly on CUDA devices.

In most models several query heads share one key and value head. torch's attention on the CPU can use them
shared. transformers allows that only without a mask, because CUDA's kernels need none, and otherwise repeats
keys and values for every query head, which costs trees of prompts (`trees`) about a tenth of their time.

On a CUDA device the backward pass of fused attention adds in the order in which its threads happen to end,
unless torch is in its deterministic mode. That mode is for the whole process and refuses operations that a
model or a scorer may need, so it is on in attention alone: while its forward pass chooses an implementation,
and during its node of the backward pass.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

SWITCH = "TRANSFORMERS_SDPA_FORCE_GQA"
"""Read by transformers at every call; versions that do not know it repeat the heads."""


@contextlib.contextmanager
def grouped_heads(device: torch.device) -> Iterator[None]:
    """Forward passes inside do not repeat keys and values, where `device` is the CPU."""
    if device.type != "cpu" or SWITCH in os.environ:
        yield
        return
    os.environ[SWITCH] = "1"
    try:
        yield
    finally:
        del os.environ[SWITCH]


WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
"""Without it, torch's deterministic mode refuses matrix products."""


@contextlib.contextmanager
def reproducible_attention(device: torch.device) -> Iterator[None]:
    """Forward passes inside, and their backward passes, give equal bits for equal inputs on a CUDA device.

    That holds for torch's own attention (sdpa and eager), not for other packages'. On other devices attention
    is reproducible anyway.
    """
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault(WORKSPACE, ":4096:8")
    mode = _DeterministicMode()
    try:
        with _Reproducible(mode):
            yield
    finally:
        mode.off()  # an error inside attention left it on


class _DeterministicMode:
    """torch's deterministic mode; `off` leaves what was set when this was made."""

    def __init__(self) -> None:
        self._fills: Any = torch.utils.deterministic  # its module makes this setting a property
        self._before = torch.get_deterministic_debug_mode(), self._fills.fill_uninitialized_memory

    def on(self) -> None:
        torch.use_deterministic_algorithms(True)
        self._fills.fill_uninitialized_memory = False  # it finds errors of programs, and takes time

    def off(self) -> None:
        torch.set_deterministic_debug_mode(self._before[0])
        self._fills.fill_uninitialized_memory = self._before[1]


class _Reproducible(TorchFunctionMode):
    def __init__(self, mode: _DeterministicMode) -> None:
        super().__init__()
        self._mode = mode

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is not torch.nn.functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        self._mode.on()
        output = func(*args, **(kwargs or {}))
        self._mode.off()
        node = _attention_node(output.grad_fn)
        if node is not None:
            node.register_prehook(lambda gradients: self._mode.on())
            node.register_hook(lambda gradients, outputs: self._mode.off())
        return output


def _attention_node(node: Any) -> Any:
    """The fused node behind an output, which may be a view of it; None where there is no fused node."""
    while node is not None and not node.name().startswith("ScaledDotProduct"):
        behind = [before for before, _ in node.next_functions if before is not None]
        node = behind[0] if len(behind) == 1 else None
    return node
