"""The `torch` backend: the same arithmetic in eager operations, for devices without a compiled kernel.

It works through the neurons in chunks, so that its float32 products stay small beside the tensors. Item
scores are made on the device and added to the sums on the host, all modules of a batch at once, by the
compiled code of the CPU.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch

from culnig.errors import NonFiniteError
from culnig.kernels import cpu
from culnig.kernels.arguments import (
    AGGREGATORS,
    ScoreBatch,
    ScoreTables,
    Values,
    one_of,
    score_tables,
)
from culnig.kernels.base import TokenSums, dtype_index, mask_on
from culnig.kernels.routing import Routing, experts_filled, n_experts_of
from culnig.kernels.status import chunks, empty_status, first_non_finite, note_products


class TorchBackend:
    """Eager torch operations on tensors of any device."""

    name = "torch"

    def tables_device(self, device: torch.device) -> torch.device:
        """See `Backend.tables_device`."""
        return torch.device("cpu")

    def score_items(
        self,
        activation: torch.Tensor,
        gradient: torch.Tensor,
        token_mask: torch.Tensor,
        tables: ScoreTables,
        status: torch.Tensor,
        aggregator: str = "max",
    ) -> None:
        """See `Backend.score_items`."""
        dtype_index(activation, gradient)
        one_of("aggregator", aggregator, AGGREGATORS)
        activation, gradient = activation.detach(), gradient.detach()
        if tables.item_scores is not None:
            tables.item_scores[...] = 0
        if tables.peak_tokens is not None:
            tables.peak_tokens[...] = -1
        for start, columns in chunks(activation):
            products = activation[..., columns].float() * gradient[..., columns].float()
            note_products(products, activation[..., columns], token_mask, status, start, activation.shape[2])
            scores, peaks = _reduce(products, token_mask, aggregator)
            if tables.item_scores is not None:
                tables.item_scores[:, columns] = scores
            if tables.peak_tokens is not None:
                tables.peak_tokens[:, columns] = peaks

    def routed_items(
        self,
        activation: torch.Tensor,
        gradient: torch.Tensor,
        routing: Routing,
        tables: ScoreTables,
        status: torch.Tensor,
        aggregator: str = "max",
    ) -> None:
        """See `Backend.routed_items`. One expert at a time, with zeros filled in."""
        dtype_index(activation[None], gradient[None])
        one_of("aggregator", aggregator, AGGREGATORS)
        n_neurons = n_experts_of(routing) * activation.shape[1]
        for columns, values, gradients, mask in experts_filled(activation, gradient, routing):
            products = values.float() * gradients.float()
            note_products(products, values, mask, status, columns.start, n_neurons)
            for table, own in zip(
                (tables.item_scores, tables.peak_tokens), _reduce(products, mask, aggregator), strict=True
            ):
                if table is not None:
                    torch.as_tensor(table)[:, columns] = own

    def addition(
        self, item_scores: torch.Tensor, batch: ScoreBatch, tables: ScoreTables
    ) -> Callable[[], None]:
        """See `Backend.addition`."""
        return functools.partial(cpu.add_scores, item_scores.cpu().numpy(), batch, tables)

    def score_reduce(
        self,
        activation: torch.Tensor,
        gradient: torch.Tensor,
        batch: ScoreBatch,
        tables: ScoreTables,
        aggregator: str = "max",
    ) -> None:
        """See `Backend.score_reduce`."""
        dtype_index(activation, gradient)
        n_items, _, n_neurons = activation.shape
        mask = mask_on(activation.device, batch.token_mask, (n_items, activation.shape[1]))
        tables = score_tables(tables, n_items, n_neurons)
        scores = activation.new_empty((n_items, n_neurons), dtype=torch.float32)
        peaks = torch.empty_like(scores, dtype=torch.int32)
        (status,) = empty_status(1, n_items, activation.device)
        self.score_items(
            activation, gradient, mask, ScoreTables(None, None, None, scores, peaks), status, aggregator
        )
        wrong = first_non_finite(status.cpu().numpy(), n_neurons)
        if wrong is not None:
            raise NonFiniteError(*wrong)
        if tables.sums is not None:
            self.addition(scores, batch, tables)()
        for table, values in ((tables.item_scores, scores), (tables.peak_tokens, peaks)):
            if table is not None:
                np.copyto(np.asarray(table), values.cpu().numpy())

    def token_sums(self, activation: torch.Tensor, gradient: torch.Tensor, token_mask: Values) -> TokenSums:
        """See `Backend.token_sums`."""
        dtype_index(activation, gradient)
        mask = mask_on(activation.device, token_mask, (activation.shape[0], activation.shape[1]))
        activation, gradient, device = activation.detach(), gradient.detach(), activation.device
        return TokenSums(
            _token_sum(activation.abs(), mask).float().to(device),
            ((activation > 0) & mask[..., None]).sum(1, dtype=torch.int32),
            _token_sum(gradient, mask, squared=True).sqrt().float().to(device),
        )


def _reduce(products: torch.Tensor, mask: torch.Tensor, aggregator: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores and peak tokens (item, neuron) of products (item, token, neuron)."""
    n_tokens = products.shape[1]
    token = torch.arange(n_tokens, device=products.device, dtype=torch.int32)
    real = mask[..., None]
    if aggregator == "last":
        last = torch.where(mask, token, -1).amax(dim=1)
        peak = last[:, None].expand(-1, products.shape[2])
    else:
        ranked_by = products.abs() if aggregator == "absmax" else products
        ranked_by = torch.where(real, ranked_by, -torch.inf)
        best = ranked_by.amax(dim=1, keepdim=True)
        # torch's arg-max may return any of equal values; the first is needed
        reached = (ranked_by == best) & real
        peak = torch.where(reached, token[:, None], n_tokens).amin(dim=1)
        peak = torch.where(peak == n_tokens, -1, peak)
    if aggregator in ("sum", "mean"):
        total = _token_sum(products, mask)
        if aggregator == "mean":
            total /= mask.sum(dim=1, keepdim=True).clamp(min=1).to(total.device)
        score = total.float().to(products.device)
    else:
        score = products.gather(1, peak.clamp(min=0)[:, None].long())[:, 0]
        score = torch.where(peak < 0, 0.0, score)
    return score + 0.0, peak.int()


def _token_sum(values: torch.Tensor, mask: torch.Tensor, *, squared: bool = False) -> torch.Tensor:
    """Sum in float64 and in token order, (item, neuron); on the host where the device has no float64."""
    if values.device.type == "mps":
        values, mask = values.cpu(), mask.cpu()
    total = values.new_zeros((values.shape[0], values.shape[2]), dtype=torch.float64)
    for token in range(values.shape[1]):
        row = torch.where(mask[:, token, None], values[:, token], 0.0).double()
        total += row * row if squared else row
    return total
