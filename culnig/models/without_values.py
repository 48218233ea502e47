"""Passes of models on the meta device, whose tensors have shapes but no numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class WithoutValues(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Answers True when a family reads a value that meta tensors lack (is each row a single text?)."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.ops.aten._local_scalar_dense.default:
            return True
        return function(*args, **(kwargs or {}))
