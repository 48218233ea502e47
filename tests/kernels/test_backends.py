"""Which backend serves a device, and what every backend refuses."""

from __future__ import annotations

from dataclasses import fields
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from culnig.errors import InputError
from culnig.kernels import ScoreBatch, ScoreTables, choice
from culnig.kernels.base import BackendFallbackWarning, token_view
from culnig.kernels.check import check_kernels
from culnig.kernels.choice import choose_backend
from culnig.kernels.cuda import CudaBackend


@pytest.fixture(autouse=True)
def announce_again() -> None:
    choice._announce.cache_clear()


def test_cpu_tensors_get_the_compiled_kernels() -> None:
    assert choose_backend("cpu").name == "cpu"


def test_cuda_tensors_get_the_cuda_module_where_there_is_a_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled = SimpleNamespace(device_available=lambda: True, runs_on=lambda device: device == 1)
    monkeypatch.setattr(choice, "cuda_module", lambda: compiled)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert choose_backend("cuda").name == "cuda"
    assert choose_backend("cuda:1").name == "cuda"


@pytest.mark.parametrize(
    ("compiled", "reason"),
    [
        (None, "was built without nvcc"),
        (SimpleNamespace(device_available=lambda: False), "finds no device"),
    ],
)
def test_falling_back_on_cuda_is_announced_once(
    monkeypatch: pytest.MonkeyPatch, compiled: object, reason: str
) -> None:
    monkeypatch.setattr(choice, "cuda_module", lambda: compiled)
    with pytest.warns(BackendFallbackWarning, match=reason):
        assert choose_backend("cuda").name == "torch"
    assert choose_backend("cuda:1").name == "torch"  # a second warning would be an error here


def test_a_device_that_the_build_has_no_code_for_falls_back(
    emulated_module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the emulation's two devices, the code fits the first."""
    monkeypatch.setattr(choice, "cuda_module", lambda: emulated_module)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla V100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 0))
    assert choose_backend("cuda:0").name == "cuda"
    with pytest.warns(BackendFallbackWarning, match=r"no kernels for Tesla V100 \(compute capability 7\.0\)"):
        assert choose_backend("cuda:1").name == "torch"
    assert choose_backend("cuda:0").name == "cuda"


def test_any_other_device_gets_eager_torch() -> None:
    with pytest.warns(BackendFallbackWarning, match="scores on mps are computed by eager torch"):
        assert choose_backend("mps").name == "torch"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_views_of_tensors_share_their_memory(dtype: torch.dtype) -> None:
    fused = torch.zeros(2, 3, 12, dtype=dtype, requires_grad=True)
    view = fused[..., 4:8]
    array = token_view(view)
    assert array.ctypes.data == view.data_ptr()
    assert array.strides == tuple(stride * view.element_size() for stride in view.stride())


def score(backend: Any, **changes: Any) -> None:
    given = {
        "activation": torch.ones(1, 2, 3),
        "gradient": torch.ones(1, 2, 3),
        "token_mask": torch.ones(1, 2, dtype=torch.bool),
        "weight": torch.ones(1),
        "culture_index": torch.zeros(1, dtype=torch.int64),
        "sums": np.zeros((1, 3)),
        **changes,
    }
    batch, tables = (
        kind(**{field.name: given.pop(field.name) for field in fields(kind) if field.name in given})
        for kind in (ScoreBatch, ScoreTables)
    )
    backend.score_reduce(batch=batch, tables=tables, **given)


@pytest.mark.parametrize("name", ["cpu", "torch", "emulated cuda"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": torch.ones(1, 2, 3).double()}, "activation is torch.float64"),
        ({"gradient": torch.ones(1, 2, 3).half()}, "gradient torch.float16"),
        ({"activation": torch.ones(2, 3)}, r"activation has shape \(2, 3\)"),
        ({"aggregator": "median"}, "aggregator is 'median'"),
        ({"weight": torch.tensor([float("inf")])}, r"weight\[0\] is inf"),
        ({"culture_index": torch.tensor([1])}, r"culture_index\[0\] is 1"),
        ({"sums": np.zeros((1, 4))}, "sums is float64 of shape"),
    ],
)
def test_every_backend_names_what_does_not_fit(
    emulated_cuda: CudaBackend, name: str, changes: dict[str, object], message: str
) -> None:
    from culnig.kernels.cpu import CpuBackend
    from culnig.kernels.torch import TorchBackend

    backend = {"cpu": CpuBackend(), "torch": TorchBackend(), "emulated cuda": emulated_cuda}[name]
    score(backend)
    with pytest.raises(InputError, match=message):
        score(backend, **changes)


def test_tables_of_a_device_go_together(emulated_cuda: CudaBackend) -> None:
    sums = torch.zeros(1, 3, dtype=torch.float64)
    with pytest.raises(InputError, match="sums_of_squares is not on cpu"):
        score(emulated_cuda, sums=sums, sums_of_squares=np.zeros((1, 3)))
    with pytest.raises(InputError, match=r"positive_counts is torch\.int32"):
        score(emulated_cuda, sums=sums, positive_counts=torch.zeros(1, 3, dtype=torch.int32))
    with pytest.raises(InputError, match="item_scores is float64 of shape"):
        score(emulated_cuda, item_scores=np.zeros((1, 3)))


def test_expanded_gradients_are_read() -> None:
    """Autograd hands out gradients that are one number seen many times."""
    sums = np.zeros((1, 3))
    score(choose_backend("cpu"), gradient=torch.tensor(2.0).expand(1, 2, 3), sums=sums)
    np.testing.assert_array_equal(sums, [[2.0, 2.0, 2.0]])


def test_the_check_of_this_machine_agrees() -> None:
    rows = check_kernels()
    assert {row.backend for row in rows} >= {"cpu"}
    assert [row for row in rows if not row.agrees] == []


def test_emulated_cuda_passes_the_check_that_a_device_gets(emulated_cuda: CudaBackend) -> None:
    from culnig.kernels import check

    device = torch.device("cpu")
    rows = list(check._check_backend(emulated_cuda, device, tables_on_device=True))
    assert [row for row in rows if not row.agrees] == []
