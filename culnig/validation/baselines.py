"""Plain statistics of activations and gradients, stored as runs, so that they are ranked as scores are.

Each takes the place of the score of METHOD §1: one number per item and neuron over the item's real tokens,
added up per culture. Everything after that (difference to the control, exclusion, z) is the selection's own.
A new statistic is one entry of STATISTICS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from culnig.bound import BoundModel
from culnig.extraction.capture import Capture
from culnig.extraction.run import describe_model, versions
from culnig.inference.answers import AnswerReader, gold_confidence
from culnig.inference.batches import DEFAULT_TOKEN_BUDGET, make_batches
from culnig.inference.encoding import Encoder
from culnig.items import ChosenItems
from culnig.neurons import Segment
from culnig.outcomes import Outcomes
from culnig.scores import CultureMoments
from culnig.store.run import Run
from culnig.store.writer import Portion, PortionState, RunWriter

if TYPE_CHECKING:
    import torch

Statistic = Callable[["torch.Tensor", "torch.Tensor", "torch.Tensor"], "torch.Tensor"]
"""Activation and gradient, (item, token, neuron), and the mask of real tokens, (item, token, 1), to
(item, neuron)."""


def mean_absolute_activation(
    activation: torch.Tensor, gradient: torch.Tensor, real: torch.Tensor
) -> torch.Tensor:
    """Mean of |activation| over the real tokens."""
    return (activation.abs() * real).sum(1) / real.sum(1)


def positive_share(activation: torch.Tensor, gradient: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Share of the real tokens with a positive activation, the statistic of LAPE (METHOD §8)."""
    return ((activation > 0) * real).sum(1) / real.sum(1)


def gradient_norm(activation: torch.Tensor, gradient: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Euclidean norm over the real tokens of the gradient of P(gold)."""
    norm: torch.Tensor = (gradient * real).square().sum(1).sqrt()
    return norm


STATISTICS: dict[str, Statistic] = {
    "mean |activation|": mean_absolute_activation,
    "share of activations > 0": positive_share,
    "gradient norm": gradient_norm,
}
"""Baselines by the name that a table gives them."""


def baseline_runs(bound: BoundModel, benchmarks: Mapping[str, ChosenItems], folder: Path) -> dict[str, Run]:
    """Measure every statistic in one pass per benchmark; one run folder in `folder` for each."""
    writers = {
        name: RunWriter.open(folder / folder_name(name), _record(bound, benchmarks, name), bound.layout)
        for name in STATISTICS
    }
    for benchmark, chosen in benchmarks.items():
        tables, outcomes, n_batches = _measure(bound, chosen)
        for name, writer in writers.items():
            state = PortionState(tables[name], outcomes, np.arange(len(chosen.items)), n_batches)
            writer.save_part(Portion(benchmark, 0, 1, n_batches), chosen.role, chosen.split, state)
    for writer in writers.values():
        with writer:
            writer.finish(dict.fromkeys(benchmarks, 1))
    return {name: Run(writer.folder) for name, writer in writers.items()}


def folder_name(statistic: str) -> str:
    """Name of a statistic's run folder."""
    letters = "".join(letter if letter.isalnum() else " " for letter in statistic)
    return "-".join(letters.split())


def _record(bound: BoundModel, benchmarks: Mapping[str, ChosenItems], statistic: str) -> dict[str, object]:
    return {
        "model": describe_model(bound),
        "settings": {"statistic": statistic, "level": "culture"},
        "benchmarks": {name: chosen.record() for name, chosen in benchmarks.items()},
        "versions": versions(),
        "complete": False,
    }


def _measure(bound: BoundModel, chosen: ChosenItems) -> tuple[dict[str, CultureMoments], Outcomes, int]:
    import torch

    cultures = list(dict.fromkeys(item.culture for item in chosen.items))
    tables = {name: CultureMoments.zeros(cultures, bound.layout.n_neurons) for name in STATISTICS}
    outcomes = Outcomes.empty(chosen.items)
    batches = make_batches(Encoder(bound).encode_all(chosen.items), DEFAULT_TOKEN_BUDGET)
    real = torch.empty(0)
    rows = np.empty(0, dtype=np.int64)

    def add(segment: Segment, activation: torch.Tensor, gradient: torch.Tensor) -> None:
        for name, statistic in STATISTICS.items():
            values = statistic(activation, gradient, real).double().numpy()
            table = tables[name]
            np.add.at(table.sum[:, segment.columns], rows, values)
            np.add.at(table.sum_of_squares[:, segment.columns], rows, values**2)
            np.add.at(table.positive_count[:, segment.columns], rows, (values > 0).astype(np.uint32))

    with AnswerReader(bound) as reader, Capture(bound, add):
        for batch in batches:
            real = torch.from_numpy(batch.token_mask)[..., None]
            rows = np.array([cultures.index(encoded.item.culture) for encoded in batch.items])
            probabilities = reader.logits(batch).softmax(-1)
            confidence = gold_confidence(batch, probabilities)
            confidence.sum().backward()  # type: ignore[no-untyped-call]
            reader.record(batch, probabilities, outcomes)
            for table in tables.values():
                np.add.at(table.n_items, rows, 1)
                np.add.at(table.confidence_sum, rows, confidence.detach().double().numpy())
    return tables, outcomes, len(batches)
