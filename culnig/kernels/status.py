"""What a backend finds that is not finite: written on the device, read once a batch.

The first part makes and reads a status; the second writes one by eager operations.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from culnig.kernels.routing import Routing, experts_filled, n_experts_of

CHUNK_PRODUCTS = 1 << 22
"""Products (item × token × neuron) in memory at once."""

STATUS_WORDS = 3
"""Of an item: products at real tokens that are not finite; index token · neurons + neuron of the first, or
-1; how many of them have an activation that is not finite."""


def empty_status(n_calls: int, n_items: int, device: torch.device) -> torch.Tensor:
    """A status for each of `n_calls` of `score_items`, int64 (call, item, STATUS_WORDS)."""
    status = torch.zeros((n_calls, n_items, STATUS_WORDS), dtype=torch.int64, device=device)
    status[..., 1] = -1
    return status


def first_non_finite(status: NDArray[np.int64], n_neurons: int) -> tuple[int, int, int, int] | None:
    """Count, item, token and neuron as NonFiniteError takes them, from a status (item, STATUS_WORDS)."""
    (items,) = np.nonzero(status[:, 0])
    if not items.size:
        return None
    item = int(items[0])
    token, neuron = divmod(int(status[item, 1]), n_neurons)
    return int(status[:, 0].sum()), item, token, neuron


def note_non_finite(
    activation: torch.Tensor, gradient: torch.Tensor, token_mask: torch.Tensor, status: torch.Tensor
) -> None:
    """Write the status of `Backend.score_items`."""
    for start, columns in chunks(activation):
        values = activation.detach()[..., columns]
        products = values.float() * gradient.detach()[..., columns].float()
        note_products(products, values, token_mask, status, start, activation.shape[2])


def note_routed_non_finite(
    activation: torch.Tensor, gradient: torch.Tensor, routing: Routing, status: torch.Tensor
) -> None:
    """Write the status of `Backend.routed_items`."""
    n_neurons = n_experts_of(routing) * activation.shape[1]
    for columns, values, gradients, mask in experts_filled(activation, gradient, routing):
        note_products(values.float() * gradients.float(), values, mask, status, columns.start, n_neurons)


def chunks(activation: torch.Tensor) -> Iterator[tuple[int, slice]]:
    """Ranges of neurons, and where each begins, whose products fit into CHUNK_PRODUCTS."""
    n_items, n_tokens, n_neurons = activation.shape
    if activation.numel():
        step = max(1, CHUNK_PRODUCTS // (n_items * n_tokens))
        for start in range(0, n_neurons, step):
            yield start, slice(start, min(start + step, n_neurons))


def note_products(
    products: torch.Tensor,
    activation: torch.Tensor,
    mask: torch.Tensor,
    status: torch.Tensor,
    start: int,
    n_neurons: int,
) -> None:
    """Add what is not finite among the products of the neurons from `start` on to the status."""
    _, n_tokens, width = products.shape
    wrong = ~products.isfinite() & mask[..., None]
    token, neuron = (torch.arange(n, device=products.device) for n in (n_tokens, width))
    index = (token * n_neurons + start)[:, None] + neuron
    none = n_tokens * n_neurons
    first = torch.where(wrong, index, none).amin((1, 2))
    before = torch.where(status[:, 1] < 0, none, status[:, 1])
    first = torch.minimum(first, before)
    status[:, 0] += wrong.sum((1, 2))
    status[:, 1] = torch.where(first == none, -1, first)
    status[:, 2] += (wrong & ~activation.isfinite()).sum((1, 2))
