"""The request of an evaluation, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

from culnig.cultures.spellings import culture_keys
from culnig.errors import InputError, argument, check_at_least, check_choice, option
from culnig.evaluation.conditions import DOSE_FACTORS, Mask
from culnig.inference.batches import DEFAULT_TOKEN_BUDGET
from culnig.inference.generation import DEFAULT_NEW_TOKENS
from culnig.selection.neuron_set import NeuronSet, as_neuron_set
from culnig.selection.random import Match
from culnig.selection.select import opened
from culnig.store.run import Run

NeuronSetChoice = (
    NeuronSet | Path | str | Sequence[NeuronSet | Path | str] | Mapping[str, NeuronSet | Path | str]
)
"""A neuron set or its file, `CULTURE=FILE`, several of these, or sets by their culture."""


@dataclass(frozen=True)
class Request:
    """What an evaluation computes, apart from its model, items and sets; `record` goes into the results."""

    factors: float | tuple[float, ...] = 0.0
    mask: Mask = "scale"
    shares: tuple[float, ...] = (1.0,)
    random_baseline: int = 0
    baseline_match: Match = "module"
    token_budget: int = DEFAULT_TOKEN_BUDGET
    max_new_tokens: int = DEFAULT_NEW_TOKENS
    prefix_sharing: bool = True
    matrix: bool = False
    seed: int = 0

    def check(self, has_sets: bool, has_means: bool, dose: bool) -> None:
        """InputError for settings that do not fit each other."""
        check_choice("baseline_match", self.baseline_match, get_args(Match))
        for name in ("token_budget", "max_new_tokens"):
            check_at_least(name, getattr(self, name), 1)
        check_at_least("random_baseline", self.random_baseline, 0)
        check_at_least("seed", self.seed, 0)
        needs = {"random_baseline": self.random_baseline > 0, "dose": dose, "matrix": self.matrix}
        needs["mask"] = self.mask != "scale"
        if (first := next((name for name, given in needs.items() if given), None)) and not has_sets:
            raise InputError(f"{argument(first)} needs sets to mask: give {argument('neuron_sets')}")
        if (self.mask == "scale") == has_means:
            raise InputError(
                f"{option('mask', 'mean')} and {option('mask', 'resample')} need {option('means', 'RUN')}; "
                "other masks do not take it"
            )
        n_factors = 1 if isinstance(self.factors, int | float) else len(self.factors)
        if self.matrix and n_factors * len(self.shares) > 1:
            raise InputError(
                f"{argument('matrix')} compares one dose of each set; give one {argument('factors')} and one "
                f"{argument('shares')}"
            )

    def record(self, means: Run | None, n_prompts: int) -> dict[str, Any]:
        """As `results.json` has it."""
        listed = asdict(self)
        if not self.seed:  # as earlier versions wrote it, so that their evaluations can be resumed
            del listed["seed"]
        return {
            "factor": listed.pop("factors"),
            "mask": listed.pop("mask"),
            "means": None if means is None else {"run": means.run_id, "prompts": n_prompts},
            **listed,
        }


def chosen_factors(
    factors: float | Sequence[float] | None, mask: Mask, dose: bool
) -> float | tuple[float, ...]:
    """The factors asked for, by default 0 or those of a dose series."""
    check_choice("mask", mask, get_args(Mask))
    given = factors is not None and factors != ()
    if mask != "scale" and (dose or given):
        raise InputError(
            f"{option('mask', mask)} replaces activations; it cannot be combined with {argument('factors')} "
            f"or {argument('dose')}"
        )
    if factors is None or not given:
        return DOSE_FACTORS if dose else (0.0,)
    return factors if isinstance(factors, int | float) else tuple(factors)


def run_with_prompts(means: Run | Path | str | None) -> Run | None:
    """The run whose prompts replace activations; InputError if it keeps none."""
    from culnig.evaluation.means import check_keeps_prompts

    if means is None:
        return None
    run = opened(means)
    check_keeps_prompts(run)
    return run


class SetChoice:
    """The neuron sets asked for, read once the request is known to fit."""

    def __init__(self, choice: NeuronSetChoice) -> None:
        if isinstance(choice, Mapping):
            self.choices: list[tuple[str | None, NeuronSet | Path | str]] = list(choice.items())
        else:
            several = [choice] if isinstance(choice, NeuronSet | Path | str) else choice
            self.choices = [_split(own) for own in several]

    def read(self) -> list[NeuronSet]:
        """The sets; the culture given with one is the culture its neurons count as specific to."""
        sets = []
        for culture, own in self.choices:
            if culture is not None:
                (culture,) = culture_keys([culture])
            chosen = as_neuron_set(own)
            sets.append(
                chosen if culture is None else replace(chosen, method={**chosen.method, "culture": culture})
            )
        return sets


def _split(choice: NeuronSet | Path | str) -> tuple[str | None, NeuronSet | Path | str]:
    """Culture and file of `CULTURE=FILE`."""
    if not isinstance(choice, str) or "=" not in choice or Path(choice).exists():
        return None, choice
    culture, _, file = choice.partition("=")
    return culture, file
