"""Audit a neuron set: scores of its best neurons beside the exact effect of zeroing each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from culnig.benchmarks.base import ChosenItems
from culnig.benchmarks.choosing import read_benchmarks
from culnig.core.items import Item, SplitChoice
from culnig.core.neurons import Layout
from culnig.core.progress import Progress, Say, Task, no_progress, say_nothing
from culnig.core.questions import count_questions
from culnig.errors import InputError, argument
from culnig.inference.batches import DEFAULT_TOKEN_BUDGET
from culnig.inference.encoding import Encoder
from culnig.inference.templates import chosen_date
from culnig.models.named import loaded_model
from culnig.scoring.scoring import ScoreSettings
from culnig.selection.neuron_set import NeuronSet, NeuronSetOrPath, as_neuron_set
from culnig.selection.random import select_random
from culnig.verification import linearisation
from culnig.verification.missed import LEVEL, MOST_ZEROED, Missed

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from culnig.models.base import BoundModel
    from culnig.models.settings import LoadOptions


def audit(
    neurons: NeuronSetOrPath,
    model: str | Path | BoundModel,
    benchmarks: Sequence[str] | str,
    *,
    data_dir: Path | str | None = None,
    split: SplitChoice = "identify",
    cultures: Sequence[str] = (),
    limit: int | None = None,
    per_culture: int | None = None,
    sample: int | None = None,
    token_budget: int = DEFAULT_TOKEN_BUDGET,
    top: int = 20,
    aggregator: str = "max",
    bound: bool = False,
    seed: int = 0,
    prompt_date: date | str | None = None,
    progress: Progress = no_progress,
    say: Say = say_nothing,
    **loading: Unpack[LoadOptions],
) -> dict[str, Any]:
    """Zero neurons one at a time: the best `top` of the set, and as many random ones.

    `aggregator` is that of the run the set was selected from. `prompt_date` (YYYY-MM-DD, by default today) is
    the date in prompts of chat templates that write one. The result has `neurons` (score, linear
    estimate and exact effect of each), `correlations` (Spearman's rho with its interval; None if it is
    undefined), `n_items`, `n_questions`, and `low`: whether the scores rank the effects badly. With `bound`,
    at most 200 neurons that are not in the set are zeroed too, and `missed` says how large an effect the
    selection has missed at most (None without). InputError for a `top` larger than the set and for benchmarks
    that are not targets with answer labels.
    """
    chosen, day = as_neuron_set(neurons), chosen_date(prompt_date)
    if not 2 <= top <= len(chosen.neurons):
        raise InputError(
            f"{argument('top')} is {top}, but {chosen.name!r} holds {len(chosen.neurons)} neurons; give a "
            f"number from 2 to {len(chosen.neurons)}"
        )
    items = _items(
        read_benchmarks(
            benchmarks, data_dir, split, cultures, limit, per_culture, sample=sample, seed=seed, say=say
        )
    )
    best = replace(chosen, neurons=chosen.neurons[:top], scores=chosen.scores[:top], columns={})
    loaded = loaded_model(model, say, spreads=True, **loading)
    layout = loaded.layout
    flat, random = best.flat(layout), select_random(best, layout, seed).flat(layout)
    unselected = _not_selected(chosen, layout) if bound else None
    n_bound = 0 if unselected is None else min(MOST_ZEROED, len(unselected))
    task = Task(progress, "neurons zeroed", 2 * top + n_bound)
    settings = ScoreSettings(aggregator=aggregator, token_budget=token_budget)
    result = linearisation.audit(
        *(loaded, items, flat, random, settings, task.advance),
        encoder=Encoder(loaded, day),
        unselected=unselected,
        seed=seed,
    )
    counts = {"n_items": len(items), "n_questions": count_questions(items)}
    return {**counts, **_document(result, layout)}


def _not_selected(chosen: NeuronSet, layout: Layout) -> NDArray[np.int64]:
    """Flat indices of the neurons that a selection could have taken and did not.

    They are those of the pools that it ranked; where the set does not tell, of the modules of its neurons.
    """
    pools = chosen.method.get("pools") or dict.fromkeys(neuron.module for neuron in chosen.neurons)
    ranked = np.concatenate([layout.pool(str(pool)) for pool in pools])
    return np.setdiff1d(ranked, chosen.flat(layout))


def _items(chosen: Mapping[str, ChosenItems]) -> list[Item]:
    """All items; InputError for benchmarks that are no targets or have no answer labels."""
    for name, benchmark_items in chosen.items():
        if benchmark_items.role != "target":
            raise InputError(
                f"benchmark {name!r} is a {benchmark_items.role}; an audit needs a target benchmark"
            )
        if not all(item.options for item in benchmark_items.items):
            raise InputError(f"benchmark {name!r} is answered freely; an audit needs answer labels")
    return [item for benchmark_items in chosen.values() for item in benchmark_items.items]


def _missed(missed: Missed | None) -> dict[str, Any] | None:
    if missed is None:
        return None
    return {
        "level": LEVEL,
        "bound": missed.bound,
        "largest": missed.largest,
        "n_neurons": missed.n_neurons,
        "n_zeroed": missed.n_zeroed,
        "n_above": missed.n_above,
        "strata": [asdict(stratum) for stratum in missed.strata],
    }


def _document(result: linearisation.Audit, layout: Layout) -> dict[str, Any]:
    return {
        "low": result.is_low,
        "missed": _missed(result.missed),
        "correlations": {
            name: {key: None if value != value else value for key, value in asdict(correlation).items()}
            for name, correlation in result.correlations.items()
        },
        "neurons": [
            {
                "module": neuron.module,
                "layer": neuron.layer,
                "index": neuron.index,
                "group": "top" if number < result.n_top else "random",
                "score": float(result.score[number]),
                "linear_estimate": float(result.first_order[number]),
                "effect": float(result.effect[number]),
            }
            for number, neuron in enumerate(layout.neurons(result.flat))
        ],
    }
