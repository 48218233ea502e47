"""The `cuda` backend: compiled kernels on device pointers and the tensors' current stream.

All device memory comes from torch's allocator. `score_items`, `addition` and `token_sums` only enqueue
work. `score_reduce` does a whole batch at once and waits for it. Its tables of cultures may be on the host:
then item scores are copied back and the compiled CPU code adds them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import ModuleType

import numpy as np
import torch

from culnig.errors import InputError, NonFiniteError
from culnig.kernels import cpu
from culnig.kernels.arguments import (
    AGGREGATORS,
    CULTURE_TABLES,
    TABLE_DTYPES,
    ScoreBatch,
    ScoreTables,
    Values,
    one_of,
    score_batch,
)
from culnig.kernels.base import (
    TokenSums,
    contiguous_rows,
    dtype_index,
    mask_on,
)
from culnig.kernels.routing import Routing, device_rows
from culnig.kernels.status import empty_status, first_non_finite
from culnig.kernels.transfers import to_device


class CudaBackend:
    """Compiled kernels on CUDA tensors."""

    name = "cuda"

    def __init__(self, compiled: ModuleType) -> None:
        """`compiled` is culnig._cuda."""
        self._compiled = compiled

    def tables_device(self, device: torch.device) -> torch.device:
        """See `Backend.tables_device`."""
        return device

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
        dtype, aggregator_index = (
            dtype_index(activation, gradient),
            one_of("aggregator", aggregator, AGGREGATORS),
        )
        with self._on(activation.device) as stream:
            self._compiled.score_items(
                contiguous_rows(activation),
                contiguous_rows(gradient),
                dtype,
                aggregator_index,
                ScoreBatch(token_mask),
                tables,
                status,
                stream,
            )

    def routed_items(
        self,
        activation: torch.Tensor,
        gradient: torch.Tensor,
        routing: Routing,
        tables: ScoreTables,
        status: torch.Tensor,
        aggregator: str = "max",
    ) -> None:
        """See `Backend.routed_items`."""
        dtype, aggregator_index = (
            dtype_index(activation[None], gradient[None]),
            one_of("aggregator", aggregator, AGGREGATORS),
        )
        with self._on(activation.device) as stream:
            self._compiled.routed_items(
                contiguous_rows(activation),
                contiguous_rows(gradient),
                dtype,
                aggregator_index,
                device_rows(routing),
                tables,
                status,
                stream,
            )

    def addition(
        self, item_scores: torch.Tensor, batch: ScoreBatch, tables: ScoreTables
    ) -> Callable[[], None]:
        """See `Backend.addition`."""
        device = item_scores.device
        n_items, n_neurons = item_scores.shape
        sums = _device_tables(tables, device, n_neurons)
        if not sums:
            raise InputError(f"sums are not on {device}, where the item scores are")
        checked = score_batch(batch, n_items, None, len(sums["sums"]))
        fields = (checked.weight, checked.culture_index, checked.clamp_at_zero)
        device_batch = ScoreBatch(None, *(to_device(np.asarray(field), device) for field in fields))

        def add() -> None:
            with self._on(device) as stream:
                self._compiled.add_scores(device_batch, ScoreTables(**sums, item_scores=item_scores), stream)

        return add

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
        device = activation.device
        n_items, n_tokens, n_neurons = activation.shape
        scores = torch.empty((n_items, n_neurons), dtype=torch.float32, device=device)
        peaks = None if tables.peak_tokens is None else torch.empty_like(scores, dtype=torch.int32)
        sums = _device_tables(tables, device, n_neurons)
        score_batch(batch, n_items, None, len(sums["sums"]) if sums else None)
        mask = mask_on(device, batch.token_mask, (n_items, n_tokens))
        (status,) = empty_status(1, n_items, device)
        written = ScoreTables(item_scores=scores, peak_tokens=peaks)
        self.score_items(activation, gradient, mask, written, status, aggregator)
        wrong = first_non_finite(status.cpu().numpy(), n_neurons)
        if wrong is not None:
            raise NonFiniteError(*wrong)
        if sums:
            self.addition(scores, batch, ScoreTables(**sums))()
        elif tables.sums is not None:
            cpu.add_scores(scores.cpu().numpy(), batch, tables)
        _write("item_scores", tables, scores)
        _write("peak_tokens", tables, peaks)

    def token_sums(self, activation: torch.Tensor, gradient: torch.Tensor, token_mask: Values) -> TokenSums:
        """See `Backend.token_sums`."""
        dtype, device = dtype_index(activation, gradient), activation.device
        mask = mask_on(device, token_mask, (activation.shape[0], activation.shape[1]))
        sums = TokenSums.empty_for(activation)
        with self._on(device) as stream:
            self._compiled.token_sums(
                contiguous_rows(activation), contiguous_rows(gradient), dtype, mask, sums, stream
            )
        return sums

    @contextlib.contextmanager
    def _on(self, device: torch.device) -> Iterator[int]:
        """Make the device current; yields the handle of its current stream."""
        with torch.cuda.device(device):
            yield torch.cuda.current_stream(device).cuda_stream


def _device_tables(tables: ScoreTables, device: torch.device, n_neurons: int) -> dict[str, torch.Tensor]:
    """The tables of cultures where they are on the device; empty where they are on the host."""
    sums = tables.sums
    if not isinstance(sums, torch.Tensor) or sums.device != device:
        return {}
    shape = (len(sums) if sums.ndim == 2 else 0, n_neurons)
    checked: dict[str, torch.Tensor] = {}
    for name in CULTURE_TABLES:
        table, dtype = getattr(tables, name), getattr(torch, TABLE_DTYPES[name])
        if table is None:
            continue
        if not isinstance(table, torch.Tensor) or table.device != device:
            raise InputError(
                f"{name} is not on {device}, but sums are; keep the tables of cultures on one device"
            )
        if (
            table.dtype != dtype
            or tuple(table.shape) != shape
            or table.stride(1) != 1
            or (len(table) > 1 and table.stride(0) < n_neurons)
        ):
            raise InputError(
                f"{name} is {table.dtype} of shape {tuple(table.shape)} with strides {table.stride()}; "
                f"{dtype} of shape {shape} with contiguous rows is needed"
            )
        for other, earlier in checked.items():
            if _overlap(table, earlier):
                raise InputError(f"{name} and {other} share memory; give each its own tensor")
        checked[name] = table
    return checked


def _overlap(table: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tables (culture, neuron) share device memory; columns of one wider table do not."""
    first, second = (table.data_ptr(), other.data_ptr()) if table.numel() and other.numel() else (0, 0)
    extents = [
        ((each.shape[0] - 1) * each.stride(0) + each.shape[1]) * each.element_size()
        for each in (table, other)
    ]
    if first == second == 0 or first + extents[0] <= second or second + extents[1] <= first:
        return False
    row = table.stride(0) * table.element_size()
    if row != other.stride(0) * other.element_size() or row == 0:
        return True
    ahead = (second - first) % row
    return (
        ahead < table.shape[1] * table.element_size() or row - ahead < other.shape[1] * other.element_size()
    )


def _write(name: str, tables: ScoreTables, values: torch.Tensor | None) -> None:
    """Copy device values into a table on the host or the device."""
    table = getattr(tables, name)
    if table is None or values is None:
        return
    dtype = TABLE_DTYPES[name]
    if tuple(table.shape) != tuple(values.shape) or str(table.dtype).removeprefix("torch.") != dtype:
        raise InputError(
            f"{name} is {table.dtype} of shape {tuple(table.shape)}; {dtype} of shape "
            f"{tuple(values.shape)} is needed"
        )
    if isinstance(table, torch.Tensor):
        table.copy_(values)
    else:
        table[...] = values.cpu().numpy()
