"""Matrix products in float32 by oneDNN, on processors where torch's own are slow.

torch computes these products with MKL, which uses half the width of the vector units of processors that are
not Intel's: 210 to 220 GFLOP/s on two cores of an AMD EPYC with AVX-512, where oneDNN, which comes with torch
and serves half precision there, reaches 420 to 500. The products take most of the time of a forward or
backward pass. Results are equal up to the order in which float32 numbers are added.

Linear modules get another `forward` for as long as the context lasts. Everything else in torch, and training
of weights, is unchanged. CULNIG_PRODUCTS=torch leaves all products to torch, CULNIG_PRODUCTS=onednn uses
oneDNN on any processor.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from culnig.errors import EnvironmentProblem
from culnig.models.base import own_class

LEAST_ROWS = 16
"""With fewer rows (tokens) reading the weights takes the time, and MKL is as fast."""

SWITCH = "CULNIG_PRODUCTS"

CACHES = {"LRU_CACHE_CAPACITY": "16", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "16"}
"""How many prepared products torch and oneDNN keep; read at the first product.

Each shape is prepared by itself and takes 0.3 MB or more. The default of 1,024 would fill up with shapes of
batches that never come again. A pass of the embedded model needs 4 or 8; 32 did not speed up 400 batches."""


def by_onednn() -> bool:
    """Whether oneDNN computes the products: as set in CULNIG_PRODUCTS, else if it is faster.

    EnvironmentProblem if CULNIG_PRODUCTS has another value or this torch has no oneDNN.
    """
    asked = os.environ.get(SWITCH, "").strip()
    if asked not in ("", "torch", "onednn"):
        raise EnvironmentProblem(f"{SWITCH} is {asked!r}; set it to torch or onednn, or unset it")
    if asked == "onednn" and not _has_onednn():
        raise EnvironmentProblem(f"{SWITCH} is 'onednn', but this torch comes without it; unset {SWITCH}")
    return asked == "onednn" or (asked == "" and pays())


def _has_onednn() -> bool:
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return available and hasattr(torch.ops.mkldnn, "_linear_pointwise")


@functools.cache
def pays() -> bool:
    """Whether torch's own products are slow here: MKL on a processor with AVX-512 that is not Intel's."""
    return (
        _has_onednn()
        and torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and "AuthenticAMD" in _processor()
    )


def _processor() -> str:
    """The system's description of the processor, with its maker."""
    described = Path("/proc/cpuinfo")  # Linux; elsewhere Python knows the maker
    return (
        described.read_text(encoding="utf-8", errors="replace")
        if described.exists()
        else platform.processor()
    )


def processor() -> str:
    """The processor's name and the instructions that torch uses on it."""
    names = re.findall(r"^model name\s*: *(.+)$", _processor(), re.MULTILINE)
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


@contextlib.contextmanager
def fast_products(model: nn.Module) -> Iterator[None]:
    """Inside, float32 linear modules on the CPU multiply with oneDNN where `by_onednn`; undone on exit."""
    if not by_onednn():
        yield
        return
    for name, capacity in CACHES.items():
        os.environ.setdefault(name, capacity)
    with contextlib.ExitStack() as stack:
        for linear in _linears(model):
            linear.forward = _forward(linear)
            stack.callback(delattr, linear, "forward")
        yield


def products_of(model: nn.Module) -> str:
    """What makes the products of a model's linear modules while it is read: `oneDNN` or `torch`."""
    return "oneDNN" if by_onednn() and _linears(model) else "torch"


def computation_of(model: nn.Module) -> dict[str, str]:
    """Facts that the last digits of a model's numbers depend on, for `culnig.provenance.versions`."""
    return {"matrix products": products_of(model), "processor": processor()}


def _linears(model: nn.Module) -> list[Any]:
    """Linear modules without a `forward` of their own, such as accelerate gives them."""
    return [
        module
        for module in model.modules()
        if own_class(module) in (nn.Linear, Conv1D)
        and "forward" not in module.__dict__
        and module.weight.dtype == torch.float32
        and module.weight.device.type == "cpu"
    ]


def _forward(linear: Any) -> Callable[[torch.Tensor], Any]:
    usual = linear.forward
    transposed = own_class(linear) is Conv1D  # its weight is (input, output)

    def forward(rows: torch.Tensor) -> Any:
        weight, bias = linear.weight, linear.bias
        trains = torch.is_grad_enabled() and (
            weight.requires_grad or (bias is not None and bias.requires_grad)
        )
        few = rows.numel() < LEAST_ROWS * rows.shape[-1]
        if trains or few or rows.dtype != torch.float32:
            return usual(rows)
        return _Product.apply(rows, weight.t() if transposed else weight, bias)  # type: ignore[no-untyped-call]

    return forward


class _Product(torch.autograd.Function):
    """rows (…, input) times the transposed weight (output, input), plus bias; only rows get gradients."""

    @staticmethod
    def forward(
        context: Any, rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        context.save_for_backward(weight)
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
        return product

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (weight,) = context.saved_tensors
        rows: torch.Tensor = _Product.apply(gradient, weight.t(), None)  # type: ignore[no-untyped-call]
        return rows, None, None
