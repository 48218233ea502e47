"""A CUDA device that does not exist: what the program does with it is carried out on the CPU and counted.

A `DeviceTensor` says that it is on `cuda:0`. To torch itself it is on the device `meta`, whose tensors have
no values, so no operation can read or move its values unseen: all of them arrive at `FakeDevice`, which
carries them out and counts kernels that are launched, copies, and waits of the host. Copies to the host that
nobody has waited for hold garbage until somebody does. The compiled kernels are the emulated ones.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from culnig.kernels import choice
from culnig.kernels.cuda import CudaBackend

CUDA = torch.device("cuda", 0)
aten = torch.ops.aten
WAITS = {
    aten._local_scalar_dense.default,
    aten.is_nonzero.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten.equal.default,
    aten._unique2.default,
    aten.repeat_interleave.Tensor,
}
"""Operations whose result on a device makes the host wait: its shape or value is needed."""


class DeviceTensor(torch.Tensor):
    """A tensor whose values nobody reads without being counted."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> DeviceTensor:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device="meta",
        )
        made.held = held
        return made

    device = property(lambda self: CUDA)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        active = FakeDevice.active
        assert active is not None, f"{function} on a device tensor outside of the fake device"
        return active.carry_out(function, args, kwargs or {})

    def __repr__(self) -> str:  # type: ignore[override]
        return f"DeviceTensor({tuple(self.shape)}, {self.dtype})"


@dataclass
class Counts:
    """What happened on the device."""

    launches: int = 0
    waits: int = 0
    """Times that the host waited for the device."""
    to_device: int = 0
    to_host: int = 0

    def __sub__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(self)))


class FakeDevice(TorchDispatchMode):
    """Counts what is done on the device while it is active; only the main thread's waits are counted."""

    active: FakeDevice | None = None

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counts()
        self._pinned: set[int] = set()
        self._keep: list[torch.Tensor] = []
        """Pinned memory, so that no other tensor gets its address."""
        self._pending: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __enter__(self) -> FakeDevice:
        FakeDevice.active = self
        super().__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        FakeDevice.active = None

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.carry_out(function, args, kwargs or {})

    def wait(self) -> None:
        """The host waits for the device: copies arrive."""
        if threading.current_thread() is threading.main_thread():
            self.counts.waits += 1
        while self._pending:
            target, values = self._pending.pop(0)
            target.copy_(values)

    def carry_out(self, function: Any, args: Any, kwargs: Any) -> Any:
        leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        there = [leaf for leaf in leaves if isinstance(leaf, DeviceTensor)]
        device = kwargs.get("device")
        target = torch.device(device) if device is not None else None
        if function is aten._pin_memory.default:
            return self._pin(args[0].clone())
        if function is aten.is_pinned.default:
            return args[0].untyped_storage().data_ptr() in self._pinned
        if function is aten._to_copy.default and target is not None:
            if there and target.type == "cpu":
                self.counts.to_host += 1
                self.wait()  # the memory that it is copied to is not pinned
                return args[0].held.to(kwargs.get("dtype") or args[0].dtype, copy=True)
            if not there and target.type == "cuda":
                self._upload(args[0], waits_not=bool(kwargs.get("non_blocking")))
                return DeviceTensor(args[0].to(kwargs.get("dtype") or args[0].dtype, copy=True))
        if (
            function is aten.copy_.default
            and there
            and not all(isinstance(a, DeviceTensor) for a in args[:2])
        ):
            return self._copy(
                args[0], args[1], bool(args[2] if len(args) > 2 else kwargs.get("non_blocking"))
            )
        if function is aten._fused_sdp_choice.default:
            return 0  # the plain formula: there is no fused kernel here
        on_device = bool(there) or (target is not None and target.type == "cuda")
        if target is not None and target.type != "cpu":
            kwargs = {**kwargs, "device": torch.device("cpu")}
        pinned = kwargs.pop("pin_memory", None) if kwargs.get("pin_memory") else None
        if there:
            self._check_alike(function, args, leaves)
        if on_device and (function in WAITS or self._reads_a_mask(function, args)):
            self.wait()
        if on_device and not _is_view(function) and "empty" not in str(function):
            self.counts.launches += 1
        held = {id(leaf.held): leaf for leaf in there}
        result = function(*_unwrapped(args), **_unwrapped(kwargs))
        if pinned:
            return self._pin(result)
        if not on_device:
            return result

        def wrapped(leaf: Any) -> Any:
            if not isinstance(leaf, torch.Tensor):
                return leaf
            return held[id(leaf)] if id(leaf) in held else DeviceTensor(leaf)

        return tree_map(wrapped, result)

    def _check_alike(self, function: Any, args: Any, leaves: list[torch.Tensor]) -> None:
        """As on a device: numbers of the host may take part, and indices, which are then copied first."""
        others = [leaf for leaf in leaves if not isinstance(leaf, DeviceTensor) and leaf.ndim > 0]
        if others and function in (aten.index.Tensor, aten.index_put.default, aten.index_put_.default):
            for index in others:
                self._upload(index, waits_not=False)
        elif others:
            raise RuntimeError(f"{function}: expected all tensors to be on the same device")

    def _reads_a_mask(self, function: Any, args: Any) -> bool:
        """Whether an index is a mask, whose set elements the host must count."""
        if function not in (aten.index.Tensor, aten.index_put.default, aten.index_put_.default):
            return False
        return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])

    def _upload(self, source: torch.Tensor, *, waits_not: bool) -> None:
        self.counts.to_device += 1
        if not (waits_not and source.untyped_storage().data_ptr() in self._pinned):
            self.wait()

    def _copy(self, target: torch.Tensor, source: torch.Tensor, waits_not: bool) -> torch.Tensor:
        if isinstance(target, DeviceTensor):
            self._upload(source, waits_not=waits_not)
            target.held.copy_(source)
            return target
        assert isinstance(source, DeviceTensor)
        self.counts.to_host += 1
        values = source.held.to(target.dtype, copy=True)
        if waits_not and target.untyped_storage().data_ptr() in self._pinned:
            target.view(torch.uint8).fill_(0xA5)  # until somebody waits
            self._pending.append((target, values))
        else:
            self.wait()
            target.copy_(values)
        return target

    def _pin(self, tensor: torch.Tensor) -> torch.Tensor:
        self._pinned.add(tensor.untyped_storage().data_ptr())
        self._keep.append(tensor)
        return tensor


def _is_view(function: Any) -> bool:
    returns = function._schema.returns
    return bool(returns) and all(
        each.alias_info is not None and not each.alias_info.is_write for each in returns
    )


def _unwrapped(values: Any) -> Any:
    return tree_map(lambda leaf: leaf.held if isinstance(leaf, DeviceTensor) else leaf, values)


def _held_by(value: Any) -> Any:
    """Arguments of a compiled kernel with the memory that the emulation reads; none of it is the host's."""
    if isinstance(value, DeviceTensor):
        return value.held
    assert not isinstance(value, torch.Tensor | np.ndarray), "a kernel was given memory of the host"
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(_held_by, value))
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _held_by(getattr(value, f.name)) for f in fields(value)})
    return value


class _Kernels:
    """The emulated module on the memory of the fake device; every call is a launch."""

    def __init__(self, compiled: ModuleType) -> None:
        self._compiled = compiled

    def device_available(self) -> bool:
        return True

    def __getattr__(self, name: str) -> Callable[..., Any]:
        kernel = getattr(self._compiled, name)

        def launch(*args: Any) -> Any:
            active = FakeDevice.active
            assert active is not None
            active.counts.launches += 1
            return kernel(*map(_held_by, args))

        return launch


class _Event:
    """A moment in the order of the device's work."""

    def record(self, stream: object) -> None:
        pass

    def synchronize(self) -> None:
        assert FakeDevice.active is not None
        FakeDevice.active.wait()


@contextlib.contextmanager
def fake_device(compiled: ModuleType) -> Iterator[FakeDevice]:
    """A CUDA device whose compiled kernels are those of the emulated module."""

    @contextlib.contextmanager
    def on(self: CudaBackend, device: torch.device) -> Iterator[int]:
        yield 0

    with pytest.MonkeyPatch.context() as patch, torch.autograd.set_multithreading_enabled(False):
        patch.setattr(choice, "cuda_module", lambda: _Kernels(compiled))
        patch.setattr(CudaBackend, "_on", on)
        patch.setattr(torch.cuda, "_lazy_init", lambda: None)
        patch.setattr(torch.cuda, "Event", _Event)
        patch.setattr(torch.cuda, "current_stream", lambda device=None: None)
        with FakeDevice() as device:
            yield device


def moved(model: nn.Module) -> nn.Module:
    """The model with its weights on the fake device."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                on_device = nn.Parameter(DeviceTensor(parameter.detach()), requires_grad=False)
                module._parameters[name] = on_device
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = DeviceTensor(buffer)
    return model
