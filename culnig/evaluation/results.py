"""From answers to rows: metrics of each benchmark and condition, and what is significant.

Metrics are means over items: `accuracy` (the most probable token of the whole vocabulary is the gold
label), `option_accuracy` (the gold label is the most probable of the labels), `p_gold` (P(gold)),
`log_probability` (its natural logarithm) and `option_mass` (probability on all labels together).
`alignment` measures how near answers on a scale are (docs/method.md, Masking and evaluation). A metric that
does not apply is None: short answers have no labels, so only an accuracy; only scales have an alignment.
Where options are read as texts, `accuracy` and `option_accuracy` are the same, `p_gold` is the gold option's
share (`core.likelihood`), `log_probability` is that of its text, and `log_probability_per_byte` the same per
byte.
`similarity` compares the labels' probabilities with the shares of people who chose each option, and
`together_accuracy` counts an item only if all items that are right or wrong together with it are right.

`loss` splits a loss of accuracy into format and knowledge (see `losses`), `calibration_error` says how far
P among the labels is from how often it is right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from culnig.core.baselines import AgainstRandom, against_random
from culnig.core.outcomes import Outcomes
from culnig.core.questions import count_questions
from culnig.core.statistics import (
    McNemar,
    PairedDifference,
    holm,
    mcnemar,
    paired_differences,
)
from culnig.evaluation.conditions import UNMASKED, Condition

if TYPE_CHECKING:
    from culnig.evaluation.runner import Answers

_LEAST_PROBABILITY = float(np.finfo(np.float32).tiny)
"""Smaller probabilities count as this one in logarithms: float32 softmax underflows to 0 beyond."""

METRICS: dict[str, Callable[[Outcomes], NDArray[Any]]] = {
    "accuracy": lambda outcomes: outcomes.correct,
    "option_accuracy": lambda outcomes: outcomes.option_correct,
    "p_gold": lambda outcomes: outcomes.p_gold,
    "log_probability": lambda outcomes: _log_probability(outcomes),
    "log_probability_per_byte": lambda outcomes: outcomes.gold_log_probability / outcomes.gold_bytes,
    "option_mass": lambda outcomes: outcomes.option_mass,
    "alignment": lambda outcomes: outcomes.alignment,
    "similarity": lambda outcomes: outcomes.similarity,
    "together_accuracy": lambda outcomes: outcomes.all_correct,
}
"""Value of each item, by metric."""

CALIBRATION_BINS = 10


def _log_probability(outcomes: Outcomes) -> NDArray[np.float64]:
    if outcomes.by_likelihood:
        return outcomes.gold_log_probability
    return np.asarray(np.log(np.maximum(outcomes.p_gold, _LEAST_PROBABILITY)))


def metrics_of(outcomes: Outcomes) -> dict[str, Callable[[Outcomes], NDArray[Any]]]:
    """The metrics that apply to these answers."""
    names = {"accuracy"}
    if outcomes.has_options:
        names |= {"option_accuracy", "p_gold", "log_probability"}
        names.add("log_probability_per_byte" if outcomes.by_likelihood else "option_mass")
    if outcomes.is_ordinal:
        names.add("alignment")
    if outcomes.has_distributions:
        names.add("similarity")
    if outcomes.are_together:
        names.add("together_accuracy")
    return {name: metric for name, metric in METRICS.items() if name in names}


def values_of(outcomes: Outcomes, names: Sequence[str]) -> NDArray[np.float64]:
    """Values of several metrics, (metric, item)."""
    return np.stack([np.asarray(METRICS[name](outcomes), dtype=np.float64) for name in names])


def losses(before: Outcomes, after: Outcomes) -> dict[str, NDArray[np.int64]]:
    """What each item adds to the lost accuracy, split in two; each (item,) of −1, 0 or 1.

    accuracy = option accuracy − format failures, a format failure being an item whose gold label is the most
    probable of the labels while another token is more probable still. So the lost accuracy is the sum of

    - `knowledge`: the lost option accuracy, and
    - `format`: the added format failures,

    item by item. A part may be negative: a mask under which the labels lose all
    probability but keep their order is pure format loss; one that makes another label win is knowledge loss.
    """

    def failures(outcomes: Outcomes) -> NDArray[np.int64]:
        return outcomes.option_correct.astype(np.int64) - outcomes.correct.astype(np.int64)

    knowledge = before.option_correct.astype(np.int64) - after.option_correct.astype(np.int64)
    form = failures(after) - failures(before)
    return {"accuracy": knowledge + form, "format": form, "knowledge": knowledge}


def calibration_error(outcomes: Outcomes) -> float:
    """Expected calibration error among the labels, 0 to 1 (ten bins of equal width).

    The answer is the most probable label and its certainty the share of the option mass it holds; the error
    is the mean over items of |certainty − share right| within the item's bin.
    """
    probabilities = np.nan_to_num(outcomes.option_probabilities)
    mass = np.maximum(probabilities.sum(axis=1), _LEAST_PROBABILITY)
    certainty = probabilities.max(axis=1) / mass
    bins = np.minimum((certainty * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    excess = np.bincount(bins, weights=certainty - outcomes.option_correct, minlength=CALIBRATION_BINS)
    return float(np.abs(excess).sum() / len(certainty))


def result_rows(
    answers: Answers, benchmarks: Sequence[str], conditions: Sequence[Condition], seed: int = 0
) -> list[dict[str, Any]]:
    """One row per benchmark and condition, in that order, ready for JSON.

    `change` compares each metric with the unmasked model (paired, two-sided), `loss` splits the accuracy
    lost, `mcnemar` tests it again, and `against_random` compares with the random baselines of the set
    (one-sided: lower than another random set). `p_value` is the one of the accuracy against the unmasked
    model; None for the unmasked model itself. `p_holm`: see `adjusted`. `seed` is that of the resamples.
    """
    return adjusted(
        [
            _row(answers, benchmark, condition, conditions, seed)
            for benchmark in benchmarks
            for condition in conditions
        ]
    )


def adjusted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with every p adjusted (Holm) over the benchmarks of its condition, metric by metric."""
    for condition in dict.fromkeys(row["condition"] for row in rows):
        own = [row for row in rows if row["condition"] == condition]
        for kind in ("change", "against_random"):
            metrics = dict.fromkeys(metric for row in own for metric in row[kind] or {})
            for metric in metrics:
                tests = [row[kind][metric] for row in own if metric in (row[kind] or {})]
                for test, p_holm in zip(tests, holm([t["p_value"] for t in tests]), strict=True):
                    test["p_holm"] = p_holm
        for row in own:
            of_accuracy = (row["change"] or {}).get("accuracy", {})
            row["p_value"], row["p_holm"] = of_accuracy.get("p_value"), of_accuracy.get("p_holm")
    return rows


def _row(
    answers: Answers, benchmark: str, condition: Condition, conditions: Sequence[Condition], seed: int
) -> dict[str, Any]:
    outcomes = answers[benchmark, condition.name]
    names = list(metrics_of(outcomes))
    row: dict[str, Any] = {
        "benchmark": benchmark,
        "condition": condition.name,
        "like": condition.like,
        "of_set": condition.of_set,
        "share": condition.share,
        "culture": condition.culture,
        "factor": condition.factor,
        "mask": condition.mask,
        "n_neurons": len(condition.flat),
        "n": len(outcomes.correct),
        "n_questions": count_questions(outcomes),
        **dict.fromkeys(METRICS),
        **dict(zip(names, values_of(outcomes, names).mean(axis=1).tolist(), strict=True)),
        "calibration_error": calibration_error(outcomes) if outcomes.has_options else None,
        "chance": float(outcomes.chance.mean()) if outcomes.has_options else None,
        "change": None,
        "loss": None,
        "mcnemar": None,
        "against_random": None,
        "p_value": None,
        "p_holm": None,
    }
    if condition.name == UNMASKED:
        return row
    row |= comparison(answers[benchmark, UNMASKED], outcomes, seed)
    random = [answers[benchmark, other.name] for other in conditions if other.like == condition.name]
    if random:
        row["against_random"] = random_comparison(outcomes, random, seed)
    return row


def comparison(before: Outcomes, after: Outcomes, seed: int = 0) -> dict[str, Any]:
    """`change`, `loss` and `mcnemar` of two conditions over the same items, ready for JSON."""
    names = list(metrics_of(after))
    changes = values_of(after, names) - values_of(before, names)
    compared = dict(zip(names, paired_differences(changes, after.units, seed=seed), strict=True))
    return {
        "change": {name: as_json(difference) for name, difference in compared.items()},
        "loss": _loss(before, after, seed) if after.has_options and not after.by_likelihood else None,
        "mcnemar": as_json(mcnemar(before.correct, after.correct, after.units)),
    }


def _loss(before: Outcomes, after: Outcomes, seed: int) -> dict[str, Any]:
    parts = losses(before, after)
    compared = paired_differences(np.stack(list(parts.values())), after.units, seed=seed)
    return {
        name: {**as_json(difference), "items": int(values.sum())}
        for (name, values), difference in zip(parts.items(), compared, strict=True)
    }


def random_comparison(outcomes: Outcomes, random: Sequence[Outcomes], seed: int = 0) -> dict[str, Any]:
    """`against_random` of a condition and its baselines over the same items, ready for JSON."""
    names = list(metrics_of(outcomes))
    compared = against_random(
        values_of(outcomes, names),
        np.stack([values_of(other, names) for other in random], axis=1),
        outcomes.units,
        seed=seed,
    )
    return {name: as_json(result) for name, result in zip(names, compared, strict=True)}


_KEYS = {"n_units": "n_questions"}


def as_json(result: PairedDifference | AgainstRandom | McNemar) -> dict[str, Any]:
    """As a JSON object, where a unit is a question; NaN, such as the interval of a single one, is null."""
    document = {_KEYS.get(name, name): _number(value) for name, value in asdict(result).items()}
    for name, value in document.items():
        if isinstance(value, tuple):
            document[name] = [_number(end) for end in value]
    return document


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and np.isnan(value) else value
