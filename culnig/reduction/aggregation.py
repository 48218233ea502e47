"""From a stored pair of activation and gradient to one score per neuron, by a kernel or a plugin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culnig import kernels, registry
from culnig.errors import PluginError
from culnig.kernel_arguments import AGGREGATORS
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
        first = prompts.offsets[rows.start]
        bounds = [(int(prompts.offsets[row] - first), int(prompts.offsets[row + 1] - first)) for row in rows]
        shape = (len(rows), activation.shape[1])
        scores, peaks = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.int32)
        for row, (begin, end) in enumerate(bounds):
            pair = activation[begin:end], gradient[begin:end]
            if self._plugin is None:
                self._reduce(*pair, number_format, scores[row : row + 1], peaks[row : row + 1])
            else:
                scores[row], peaks[row] = self._call(self._plugin, *pair, number_format)
        return scores, peaks

    def _reduce(
        self,
        activation: NDArray[Any],
        gradient: NDArray[Any],
        number_format: str,
        scores: NDArray[np.float32],
        peaks: NDArray[np.int32],
    ) -> None:
        n_tokens, n_neurons = activation.shape
        kernels.score_reduce(
            activation[None],
            gradient[None],
            np.ones((1, n_tokens), dtype=bool),
            [1.0],
            [0],
            sums=np.zeros((1, n_neurons)),
            item_scores=scores,
            peak_tokens=peaks,
            aggregator=self.name,
            dtype=number_format,
        )

    def _call(
        self, plugin: Aggregator, activation: NDArray[Any], gradient: NDArray[Any], number_format: str
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
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
        return scores, contributions.argmax(axis=0)


def widened(values: NDArray[Any], number_format: str) -> NDArray[np.float32]:
    """Stored values as float32."""
    if number_format == "bfloat16":
        values = (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return np.asarray(values, dtype=np.float32)
