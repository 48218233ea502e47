"""The `torch` backend: the same arithmetic in eager operations, for devices without a compiled kernel.

It works through the neurons in chunks, so that its float32 products stay small beside the tensors. Item
scores are made on the device and added to the sums on the host, by the compiled code that every backend
shares.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from culnig.errors import NonFiniteError
from culnig.kernels import cpu
from culnig.kernels.arguments import (
    AGGREGATORS,
    ScoreBatch,
    ScoreTables,
    Values,
    host_array,
    one_of,
    real_tokens,
    score_tables,
)
from culnig.kernels.base import TokenSums, dtype_index
from culnig.kernels.routing import RoutedRows, Routing, routed_rows

CHUNK_PRODUCTS = 1 << 22
"""Products (item × token × neuron) in memory at once."""


class TorchBackend:
    """Eager torch operations on tensors of any device."""

    name = "torch"

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
        one_of("aggregator", aggregator, AGGREGATORS)
        mask = _mask(batch.token_mask, activation)
        tables = score_tables(tables, activation.shape[0], activation.shape[2])
        scores, peaks = _item_scores(activation.detach(), gradient.detach(), mask, aggregator)
        if tables.sums is not None:
            cpu.add_scores(scores, batch, tables)
        for table, values in ((tables.item_scores, scores), (tables.peak_tokens, peaks)):
            if table is not None:
                np.copyto(np.asarray(table), values)

    def routed_scores(
        self,
        activation: torch.Tensor,
        gradient: torch.Tensor,
        routing: Routing,
        tables: ScoreTables,
        aggregator: str = "max",
    ) -> None:
        """See `Backend.routed_scores`. One expert at a time, with zeros filled in."""
        dtype_index(activation[None], gradient[None])
        one_of("aggregator", aggregator, AGGREGATORS)
        rows, mask = routed_rows(routing, len(activation)), host_array(routing.token_mask)
        n_experts, width = len(rows.unrouted), activation.shape[1]
        tables = score_tables(tables, len(mask), n_experts * width)
        wrong: list[tuple[int, int, int, int]] = []
        for expert in range(n_experts):
            pair = _filled((activation.detach(), gradient.detach()), rows, mask.shape, expert)
            try:
                scored = _item_scores(*pair, torch.tensor(mask, device=activation.device), aggregator)
            except NonFiniteError as error:
                wrong.append((error.count, error.item, error.token, error.neuron + expert * width))
                continue
            for table, values in zip((tables.item_scores, tables.peak_tokens), scored, strict=True):
                if table is not None:
                    np.asarray(table)[:, expert * width : (expert + 1) * width] = values
        if wrong:
            raise NonFiniteError(sum(count for count, *_ in wrong), *min(first for _, *first in wrong))

    def token_sums(self, activation: torch.Tensor, gradient: torch.Tensor, token_mask: Values) -> TokenSums:
        """See `Backend.token_sums`."""
        dtype_index(activation, gradient)
        mask = _mask(token_mask, activation)
        activation, gradient, device = activation.detach(), gradient.detach(), activation.device
        return TokenSums(
            _token_sum(activation.abs(), mask).float().to(device),
            ((activation > 0) & mask[..., None]).sum(1, dtype=torch.int32),
            _token_sum(gradient, mask, squared=True).sqrt().float().to(device),
        )


def _filled(
    pair: tuple[torch.Tensor, torch.Tensor], rows: RoutedRows, shape: tuple[int, ...], expert: int
) -> list[torch.Tensor]:
    """An expert's rows as tensors (item, token, neuron), with zeros at the tokens that it did not see."""
    starts = rows.starts[expert * shape[0] : (expert + 1) * shape[0] + 1]
    index = np.arange(starts[0], starts[-1])
    index = index[rows.tokens[index] >= 0]
    item = np.searchsorted(starts, index, side="right") - 1
    filled = []
    for tensor in pair:
        dense = tensor.new_zeros((*shape, tensor.shape[1]))
        dense[torch.from_numpy(item), torch.from_numpy(rows.tokens[index]).long()] = tensor[
            torch.from_numpy(index)
        ]
        filled.append(dense)
    return filled


def _mask(token_mask: Values | None, activation: torch.Tensor) -> torch.Tensor:
    n_items, n_tokens, _ = activation.shape
    bits = real_tokens(token_mask, (n_items, n_tokens))
    return torch.tensor(bits.view(np.bool_), device=activation.device)


def _item_scores(
    activation: torch.Tensor, gradient: torch.Tensor, mask: torch.Tensor, aggregator: str
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Scores and peak tokens (item, neuron) on the host; raises NonFiniteError."""
    n_items, n_tokens, n_neurons = activation.shape
    scores = np.zeros((n_items, n_neurons), dtype=np.float32)
    peaks = np.full((n_items, n_neurons), -1, dtype=np.int32)
    if scores.size == 0 or n_tokens == 0:
        return scores, peaks
    step = max(1, CHUNK_PRODUCTS // (n_items * n_tokens))
    wrong: list[torch.Tensor] = []
    for start in range(0, n_neurons, step):
        columns = slice(start, start + step)
        products = activation[..., columns].float() * gradient[..., columns].float()
        indices = (~products.isfinite() & mask[..., None]).nonzero()
        indices[:, 2] += start
        wrong.append(indices.cpu())
        score, peak = _reduce(products, mask, aggregator)
        scores[:, columns] = score.cpu().numpy()
        peaks[:, columns] = peak.cpu().numpy()
    non_finite = torch.cat(wrong).tolist()
    if non_finite:
        raise NonFiniteError(len(non_finite), *min(non_finite))
    return scores, peaks


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
