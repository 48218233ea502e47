"""What makes the numbers of a run or an evaluation meaningless or doubtful, computed from what is stored.

Shown beside the numbers: at the end of `score` and `evaluate`, by `inspect`, and in the report.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from culnig.core.neurons import POOLS
from culnig.core.outcomes import Outcomes
from culnig.core.quantities import percent
from culnig.store.run import Run, StoredBenchmark

MOST_ZERO = 0.5
"""Largest share of a pool's scores that may be exactly zero."""
LEAST_OPTION_MASS = 0.1
MOST_BATCH_DEPENDENCE = 0.05
"""Largest difference, relative to the largest score, between an item alone and in a batch."""


@dataclass(frozen=True)
class NumberWarning:
    """A reason to doubt numbers."""

    kind: str
    """`zero scores`, `option mass`, `chance`, `checks` or `batch dependence`."""
    text: str
    """What is the matter, with its figure; one sentence."""
    advice: str
    """What to do next; one sentence."""
    benchmark: str | None = None
    stops_selection: bool = False
    """Whether a selection from the run would mean nothing."""

    def __str__(self) -> str:
        return f"{self.text} {self.advice}"

    def record(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def run_warnings(run: Run) -> list[NumberWarning]:
    """The warnings about a finished run, those that stop a selection first."""
    warnings = [*check_warnings(run.record)]
    for stored in run.benchmarks.values():
        if stored.role == "control":  # without the question: chance is expected, and scores are clamped
            continue
        is_target = stored.role == "target"
        if is_target:
            warnings += _zero_scores(run, stored)
        own = answer_warnings(stored.name, run.outcomes(stored.name), stops_selection=is_target)
        warnings += [warning for warning in own if is_target or warning.kind == "option mass"]
    return sorted(warnings, key=lambda warning: not warning.stops_selection)


def check_warnings(record: Mapping[str, Any]) -> Iterator[NumberWarning]:
    """The warnings about the quick checks of a model, from the record of a run or an evaluation."""
    check = record.get("check") or {}
    if check.get("performed") is False:
        yield NumberWarning(
            "checks",
            "Not checked: the model was used without the quick checks of its modules and prompts.",
            "Let `verify` run all checks on the model, or repeat this with the checks.",
        )
    dependence = check.get("batch_dependence")
    if dependence is not None and dependence > MOST_BATCH_DEPENDENCE:
        yield NumberWarning(
            "batch dependence",
            f"Batch dependence: an item's scores change by up to {percent(dependence)} of the largest with "
            "the other items of its batch.",
            "Load the model without quantization or in a wider number format, or use a token budget of 1.",
        )


def answer_warnings(
    benchmark: str, outcomes: Outcomes, *, stops_selection: bool = False
) -> Iterator[NumberWarning]:
    """The warnings about the unmasked model's answers to a benchmark of labels."""
    if not len(outcomes.id) or not outcomes.has_options:  # imported scores come without answers
        return
    mass = float(outcomes.option_mass.mean())
    if mass < LEAST_OPTION_MASS:
        yield NumberWarning(
            "option mass",
            f"Option mass near 0: the labels of {benchmark} have a probability of {mass:.2g} together, so "
            "the model does not answer with a label.",
            "Use an instruction-tuned model with its chat template, or a benchmark whose labels the model "
            "writes.",
            benchmark,
            stops_selection,
        )
    chance = outcomes.chance
    right = float(outcomes.option_correct.mean())
    n_questions = len(set(outcomes.units))
    clearly_above = 2 / np.sqrt(n_questions)  # four standard errors at least; spares the interval
    if n_questions < 2 or right - chance.mean() > clearly_above:
        return
    from culnig.core.statistics import paired_difference

    compared = paired_difference(chance, outcomes.option_correct, outcomes.units)
    low, high = compared.interval
    if np.isnan(low):  # every question is as far from chance as any other
        low = high = compared.effect
    if low <= 0:
        least, most = max(0.0, chance.mean() + low), min(1.0, chance.mean() + high)
        yield NumberWarning(
            "chance",
            f"Near chance: the unmasked model picks the correct label of {benchmark} for {percent(right)} of "
            f"the items (95 % interval over {n_questions:,} questions {percent(least)} to {percent(most)}); "
            f"chance is {percent(chance.mean())}.",
            "A model that does not know the answers has no knowledge to find; use more questions or another "
            "model.",
            benchmark,
            stops_selection,
        )


def _zero_scores(run: Run, stored: StoredBenchmark) -> Iterator[NumberWarning]:
    is_zero = run.total(stored.name) == 0
    unmeasured = run.layout.unrouted(run.outcomes(stored.name).routed_tokens)
    shares = {}
    for pool in POOLS:
        own = run.layout.pool(pool)
        own = own[~unmeasured[own]]
        if len(own):
            shares[pool] = float(is_zero[own].mean())
    high = {pool: share for pool, share in shares.items() if share > MOST_ZERO}
    if not high:
        return
    shown = ", ".join(f"{percent(share)} of pool {pool}" for pool, share in high.items())
    advice = (
        "Look at P(gold), the option mass and the weights; neurons with a score of zero cannot be ranked."
    )
    if run.record["model"].get("dtype") == "float16":
        advice = "Gradients are too small for float16; score again in bfloat16 or float32."
    yield NumberWarning(
        "zero scores",
        f"Zero scores: scores of {stored.name} are exactly zero for {shown}.",
        advice,
        stored.name,
        stops_selection=True,
    )
