"""From a stored pair of activation and gradient to one score per neuron, by a kernel or a plugin."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culnig import kernels, registry
from culnig.errors import PluginError
from culnig.kernels import AGGREGATORS, ScoreBatch, ScoreTables
from culnig.store.data_parts import Prompts

Aggregator = Callable[[NDArray[np.float32]], NDArray[np.floating[Any]]]
"""A plugin of group `culnig.aggregators`: contributions (token, neuron) of one item to scores (neuron,)."""

Scored = tuple[NDArray[np.float32], NDArray[np.int32]]
"""Scores and peak tokens (item, neuron)."""


class Aggregation:
    """A way to make scores from contributions."""

    def __init__(self, name: str) -> None:
        """A kernel's aggregator or a plugin's; UnknownNameError lists both."""
        self.name = name
        self._plugin: Aggregator | None = None
        if name not in AGGREGATORS:
            self._plugin = registry.aggregator(name, AGGREGATORS)

    def score(
        self,
        activation: NDArray[Any],
        gradient: NDArray[Any],
        number_format: str,
        prompts: Prompts,
        rows: range,
    ) -> Scored:
        """Scores of the items in `rows`, from their pair (token, neuron), item after item."""
        offsets = prompts.offsets[rows.start : rows.stop + 1] - prompts.offsets[rows.start]
        if self._plugin is None:
            return self._reduce(activation, gradient, number_format, offsets)
        made = [
            self._call(self._plugin, activation[begin:end], gradient[begin:end], number_format)
            for begin, end in pairwise(offsets.tolist())
        ]
        scores, peaks = zip(*made, strict=True)
        return np.stack(scores), np.stack(peaks)

    @property
    def is_parallel(self) -> bool:
        """Whether several threads may score at once: a plugin is called from one."""
        return self._plugin is None

    def _reduce(
        self,
        activation: NDArray[Any],
        gradient: NDArray[Any],
        number_format: str,
        offsets: NDArray[np.int64],
    ) -> Scored:
        """All items in one call: each sees all tokens, and those of other items as padding."""
        n_tokens, n_neurons = activation.shape
        n_items = len(offsets) - 1
        token = np.arange(n_tokens)
        scores = np.empty((n_items, n_neurons), dtype=np.float32)
        peaks = np.empty((n_items, n_neurons), dtype=np.int32)
        shape = (n_items, n_tokens, n_neurons)
        kernels.score_reduce(
            np.broadcast_to(activation, shape),
            np.broadcast_to(gradient, shape),
            ScoreBatch((token >= offsets[:-1, None]) & (token < offsets[1:, None])),
            ScoreTables(item_scores=scores, peak_tokens=peaks),
            self.name,
            dtype=number_format,
            threads=1,
        )
        np.subtract(peaks, offsets[:-1, None], out=peaks, where=peaks >= 0)
        return scores, peaks

    def _call(
        self, plugin: Aggregator, activation: NDArray[Any], gradient: NDArray[Any], number_format: str
    ) -> Scored:
        contributions = widened(activation, number_format) * widened(gradient, number_format)
        try:
            scores = np.asarray(plugin(contributions), dtype=np.float32)
        except Exception as error:
            raise PluginError(
                f"aggregator {self.name!r} failed with {type(error).__name__}: {error}"
            ) from error
        if scores.shape != (contributions.shape[1],):
            raise PluginError(
                f"aggregator {self.name!r} made scores of shape {scores.shape} from contributions (token, "
                f"neuron) of shape {contributions.shape}; (neuron,) is needed"
            )
        return scores, contributions.argmax(axis=0).astype(np.int32)


def widened(values: NDArray[Any], number_format: str) -> NDArray[np.float32]:
    """Stored values as float32."""
    if number_format == "bfloat16":
        values = (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return np.asarray(values, dtype=np.float32)
