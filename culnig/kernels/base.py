"""What a backend offers, and how tensors become what the kernels take."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from culnig.errors import InputError

Table: TypeAlias = "NDArray[Any] | torch.Tensor"
"""A table that is added into or written: a numpy array, or a tensor that the backend can reach."""

DTYPE_NAMES = {
    torch.float32: "float32",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
}
"""Formats of activations and gradients that the kernels read."""


class TokenSums(NamedTuple):
    """`culnig.kernels.TokenSums` as tensors (item, neuron) on the device."""

    magnitude: torch.Tensor
    """Σ |activation|, float32."""
    positive_tokens: torch.Tensor
    """Tokens with activation > 0, int32."""
    gradient_norm: torch.Tensor
    """√ Σ gradient², float32."""


class BackendFallbackWarning(UserWarning):
    """The compiled kernels cannot be used on this device; eager torch does the work."""


class Backend(Protocol):
    """The scoring kernel on one kind of device."""

    @property
    def name(self) -> str:
        """`cpu`, `cuda` or `torch`."""

    def score_reduce(
        self,
        activation: torch.Tensor,
        gradient: torch.Tensor,
        token_mask: torch.Tensor | NDArray[np.bool_],
        confidence: ArrayLike | torch.Tensor,
        culture_index: ArrayLike | torch.Tensor,
        *,
        sums: Table,
        sums_of_squares: Table | None = None,
        positive_counts: Table | None = None,
        item_scores: Table | None = None,
        peak_tokens: Table | None = None,
        aggregator: str = "max",
        clamp_at_zero: bool | ArrayLike = False,
    ) -> None:
        """`culnig.kernels.score_reduce` on tensors (item, token, neuron), strided views included.

        Tables are numpy arrays or CPU tensors; the `cuda` backend also takes tables on its device,
        then all of them. Raises what culnig.kernels raises.
        """

    def token_sums(
        self,
        activation: torch.Tensor,
        gradient: torch.Tensor,
        token_mask: torch.Tensor | NDArray[np.bool_],
    ) -> TokenSums:
        """`culnig.kernels.token_sums` on tensors (item, token, neuron), strided views included."""


def dtype_name(activation: torch.Tensor, gradient: torch.Tensor) -> str:
    """Format of both tensors; InputError where they differ or the kernels do not read it."""
    for name, tensor in (("activation", activation), ("gradient", gradient)):
        if tensor.dtype not in DTYPE_NAMES:
            raise InputError(f"{name} is {tensor.dtype}; {', '.join(DTYPE_NAMES.values())} are read")
        if tensor.ndim != 3:
            raise InputError(f"{name} has shape {tuple(tensor.shape)}; (item, token, neuron) is read")
    if activation.dtype != gradient.dtype or activation.shape != gradient.shape:
        raise InputError(
            f"activation is {activation.dtype} of shape {tuple(activation.shape)}, gradient "
            f"{gradient.dtype} of shape {tuple(gradient.shape)}; they must agree"
        )
    return DTYPE_NAMES[activation.dtype]


def host_array(values: ArrayLike | torch.Tensor) -> NDArray[Any]:
    """Small values as a numpy array; a tensor comes to the host."""
    if isinstance(values, torch.Tensor):
        return values.detach().cpu().numpy()
    return np.asarray(values)


def token_view(tensor: torch.Tensor) -> NDArray[Any]:
    """A CPU tensor as a numpy view on its memory; bfloat16 as its bits."""
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.view(torch.uint16)
    return tensor.numpy()


def host_table(name: str, table: Table) -> NDArray[Any]:
    """A table as a numpy view on the host."""
    if not isinstance(table, torch.Tensor):
        return table
    if table.device.type != "cpu":
        raise InputError(f"{name} is on {table.device}; give it as a numpy array or a CPU tensor")
    return table.detach().numpy()


def optional_host_table(name: str, table: Table | None) -> NDArray[Any] | None:
    """`host_table`, or None for a table that nobody asks for."""
    return None if table is None else host_table(name, table)
