"""Scoring items behind a shared prefix: forward once for its group, backward once for each item.

1. The prefixes of all groups go forward together, with their graph.
2. Their keys and values are cut off that graph and repeated for the items; behind them the rests of the
   items go forward, and backward from ΣP(gold). That gives the gradients of the rests, and for every item
   the gradient at the keys and values of its prefix.
3. From there one backward pass through the prefixes for each item of a group, the k-th items of all groups
   side by side. Gradients of different items are never added, so each has its own at every token.

Scores of prefix and rest are joined (`joining`) and added when all is through: a batch that runs out of
memory has added nothing. The computation is that of whole prompts, up to the float noise of the model.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from culnig.core.outcomes import Outcomes
from culnig.inference.answers import AnswerReader, gold_probabilities
from culnig.inference.prefixes import PrefixReader
from culnig.inference.shared_batches import SharedBatch
from culnig.models.base import BoundModel
from culnig.scoring.accumulator import Accumulator
from culnig.scoring.capture import Capture
from culnig.scoring.diagnosis import non_finite_activation
from culnig.scoring.joining import JoinedScores

if TYPE_CHECKING:
    import torch


class SharedPasses:
    """The passes of one shared batch through the model: prefixes, then rests in turns, then back."""

    def __init__(self, prefixes: PrefixReader, shared: SharedBatch, *, back: bool = True) -> None:
        """Forward the prefixes; `back` says whether their gradients will be needed."""
        self._reader = prefixes
        self._shared = shared
        self._cache = prefixes.forward_prefixes(shared)
        self._ends = [tensor for layer in self._cache.layers for tensor in (layer.keys, layer.values)]
        """Keys and values of each layer, (group, head, token, column): there the prefixes' graph ends."""
        self._gradients: list[torch.Tensor] = []
        if back:
            n_items = len(shared.batch.items)
            self._gradients = [end.new_zeros(n_items, *end.shape[1:]) for end in self._ends]

    @property
    def n_back(self) -> int:
        """Backward passes that the prefixes need: as many as the largest group has items."""
        return max(map(len, self._shared.members)) if self._gradients else 0

    def rests(self, part: SharedBatch) -> torch.Tensor:
        """Logits (item, vocabulary) of some items, behind keys and values that are leaves of their own."""
        import torch

        groups = torch.tensor(part.group_of)
        self._leaves = [
            end.detach()[groups.to(end.device)].requires_grad_(bool(self._gradients)) for end in self._ends
        ]
        for layer, keys, values in zip(
            self._cache.layers, self._leaves[::2], self._leaves[1::2], strict=True
        ):
            layer.keys, layer.values = keys, values
        return self._reader.forward_rests(part, self._cache)

    def collect(self, rows: list[int]) -> None:
        """Keep what the backward pass of these items' rests brought to the keys and values."""
        import torch

        for leaf, gradient in zip(self._leaves, self._gradients, strict=bool(self._gradients)):
            assert leaf.grad is not None
            gradient[torch.tensor(rows, device=leaf.device)] = leaf.grad
        del self._leaves
        for layer in self._cache.layers:
            layer.keys = layer.values = None

    def back(self, number: int) -> None:
        """Backward through the prefixes, for the item of this number in each group."""
        import torch

        index = torch.from_numpy(self.rows(number))
        of_items = [_rows(gradient, index) for gradient in self._gradients]
        torch.autograd.backward(self._ends, of_items, retain_graph=number + 1 < self.n_back)

    def rows(self, number: int) -> NDArray[np.int64]:
        """Row of the item of this number in each group, -1 where a group has fewer."""
        return np.array([rows[number] if number < len(rows) else -1 for rows in self._shared.members])


class SharedScoring:
    """Scores shared batches through an open reader and capture."""

    def __init__(
        self,
        bound: BoundModel,
        reader: AnswerReader,
        capture: Capture,
        accumulator: Accumulator,
        token_budget: int,
    ) -> None:
        self._bound = bound
        self._reader = reader
        self._capture = capture
        self._accumulator = accumulator
        self._token_budget = token_budget

    def score(self, shared: SharedBatch, outcomes: Outcomes) -> None:
        """Score a batch and record its answers."""
        import torch

        joined = self._accumulator.joining()
        passes = SharedPasses(PrefixReader(self._bound, self._reader), shared, back=joined.needs_prefixes)
        p_gold = torch.zeros(len(shared.batch.items), dtype=torch.float64)
        for rows in shared.turns(self._token_budget):
            p_gold[rows] = self._score_rests(passes, shared.part(rows), rows, joined, outcomes)
        mask = _token_mask(np.array([len(prefix) for prefix in shared.prefixes]))
        for number in range(passes.n_back):
            last = number + 1 == passes.n_back
            with (
                contextlib.nullcontext() if last else self._capture.going_on(),
                self._capture.handing_to(joined.prefixes(passes.rows(number), mask)),
            ):
                passes.back(number)
        self._accumulator.weigh(p_gold)
        self._accumulator.add_joined(joined)

    def _score_rests(
        self,
        passes: SharedPasses,
        part: SharedBatch,
        rows: list[int],
        joined: JoinedScores,
        outcomes: Outcomes,
    ) -> torch.Tensor:
        """P(gold) of some items, (item,), whose rests go forward and backward."""
        probabilities = passes.rests(part).softmax(-1)
        p_gold = gold_probabilities(part.batch, probabilities)
        if not p_gold.isfinite().all():
            raise non_finite_activation(self._bound, self._reader, part.batch)
        mask = _token_mask(part.rest_lengths)
        with self._capture.handing_to(joined.rests(np.array(rows), mask, part.prefix_lengths)):
            p_gold.sum().backward()  # type: ignore[no-untyped-call]
        passes.collect(rows)
        self._reader.record(part.batch, probabilities, outcomes)
        return p_gold.detach().double().cpu()


def _rows(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Rows of a table, zero where the index is -1."""
    index = index.to(table.device)
    rows = table[index.clamp(min=0)]
    rows[index < 0] = 0
    return rows


def _token_mask(lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
    """True at real tokens, shape (row, token)."""
    return np.arange(lengths.max())[None, :] < lengths[:, None]
