"""Selectivity: mask the neurons of culture i, evaluate culture j, for all pairs.

If neurons are specific, a mask hurts its own culture most and related cultures next. The change matrix
averages the benchmarks; ranks are taken within each benchmark (1: fell most) and then averaged, as the paper
does (docs/method.md). Diagonal dominance asks whether the masks fit their own cultures better than masks
that are assigned at random. Every assignment uses each mask and each culture once, so a culture that is easy
to hurt, or a mask that hurts all cultures, does not count.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, permutations
from math import factorial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from culnig.core.statistics import holm, paired_difference
from culnig.core.text import span
from culnig.errors import InputError, command, option
from culnig.evaluation.conditions import UNMASKED, Condition
from culnig.evaluation.results import METRICS

if TYPE_CHECKING:
    from culnig.evaluation.runner import Answers

DEALINGS = 40_320
"""Assignments tried: all of them for up to eight cultures, this many random ones for more."""
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Selectivity:
    """What each culture's mask does to every culture, in one metric."""

    metric: str
    masked: tuple[str, ...]
    """Cultures whose neurons were masked; rows."""
    evaluated: tuple[str, ...]
    """Cultures of the items; columns. The masked ones come first, in the same order."""
    change: NDArray[np.float64]
    """Masked − unmasked, mean over benchmarks of the mean over items, shape (masked, evaluated)."""
    n_items: NDArray[np.int64]
    """Items of each evaluated culture, over all benchmarks."""
    n_questions: NDArray[np.int64]
    """Questions of each evaluated culture, over all benchmarks: the independent units of `own_p`."""
    rank: NDArray[np.float64]
    """Rank of the change among the evaluated cultures, 1 for the largest fall, ties shared; mean over
    benchmarks, shape (masked, evaluated)."""
    own_p: NDArray[np.float64]
    """Per mask: is its own culture lower than unmasked? Clustered permutation test, Holm over the masks."""
    dominance: float
    """Mean change off the diagonal − mean change on it, of the masked cultures: positive is specific."""
    dominance_p: float
    """Share of the assignments of masks to cultures with as low a mean change on the diagonal; the least
    possible is 1 / (cultures)!."""
    related: float | None
    """Mean change of pairs whose second culture is related to the first − that of the others, own left out:
    negative where related cultures suffer with it. None if there are no such pairs."""
    related_p: float | None
    """Share of the relabellings of cultures with as low a difference."""

    @property
    def own_rank(self) -> NDArray[np.float64]:
        """Mean rank of the own culture, shape (masked,); 1 is perfect."""
        return np.array(np.diagonal(self.rank), dtype=np.float64)

    def document(self) -> dict[str, Any]:
        """Ready for JSON."""

        def plain(table: NDArray[Any]) -> list[Any]:
            return [[None if np.isnan(value) else float(value) for value in row] for row in table]

        return {
            "metric": self.metric,
            "masked": list(self.masked),
            "evaluated": list(self.evaluated),
            "change": plain(self.change),
            "n_items": self.n_items.tolist(),
            "n_questions": self.n_questions.tolist(),
            "rank": plain(self.rank),
            "own_rank": self.own_rank.tolist(),
            "own_p": self.own_p.tolist(),
            "dominance": self.dominance,
            "dominance_p": self.dominance_p,
            "related": self.related,
            "related_p": self.related_p,
        }


def matrix_questions(matrix: Mapping[str, Any]) -> str:
    """The questions that a matrix rests on, for its title; empty in evaluations of earlier versions."""
    questions = matrix.get("n_questions")
    return f"; {span(min(questions), max(questions))} questions of each culture" if questions else ""


def masks_by_culture(conditions: Sequence[Condition]) -> dict[str, str]:
    """Condition of each culture's own set. InputError if no two sets name a culture, or two the same."""
    masks: dict[str, str] = {}
    for condition in conditions:
        if condition.culture is None or condition.like is not None:
            continue
        if condition.culture in masks:
            raise InputError(
                f"two neuron sets are for {condition.culture}: {masks[condition.culture]!r} and "
                f"{condition.name!r}; a matrix takes one set and one factor per culture"
            )
        masks[condition.culture] = condition.name
    if len(masks) < 2:
        raise InputError(
            f"a matrix needs neuron sets of at least two cultures; make them with "
            f"{command('select specific')} "
            f"or name the culture of each set: {option('neuron_sets', 'CULTURE=FILE')}"
        )
    return masks


def check_present(masked: Iterable[str], benchmarks: Iterable[str], present: Collection[str]) -> None:
    """InputError if a masked culture is not among those that the benchmarks have items of."""
    for culture in masked:
        if culture not in present:
            raise InputError(
                f"culture {culture!r} has a neuron set but no items in the benchmarks {list(benchmarks)}; "
                f"the items are of {', '.join(sorted(present))}. Leave out this set, or add a benchmark "
                "with this culture"
            )


def selectivity(
    answers: Answers,
    benchmarks: Sequence[str],
    masks: Mapping[str, str],
    related: Mapping[str, Sequence[str]] | None = None,
    *,
    metric: str = "accuracy",
    seed: int = 0,
) -> Selectivity:
    """The matrix of `masks` (culture → condition) over all cultures of the items of `benchmarks`.

    `related` gives the cultures related to each. InputError if a masked culture has no items.
    """
    masked = tuple(masks)
    present = {culture for name in benchmarks for culture in answers[name, UNMASKED].culture}
    check_present(masked, benchmarks, present)
    evaluated = masked + tuple(sorted(present - set(masked)))
    tables = [_changes(answers, name, masks, evaluated, metric) for name in benchmarks]
    change, rank = (_mean_of(own) for own in (tables, [_ranks(table) for table in tables]))
    square = change[:, : len(masked)]
    kin = related or {}
    units = [_units(answers, benchmarks, culture) for culture in evaluated]
    relation = np.array([[other in kin.get(culture, ()) for other in masked] for culture in masked])
    dominance_p = _share_as_low(
        np.array([square[np.arange(len(masked)), list(deal)].mean() for deal in deals(len(masked), seed)])
    )
    difference, related_p = _related_effect(square, relation, seed)
    return Selectivity(
        metric=metric,
        masked=masked,
        evaluated=evaluated,
        change=change,
        n_items=np.array([len(own) for own in units]),
        n_questions=np.array([len(set(own)) for own in units]),
        rank=rank,
        own_p=np.array(holm([_own_p(answers, benchmarks, c, masks[c], metric, seed) for c in masked])),
        dominance=float(square[~np.eye(len(masked), dtype=bool)].mean() - np.diagonal(square).mean()),
        dominance_p=dominance_p,
        related=difference,
        related_p=related_p,
    )


def _changes(
    answers: Answers, benchmark: str, masks: Mapping[str, str], evaluated: Sequence[str], metric: str
) -> NDArray[np.float64]:
    """Mean change of each (masked, evaluated) pair in one benchmark; NaN for a culture without items."""
    value = METRICS[metric]
    before = answers[benchmark, UNMASKED]
    rows = []
    for condition in masks.values():
        difference = np.asarray(value(answers[benchmark, condition]), float) - np.asarray(
            value(before), float
        )
        rows.append(
            [
                float(difference[own].mean()) if (own := before.culture == culture).any() else np.nan
                for culture in evaluated
            ]
        )
    return np.array(rows)


def _ranks(table: NDArray[np.float64]) -> NDArray[np.float64]:
    ranks = np.full_like(table, np.nan)
    present = ~np.isnan(table[0])
    ranks[:, present] = stats.rankdata(np.round(table[:, present], 12), axis=1)
    return ranks


def _mean_of(tables: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Mean over benchmarks, of those that have items of the culture."""
    stacked = np.stack(tables)
    return np.asarray(np.nansum(stacked, axis=0) / np.sum(~np.isnan(stacked), axis=0))


def _units(answers: Answers, benchmarks: Sequence[str], culture: str) -> list[str]:
    """Question of each item of a culture, benchmark by benchmark."""
    units = []
    for name in benchmarks:
        unmasked = answers[name, UNMASKED]
        units += [f"{name}\n{unit}" for unit in unmasked.units[unmasked.culture == culture]]
    return units


def _own_p(
    answers: Answers, benchmarks: Sequence[str], culture: str, condition: str, metric: str, seed: int
) -> float:
    before, after = [], []
    for name in benchmarks:
        unmasked = answers[name, UNMASKED]
        own = unmasked.culture == culture
        before.append(np.asarray(METRICS[metric](unmasked), float)[own])
        after.append(np.asarray(METRICS[metric](answers[name, condition]), float)[own])
    units = np.array(_units(answers, benchmarks, culture), dtype=object)
    return paired_difference(
        np.concatenate(before), np.concatenate(after), units, alternative="less", seed=seed
    ).p_value


def deals(n: int, seed: int) -> Iterator[tuple[int, ...]]:
    """Orders of n things, the given order first: all of them if they are few, else random orders."""
    if factorial(n) <= DEALINGS:
        yield from islice(permutations(range(n)), DEALINGS)
        return
    yield tuple(range(n))
    generator = np.random.default_rng(seed)
    for _ in range(DEALINGS - 1):
        yield tuple(generator.permutation(n).tolist())


def _share_as_low(values: NDArray[np.float64]) -> float:
    """Share of the values that are as low as the first, itself included."""
    return float(np.mean(values <= values[0] + _ROUNDING))


def _related_effect(
    square: NDArray[np.float64], relation: NDArray[np.bool_], seed: int
) -> tuple[float | None, float | None]:
    off = ~np.eye(len(square), dtype=bool)
    if not (relation & off).any() or not (~relation & off).any():
        return None, None
    differences = []
    for deal in deals(len(square), seed):
        relabelled = relation[np.ix_(deal, deal)]
        differences.append(square[relabelled & off].mean() - square[~relabelled & off].mean())
    return float(differences[0]), _share_as_low(np.array(differences))
