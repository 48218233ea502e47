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
from kernel_cases import Batch, batches, converted, examples, tensor_of

from culnig.errors import InputError
from culnig.kernels import DTYPES
from culnig.kernels.base import Backend, TokenSums
from culnig.kernels.cpu import CpuBackend
from culnig.kernels.cuda import CudaBackend
from culnig.kernels.torch import TorchBackend

some = examples(100)


def by_twin(batch: Batch) -> Sequence[Any]:
    return twin.token_sums(batch.activation, batch.gradient, batch.token_mask)


def by_backend(backend: Backend, batch: Batch) -> Sequence[Any]:
    pair = tensor_of(batch.activation), tensor_of(batch.gradient)
    return [table.numpy() for table in backend.token_sums(*pair, torch.from_numpy(batch.token_mask))]


def by_cpu(batch: Batch, threads: int) -> Sequence[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CULNIG_THREADS", str(threads))
        return by_backend(CpuBackend(), batch)


def assert_same_bits(computed: Sequence[Any], expected: Sequence[Any]) -> None:
    for name, a, b in zip(TokenSums._fields, computed, expected, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape), name
        assert a.tobytes() == b.tobytes(), name


@some
@given(batches(), st.sampled_from((1, 2, 7)))
def test_cpu_backend_equals_twin(batch: Batch, threads: int) -> None:
    assert_same_bits(by_cpu(batch, threads), by_twin(batch))


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
    activation = torch.tensor([[[3.0, 0.0], [-4.0, -0.5], [np.nan, np.inf]]])
    gradient = torch.tensor([[[3e-30, 6.0], [4e-30, 8.0], [np.nan, np.nan]]])
    sums = CpuBackend().token_sums(activation, gradient, np.array([[True, True, False]]))
    np.testing.assert_array_equal(sums.magnitude, [[7.0, 0.5]])
    np.testing.assert_array_equal(sums.positive_tokens, [[1, 0]])
    np.testing.assert_allclose(sums.gradient_norm, [[5e-30, 10.0]], rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_long_rows_are_divided_among_blocks_and_threads(dtype: str) -> None:
    random = np.random.default_rng(2)
    noise = random.standard_normal((2, 1, 260, 40_001), dtype=np.float32)
    activation, gradient = converted(noise, dtype)
    ones = np.ones(1)
    batch = Batch(activation, gradient, random.random((1, 260)) < 0.8, ones, ones, ones, "max", dtype)
    expected = by_twin(batch)
    for threads in (1, 7):
        assert_same_bits(by_cpu(batch, threads), expected)


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
