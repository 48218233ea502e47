"""Batches that are answered in halves where memory runs out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from culnig.core.outcomes import Outcomes
from culnig.errors import EnvironmentProblem
from culnig.inference.memory import is_out_of_memory, release_memory


class Divisible(Protocol):
    """A batch of labelled, shared or written answers."""

    @property
    def items(self) -> Sequence[Any]:
        """Its items."""

    @property
    def n_tokens(self) -> int:
        """Tokens that the model sees, padding included."""

    def halves(self) -> tuple[Any, Any]:
        """The batch as two."""


B = TypeVar("B", bound=Divisible)


class Pieces(Generic[B]):
    """Answers batches whole, or in halves of halves where they do not fit."""

    def __init__(self, answer: Callable[[B, Outcomes], None]) -> None:
        self._answer = answer
        self._too_large: float = math.inf
        """Tokens of the smallest batch that did not fit: later ones of that size are halved at once."""

    def answer(self, batch: B, outcomes: Outcomes) -> None:
        """Answer a batch; EnvironmentProblem where memory runs out with a single item."""
        alone = len(batch.items) == 1
        if alone or batch.n_tokens < self._too_large:
            if self._fits(batch, outcomes):
                return
            release_memory()
            if alone:
                raise EnvironmentProblem(
                    f"out of memory with a single item of {batch.n_tokens} tokens; load the model with "
                    "--dtype bfloat16 or --quantize 4bit, or spread it over several devices with "
                    "--device-map auto"
                )
            self._too_large = min(self._too_large, batch.n_tokens)
        for half in batch.halves():
            self.answer(half, outcomes)

    def _fits(self, batch: B, outcomes: Outcomes) -> bool:
        try:
            self._answer(batch, outcomes)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return False  # the error, which holds on to the tensors, ends here
        return True
