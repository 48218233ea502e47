"""Change rows of tensors in a safetensors file, in place and without reading the rest of the file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from culnig.errors import InputError
from culnig.exchange.checkpoint_rows import Rows
from culnig.models.checkpoint import FLOATS, StoredTensor

if TYPE_CHECKING:
    import torch

_BITS = {"F64": "<i8", "F32": "<i4", "F16": "<i2", "BF16": "<i2"}
"""Integers as wide as the numbers of a format: numpy has no bfloat16."""
_AT_A_TIME = 1 << 22
"""Numbers that are held in memory at once."""


class Change(NamedTuple):
    """What becomes of some rows of a tensor."""

    rows: Rows
    factor: float
    values: NDArray[np.float64] | None = None
    """Numbers that replace the entries of a bias, in the order of the rows; None multiplies by the factor."""


def change_rows(path: Path, stored: StoredTensor, changes: Iterable[Change]) -> float:
    """Change rows of one tensor in the file at `path`; the largest relative error that rounding made.

    InputError where a product is too large for the tensor's number format.
    """
    import torch

    numbers = np.memmap(path, _BITS[stored.number_format], "r+", stored.offset, stored.shape)
    worst = 0.0
    for change in changes:
        rows = change.rows
        whole = numbers if rows.expert is None else numbers[rows.expert]
        along = np.moveaxis(whole, rows.axis, 0)
        step = max(1, _AT_A_TIME // max(1, int(np.prod(along.shape[1:]))))
        for start in range(0, len(rows.indices), step):
            indices = rows.indices[start : start + step]
            before = _as_floats(along[indices], stored.number_format)
            if change.values is not None:
                exact = before.new_tensor(change.values[start : start + step])
            elif change.factor == 0:
                exact = before.new_zeros(before.shape)  # also where a weight is no number
            else:
                exact = before * change.factor
            kept, error = rounded(exact, stored.number_format, rows.tensor)
            along[indices] = kept.view(getattr(torch, f"int{8 * kept.element_size()}")).numpy()
            worst = max(worst, error)
    numbers.flush()
    return worst


def _as_floats(bits: NDArray[np.signedinteger], number_format: str) -> torch.Tensor:
    """Stored numbers in float64, which holds those of every format exactly."""
    import torch

    kind: torch.dtype = getattr(torch, FLOATS[number_format])
    return torch.from_numpy(np.ascontiguousarray(bits)).view(kind).double()


def rounded(exact: torch.Tensor, number_format: str, name: str) -> tuple[torch.Tensor, float]:
    """Numbers as they are stored, and the largest relative error of one.

    InputError where one is too large for the number format.
    """
    import torch

    kept = exact.to(getattr(torch, FLOATS[number_format]))
    if bool((kept.isinf() & exact.isfinite()).any()):
        raise InputError(
            f"{name}: a weight times the factor, or a mean, is too large for {FLOATS[number_format]}; give a "
            "smaller factor, or export from the model in float32"
        )
    error = (kept.double() - exact).abs() / exact.abs()
    return kept, float(error.nan_to_num(0.0, posinf=0.0).max()) if error.numel() else 0.0
