"""token_sums: every implementation against the plain numpy twin, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import twin
from hypothesis import given
from hypothesis import strategies as st
from kernel_cases import Batch, batches, examples, tensor_of

from culnig import kernels
from culnig.errors import InputError
from culnig.kernels.base import Backend
from culnig.kernels.cpu import CpuBackend
from culnig.kernels.cuda import CudaBackend
from culnig.kernels.torch import TorchBackend

some = examples(100)


def by_twin(batch: Batch) -> Sequence[Any]:
    return twin.token_sums(batch.activation, batch.gradient, batch.token_mask)


def by_backend(backend: Backend, batch: Batch) -> Sequence[Any]:
    pair = tensor_of(batch.activation), tensor_of(batch.gradient)
    return [table.numpy() for table in backend.token_sums(*pair, torch.from_numpy(batch.token_mask))]


def assert_same_bits(found: Sequence[Any], expected: Sequence[Any]) -> None:
    for name, a, b in zip(kernels.TokenSums._fields, found, expected, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape), name
        assert a.tobytes() == b.tobytes(), name


@some
@given(batches(), st.sampled_from((1, 2, 7)))
def test_core_equals_twin(batch: Batch, threads: int) -> None:
    pair = batch.activation, batch.gradient
    found = kernels.token_sums(*pair, batch.token_mask, dtype=batch.dtype, threads=threads)
    assert_same_bits(found, by_twin(batch))


@some
@given(batches())
def test_cpu_backend_equals_twin(batch: Batch) -> None:
    assert_same_bits(by_backend(CpuBackend(), batch), by_twin(batch))


@some
@given(batches())
def test_torch_backend_equals_twin(batch: Batch) -> None:
    assert_same_bits(by_backend(TorchBackend(), batch), by_twin(batch))


@pytest.mark.parametrize("order", ["forward", "reverse"])
def test_emulated_cuda_equals_twin(
    emulated_cuda: CudaBackend, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    monkeypatch.setenv("CULNIG_EMULATION_ORDER", order)

    @some
    @given(batches())
    def compare(batch: Batch) -> None:
        assert_same_bits(by_backend(emulated_cuda, batch), by_twin(batch))

    compare()


def test_a_pair_by_hand() -> None:
    """Two real tokens of three; 0 is not positive, and tiny gradients do not vanish when squared."""
    activation = np.array([[[3.0, 0.0], [-4.0, -0.5], [np.nan, np.inf]]], dtype=np.float32)
    gradient = np.array([[[3e-30, 6.0], [4e-30, 8.0], [np.nan, np.nan]]], dtype=np.float32)
    found = kernels.token_sums(activation, gradient, np.array([[True, True, False]]))
    np.testing.assert_array_equal(found.magnitude, [[7.0, 0.5]])
    np.testing.assert_array_equal(found.positive_tokens, [[1, 0]])
    np.testing.assert_allclose(found.gradient_norm, [[5e-30, 10.0]], rtol=1e-6)


@pytest.mark.parametrize("dtype", kernels.DTYPES)
def test_long_rows_are_cut_into_blocks_and_shared_by_threads(dtype: str) -> None:
    random = np.random.default_rng(2)
    noise = random.standard_normal((2, 1, 260, 40_001), dtype=np.float32)
    pair = (noise.view(np.uint32) >> 16).astype(np.uint16) if dtype == "bfloat16" else noise.astype(dtype)
    mask = random.random((1, 260)) < 0.8
    expected = twin.token_sums(*pair, mask)
    for threads in (1, 7):
        assert_same_bits(kernels.token_sums(*pair, mask, dtype=dtype, threads=threads), expected)


def test_lengths_stand_for_a_mask() -> None:
    pair = np.random.default_rng(0).normal(size=(2, 2, 4, 3)).astype(np.float32)
    by_length = kernels.token_sums(*pair, lengths=[1, 4], padding="right")
    mask = np.arange(4) < np.array([[1], [4]])
    assert_same_bits(by_length, kernels.token_sums(*pair, mask))


@pytest.mark.parametrize("name", ["cpu", "torch", "emulated cuda"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": torch.ones(1, 2, 3).double()}, "activation is torch.float64"),
        ({"gradient": torch.ones(1, 2, 4)}, r"gradient torch.float32 of shape \(1, 2, 4\)"),
        ({"token_mask": torch.ones(1, 3, dtype=torch.bool)}, r"token_mask is bool of shape \(1, 3\)"),
    ],
)
def test_every_backend_names_what_does_not_fit(
    emulated_cuda: CudaBackend, name: str, changes: dict[str, torch.Tensor], message: str
) -> None:
    backend = {"cpu": CpuBackend(), "torch": TorchBackend(), "emulated cuda": emulated_cuda}[name]
    ones = torch.ones(1, 2, 3)
    given = {"activation": ones, "gradient": ones, "token_mask": torch.ones(1, 2, dtype=torch.bool)}
    with pytest.raises(InputError, match=message):
        backend.token_sums(**(given | changes))
