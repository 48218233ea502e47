"""Prefixes forward once, and what follows them behind their keys and values.

In a causal model that is the same computation as whole prompts, up to the float noise of the matrix products.
This is for scoring, where every item needs a backward pass of its own through the prefix, and only the
forward pass is saved (answers alone are read from `trees`, which save more). The padding that follows a
shorter prefix is masked, and positions count real tokens only.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from culnig.inference.answers import AnswerReader
from culnig.inference.batches import padded
from culnig.inference.shared_batches import SharedBatch
from culnig.models.base import BoundModel

if TYPE_CHECKING:
    import torch


class PrefixReader:
    """Takes prefixes, and what follows them, forward through an open AnswerReader."""

    def __init__(self, bound: BoundModel, reader: AnswerReader) -> None:
        self._bound = bound
        self._reader = reader

    def forward_prefixes(self, shared: SharedBatch) -> Any:
        """The cache of the prefixes, a row for each group; the head sees nothing."""
        import torch
        from transformers import DynamicCache

        ids, _ = _padded(shared.prefixes)
        cache = DynamicCache(config=self._bound.model.config)
        nowhere = torch.zeros(0, dtype=torch.long)
        self._reader.forward(ids.to(self._bound.input_device), nowhere, past_key_values=cache, use_cache=True)
        return cache

    def forward_rests(self, shared: SharedBatch, cache: Any) -> torch.Tensor:
        """Logits at the last real position, (item, vocabulary), behind a cache with a row for each item."""
        import torch

        ids, lengths = _padded(
            [
                one.token_ids[len(shared.prefixes[group]) :]
                for one, group in zip(shared.batch.items, shared.group_of, strict=True)
            ]
        )
        before = torch.from_numpy(shared.prefix_lengths)[:, None]
        longest = max(map(len, shared.prefixes))
        steps = torch.arange(ids.shape[1])[None, :]
        mask = torch.cat([torch.arange(longest)[None, :] < before, steps < lengths[:, None]], dim=1)
        return self._reader.forward(
            ids.to(self._bound.input_device),
            lengths - 1,
            past_key_values=cache,
            use_cache=True,
            attention_mask=mask.long().to(self._bound.input_device),
            position_ids=(before + torch.minimum(steps, lengths[:, None] - 1)).to(self._bound.input_device),
        )


def _padded(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids padded on the right, (row, token), and the length of each row."""
    import torch

    return torch.from_numpy(padded(rows)), torch.tensor([len(row) for row in rows])


def unfit(bound: BoundModel) -> str | None:
    """Why the cache of a model is not plain, or None where every layer keeps all keys and values."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    model: Any = bound.model
    wanted = {"past_key_values", "position_ids", "attention_mask", "use_cache"}
    missing = wanted - set(inspect.signature(model.forward).parameters)
    if missing:
        return f"its forward takes no {', '.join(sorted(missing))}"
    try:
        layers = DynamicCache(config=model.config).layers
    except Exception as error:  # a configuration that transformers cannot make a cache for
        return f"transformers makes no cache for it ({type(error).__name__})"
    odd = sorted({type(layer).__name__ for layer in layers if type(layer) is not DynamicLayer})
    return f"its cache has layers of {', '.join(odd)}" if odd else None
