"""What training did to the selected neurons: how far they moved, and which are selected again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from culnig.benchmarks.base import ChosenItems
from culnig.inference.encoding import Encoder
from culnig.models.base import BoundModel
from culnig.scoring.run import score_run
from culnig.scoring.scoring import ScoreSettings
from culnig.selection.general import GeneralSettings, select_general
from culnig.selection.neuron_set import NeuronSet
from culnig.selection.tables import general_totals
from culnig.training.plan import Plan
from culnig.training.weights import Weights

if TYPE_CHECKING:
    import torch

SHOWN = 10
"""Number of neurons listed as having moved most."""


@dataclass(frozen=True)
class Moved:
    """How far neurons' weights moved, as a share of their length before."""

    n_neurons: int
    """Selected neurons."""
    n_moved: int
    """Selected neurons with any changed weight."""
    mean: float
    """Mean relative change of all selected neurons."""
    others_mean: float
    """The same of all other neurons of the modules that neurons are selected from."""
    most: tuple[tuple[str, int, int, float], ...]
    """Module, layer, index and relative change of those that moved most."""


def relative_change(
    bound: BoundModel, before: Mapping[str, torch.Tensor], flat: NDArray[np.int64]
) -> NDArray[np.float64]:
    """‖after − before‖ / ‖before‖ over all weights of each neuron, shape (neuron,).

    `before` holds the parameters that were trained as they were; all others are taken as unchanged.
    """
    squares = np.zeros((2, len(flat)))
    after = dict(bound.model.named_parameters())
    for rows in Weights(bound).of_neurons(flat):
        assert rows.part.indices is not None
        now = after[rows.part.parameter].detach()
        then = before.get(rows.part.parameter, now)
        changes = (now.float() - then.to(now.device).float(), then.float())
        for total, values in zip(squares, changes, strict=True):
            summed = [axis for axis in range(values.ndim) if axis not in rows.part.axes]
            sums = (values**2).sum(dim=summed) if summed else values**2
            np.add.at(total, rows.neurons, sums.cpu().double().numpy().reshape(-1)[rows.part.indices])
    return np.asarray(np.sqrt(squares[0] / np.maximum(squares[1], np.finfo(float).tiny)))


def moved_neurons(bound: BoundModel, before: Mapping[str, torch.Tensor], plan: Plan) -> Moved:
    """How far the plan's neurons moved, next to all others."""
    layout = bound.layout
    chosen = plan.neurons.flat(layout)
    remaining = np.setdiff1d(layout.pool("all"), chosen)
    change = relative_change(bound, before, chosen)
    order = np.argsort(-change, kind="stable")[:SHOWN]
    named = layout.neurons(chosen[order])
    return Moved(
        n_neurons=len(chosen),
        n_moved=int(np.sum(change > 0)),
        mean=float(change.mean()),
        others_mean=float(relative_change(bound, before, remaining).mean()),
        most=tuple((*neuron, float(change[index])) for neuron, index in zip(named, order, strict=True)),
    )


def general_neurons(
    bound: BoundModel,
    benchmarks: Mapping[str, ChosenItems],
    like: NeuronSet,
    folder: Path,
    encoder: Encoder | None = None,
) -> NeuronSet:
    """Culture-general neurons of the model as it is, scored into the run `folder`.

    With the fractions of `like`, where it was selected as culture-general, else with the paper's. The
    benchmarks need a target; control and exclusion are used where they are among them.
    """
    run = score_run(bound, benchmarks, ScoreSettings(), folder, encoder=encoder, overwrite=True)
    roles = {chosen.role for chosen in benchmarks.values()}
    names = ("top_mlp", "top_attention", "exclude")
    known: dict[str, Any] = {name: float(like.method[name]) for name in names if name in like.method}
    totals = general_totals(run, use_control="control" in roles, use_exclusion="exclusion" in roles)
    return select_general(totals, GeneralSettings(**known))
