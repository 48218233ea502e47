"""Where the rows of an expert layer belong: an expert's neurons have values only at the tokens routed to it.

Like culnig.kernels.arguments, this imports no torch, and values may be numpy arrays or tensors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from culnig.errors import InputError
from culnig.kernels.arguments import MOST_TOKENS, Values, host_array

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Routing:
    """Which token each row of an expert layer's activations belongs to.

    Rows are grouped by expert, then by item, and ascend by token.
    """

    token_mask: Values
    """Which tokens are real, not padding: bool (item, token)."""
    starts: Values
    """First row of each expert's item, and the end of the last: int64 (expert · item + 1,)."""
    tokens: Values
    """Token of each row, -1 for padding: int32 (row,)."""


def routing_of(
    expert: torch.Tensor, token: torch.Tensor, token_mask: torch.Tensor, n_experts: int
) -> Routing:
    """The routing of rows, on their device, without waiting for it.

    `expert` ascends and `token` ascends for each expert, both int64 (row,); tokens are counted over the items
    of `token_mask`, bool (item, token).
    """
    import torch

    n_items, n_tokens = token_mask.shape
    rows = torch.zeros(n_experts * n_items, dtype=torch.int64, device=expert.device)
    rows.index_add_(0, expert * n_items + token // n_tokens, torch.ones_like(expert))
    starts = torch.nn.functional.pad(rows.cumsum(0), (1, 0))
    real = token_mask.reshape(-1)[token]
    return Routing(token_mask, starts, torch.where(real, token % n_tokens, -1).to(torch.int32))


def n_experts_of(routing: Routing) -> int:
    """Experts of a routing."""
    return int((np.shape(routing.starts)[0] - 1) // np.shape(routing.token_mask)[0])


def experts_filled(
    activation: torch.Tensor, gradient: torch.Tensor, routing: Routing
) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Each expert's columns, activation and gradient (item, token, neuron), and the mask of real tokens.

    Zeros are filled in at the tokens that the expert did not see.
    """
    import torch

    mask = torch.as_tensor(routing.token_mask, device=activation.device)
    starts, tokens = (torch.as_tensor(each) for each in (routing.starts, routing.tokens))
    (n_items, n_tokens), width = mask.shape, activation.shape[1]
    for expert in range(n_experts_of(routing)):
        begins = starts[expert * n_items : (expert + 1) * n_items + 1].tolist()
        rows = slice(begins[0], begins[-1])
        item = torch.arange(n_items).repeat_interleave(torch.tensor(begins).diff()).to(tokens.device)
        # one token more than there are takes the rows of padding, which have token -1
        dense = activation.new_zeros((2, n_items, n_tokens + 1, width))
        for filled, given in zip(dense, (activation, gradient), strict=True):
            filled[item, tokens[rows].long()] = given.detach()[rows]
        yield (
            slice(expert * width, (expert + 1) * width),
            dense[0, :, :n_tokens],
            dense[1, :, :n_tokens],
            mask,
        )


class RoutedRows(NamedTuple):
    """A routing as compiled code takes it."""

    starts: NDArray[np.int64] | torch.Tensor
    tokens: NDArray[np.int32] | torch.Tensor
    unrouted: NDArray[np.int32] | torch.Tensor
    """Real tokens of an item that an expert did not see: how many, first and last, (expert, item, 3)."""


def routed_rows(routing: Routing, n_rows: int) -> RoutedRows:
    """The routing of `n_rows` rows, checked."""
    mask, starts, tokens = map(host_array, (routing.token_mask, routing.starts, routing.tokens))
    if mask.dtype != np.bool_ or mask.ndim != 2 or not len(mask):
        raise InputError(f"token_mask is {mask.dtype} of shape {mask.shape}; bool (item, token) is allowed")
    n_experts, rest = divmod(starts.size - 1, len(mask))
    if starts.dtype != np.int64 or starts.ndim != 1 or rest or n_experts < 1:
        raise InputError(
            f"starts is {starts.dtype} of shape {starts.shape}; int64 (expert · item + 1,) for {len(mask)} "
            "items is needed"
        )
    if tokens.dtype != np.int32 or tokens.shape != (n_rows,) or n_rows > MOST_TOKENS:
        raise InputError(
            f"tokens is {tokens.dtype} of shape {tokens.shape}; int32 of shape {(n_rows,)} is needed, "
            f"with at most {MOST_TOKENS} rows"
        )
    if starts[0] < 0 or starts[-1] > n_rows or (np.diff(starts) < 0).any():
        raise InputError(f"starts must ascend from 0 or more to at most {n_rows}, the number of rows")
    group = np.repeat(np.arange(starts.size - 1), np.diff(starts))
    own = tokens[starts[0] : starts[-1]]
    group, own = group[own >= 0], own[own >= 0]
    if (own.size and own.max() >= mask.shape[1]) or not mask[group % len(mask), own].all():
        raise InputError("a row's token is not a real token of its item in token_mask; mark padding as -1")
    if ((np.diff(own) <= 0) & (np.diff(group) == 0)).any():
        raise InputError("the tokens of an expert's item must ascend, each once")
    unseen = np.broadcast_to(mask, (n_experts, *mask.shape)).copy()
    unseen.reshape(-1, mask.shape[1])[group, own] = False
    count, token = unseen.sum(-1), np.arange(mask.shape[1])
    first = np.where(unseen, token, mask.shape[1]).min(-1, initial=mask.shape[1])
    last = np.where(unseen, token, -1).max(-1, initial=-1)
    return RoutedRows(
        np.ascontiguousarray(starts),
        np.ascontiguousarray(tokens),
        np.stack((count, np.where(count > 0, first, -1), last), axis=-1).astype(np.int32),
    )


def device_rows(routing: Routing) -> RoutedRows:
    """The routing as compiled code takes it, from tensors on one device, without waiting for it."""
    import torch

    mask, starts, tokens = (
        torch.as_tensor(each) for each in (routing.token_mask, routing.starts, routing.tokens)
    )
    (n_items, n_tokens), n_groups = mask.shape, len(starts) - 1
    row = torch.arange(len(tokens), device=tokens.device)
    group = torch.searchsorted(starts, row, right=True) - 1
    # one token more than there are takes the rows of padding, which have token -1
    seen = torch.zeros((n_groups, n_tokens + 1), dtype=torch.bool, device=tokens.device)
    seen[group, tokens.long()] = True
    missing = mask.repeat(n_groups // n_items, 1) & ~seen[:, :n_tokens]
    count, token = missing.sum(1), torch.arange(n_tokens, device=tokens.device)
    first = torch.where(missing, token, n_tokens).amin(1)
    last = torch.where(missing, token, -1).amax(1)
    unrouted = torch.stack((count, torch.where(count > 0, first, -1), last), 1).to(torch.int32)
    return RoutedRows(starts, tokens, unrouted.view(n_groups // n_items, n_items, 3))
