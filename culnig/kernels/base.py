"""The interface of a backend, and helpers that prepare tensors for the kernels."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from numpy.typing import NDArray

from culnig.errors import InputError
from culnig.kernels.arguments import DTYPES, MOST_TOKENS, ScoreBatch, ScoreTables, Values
from culnig.kernels.routing import Routing


class TokenSums(NamedTuple):
    """Sums over the real tokens of items, tensors (item, neuron) on the device of the activations."""

    magnitude: torch.Tensor
    """Σ |activation|, float32."""
    positive_tokens: torch.Tensor
    """Number of tokens with activation > 0, int32."""
    gradient_norm: torch.Tensor
    """√ Σ gradient², float32."""

    @classmethod
    def empty_for(cls, activation: torch.Tensor) -> TokenSums:
        """Tensors to be filled for activations (item, token, neuron)."""
        shape, device = (activation.shape[0], activation.shape[2]), activation.device
        return cls(
            *(torch.empty(shape, dtype=d, device=device) for d in (torch.float32, torch.int32, torch.float32))
        )


class BackendFallbackWarning(UserWarning):
    """The compiled kernels cannot be used on this device; eager torch does the work."""


class Backend(Protocol):
    """The kernels that scoring calls, on one kind of device."""

    @property
    def name(self) -> str:
        """`cpu`, `cuda` or `torch`."""

    def score_reduce(
        self,
        activation: torch.Tensor,
        gradient: torch.Tensor,
        batch: ScoreBatch,
        tables: ScoreTables,
        aggregator: str = "max",
    ) -> None:
        """`culnig.kernels.score_reduce` on tensors (item, token, neuron), strided views included.

        Tables are numpy arrays or CPU tensors. The `cuda` backend also takes tables on its device; the tables
        of cultures must then all be there. Raises what culnig.kernels.score_reduce raises.
        """

    def routed_scores(
        self,
        activation: torch.Tensor,
        gradient: torch.Tensor,
        routing: Routing,
        tables: ScoreTables,
        aggregator: str = "max",
    ) -> None:
        """`culnig.kernels.routed_scores` on tensors (row, neuron); raises what it raises."""

    def token_sums(self, activation: torch.Tensor, gradient: torch.Tensor, token_mask: Values) -> TokenSums:
        """Sums over the real tokens of tensors (item, token, neuron), from one read of both.

        Elements are added in float64, in token order, and rounded to float32 at the end; an item without real
        tokens has zeros. Unlike `score_reduce` it does not look for NaN. InputError names a refused argument.
        """


def dtype_index(activation: torch.Tensor, gradient: torch.Tensor) -> int:
    """Index in DTYPES of the number format of both tensors (item, token, neuron)."""
    for name, tensor in (("activation", activation), ("gradient", gradient)):
        if str(tensor.dtype).removeprefix("torch.") not in DTYPES:
            raise InputError(f"{name} is {tensor.dtype}; {', '.join(DTYPES)} are allowed")
        if tensor.ndim != 3:
            raise InputError(f"{name} has shape {tuple(tensor.shape)}; it must be (item, token, neuron)")
    if activation.shape[1] > MOST_TOKENS:
        raise InputError(f"activation has {activation.shape[1]} tokens; at most {MOST_TOKENS} are allowed")
    if activation.dtype != gradient.dtype or activation.shape != gradient.shape:
        raise InputError(
            f"activation is {activation.dtype} of shape {tuple(activation.shape)}, gradient "
            f"{gradient.dtype} of shape {tuple(gradient.shape)}; they must agree"
        )
    return DTYPES.index(str(activation.dtype).removeprefix("torch."))


def contiguous_rows(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself where its last axis is contiguous, else a copy."""
    tensor = tensor.detach()
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] <= 1 else tensor.contiguous()


def token_view(tensor: torch.Tensor) -> NDArray[Any]:
    """A CPU tensor as a numpy view of its memory; bfloat16 as its bits."""
    tensor = tensor.detach()
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
