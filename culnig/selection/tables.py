"""From a run to what a selection ranks by: target − control and exclusion, with the same cultures in order.

`general_totals` reads sums over cultures only, so that a general selection from millions of neurons never
holds a (culture, neuron) table. `selection_tables` holds that table, for what compares cultures.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culnig.core.items import Role
from culnig.core.moments import CultureMoments
from culnig.core.neurons import Layout
from culnig.errors import SelectionError, UnknownNameError
from culnig.store import schema
from culnig.store.run import Run, StoredBenchmark, Wanted


@dataclass(frozen=True)
class GeneralTotals:
    """Scores summed over all cultures, as the general selection needs them (METHOD §3)."""

    layout: Layout
    difference: NDArray[np.float64]
    """Σ over cultures of S_target − S_control, shape (neuron,)."""
    exclusion: NDArray[np.float64] | None
    """Σ over its cultures of the exclusion score, shape (neuron,)."""
    model: str
    source: dict[str, Any]
    """What a neuron set says about the run."""


@dataclass(frozen=True)
class SelectionTables:
    """Culture scores of a run, as the selections of METHOD §3 and §4 need them."""

    layout: Layout
    cultures: tuple[str, ...]
    """Cultures of the target, in its order; rows of `difference`."""
    difference: NDArray[np.float64]
    """S_target − S_control, shape (culture, neuron); S_target where there is no control."""
    exclusion: CultureMoments | None
    """Only its Σw is needed; `selection_tables` leaves squares and counts empty."""
    model: str
    source: dict[str, Any]
    """What a neuron set says about the run."""
    total: NDArray[np.float64] | None = None
    """`difference` summed over cultures, (neuron,), from the sums themselves; None: add `difference` up."""

    @property
    def totals(self) -> GeneralTotals:
        """Both tables summed over their cultures."""
        exclusion = None
        if self.exclusion is not None:
            exclusion = self.exclusion.sum.sum(axis=0) / max(1, int(self.exclusion.n_items.sum()))
        total = self.difference.sum(axis=0) if self.total is None else self.total
        return GeneralTotals(self.layout, total, exclusion, self.model, dict(self.source))


@dataclass(frozen=True)
class Roles:
    """Which benchmark of a run plays which part in a selection."""

    target: StoredBenchmark
    control: StoredBenchmark | None
    """Has every culture of the target, in whatever order."""
    exclusion: StoredBenchmark | None
    control_rows: list[int] = field(default_factory=list)
    """Where the control keeps each culture of the target."""

    def source(self, run: Run) -> dict[str, Any]:
        """What a neuron set says about the run that it was made from."""
        used = {
            role: stored
            for role, stored in (
                *(("target", self.target), ("control", self.control)),
                ("exclusion", self.exclusion),
            )
            if stored is not None
        }
        return {
            "model": run.record["model"],
            "scores_hash": run.scores_hash,
            **({} if run.scorer is None else {"scorer": run.scorer}),
            "benchmarks": {role: stored.name for role, stored in used.items()},
            "n_items": {role: stored.n_items for role, stored in used.items()},
            "splits": {role: stored.split for role, stored in used.items()},
        }


def choose_roles(
    run: Run,
    *,
    target: str | None = None,
    control: str | None = None,
    exclusion: str | None = None,
    use_control: bool = True,
    use_exclusion: bool = True,
) -> Roles:
    """Find the benchmarks a selection works on.

    `target`, `control` and `exclusion` name a benchmark of the run; without a name it is the only one of
    that role. SelectionError where one is missing or the choice is open, or the control lacks a culture.
    """
    aim = _choose(run, "target", target)
    without = _choose(run, "control", control) if use_control else None
    third = _choose(run, "exclusion", exclusion) if use_exclusion else None
    if without is None:
        return Roles(aim, None, third)
    missing = [culture for culture in aim.cultures if culture not in without.cultures]
    if missing:
        raise SelectionError(
            f"control {without.name!r} of {run.folder} has no items of {', '.join(missing)}; score the "
            "control with the same cultures as the target, or use --no-control"
        )
    return Roles(aim, without, third, [without.cultures.index(culture) for culture in aim.cultures])


def selection_tables(run: Run, **which: Any) -> SelectionTables:
    """Read the culture scores of a run; arguments and errors are those of `choose_roles`."""
    roles = choose_roles(run, **which)
    cultures, n_neurons = roles.target.cultures, run.layout.n_neurons
    difference, total = np.empty((len(cultures), n_neurons)), np.empty(n_neurons)
    excluded = None
    if roles.exclusion is not None:
        # only Σw is read: a selection asks the exclusion for nothing else
        excluded = replace(
            CultureMoments.zeros(roles.exclusion.cultures, 0),
            n_items=np.array(roles.exclusion.items_of_culture, dtype=np.int64),
            sum=np.empty((len(roles.exclusion.cultures), n_neurons)),
        )
    for columns, values in run.blocks(_sums(roles)):
        total[columns] = _block_total(roles, values)
        difference[:, columns] = _block_difference(roles, values)
        if excluded is not None:
            excluded.sum[:, columns] = values[-1]
    return SelectionTables(run.layout, cultures, difference, excluded, run.model, roles.source(run), total)


def general_totals(run: Run, **which: Any) -> GeneralTotals:
    """Culture scores of a run summed over cultures; arguments and errors are those of `choose_roles`."""
    roles = choose_roles(run, **which)
    if roles.control is None or roles.control.cultures == roles.target.cultures:
        difference = run.total(roles.target.name) / max(1, roles.target.n_items)
        if roles.control is not None:
            difference -= run.total(roles.control.name) / max(1, roles.control.n_items)
    else:  # the control has other cultures too, or another order
        difference = np.empty(run.layout.n_neurons)
        for columns, values in run.blocks(_sums(replace(roles, exclusion=None))):
            difference[columns] = _block_total(roles, values)
    excluded = None
    if roles.exclusion is not None:
        excluded = run.total(roles.exclusion.name) / max(1, roles.exclusion.n_items)
    return GeneralTotals(run.layout, difference, excluded, run.model, roles.source(run))


def _sums(roles: Roles) -> list[Wanted]:
    wanted = [Wanted(roles.target.name, schema.SUM)]
    if roles.control is not None:
        wanted.append(Wanted(roles.control.name, schema.SUM, roles.control_rows))
    if roles.exclusion is not None:
        wanted.append(Wanted(roles.exclusion.name, schema.SUM))
    return wanted


def _block_total(roles: Roles, values: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """S_target − S_control of a range of neurons, over all cultures."""
    total: NDArray[np.float64] = values[0].sum(axis=0) / max(1, roles.target.n_items)
    if roles.control is not None:
        total -= values[1].sum(axis=0) / max(1, roles.control.n_items)
    return total


def _block_difference(roles: Roles, values: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """S_target − S_control of a range of neurons, in the target's buffer."""
    difference = values[0]
    difference /= max(1, roles.target.n_items)
    if roles.control is not None:
        values[1] /= max(1, roles.control.n_items)
        difference -= values[1]
    return difference


def _choose(run: Run, role: Role, name: str | None) -> StoredBenchmark:
    if name is not None:
        if name not in run.benchmarks:
            raise UnknownNameError(f"benchmark of run {run.folder}:", name, run.benchmarks)
        found = run.benchmarks[name]
        if found.role != role:
            raise SelectionError(f"benchmark {name!r} has role {found.role} in this run, {role} is needed")
        return found
    candidates = run.with_role(role)
    if len(candidates) == 1:
        return candidates[0]
    there = ", ".join(f"{b.name} ({b.role})" for b in run.benchmarks.values()) or "no benchmark"
    if candidates:
        names = ", ".join(b.name for b in candidates)
        raise SelectionError(f"{run.folder} has several {role} benchmarks ({names}); choose with --{role}")
    without = {"control": "--no-control", "exclusion": "--no-exclusion"}.get(role)
    advice = f", or go on without it: {without}" if without else ""
    raise SelectionError(
        f"{run.folder} has no {role} benchmark, only {there}; score one into the run{advice}"
    )
