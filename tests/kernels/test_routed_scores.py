"""routed_scores against the plain numpy twin of score_reduce with zeros filled in, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pytest
import torch
import twin
from hypothesis import given
from hypothesis import strategies as st
from kernel_cases import converted, examples, tensor_of
from numpy.typing import NDArray

from culnig import kernels
from culnig.errors import InputError, NonFiniteError
from culnig.kernels import AGGREGATORS, DTYPES, Routing, ScoreTables
from culnig.kernels.base import Backend
from culnig.kernels.cpu import CpuBackend
from culnig.kernels.cuda import CudaBackend
from culnig.kernels.routing import routing_of
from culnig.kernels.status import empty_status, first_non_finite
from culnig.kernels.torch import TorchBackend

Array = NDArray[Any]

some = examples(150)


@dataclass(frozen=True)
class Case:
    """Rows of an expert layer, and the same as arrays (item, token, expert · neuron) with zeros."""

    activation: Array
    gradient: Array
    routing: Routing
    dense_activation: Array
    dense_gradient: Array
    aggregator: str
    dtype: str

    @property
    def by_item(self) -> tuple[int, int]:
        return self.dense_activation.shape[0], self.dense_activation.shape[2]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    sizes = [draw(st.integers(1, most)) for most in (4, 9, 5, 70)]
    share = draw(st.sampled_from((0.0, 0.3, 0.8, 1.0)))
    case = case_of(random, *sizes, share, draw(st.sampled_from(DTYPES)))
    if draw(st.booleans()):  # few values: ties between tokens, and with the zeros of other tokens
        case = case_of(random, *sizes, share, case.dtype, levels=True)
    return replace(case, aggregator=draw(st.sampled_from(AGGREGATORS)))


def case_of(
    random: np.random.Generator,
    n_items: int,
    n_tokens: int,
    n_experts: int,
    width: int,
    share: float,
    dtype: str,
    levels: bool = False,
) -> Case:
    """Each token goes to an expert with probability `share`; rows of padding count for nothing."""
    mask = random.random((n_items, n_tokens)) < 0.8
    routed = random.random((n_experts, n_items, n_tokens)) < share
    expert, item, token = np.nonzero(routed)
    shape = (2, len(expert), width + 3)
    noise = random.integers(-1, 2, shape) if levels else random.standard_normal(shape)
    activation, gradient = converted(noise.astype(np.float32), dtype)
    activation, gradient = activation[:, 3:], gradient[:, 3:]
    dense = np.zeros((2, n_items, n_tokens, n_experts, width), dtype=activation.dtype)
    dense[0, item, token, expert], dense[1, item, token, expert] = activation, gradient
    starts = np.concatenate(([0], np.cumsum(routed.sum(-1).reshape(-1)))).astype(np.int64)
    tokens = np.where(mask[item, token], token, -1).astype(np.int32)
    flat = dense.reshape(2, n_items, n_tokens, n_experts * width)
    return Case(activation, gradient, Routing(mask, starts, tokens), *flat, "max", dtype)


def by_twin(case: Case) -> list[Array]:
    mask = np.asarray(case.routing.token_mask)
    ones = np.ones(len(mask))
    rows = np.zeros(len(mask), dtype=np.int64)
    scored = twin.score_reduce(
        case.dense_activation, case.dense_gradient, mask, ones, rows, 1, case.aggregator, ones
    )
    return [scored.item_scores, scored.peak_tokens]


def tables(case: Case, *, peaks: bool = True) -> ScoreTables:
    # columns of wider tables that are not zero: everything must be written, and nothing else
    n_items, n_neurons = case.by_item
    scores = np.full((n_items, n_neurons + 5), np.nan, dtype=np.float32)[:, 2 : 2 + n_neurons]
    tokens = np.full((n_items, n_neurons + 5), 99, dtype=np.int32)[:, 2 : 2 + n_neurons]
    return ScoreTables(item_scores=scores, peak_tokens=tokens if peaks else None)


def by_backend(backend: Backend, case: Case) -> list[Any]:
    written = tables(case)
    tensors = ScoreTables(
        item_scores=tensor_of(written.item_scores), peak_tokens=tensor_of(written.peak_tokens)
    )
    routing = Routing(
        *(torch.from_numpy(np.asarray(getattr(case.routing, field.name))) for field in fields(Routing))
    )
    (status,) = empty_status(1, len(written.item_scores), torch.device("cpu"))
    pair = tensor_of(case.activation), tensor_of(case.gradient)
    backend.routed_items(*pair, routing, tensors, status, case.aggregator)
    wrong = first_non_finite(status.numpy(), case.by_item[1])
    if wrong is not None:
        raise NonFiniteError(*wrong)
    return [written.item_scores, written.peak_tokens]


def assert_same_bits(computed: list[Any], expected: list[Array]) -> None:
    for a, b in zip(computed, expected, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert a.tobytes() == b.tobytes()


@some
@given(cases(), st.sampled_from((1, 2, 7)), st.booleans())
def test_numpy_equals_twin(case: Case, threads: int, peaks: bool) -> None:
    written = tables(case, peaks=peaks)
    kernels.routed_scores(
        case.activation,
        case.gradient,
        case.routing,
        written,
        case.aggregator,
        dtype=case.dtype,
        threads=threads,
    )
    expected = by_twin(case)
    assert_same_bits([written.item_scores], expected[:1])
    if peaks:
        assert_same_bits([written.peak_tokens], expected[1:])


@some
@given(cases(), st.sampled_from((CpuBackend(), TorchBackend())))
def test_backends_equal_twin(case: Case, backend: Backend) -> None:
    assert_same_bits(by_backend(backend, case), by_twin(case))


@pytest.mark.parametrize("order", ["forward", "reverse"])
def test_emulated_cuda_equals_twin(
    emulated_cuda: CudaBackend, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    monkeypatch.setenv("CULNIG_EMULATION_ORDER", order)

    @some
    @given(cases())
    def compare(case: Case) -> None:
        assert_same_bits(by_backend(emulated_cuda, case), by_twin(case))

    compare()


def test_one_expert_by_hand() -> None:
    """Tokens 0 and 2 of three went to expert 1; where its contributions are negative, token 1 wins."""
    activation = np.array([[2.0, 1.0], [3.0, -1.0]], dtype=np.float32)
    gradient = np.array([[-1.0, 5.0], [-0.5, 2.0]], dtype=np.float32)
    routing = Routing(np.ones((1, 3), bool), np.array([0, 0, 2]), np.array([0, 2], dtype=np.int32))
    expected = {
        "max": ([0, 0, 0, 5], [0, 0, 1, 0]),
        "absmax": ([0, 0, -2, 5], [0, 0, 0, 0]),
        "sum": ([0, 0, -3.5, 3], [0, 0, 1, 0]),
        "mean": ([0, 0, np.float32(-3.5 / 3), 1], [0, 0, 1, 0]),
        "last": ([0, 0, -1.5, -2], [2, 2, 2, 2]),
    }
    for aggregator, (scores, peaks) in expected.items():
        written = ScoreTables(
            item_scores=np.empty((1, 4), np.float32), peak_tokens=np.empty((1, 4), np.int32)
        )
        kernels.routed_scores(activation, gradient, routing, written, aggregator)
        np.testing.assert_array_equal(written.item_scores, [scores], err_msg=aggregator)
        np.testing.assert_array_equal(written.peak_tokens, [peaks], err_msg=aggregator)


def test_blocks_of_a_wide_expert() -> None:
    """Wider than a block of neurons, with more rows than are taken at a time."""
    case = case_of(np.random.default_rng(4), 2, 70, 2, 16_500, 0.6, "bfloat16")
    for aggregator in AGGREGATORS:
        own = replace(case, aggregator=aggregator)
        assert_same_bits(by_backend(CpuBackend(), own), by_twin(own))


@pytest.mark.parametrize("name", ["cpu", "torch", "emulated cuda"])
def test_values_that_are_not_finite(emulated_cuda: CudaBackend, name: str) -> None:
    """Counted over all experts, the first by item, token and neuron; rows of padding do not count."""
    backend: Backend = {"cpu": CpuBackend(), "torch": TorchBackend()}.get(name, emulated_cuda)
    case = case_of(np.random.default_rng(1), 3, 6, 4, 5, 0.9, "float32")
    activation = case.activation.copy()
    activation[np.asarray(case.routing.tokens) < 0] = np.inf
    by_backend(backend, replace(case, activation=activation))
    mask, dense = np.asarray(case.routing.token_mask), case.dense_activation
    for row in (0, 7, 20, -1):
        activation[row, 3] = np.nan
    for item, token, neuron in np.argwhere(dense != 0):
        if np.isin(dense[item, token, neuron], case.activation[[0, 7, 20, -1], 3]):
            dense[item, token, neuron] = np.nan
    expected = twin.non_finite(dense, case.dense_gradient, mask)
    assert expected is not None
    with pytest.raises(NonFiniteError) as raised:
        by_backend(backend, replace(case, activation=activation))
    error = raised.value
    assert (error.count, error.item, error.token, error.neuron) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"starts": np.array([0, 3, 2])}, "starts must ascend"),
        ({"starts": np.array([0, 1, 9])}, "at most 3, the number of rows"),
        ({"starts": np.array([0, 1])}, "int64 .expert · item . 1,. for 2 items"),
        ({"starts": np.array([0, 1, 3], dtype=np.int32)}, "starts is int32"),
        ({"tokens": np.array([0, 1], dtype=np.int32)}, r"int32 of shape \(3,\)"),
        ({"tokens": np.array([0, 1, 2], dtype=np.int32)}, "not a real token of its item"),
        ({"tokens": np.array([0, 1, 9], dtype=np.int32)}, "not a real token of its item"),
        ({"tokens": np.array([0, 1, 0], dtype=np.int32)}, "must ascend"),
        ({"token_mask": np.ones((2, 2))}, "token_mask is float64"),
        ({"token_mask": np.ones((0, 2), bool)}, r"token_mask is bool of shape \(0, 2\)"),
    ],
)
def test_wrong_routings_are_named(changes: dict[str, Array], message: str) -> None:
    mask = np.array([[True, True, False], [True, True, False]])
    routing = Routing(mask, np.array([0, 1, 3]), np.array([0, 0, 1], dtype=np.int32))
    pair = np.ones((2, 3, 4), dtype=np.float32)
    table = ScoreTables(item_scores=np.zeros((2, 4), np.float32))
    kernels.routed_scores(*pair, routing, table)
    np.testing.assert_array_equal(table.item_scores, 1)
    with pytest.raises(InputError, match=message):
        kernels.routed_scores(*pair, replace(routing, **changes), table)


def test_wrong_tables_are_named() -> None:
    routing = Routing(np.ones((1, 2), bool), np.array([0, 1]), np.array([1], dtype=np.int32))
    pair = np.ones((2, 1, 4), dtype=np.float32)
    with pytest.raises(InputError, match="give item_scores and no sums"):
        kernels.routed_scores(*pair, routing, ScoreTables())
    with pytest.raises(InputError, match=r"float32 of shape \(1, 4\)"):
        kernels.routed_scores(*pair, routing, ScoreTables(item_scores=np.zeros((1, 5), np.float32)))
    with pytest.raises(InputError, match=r"it must be \(row, neuron\)"):
        kernels.routed_scores(
            pair[None, 0], pair[1], routing, ScoreTables(item_scores=np.zeros((1, 4), np.float32))
        )


def test_the_routing_of_sorted_rows_by_hand() -> None:
    """Two items of three tokens, the last one padding: expert 0 sees 1 and 5, expert 2 sees 0 to 4."""
    expert = torch.tensor([0, 0, 2, 2, 2, 2, 2])
    token = torch.tensor([1, 5, 0, 1, 2, 3, 4])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    routing = routing_of(expert, token, mask, n_experts=3)
    np.testing.assert_array_equal(routing.starts, [0, 1, 2, 2, 2, 5, 7])
    np.testing.assert_array_equal(routing.tokens, [1, -1, 0, 1, 2, 0, 1])
