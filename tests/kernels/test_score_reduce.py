"""score_reduce: every implementation against the plain numpy twin, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import twin
from hypothesis import given
from hypothesis import strategies as st
from kernel_cases import (
    N_CULTURES,
    Batch,
    assert_same_bits,
    batches,
    by_backend,
    by_core,
    by_twin,
    empty_tables,
    examples,
    tensor_of,
)

from culnig import kernels
from culnig.errors import NonFiniteError
from culnig.kernels.cpu import CpuBackend
from culnig.kernels.cuda import CudaBackend
from culnig.kernels.torch import TorchBackend

many = examples(400)
some = examples(120)


@many
@given(batches(), st.sampled_from((1, 2, 7)))
def test_core_equals_twin(batch: Batch, threads: int) -> None:
    assert_same_bits(by_core(batch, threads), by_twin(batch))


@some
@given(batches())
def test_cpu_backend_equals_twin(batch: Batch) -> None:
    assert_same_bits(by_backend(CpuBackend())(batch), by_twin(batch))


@some
@given(batches())
def test_torch_backend_equals_twin(batch: Batch) -> None:
    assert_same_bits(by_backend(TorchBackend())(batch), by_twin(batch))


@pytest.mark.parametrize("order", ["forward", "reverse"])
@pytest.mark.parametrize("tensor_tables", [False, True], ids=["host tables", "device tables"])
def test_emulated_cuda_equals_twin(
    emulated_cuda: CudaBackend, monkeypatch: pytest.MonkeyPatch, order: str, tensor_tables: bool
) -> None:
    monkeypatch.setenv("CULNIG_EMULATION_ORDER", order)
    score = by_backend(emulated_cuda, tensor_tables=tensor_tables)

    @some
    @given(batches())
    def compare(batch: Batch) -> None:
        assert_same_bits(score(batch), by_twin(batch))

    compare()


@pytest.mark.parametrize("implementation", ["core", "torch", "cuda", "cuda, device tables"])
def test_non_finite_products_are_counted_and_nothing_is_added(
    emulated_cuda: CudaBackend, implementation: str
) -> None:
    backend: Any = {"core": CpuBackend(), "torch": TorchBackend()}.get(implementation, emulated_cuda)
    tensor_tables = implementation == "cuda, device tables"

    @some
    @given(batches(finite=False))
    def compare(batch: Batch) -> None:
        expected = twin.non_finite(batch.activation, batch.gradient, batch.token_mask)
        if expected is None:
            assert_same_bits(by_backend(backend)(batch), by_twin(batch))
            return
        tables = empty_tables(batch)
        with pytest.raises(NonFiniteError) as raised:
            score_into(backend, batch, tables, tensor_tables)
        error = raised.value
        assert (error.count, error.item, error.token, error.neuron) == expected
        assert not tables.sums.any()
        assert not tables.sums_of_squares.any()
        assert not tables.positive_counts.any()

    compare()


def score_into(backend: Any, batch: Batch, tables: twin.Scored, tensor_tables: bool) -> None:
    sums: dict[str, Any] = {name: getattr(tables, name) for name in twin.Scored._fields[:3]}
    if tensor_tables:
        sums = {name: torch.from_numpy(table) for name, table in sums.items()}
    backend.score_reduce(
        tensor_of(batch.activation),
        tensor_of(batch.gradient),
        batch.token_mask,
        batch.confidence,
        batch.culture_index,
        **sums,
        aggregator=batch.aggregator,
        clamp_at_zero=batch.clamp,
    )


@some
@given(batches(), st.integers(0, 4))
def test_batches_can_be_cut_anywhere(batch: Batch, cut: int) -> None:
    """Results do not depend on batch composition."""
    whole = by_core(batch)
    tables = empty_tables(batch)
    for part in (slice(0, cut), slice(cut, None)):
        kernels.score_reduce(
            batch.activation[part],
            batch.gradient[part],
            batch.token_mask[part],
            batch.confidence[part],
            batch.culture_index[part],
            sums=tables.sums,
            sums_of_squares=tables.sums_of_squares,
            positive_counts=tables.positive_counts,
            item_scores=tables.item_scores[part],
            peak_tokens=tables.peak_tokens[part],
            aggregator=batch.aggregator,
            clamp_at_zero=batch.clamp[part],
            dtype=batch.dtype,
        )
    assert_same_bits(tables, whole)


@pytest.mark.parametrize("dtype", kernels.DTYPES)
def test_every_16_bit_number_is_widened_exactly(dtype: str) -> None:
    if dtype == "float32":
        numbers = np.array([0.0, -0.0, 1e-45, 3.4e38, 1 / 3], dtype=np.float32)
    else:
        bits = np.arange(1 << 16, dtype=np.uint16)
        numbers = bits.view(np.float16) if dtype == "float16" else bits
    wide = twin.float32_of(numbers)
    numbers = numbers[np.isfinite(wide)]
    wide = wide[np.isfinite(wide)]
    one = {"float32": np.float32(1), "float16": np.float16(1), "bfloat16": np.uint16(0x3F80)}[dtype]
    scores = np.empty((1, len(numbers)), dtype=np.float32)
    kernels.score_reduce(
        numbers[np.newaxis, np.newaxis],
        np.full((1, 1, len(numbers)), one, dtype=numbers.dtype),
        np.ones((1, 1), dtype=bool),
        [1.0],
        [0],
        sums=np.zeros((1, len(numbers))),
        item_scores=scores,
        dtype=dtype,
    )
    np.testing.assert_array_equal(scores[0], wide)


def test_lengths_stand_for_a_mask_on_either_side() -> None:
    random = np.random.default_rng(0)
    activation, gradient = random.normal(size=(2, 3, 5, 4)).astype(np.float32)
    lengths = np.array([0, 2, 5])
    place = np.arange(5)
    masks = {"right": place < lengths[:, None], "left": place >= 5 - lengths[:, None]}
    for padding, mask in masks.items():
        by_mask, by_length = np.zeros((1, 4)), np.zeros((1, 4))
        items: Any = (np.ones(3), np.zeros(3, dtype=int))
        kernels.score_reduce(activation, gradient, mask, *items, sums=by_mask)
        kernels.score_reduce(
            activation, gradient, None, *items, sums=by_length, lengths=lengths, padding=padding
        )
        np.testing.assert_array_equal(by_length, by_mask)


def test_padding_never_takes_part() -> None:
    activation = np.array([[[-1.0], [np.nan], [-2.0]]], dtype=np.float32)
    sums, peaks = np.zeros((1, 1)), np.empty((1, 1), dtype=np.int32)
    kernels.score_reduce(
        activation,
        np.ones_like(activation),
        np.array([[True, False, True]]),
        [0.5],
        [0],
        sums=sums,
        peak_tokens=peaks,
    )
    assert sums.item() == -0.5
    assert peaks.item() == 0


def test_absmax_keeps_the_sign_and_the_first_of_equal_magnitudes() -> None:
    activation = np.array([[[1.0], [-3.0], [3.0]]], dtype=np.float32)
    scores, peaks = np.empty((1, 1), dtype=np.float32), np.empty((1, 1), dtype=np.int32)
    kernels.score_reduce(
        activation,
        np.ones_like(activation),
        np.ones((1, 3), dtype=bool),
        [1.0],
        [0],
        sums=np.zeros((1, 1)),
        item_scores=scores,
        peak_tokens=peaks,
        aggregator="absmax",
    )
    assert scores.item() == -3.0
    assert peaks.item() == 1


@some
@given(batches())
def test_add_scores_is_the_second_half(batch: Batch) -> None:
    whole = by_core(batch)
    sums, squares = np.zeros_like(whole.sums), np.zeros_like(whole.sums)
    counts = np.zeros(sums.shape, dtype=np.uint32)
    kernels.add_scores(
        whole.item_scores,
        batch.confidence,
        batch.culture_index,
        sums=sums,
        sums_of_squares=squares,
        positive_counts=counts,
        clamp_at_zero=batch.clamp,
    )
    assert sums.shape[0] == N_CULTURES
    assert_same_bits(whole._replace(sums=sums, sums_of_squares=squares, positive_counts=counts), whole)
