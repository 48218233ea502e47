"""The figures that a report shows of a run's scores, computed in one pass over the tables.

Even for millions of neurons it keeps only sums by module and layer, products between cultures, and the scores
of the listed neurons. A score is target − control if the run has a control of the target.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from culnig.core.questions import count_questions
from culnig.core.text import counted
from culnig.errors import SelectionError, StoreError
from culnig.reporting.sources import Sources
from culnig.selection.halves import half_tables
from culnig.selection.tables import Roles, choose_roles
from culnig.store import schema
from culnig.store.run import Run, TableRows

TOP_NEURONS = 40
"""Columns of the heat map of cultures × neurons."""


@dataclass(frozen=True)
class Profile:
    """Scores of one target benchmark of a run."""

    target: str
    control: str | None
    cultures: tuple[str, ...]
    n_items: tuple[int, ...]
    """Items of each culture."""
    n_questions: int
    """Independent questions; 0 if unknown, as in imported scores."""
    modules: tuple[str, ...]
    layers: NDArray[np.float64]
    """Σ of the positive scores, shape (culture, module, layer)."""
    correlation: NDArray[np.float64]
    """Pearson correlation of the scores over neurons, (culture, culture); NaN if a culture's are equal."""
    between_halves: NDArray[np.float64] | None
    """The same between the scores of one half of the questions (rows) and of the other (columns); None if the
    run keeps no halves."""
    best: NDArray[np.int64]
    """Flat indices of the neurons with the highest sum over cultures, best first."""
    columns: dict[int, NDArray[np.float64]]
    """Scores in each culture, (culture,), of the best and the listed neurons by flat index."""

    @property
    def difference(self) -> str:
        """Name of the score: target − control, or the target alone."""
        return self.target if self.control is None else f"{self.target} − {self.control}"

    @property
    def basis(self) -> str:
        """The score and how many questions it rests on, for the captions of tables."""
        over = f"; {counted(self.n_questions, 'question')}" if self.n_questions else ""
        return f"{self.difference}{over}"


def profile(run: Run, roles: Roles, listed: NDArray[np.int64], n_best: int) -> Profile:
    """Read the tables of a target. `listed` are the flat indices of neurons whose scores are kept."""
    target, control = roles.target, roles.control
    tables = [TableRows(target.name, schema.SUM)]
    if control is not None:
        tables.append(TableRows(control.name, schema.SUM, roles.control_rows))
    n_cultures, layout = len(target.cultures), run.layout
    layers = np.zeros((n_cultures, len(layout.modules), layout.n_layers))
    sums, products = np.zeros(n_cultures), np.zeros((n_cultures, n_cultures))
    listed = np.unique(listed)
    kept: dict[int, NDArray[np.float64]] = {}
    best: list[tuple[float, int, NDArray[np.float64]]] = []
    for columns, values in run.blocks(tables):
        scores = values[0]
        scores /= max(1, target.n_items)
        if control is not None:
            values[1] /= max(1, control.n_items)
            scores -= values[1]
        sums += scores.sum(axis=1)
        products += scores @ scores.T
        _add_segments(layers, run, columns, scores)
        first, last = np.searchsorted(listed, [columns.start, columns.stop])
        for flat in listed[first:last].tolist():
            kept[flat] = scores[:, flat - columns.start].copy()
        best = _merged(best, scores, columns.start, n_best)
    return Profile(
        target=target.name,
        control=None if control is None else control.name,
        cultures=target.cultures,
        n_items=target.items_of_culture,
        n_questions=count_questions(run.outcomes(target.name)),
        modules=layout.modules,
        layers=layers,
        correlation=_correlation(sums, products, layout.n_neurons),
        between_halves=_between_halves(run, roles),
        best=np.array([flat for _, flat, _ in best], dtype=np.int64),
        columns=kept | {flat: column for _, flat, column in best},
    )


def _between_halves(run: Run, roles: Roles) -> NDArray[np.float64] | None:
    try:
        first, second = (tables.difference for tables in half_tables(run, roles))
    except (StoreError, SelectionError):  # no halves, or a culture with a single question
        return None
    first, second = (
        half - half.mean(axis=1, keepdims=True) for half in (np.asarray(first), np.asarray(second))
    )
    lengths = np.outer(np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation: NDArray[np.float64] = first @ second.T / lengths
    return correlation


def profiles_of(sources: Sources, n_best: int = TOP_NEURONS) -> list[tuple[Run, Profile]]:
    """Each target of each run with its profile."""
    nobody = np.empty(0, dtype=np.int64)
    return [(run, profile(run, roles, nobody, n_best)) for run in sources.runs for roles in target_roles(run)]


def short_names(run: Run, flat: NDArray[np.int64]) -> dict[int, str]:
    """Names of neurons for the columns of a chart: module, layer and index, by flat index."""
    return {
        int(index): f"{neuron.module.rpartition('.')[2]} {neuron.layer}·{neuron.index}"
        for index, neuron in zip(flat, run.layout.neurons(flat), strict=True)
    }


def target_roles(run: Run) -> list[Roles]:
    """Each target of a run with its control: the one named after it, or the run's only one."""
    controls = [stored.name for stored in run.with_role("control")]
    all_roles = []
    for stored in run.with_role("target"):
        own = [name for name in controls if name.startswith(f"{stored.name}-")]
        control = own[0] if len(own) == 1 else controls[0] if len(controls) == 1 else None
        try:
            roles = choose_roles(
                run, target=stored.name, control=control, use_control=control is not None, use_exclusion=False
            )
        except SelectionError:  # the control lacks a culture
            roles = choose_roles(run, target=stored.name, use_control=False, use_exclusion=False)
        all_roles.append(roles)
    return all_roles


def _add_segments(layers: NDArray[np.float64], run: Run, columns: slice, scores: NDArray[np.float64]) -> None:
    layout = run.layout
    ends = np.array([columns.start, columns.stop - 1])
    first, last = layout.segment_of(ends).tolist()
    for segment in layout.segments[first : last + 1]:
        start = max(segment.start, columns.start) - columns.start
        stop = min(segment.start + segment.width, columns.stop) - columns.start
        module = layout.modules.index(segment.module)
        layers[:, module, segment.layer] += np.maximum(scores[:, start:stop], 0).sum(axis=1)


def _merged(
    best: list[tuple[float, int, NDArray[np.float64]]], scores: NDArray[np.float64], start: int, n: int
) -> list[tuple[float, int, NDArray[np.float64]]]:
    """The n best of those so far and a range of neurons, highest first, ties to the lower flat index."""
    if n == 0:
        return []
    total = scores.sum(axis=0)
    least = best[-1][0] if len(best) == n else -np.inf
    (candidates,) = np.nonzero(total > least)
    if len(candidates) > n:
        bound = np.partition(total[candidates], len(candidates) - n)[len(candidates) - n]
        candidates = candidates[total[candidates] >= bound]
    more = [(float(total[index]), start + int(index), scores[:, index].copy()) for index in candidates]
    return sorted([*best, *more], key=lambda entry: (-entry[0], entry[1]))[:n]


def _correlation(sums: NDArray[np.float64], products: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    covariance = products / n - np.outer(sums, sums) / n**2
    spread = np.sqrt(np.maximum(np.diagonal(covariance), 0))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation: NDArray[np.float64] = covariance / np.outer(spread, spread)
    return np.clip(correlation, -1, 1)
