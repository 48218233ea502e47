"""The `cuda` backend: compiled kernels on device pointers and the tensors' current stream.

All device memory comes from torch's allocator. Tables may lie on the host (numpy arrays, CPU tensors): then
item scores come back and the shared compiled code adds them. Or all of them lie on the device: then nothing
but two numbers comes back, which tell whether every product was finite.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from types import ModuleType

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from culnig.errors import InputError, NonFiniteError
from culnig.kernels import arrays
from culnig.kernels.arguments import (
    AGGREGATORS,
    DTYPES,
    culture_rows,
    item_clamp,
    item_confidence,
    one_of,
    real_tokens,
)
from culnig.kernels.base import (
    Table,
    TokenSums,
    dtype_name,
    host_array,
    host_table,
    optional_host_table,
)

TableAddress = tuple[int, int]
"""Address and row stride in elements; address 0 stands for no table."""

NO_TABLE: TableAddress = (0, 0)


class CudaBackend:
    """Compiled kernels on CUDA tensors."""

    name = "cuda"

    def __init__(self, compiled: ModuleType) -> None:
        """`compiled` is culnig._cuda."""
        self._compiled = compiled

    def score_reduce(
        self,
        activation: torch.Tensor,
        gradient: torch.Tensor,
        token_mask: torch.Tensor | NDArray[np.bool_],
        confidence: ArrayLike | torch.Tensor,
        culture_index: ArrayLike | torch.Tensor,
        *,
        sums: Table,
        sums_of_squares: Table | None = None,
        positive_counts: Table | None = None,
        item_scores: Table | None = None,
        peak_tokens: Table | None = None,
        aggregator: str = "max",
        clamp_at_zero: bool | ArrayLike = False,
    ) -> None:
        """See `Backend.score_reduce`."""
        number_format = dtype_name(activation, gradient)
        device = activation.device
        n_items, n_tokens, n_neurons = activation.shape
        aggregator_index = AGGREGATORS.index(one_of("aggregator", aggregator, AGGREGATORS))
        mask_bits = real_tokens(host_array(token_mask), None, "left", (n_items, n_tokens))
        mask = torch.tensor(mask_bits, device=device)
        scores = torch.empty((n_items, n_neurons), dtype=torch.float32, device=device)
        peaks = None if peak_tokens is None else torch.empty_like(scores, dtype=torch.int32)
        status = torch.empty(2, dtype=torch.int64, device=device)
        activation, gradient = _side_by_side(activation), _side_by_side(gradient)
        with self._on(device) as stream:
            self._compiled.score_items(
                _token_address(activation),
                _token_address(gradient),
                (n_items, n_tokens, n_neurons),
                DTYPES.index(number_format),
                aggregator_index,
                mask.data_ptr(),
                _address(scores),
                _address(peaks),
                status.data_ptr(),
                stream,
            )
            if _lies_on(device, sums):
                self._add(
                    scores,
                    status,
                    (confidence, culture_index, clamp_at_zero),
                    (sums, sums_of_squares, positive_counts),
                    stream,
                )
            self._raise_if_not_finite(status, (n_tokens, n_neurons))
        if not _lies_on(device, sums):
            arrays.add_scores(
                scores.cpu().numpy(),
                host_array(confidence),
                host_array(culture_index),
                sums=host_table("sums", sums),
                sums_of_squares=optional_host_table("sums_of_squares", sums_of_squares),
                positive_counts=optional_host_table("positive_counts", positive_counts),
                clamp_at_zero=clamp_at_zero,
            )
        _write("item_scores", item_scores, scores)
        _write("peak_tokens", peak_tokens, peaks)

    def token_sums(
        self,
        activation: torch.Tensor,
        gradient: torch.Tensor,
        token_mask: torch.Tensor | NDArray[np.bool_],
    ) -> TokenSums:
        """See `Backend.token_sums`."""
        number_format = dtype_name(activation, gradient)
        device = activation.device
        n_items, n_tokens, n_neurons = activation.shape
        mask_bits = real_tokens(host_array(token_mask), None, "left", (n_items, n_tokens))
        mask = torch.tensor(mask_bits, device=device)
        magnitude = torch.empty((n_items, n_neurons), dtype=torch.float32, device=device)
        positive_tokens = torch.empty_like(magnitude, dtype=torch.int32)
        gradient_norm = torch.empty_like(magnitude)
        activation, gradient = _side_by_side(activation), _side_by_side(gradient)
        with self._on(device) as stream:
            self._compiled.token_sums(
                _token_address(activation),
                _token_address(gradient),
                (n_items, n_tokens, n_neurons),
                DTYPES.index(number_format),
                mask.data_ptr(),
                _address(magnitude),
                _address(positive_tokens),
                _address(gradient_norm),
                stream,
            )
        return TokenSums(magnitude, positive_tokens, gradient_norm)

    def top_k(self, scores: torch.Tensor, k: int, excluded: torch.Tensor | None = None) -> torch.Tensor:
        """`culnig.arrays.top_k` of (row, neuron) scores on the device, int64 (row, k)."""
        if scores.dtype not in (torch.float32, torch.float64) or scores.ndim != 2:
            raise InputError(
                f"scores is {scores.dtype} of shape {tuple(scores.shape)}; float64 or float32 "
                "(row, neuron) is allowed"
            )
        n_rows, n_neurons = scores.shape
        if not 0 <= k <= n_neurons:
            raise InputError(f"k is {k}; from 0 to the number of neurons, {n_neurons}, is allowed")
        barred = NO_TABLE
        if excluded is not None:
            if excluded.dtype != torch.bool or excluded.shape not in ((n_neurons,), scores.shape):
                raise InputError(
                    f"excluded is {excluded.dtype} of shape {tuple(excluded.shape)}; bool of shape "
                    f"{(n_neurons,)} or {tuple(scores.shape)} is allowed"
                )
            excluded = excluded.to(scores.device).contiguous().expand(n_rows, n_neurons)
            barred = (excluded.data_ptr(), excluded.stride(0))
        scores = _side_by_side(scores)
        best = torch.empty((n_rows, k), dtype=torch.int64, device=scores.device)
        n_bytes = self._compiled.top_k_workspace(n_rows, k)
        workspace = torch.empty(n_bytes, dtype=torch.uint8, device=scores.device)
        with self._on(scores.device) as stream:
            self._compiled.top_k(
                (scores.data_ptr(), scores.stride(0)),
                (n_rows, n_neurons),
                scores.dtype == torch.float32,
                barred,
                k,
                best.data_ptr(),
                workspace.data_ptr(),
                stream,
            )
        return best

    def rank(
        self,
        target: torch.Tensor,
        control: torch.Tensor,
        *,
        pools: Sequence[torch.Tensor],
        counts: Sequence[int],
        exclusion: torch.Tensor,
        exclusion_counts: Sequence[int],
    ) -> list[list[torch.Tensor]]:
        """Positions that `culnig.arrays.rank` keeps, `[row][pool]`; pools are ascending positions."""
        kept: list[list[torch.Tensor]] = [[] for _ in range(target.shape[0])]
        for pool, count, exclusion_count in zip(pools, counts, exclusion_counts, strict=True):
            best = self.top_k(target[:, pool] - control[:, pool], count)
            marked = self.top_k(exclusion[:, pool], exclusion_count)
            removed = torch.zeros((len(kept), len(pool)), dtype=torch.bool, device=target.device).scatter_(
                1, marked, True
            )
            for row, positions in enumerate(kept):
                chosen = best[row]
                positions.append(pool[chosen[~removed[row, chosen]]])
        return kept

    def _add(
        self,
        scores: torch.Tensor,
        status: torch.Tensor,
        items: tuple[ArrayLike | torch.Tensor, ArrayLike | torch.Tensor, bool | ArrayLike],
        tables: tuple[Table, Table | None, Table | None],
        stream: int,
    ) -> None:
        """Add the scores to tables on the device, unless the status tells of non-finite products."""
        device = scores.device
        n_items, n_neurons = scores.shape
        n_cultures = tables[0].shape[0]
        rows = culture_rows(host_array(items[1]), n_items, n_cultures)
        values = [
            torch.tensor(array, device=device)  # a copy: the array may be read-only
            for array in (
                item_confidence(host_array(items[0]), n_items),
                rows,
                item_clamp(items[2], n_items),
            )
        ]
        shape = (n_cultures, n_neurons)
        self._compiled.add_scores(
            _address(scores),
            (n_items, n_neurons),
            *(value.data_ptr() for value in values),
            _table_address("sums", tables[0], device, torch.float64, shape),
            _table_address("sums_of_squares", tables[1], device, torch.float64, shape),
            _table_address("positive_counts", tables[2], device, torch.uint32, shape),
            status.data_ptr(),
            stream,
        )

    def _raise_if_not_finite(self, status: torch.Tensor, sizes: tuple[int, int]) -> None:
        count, place = status.tolist()
        if count:
            n_tokens, n_neurons = sizes
            token_place, neuron = divmod(place, n_neurons)
            item, token = divmod(token_place, n_tokens)
            raise NonFiniteError(count, item, token, neuron)

    @contextlib.contextmanager
    def _on(self, device: torch.device) -> Iterator[int]:
        """Make the device current; gives the handle of its current stream."""
        with torch.cuda.device(device):
            yield torch.cuda.current_stream(device).cuda_stream


def _side_by_side(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself where its last axis is contiguous, else a copy."""
    tensor = tensor.detach()
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] <= 1 else tensor.contiguous()


def _token_address(tensor: torch.Tensor) -> tuple[int, int, int]:
    return tensor.data_ptr(), tensor.stride(0), tensor.stride(1)


def _address(table: torch.Tensor | None) -> TableAddress:
    return NO_TABLE if table is None else (table.data_ptr(), table.stride(0))


def _lies_on(device: torch.device, table: Table) -> bool:
    return isinstance(table, torch.Tensor) and table.device == device


def _table_address(
    name: str,
    table: Table | None,
    device: torch.device,
    dtype: torch.dtype,
    shape: tuple[int, int],
) -> TableAddress:
    if table is None:
        return NO_TABLE
    if not isinstance(table, torch.Tensor) or table.device != device:
        raise InputError(f"{name} is not on {device}, where sums are; all tables go together")
    if table.dtype != dtype or tuple(table.shape) != shape or table.stride(1) != 1:
        raise InputError(
            f"{name} is {table.dtype} of shape {tuple(table.shape)} with strides {table.stride()}; "
            f"{dtype} of shape {shape}, neurons side by side, is needed"
        )
    return _address(table)


def _write(name: str, table: Table | None, values: torch.Tensor | None) -> None:
    """Copy device values into a table on the host or the device."""
    if table is None or values is None:
        return
    dtype = str(values.dtype).removeprefix("torch.")
    if tuple(table.shape) != tuple(values.shape) or not str(table.dtype).endswith(dtype):
        raise InputError(
            f"{name} is {table.dtype} of shape {tuple(table.shape)}; {dtype} of shape "
            f"{tuple(values.shape)} is needed"
        )
    if isinstance(table, torch.Tensor):
        table.copy_(values)
    else:
        table[...] = values.cpu().numpy()
