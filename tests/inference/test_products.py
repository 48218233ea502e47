"""Products by oneDNN are those of torch, forward and backward, and only where they are asked for."""

from __future__ import annotations

import copy
import os
from typing import Any

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from culnig.errors import EnvironmentProblem
from culnig.inference import products
from culnig.inference.products import (
    CACHES,
    LEAST_ROWS,
    SWITCH,
    by_onednn,
    computation_of,
    fast_products,
    products_of,
)
from culnig.provenance import versions
from tests.tiny_models import tiny_model
from tests.tolerances import assert_values_equal, noise

WIDTH, OUTPUTS = 24, 40

needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this torch was built without oneDNN"
)


@pytest.fixture
def onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "onednn")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of the products that oneDNN makes."""
    made: list[tuple[int, ...]] = []
    apply = products._Product.apply

    def noting(rows: torch.Tensor, *others: Any) -> Any:
        made.append(tuple(rows.shape))
        return apply(rows, *others)

    monkeypatch.setattr(products._Product, "apply", noting)
    return made


def linear(kind: str) -> nn.Module:
    torch.manual_seed(3)
    made: nn.Module = (
        Conv1D(OUTPUTS, WIDTH) if kind == "Conv1D" else nn.Linear(WIDTH, OUTPUTS, bias=kind == "biased")
    )
    return made.requires_grad_(False)


def rows_of(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, WIDTH, generator=torch.Generator().manual_seed(5))


@needs_onednn
@pytest.mark.usefixtures("onednn")
@pytest.mark.parametrize("kind", ["plain", "biased", "Conv1D"])
@pytest.mark.parametrize(
    "rows",
    [rows_of(50), rows_of(3, 17), rows_of(17, 3).transpose(0, 1), rows_of(3, 34)[:, ::2]],
    ids=["two axes", "three axes", "turned", "every other"],
)
def test_output_and_gradient_are_those_of_a_plain_product_in_float64(
    kind: str, rows: torch.Tensor, calls: list[tuple[int, ...]]
) -> None:
    model = linear(kind)
    weight = {name: values.double().numpy() for name, values in model.named_parameters()}
    matrix = weight["weight"] if kind == "Conv1D" else weight["weight"].T
    upstream = torch.randn(*rows.shape[:-1], OUTPUTS, generator=torch.Generator().manual_seed(7))
    rows = rows.detach().requires_grad_()
    with fast_products(model):
        output = model(rows)
        (gradient,) = torch.autograd.grad(output, rows, upstream)
    expected = rows.detach().double().numpy() @ matrix + weight.get("bias", 0)
    within = noise(longest_sum=OUTPUTS, layers=1)
    assert_values_equal(output, expected, within)
    assert_values_equal(gradient, upstream.double().numpy() @ matrix.T, within)
    assert calls == [tuple(rows.shape), tuple(upstream.shape)]


@needs_onednn
@pytest.mark.usefixtures("onednn")
def test_a_gradient_can_be_taken_of_the_gradient() -> None:
    model = linear("plain")
    rows, upstream = rows_of(20).requires_grad_(), torch.randn(20, OUTPUTS, requires_grad=True)
    with fast_products(model):
        (gradient,) = torch.autograd.grad(model(rows), rows, upstream, create_graph=True)
        (second,) = torch.autograd.grad(gradient.square().sum(), upstream)
    weight = model.get_parameter("weight")
    expected = 2 * upstream.detach() @ weight @ weight.T
    assert_values_equal(second, expected, noise(longest_sum=OUTPUTS, layers=2))


@needs_onednn
@pytest.mark.usefixtures("onednn")
def test_gradients_of_weights_are_unchanged(calls: list[tuple[int, ...]]) -> None:
    model, twin = linear("biased").requires_grad_(True), linear("biased").requires_grad_(True)
    with fast_products(model):
        model(rows_of(50)).square().sum().backward()
    twin(rows_of(50)).square().sum().backward()
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert torch.equal(ours.grad, theirs.grad)
    assert calls == []


@needs_onednn
@pytest.mark.usefixtures("onednn")
@pytest.mark.parametrize("what", ["few rows", "none", "other type", "other type of weights", "own forward"])
def test_what_is_left_to_torch(what: str, calls: list[tuple[int, ...]]) -> None:
    model, rows = linear("plain"), rows_of(50)
    if what == "few rows":
        rows = rows[: LEAST_ROWS - 1]
    elif what == "none":
        rows = rows[:0]
    elif what in ("other type", "other type of weights"):
        model, rows = model.double(), rows.double()
    elif what == "own forward":
        own = model.forward
        model.forward = lambda values: own(values)
    with fast_products(model):
        if what == "other type":
            model = model.double()
        output = model(rows)
    assert torch.equal(output, linear("plain").to(rows.dtype)(rows))
    assert calls == []


@needs_onednn
@pytest.mark.usefixtures("onednn")
def test_modules_get_their_forward_back_also_after_an_error() -> None:
    model = nn.Sequential(linear("plain"), nn.ReLU())
    before = copy.copy(model[0].__dict__)
    with fast_products(model), fast_products(model):  # as a reader within a reader
        assert "forward" in model[0].__dict__
    assert model[0].__dict__ == before
    with pytest.raises(MemoryError), fast_products(model):
        raise MemoryError
    assert model[0].__dict__ == before


@needs_onednn
@pytest.mark.usefixtures("onednn")
def test_few_products_are_kept_prepared_unless_the_user_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = CACHES
    monkeypatch.setenv(one, "500")
    monkeypatch.delenv(other, raising=False)
    with fast_products(linear("plain")):
        assert (os.environ[one], os.environ[other]) == ("500", CACHES[other])


@pytest.mark.parametrize(
    ("processor", "capability", "expected"),
    [
        ("vendor_id : AuthenticAMD", "AVX512", True),
        ("vendor_id : AuthenticAMD", "AVX2", False),
        ("vendor_id : GenuineIntel", "AVX512", False),
        ("arm", "DEFAULT", False),
    ],
)
@needs_onednn
def test_onednn_pays_with_avx512_that_is_not_intels(
    monkeypatch: pytest.MonkeyPatch, processor: str, capability: str, expected: bool
) -> None:
    monkeypatch.setattr(products, "_processor", lambda: processor)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    assert products.pays.__wrapped__() is expected


@needs_onednn
@pytest.mark.parametrize(("asked", "pays", "expected"), [("torch", True, False), ("onednn", False, True)])
def test_the_switch_decides(monkeypatch: pytest.MonkeyPatch, asked: str, pays: bool, expected: bool) -> None:
    model = linear("plain")
    monkeypatch.setattr(products, "pays", lambda: pays)
    monkeypatch.setenv(SWITCH, asked)
    with fast_products(model):
        assert ("forward" in model.__dict__) is expected
    monkeypatch.delenv(SWITCH)
    with fast_products(model):
        assert ("forward" in model.__dict__) is pays


def test_an_invalid_or_unavailable_products_setting_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "mkl")
    with pytest.raises(EnvironmentProblem, match="CULNIG_PRODUCTS is 'mkl'; set it to torch or onednn"):
        by_onednn()
    monkeypatch.setenv(SWITCH, "onednn")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    with pytest.raises(EnvironmentProblem, match="comes without it"):
        by_onednn()


@needs_onednn
@pytest.mark.parametrize(
    ("asked", "dtype", "expected"),
    [
        ("torch", torch.float32, "torch"),
        ("onednn", torch.float32, "oneDNN"),
        ("onednn", torch.bfloat16, "torch"),
    ],
)
def test_runs_record_what_made_the_products(
    monkeypatch: pytest.MonkeyPatch, asked: str, dtype: torch.dtype, expected: str
) -> None:
    monkeypatch.setenv(SWITCH, asked)
    bound = tiny_model("llama", dtype=dtype)
    assert products_of(bound.model) == expected
    assert versions(computation_of(bound.model))["matrix products"] == expected


def test_runs_record_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr(products, "_processor", lambda: "vendor_id : AuthenticAMD\nmodel name : AMD EPYC 1\n")
    assert products.processor() == "AMD EPYC 1, AVX2"
    monkeypatch.setattr(products, "_processor", lambda: "arm")  # as where there is no /proc/cpuinfo
    assert products.processor().endswith(", AVX2")
    assert versions(computation_of(tiny_model().model))["processor"] == products.processor()
