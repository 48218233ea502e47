"""Batches that do not fit into memory: they are run in halves, and halves of halves.

Scoring, evaluation, the instance level, audits and mean activations all run their batches through a
`Fallback`. A run that fails must leave nothing behind that a second run of the same items would count twice.

Of a model that is spread over processes each attempt is a turn (`culnig.models.sharding`), in which every
process runs a batch of its own; one whose batch does not fit takes a turn for each half.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar

import numpy as np

from culnig.core.outcomes import Outcomes
from culnig.errors import EnvironmentProblem, option

if TYPE_CHECKING:
    from culnig.models.base import BoundModel
    from culnig.models.sharding import Turns

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
D = TypeVar("D", bound=Divisible)
P = ParamSpec("P")


class Fallback(Generic[B, P]):
    """Runs batches whole, or in halves where memory runs out; remembers the size that did not fit."""

    def __init__(
        self,
        run: Callable[Concatenate[B, P], None],
        *,
        can_checkpoint: bool = False,
        turns: Turns | None = None,
    ) -> None:
        """`can_checkpoint` says that gradient checkpointing would take less memory."""
        self._run = run
        self._turns = turns
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

    def finish(self) -> None:
        """Take part in the turns of other processes until all their batches are done."""
        if self._turns is not None:
            self._turns.finish()

    def _fits(self, batch: B, *args: P.args, **kwargs: P.kwargs) -> bool:
        if self._turns is not None:
            self._turns.begin()
        try:
            self._run(batch, *args, **kwargs)
            return True
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        # the error, which holds on to the tensors, has ended
        if self._turns is not None:
            release_memory()
            self._turns.catch_up()
        return False


class Answering:
    """Runs batches of items into `Outcomes`: all of them, or this process's share of a model that is spread.

    All processes then end with the answers to all items.
    """

    def __init__(
        self,
        bound: BoundModel,
        run: Callable[[Any, Outcomes], None],
        *,
        kind: str = "read",
        rehearse: Callable[[Any], None] | None = None,
        is_fixed: bool = True,
        settle: Callable[[Sequence[Any], Outcomes], None] = lambda batches, outcomes: None,
    ) -> None:
        """`kind` and `is_fixed` are those of the turns (`Sharding.turns`).

        `settle` is called in the end with all batches: what follows from the answers to several of them.

        `rehearse` makes the passes of a batch whose results nobody sees; by default `run` does, into outcomes
        that are forgotten.
        """
        self._sharding = bound.sharding
        self._settle = settle
        self._rehearse = rehearse or (lambda batch: run(batch, self._forgotten))
        turns = None
        if bound.sharding is not None:
            turns = bound.sharding.turns(kind, lambda: self._rehearse(self._spare), is_fixed=is_fixed)
        self._fallback: Fallback[Any, [Outcomes]] = Fallback(run, turns=turns)

    def run(
        self,
        batches: Sequence[Any],
        outcomes: Outcomes,
        after_batch: Callable[[int], None] = lambda n_items: None,
    ) -> None:
        """Run them, in halves where memory runs out; EnvironmentProblem if one item does not fit.

        `after_batch` is called with the number of items that were answered, in all processes.
        """
        sharding = self._sharding
        if sharding is None:
            for batch in batches:
                self._fallback.run(batch, outcomes)
                after_batch(len(batch.item_ids))
            self._settle(batches, outcomes)
            return
        if not batches:
            return
        self._spare = smallest(batches[-1])
        self._forgotten = outcomes.take(np.arange(len(outcomes.id)))
        own = sharding.share(batches)
        for number, batch in enumerate(own):
            self._fallback.run(batch, outcomes)
            of = sharding.processes.of
            after_batch(sum(len(each.item_ids) for each in batches[number * of : (number + 1) * of]))
        self._fallback.finish()
        indices = np.array([index for batch in own for index in batch.numbers], dtype=np.int64)
        for answered, answers in sharding.processes.gathered((indices, outcomes.take(indices))):
            outcomes.put(answered, answers)
        self._settle(batches, outcomes)


def smallest(batch: D) -> D:
    """The batch's last item by itself: the shortest, where items are sorted by length."""
    while len(batch.item_ids) > 1:
        batch = batch.halves()[1]
    return batch


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
        f"over several devices with {option('device_map', 'auto')} or, under torchrun, {option('fsdp')}. "
        "`culnig-engine plan` says what fits"
    )
