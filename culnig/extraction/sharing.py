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
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from culnig.bound import BoundModel
from culnig.extraction.accumulator import Accumulator
from culnig.extraction.capture import Capture
from culnig.extraction.diagnosis import non_finite_activation
from culnig.extraction.joining import JoinedScores
from culnig.inference.answers import AnswerReader, gold_confidence
from culnig.inference.prefixes import PrefixReader, SharedBatch, SharedWork
from culnig.outcomes import Outcomes

if TYPE_CHECKING:
    import torch

SCORING = SharedWork(saved=0.5, largest_group=16, in_turns=True)
"""Only the forward pass is saved, about half of the work. Larger groups would save little more, and the
backward passes of several groups run side by side."""


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
        self._prefixes = PrefixReader(bound, reader)
        self._capture = capture
        self._accumulator = accumulator
        self._token_budget = token_budget

    def score(self, shared: SharedBatch, outcomes: Outcomes) -> None:
        """Score a batch and record its answers."""
        import torch

        joined = self._accumulator.joining()
        cache = self._prefixes.forward_prefixes(shared)
        ends = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
        gradients: list[torch.Tensor] = []
        if joined.needs_prefixes:
            n_items = len(shared.batch.items)
            gradients = [end.new_zeros(n_items, *end.shape[1:]) for end in ends]
        confidence = torch.zeros(len(shared.batch.items), dtype=torch.float64)
        for rows in shared.turns(self._token_budget):
            confidence[rows] = self._score_rests(shared, rows, cache, ends, gradients, joined, outcomes)
        del cache
        if joined.needs_prefixes:
            self._score_prefixes(shared, ends, gradients, joined)
        self._accumulator.weigh(confidence)
        self._accumulator.add_joined(joined)

    def _score_rests(
        self,
        shared: SharedBatch,
        rows: list[int],
        cache: Any,
        ends: list[torch.Tensor],
        gradients: list[torch.Tensor],
        joined: JoinedScores,
        outcomes: Outcomes,
    ) -> torch.Tensor:
        """P(gold) of some items; fills in their gradients at the keys and values of their prefixes."""
        import torch

        part = shared.part(rows)
        groups = torch.tensor(part.group_of)
        leaves = [end.detach()[groups.to(end.device)].requires_grad_(bool(gradients)) for end in ends]
        for layer, keys, values in zip(cache.layers, leaves[::2], leaves[1::2], strict=True):
            layer.keys, layer.values = keys, values
        probabilities = self._prefixes.forward_rests(part, cache).softmax(-1)
        confidence = gold_confidence(part.batch, probabilities)
        if not confidence.isfinite().all():
            raise non_finite_activation(self._bound, self._reader, part.batch)
        mask = _token_mask(part.rest_lengths)
        with self._capture.handing_to(joined.rests(np.array(rows), mask, part.prefix_lengths)):
            confidence.sum().backward()  # type: ignore[no-untyped-call]
        for leaf, gradient in zip(leaves, gradients, strict=bool(gradients)):
            assert leaf.grad is not None
            gradient[torch.tensor(rows, device=leaf.device)] = leaf.grad
        self._reader.record(part.batch, probabilities, outcomes)
        return confidence.detach().double().cpu()

    def _score_prefixes(
        self,
        shared: SharedBatch,
        ends: list[torch.Tensor],
        gradients: list[torch.Tensor],
        joined: JoinedScores,
    ) -> None:
        """One backward pass through the prefixes for each item of the largest group."""
        import torch

        members = shared.members
        mask = _token_mask(np.array([len(prefix) for prefix in shared.prefixes]))
        n_passes = max(map(len, members))
        for number in range(n_passes):
            rows = np.array([rows[number] if number < len(rows) else -1 for rows in members])
            index = torch.from_numpy(rows)
            of_items = [_rows(gradient, index) for gradient in gradients]
            going_on = number + 1 < n_passes
            with (
                self._capture.going_on() if going_on else contextlib.nullcontext(),
                self._capture.handing_to(joined.prefixes(rows, mask)),
            ):
                torch.autograd.backward(ends, of_items, retain_graph=going_on)


def _rows(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Rows of a table, zero where the index is -1."""
    index = index.to(table.device)
    rows = table[index.clamp(min=0)]
    rows[index < 0] = 0
    return rows


def _token_mask(lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
    """True at real tokens, shape (row, token)."""
    return np.arange(lengths.max())[None, :] < lengths[:, None]
