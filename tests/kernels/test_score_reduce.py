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
from culnig.kernels import ScoreBatch, ScoreTables
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
    sums: Any = tables[:3]
    backend.score_reduce(
        tensor_of(batch.activation),
        tensor_of(batch.gradient),
        batch.items,
        ScoreTables(*map(torch.from_numpy, sums) if tensor_tables else sums),
        batch.aggregator,
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
            ScoreBatch(
                batch.token_mask[part], batch.weight[part], batch.culture_index[part], batch.clamp[part]
            ),
            ScoreTables(*tables[:3], tables.item_scores[part], tables.peak_tokens[part]),
            batch.aggregator,
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
        ScoreBatch(np.ones((1, 1), dtype=bool)),
        ScoreTables(item_scores=scores),
        dtype=dtype,
    )
    np.testing.assert_array_equal(scores[0], wide)


def test_padding_never_takes_part() -> None:
    activation = np.array([[[-1.0], [np.nan], [-2.0]]], dtype=np.float32)
    sums, peaks = np.zeros((1, 1)), np.empty((1, 1), dtype=np.int32)
    kernels.score_reduce(
        activation,
        np.ones_like(activation),
        ScoreBatch(np.array([[True, False, True]]), [0.5], [0]),
        ScoreTables(sums, peak_tokens=peaks),
    )
    assert sums.item() == -0.5
    assert peaks.item() == 0


def test_absmax_keeps_the_sign_and_the_first_of_equal_magnitudes() -> None:
    activation = np.array([[[1.0], [-3.0], [3.0]]], dtype=np.float32)
    scores, peaks = np.empty((1, 1), dtype=np.float32), np.empty((1, 1), dtype=np.int32)
    kernels.score_reduce(
        activation,
        np.ones_like(activation),
        ScoreBatch(np.ones((1, 3), dtype=bool)),
        ScoreTables(item_scores=scores, peak_tokens=peaks),
        "absmax",
    )
    assert scores.item() == -3.0
    assert peaks.item() == 1


@pytest.mark.parametrize("implementation", ["core", "torch", "cuda"])
def test_without_sums_only_the_item_tables_are_written(
    emulated_cuda: CudaBackend, implementation: str
) -> None:
    """Then weights and cultures are not needed either."""
    backend: Any = {"core": CpuBackend(), "torch": TorchBackend()}.get(implementation, emulated_cuda)

    @some
    @given(batches())
    def compare(batch: Batch) -> None:
        expected, tables = by_twin(batch), empty_tables(batch)
        backend.score_reduce(
            tensor_of(batch.activation),
            tensor_of(batch.gradient),
            ScoreBatch(batch.token_mask),
            ScoreTables(item_scores=tables.item_scores, peak_tokens=tables.peak_tokens),
            batch.aggregator,
        )
        written = expected._replace(item_scores=tables.item_scores, peak_tokens=tables.peak_tokens)
        assert_same_bits(written, expected)

    compare()


@some
@given(batches())
def test_add_scores_is_the_second_half(batch: Batch) -> None:
    whole, tables = by_core(batch), empty_tables(batch)
    kernels.add_scores(whole.item_scores, batch.items, ScoreTables(*tables[:3]))
    assert tables.sums.shape[0] == N_CULTURES
    assert_same_bits(tables._replace(item_scores=whole.item_scores, peak_tokens=whole.peak_tokens), whole)
