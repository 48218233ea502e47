"""Batches that do not fit into memory: they are run in halves, and halves of halves.

Scoring, evaluation, the instance level, audits and mean activations all run their batches through a
`Fallback`. A run that fails must leave nothing behind that a second run of the same items would count twice.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar

from culnig.errors import EnvironmentProblem, option

_CPU_ALLOCATOR = ("can't allocate memory", "not enough memory")


class Divisible(Protocol):
    """A batch of any kind."""

    @property
    def item_ids(self) -> Sequence[str]:
        """Ids of its items."""

    @property
    def n_tokens(self) -> int:
        """Tokens that the model sees, padding included."""

    def halves(self) -> tuple[Any, Any]:
        """The batch as two, items in the same order; for batches of at least two items."""


B = TypeVar("B", bound=Divisible)
P = ParamSpec("P")


class Fallback(Generic[B, P]):
    """Runs batches whole, or in halves where memory runs out; remembers the size that did not fit."""

    def __init__(self, run: Callable[Concatenate[B, P], None], *, can_checkpoint: bool = False) -> None:
        """`can_checkpoint` says that gradient checkpointing would take less memory."""
        self._run = run
        self._can_checkpoint = can_checkpoint
        self._too_large: float = math.inf
        """Tokens of the smallest batch that did not fit: later batches of that size are halved at once."""

    def run(self, batch: B, *args: P.args, **kwargs: P.kwargs) -> None:
        """Run a batch; EnvironmentProblem names the item with which alone memory runs out."""
        alone = len(batch.item_ids) == 1
        if alone or batch.n_tokens < self._too_large:
            if self._fits(batch, *args, **kwargs):
                return
            release_memory()
            if alone:
                raise _does_not_fit(batch, can_checkpoint=self._can_checkpoint)
            self._too_large = min(self._too_large, batch.n_tokens)
        for half in batch.halves():
            self.run(half, *args, **kwargs)

    def _fits(self, batch: B, *args: P.args, **kwargs: P.kwargs) -> bool:
        try:
            self._run(batch, *args, **kwargs)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return False  # the error, which holds on to the tensors, ends here
        return True


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a device or on the host."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _CPU_ALLOCATOR)


def release_memory() -> None:
    """Free memory that nothing refers to any more."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _does_not_fit(batch: Divisible, *, can_checkpoint: bool) -> EnvironmentProblem:
    checkpointing = f"add {option('gradient_checkpointing')}, " if can_checkpoint else ""
    return EnvironmentProblem(
        f"out of memory with the single item {batch.item_ids[0]} of {batch.n_tokens} tokens; {checkpointing}"
        f"load the model with {option('dtype', 'bfloat16')} or {option('quantize', '4bit')}, or spread it "
        f"over several devices with {option('device_map', 'auto')}. `culnig-engine plan` says what fits"
    )
