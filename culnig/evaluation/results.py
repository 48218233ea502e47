"""From answers to rows: metrics of each benchmark and condition, and what is significant.

Metrics are means over items: `accuracy` (the most probable token of the whole vocabulary is the gold
label), `option_accuracy` (the gold label is the most probable of the labels), `confidence` (P(gold)) and
`option_mass` (probability on all labels together). An accuracy that falls while option mass falls with it
means the answer format was lost, not knowledge; option accuracy tells the two apart. `alignment` is how
near answers on a scale come (METHOD §5). A metric that does not apply is None: short answers have no labels
and so only an accuracy, and only scales have an alignment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from culnig.evaluation.conditions import UNMASKED, Condition
from culnig.outcomes import Outcomes
from culnig.statistics import PairedDifference, against_random, paired_difference

if TYPE_CHECKING:
    from culnig.evaluation.runner import Answers

METRICS: dict[str, Callable[[Outcomes], NDArray[Any]]] = {
    "accuracy": lambda outcomes: outcomes.correct,
    "option_accuracy": lambda outcomes: outcomes.option_correct,
    "confidence": lambda outcomes: outcomes.confidence,
    "option_mass": lambda outcomes: outcomes.option_mass,
    "alignment": lambda outcomes: outcomes.alignment,
}


def metrics_of(outcomes: Outcomes) -> dict[str, Callable[[Outcomes], NDArray[Any]]]:
    """The metrics that apply to these answers."""
    names = {"accuracy"}
    if outcomes.has_options:
        names |= {"option_accuracy", "confidence", "option_mass"}
    if outcomes.is_ordinal:
        names.add("alignment")
    return {name: metric for name, metric in METRICS.items() if name in names}


def result_rows(
    answers: Answers, benchmarks: Sequence[str], conditions: Sequence[Condition]
) -> list[dict[str, Any]]:
    """One row per benchmark and condition, in that order, ready for JSON.

    `change` compares each metric with the unmasked model (paired, two-sided), `against_random` with the
    random baselines of the set (paired, one-sided: lower than random). `p_value` is the one of the
    accuracy against the unmasked model; None for the unmasked model itself.
    """
    return [
        _row(answers, benchmark, condition, conditions)
        for benchmark in benchmarks
        for condition in conditions
    ]


def _row(
    answers: Answers, benchmark: str, condition: Condition, conditions: Sequence[Condition]
) -> dict[str, Any]:
    outcomes = answers[benchmark, condition.name]
    metrics = metrics_of(outcomes)
    row: dict[str, Any] = {
        "benchmark": benchmark,
        "condition": condition.name,
        "like": condition.like,
        "factor": condition.factor,
        "n_neurons": len(condition.flat),
        "n": len(outcomes.correct),
        "n_units": len(set(outcomes.units)),
        **dict.fromkeys(METRICS),
        **{name: float(np.mean(metric(outcomes))) for name, metric in metrics.items()},
        "chance": (
            float(np.mean([1 / len(labels) for labels in outcomes.options])) if outcomes.has_options else None
        ),
        "change": None,
        "against_random": None,
        "p_value": None,
    }
    if condition.name == UNMASKED:
        return row
    unmasked = answers[benchmark, UNMASKED]
    row["change"] = {
        name: _as_json(paired_difference(metric(unmasked), metric(outcomes), outcomes.units))
        for name, metric in metrics.items()
    }
    row["p_value"] = row["change"]["accuracy"]["p_value"]
    random = [answers[benchmark, other.name] for other in conditions if other.like == condition.name]
    if random:
        row["against_random"] = {
            name: _against_random(metric, outcomes, random) for name, metric in metrics.items()
        }
    return row


def _against_random(
    metric: Callable[[Outcomes], NDArray[Any]], outcomes: Outcomes, random: Sequence[Outcomes]
) -> dict[str, Any]:
    compared = against_random(metric(outcomes), np.array([metric(other) for other in random]), outcomes.units)
    return {
        **_as_json(compared.difference),
        "n_random": compared.n_random,
        "empirical_p": compared.empirical_p,
    }


def _as_json(difference: PairedDifference) -> dict[str, Any]:
    """As a JSON object; the interval of a single unit is null, since JSON has no NaN."""
    document = asdict(difference)
    document["interval"] = [None if np.isnan(end) else end for end in difference.interval]
    return document
