"""The `cpu` backend: culnig.kernels on the tensors' own memory, nothing copied."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from culnig.kernels import arrays
from culnig.kernels.base import (
    Table,
    TokenSums,
    dtype_name,
    host_array,
    host_table,
    optional_host_table,
    token_view,
)


class CpuBackend:
    """Compiled kernels on CPU tensors."""

    name = "cpu"

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
        """See `Backend.score_reduce`."""
        arrays.score_reduce(
            token_view(activation),
            token_view(gradient),
            host_array(token_mask),
            host_array(confidence),
            host_array(culture_index),
            sums=host_table("sums", sums),
            sums_of_squares=optional_host_table("sums_of_squares", sums_of_squares),
            positive_counts=optional_host_table("positive_counts", positive_counts),
            item_scores=optional_host_table("item_scores", item_scores),
            peak_tokens=optional_host_table("peak_tokens", peak_tokens),
            aggregator=aggregator,
            clamp_at_zero=clamp_at_zero,
            dtype=dtype_name(activation, gradient),
        )

    def token_sums(
        self,
        activation: torch.Tensor,
        gradient: torch.Tensor,
        token_mask: torch.Tensor | NDArray[np.bool_],
    ) -> TokenSums:
        """See `Backend.token_sums`."""
        found = arrays.token_sums(
            token_view(activation),
            token_view(gradient),
            host_array(token_mask),
            dtype=dtype_name(activation, gradient),
        )
        return TokenSums(*map(torch.from_numpy, found))
