"""The interface of a backend, and helpers that prepare tensors for the kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from culnig.errors import InputError
from culnig.kernels.arguments import DTYPES, MOST_TOKENS, ScoreBatch, ScoreTables, Values, real_tokens
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
    """The kernels that scoring calls, on one kind of device.

    Scoring a batch is `score_items` for each module, one look at the status, and one `addition` for all
    neurons. `cuda` waits for the device in none of them, and its tables are on the device.
    """

    @property
    def name(self) -> str:
        """`cpu`, `cuda` or `torch`."""

    def tables_device(self, device: torch.device) -> torch.device:
        """Where the tables of cultures must be for item scores on `device`."""

    def score_items(
        self,
        activation: torch.Tensor,
        gradient: torch.Tensor,
        token_mask: torch.Tensor,
        tables: ScoreTables,
        status: torch.Tensor,
        aggregator: str = "max",
    ) -> None:
        """Write the item scores, and the peak tokens if asked, of tensors (item, token, neuron).

        All are tensors on the device of `activation`, strided views included. `token_mask` is bool
        (item, token). `status` is a row of `empty_status`, (item, STATUS_WORDS): only products that are not
        finite change it, and the scores of their items are then undefined. InputError names a refused
        argument.
        """

    def routed_items(
        self,
        activation: torch.Tensor,
        gradient: torch.Tensor,
        routing: Routing,
        tables: ScoreTables,
        status: torch.Tensor,
        aggregator: str = "max",
    ) -> None:
        """`score_items` of experts: tensors (row, neuron of one expert), whose tokens `routing` tells.

        Tables are (item, expert · neuron). Contributions at tokens that an expert did not see are zero.
        """

    def addition(
        self, item_scores: torch.Tensor, batch: ScoreBatch, tables: ScoreTables
    ) -> Callable[[], None]:
        """`culnig.kernels.add_scores` of item scores on the device, as a call that needs no more memory.

        The tables of cultures are tensors on `tables_device`, or arrays where that is the host.
        """

    def score_reduce(
        self,
        activation: torch.Tensor,
        gradient: torch.Tensor,
        batch: ScoreBatch,
        tables: ScoreTables,
        aggregator: str = "max",
    ) -> None:
        """`culnig.kernels.score_reduce` on tensors (item, token, neuron), strided views included.

        Waits for the device. Tables are numpy arrays or CPU tensors. The `cuda` backend also takes tables on
        its device; the tables of cultures must then all be there. Raises what culnig.kernels.score_reduce
        raises.
        """

    def token_sums(self, activation: torch.Tensor, gradient: torch.Tensor, token_mask: Values) -> TokenSums:
        """Sums over the real tokens of tensors (item, token, neuron), from one read of both.

        Elements are added in float64, in token order, and rounded to float32 at the end; an item without real
        tokens has zeros. Unlike `score_items` it does not look for NaN. A `token_mask` on the device is read
        there. InputError names a refused argument.
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


def mask_on(device: torch.device, token_mask: Values | None, shape: tuple[int, int]) -> torch.Tensor:
    """The mask (item, token) of real tokens as bool on the device; one that is there is not copied."""
    if not isinstance(token_mask, torch.Tensor) or token_mask.device != device:
        return torch.tensor(real_tokens(token_mask, shape).view(np.bool_), device=device)
    if token_mask.dtype != torch.bool or tuple(token_mask.shape) != shape:
        raise InputError(
            f"token_mask is {str(token_mask.dtype).removeprefix('torch.')} of shape "
            f"{tuple(token_mask.shape)}; bool of shape {shape} is allowed"
        )
    return token_mask.contiguous()


def contiguous_rows(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself where its last axis is contiguous, else a copy."""
    tensor = tensor.detach()
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] <= 1 else tensor.contiguous()


def token_view(tensor: torch.Tensor) -> NDArray[Any]:
    """A CPU tensor as a numpy view of its memory; bfloat16 as its bits."""
    tensor = tensor.detach()
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
